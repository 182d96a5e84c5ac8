//! Operations of decoder-only models: the same bits on every instruction set, and near their definitions in float64.

use super::super::testing::{assert_same_bits, for_each_kernel, values};
use super::super::{Activation, Isa, Kernels};

/// Inputs of one size: whole blocks, and an even number.
struct Inputs {
    x: Vec<f32>,
    y: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Inputs {
    fn new(n: usize) -> Self {
        let angles: Vec<f32> = values(n / 2, 3).iter().map(|v| v * 3.0).collect();
        Self {
            x: values(n, 1).iter().map(|v| v * 6.0).collect(),
            y: values(n, 2),
            cos: angles.iter().map(|a| a.cos()).collect(),
            sin: angles.iter().map(|a| a.sin()).collect(),
        }
    }

    /// Every operation by name, and its result.
    fn results(&self, kernels: Kernels) -> Vec<(&'static str, Vec<f32>)> {
        let changed = |f: &dyn Fn(&mut [f32])| {
            let mut x = self.x.clone();
            f(&mut x);
            x
        };
        let Self { y, cos, sin, .. } = self;
        vec![
            ("rotate_halves", changed(&|x| (kernels.rotate_halves)(x, cos, sin))),
            ("rotate_pairs", changed(&|x| (kernels.rotate_pairs)(x, cos, sin))),
            ("softcap", changed(&|x| (kernels.softcap)(2.5, x))),
            ("multiply", changed(&|x| (kernels.multiply)(y, x))),
            ("multiply_add", changed(&|x| (kernels.multiply_add)(y, y, x))),
            ("scale", changed(&|x| (kernels.scale)(-1.5, x))),
            ("gated silu", changed(&|x| (kernels.gated)(Activation::Silu, y, x))),
            ("gated gelu_tanh", changed(&|x| (kernels.gated)(Activation::GeluTanh, y, x))),
            ("relu_squared", changed(&|x| (kernels.activate)(Activation::ReluSquared, x))),
            ("gelu_tanh", changed(&|x| (kernels.activate)(Activation::GeluTanh, x))),
        ]
    }

    /// The same in float64.
    fn definitions(&self) -> Vec<(&'static str, Vec<f64>)> {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let [x, y, cos, sin] = [&self.x, &self.y, &self.cos, &self.sin].map(|values| wide(values));
        let n = x.len();
        let map = |f: &dyn Fn(usize) -> f64| (0..n).map(f).collect::<Vec<_>>();
        let rotated = |i: usize, pair: usize, other: usize, first: bool| {
            if first { x[i] * cos[pair] - x[other] * sin[pair] } else { x[i] * cos[pair] + x[other] * sin[pair] }
        };
        let gelu = |x: f64| x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
        vec![
            ("rotate_halves", map(&|i| rotated(i, i % (n / 2), (i + n / 2) % n, i < n / 2))),
            ("rotate_pairs", map(&|i| rotated(i, i / 2, i ^ 1, i % 2 == 0))),
            ("softcap", map(&|i| 2.5 * (x[i] / 2.5).tanh())),
            ("multiply", map(&|i| x[i] * y[i])),
            ("multiply_add", map(&|i| y[i] * y[i] + x[i])),
            ("scale", map(&|i| -1.5 * x[i])),
            ("gated silu", map(&|i| x[i] * y[i] / (1.0 + (-y[i]).exp()))),
            ("gated gelu_tanh", map(&|i| x[i] * gelu(y[i]))),
            ("relu_squared", map(&|i| x[i].max(0.0).powi(2))),
            ("gelu_tanh", map(&|i| gelu(x[i]))),
        ]
    }
}

#[test]
fn operations_on_rows_have_the_same_bits_everywhere_and_are_close_to_their_definitions() {
    for n in [32, 64, 96, 256] {
        let inputs = Inputs::new(n);
        let scalar = inputs.results(Kernels::for_isa(Isa::Scalar).unwrap());
        for ((name, found), (same, expected)) in scalar.iter().zip(inputs.definitions()) {
            assert_eq!(*name, same);
            for (a, b) in found.iter().zip(expected) {
                assert!((f64::from(*a) - b).abs() < 2e-5 * b.abs().max(1.0), "{name} of {n}: {a} instead of {b}");
            }
        }
        for_each_kernel(|kernels| {
            for ((name, found), (_, expected)) in inputs.results(kernels).iter().zip(&scalar) {
                eprintln!("{name} of {n}");
                assert_same_bits(found, expected);
            }
        });
    }
}
