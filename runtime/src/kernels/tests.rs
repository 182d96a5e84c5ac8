//! Every table that this CPU can run is held against plain definitions (`testing.rs`), and against the others: to the
//! bit.

use super::testing::{Activations, Packed, assert_same_bits, dot, for_each_kernel, gemm_packed, ulps, values};
use super::{Activation, Isa, Kernels, generic};
use crate::quant::testing::{blocks_of, random_blocks};
use crate::quant::{BLOCK, BlockType, BlocksView, Grain, PackedView};
use crate::threads::{ColumnsMut, ThreadPool};
use half::{bf16, f16};
use proptest::prelude::*;

mod attention;
mod rows;

/// Lengths of rows around the numbers of lanes.
const LENGTHS: [usize; 12] = [1, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 257];

/// All columns of a packed product.
fn product(kernels: Kernels, w: PackedView<'_>, x: super::ActivationsView<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.rows * w.rows];
    kernels.gemm(w.block)(w, x, bias, &mut ColumnsMut::whole(&mut out, w.rows));
    out
}

/// Columns of one block, of several, and of an odd number of tiles.
fn widths(block: BlockType) -> Vec<usize> {
    [1, 3].map(|blocks| blocks * block.block_columns()).to_vec()
}

#[test]
fn packed_products_are_exact_for_every_shape() {
    for block in BlockType::ALL {
        for rows in [1, 15, 16, 17, 33, 64] {
            for cols in widths(block) {
                let weights = Packed::random(block, rows, cols, 1);
                let bias = values(rows, 3);
                let x = Activations::new(Kernels::detect(), block.activations(), &values(9 * cols, 2), cols);
                let expected = gemm_packed(weights.view(), x.view(), Some(&bias));
                let unbiased = gemm_packed(weights.view(), x.slice(0..2), None);
                for_each_kernel(|kernels| {
                    for tokens in [1, 2, 3, 4, 5, 9] {
                        let found = product(kernels, weights.view(), x.slice(0..tokens), Some(&bias));
                        assert_same_bits(&found, &expected[..tokens * rows]);
                    }
                    assert_same_bits(&product(kernels, weights.view(), x.slice(0..2), None), &unbiased);
                });
            }
        }
    }
}

/// More of everything than fits the tiles, strips and panels of any instruction set.
#[test]
fn packed_products_of_many_tokens_are_exact() {
    let (rows, tokens) = (75, 35);
    for block in BlockType::ALL {
        let cols = 1280;
        let weights = Packed::random(block, rows, cols, 51);
        let bias = values(rows, 53);
        let x = Activations::new(Kernels::detect(), block.activations(), &values(tokens * cols, 52), cols);
        let expected = gemm_packed(weights.view(), x.view(), Some(&bias));
        for_each_kernel(|kernels| {
            for tokens in [16, 17, 35] {
                let found = product(kernels, weights.view(), x.slice(0..tokens), Some(&bias));
                assert_same_bits(&found, &expected[..tokens * rows]);
            }
            let mut parts = vec![f32::NAN; tokens * rows];
            ThreadPool::new(2).all().columns([(&mut parts, rows)], 48, &|_, mut out| {
                kernels.gemm(block)(weights.view(), x.view(), Some(&bias), &mut out);
            });
            assert_same_bits(&parts, &expected);
        });
    }
}

/// The definition, in float64, from weights and activations as they are after quantisation.
#[test]
fn packed_products_are_products() {
    let scalar = Kernels::for_isa(Isa::Scalar).unwrap();
    for block in BlockType::ALL {
        let (rows, cols) = (19, 2 * block.block_columns());
        let bytes = random_blocks(block, rows, cols, 31);
        let blocks = BlocksView::new(block, rows, cols, &bytes).unwrap();
        let x = Activations::new(scalar, block.activations(), &values(cols, 32), cols);
        let found = product(scalar, Packed::from_blocks(block, &bytes, rows, cols).view(), x.view(), None);
        for (row, found) in found.into_iter().enumerate() {
            let mut w = vec![0.0; cols];
            blocks.dequantize_row(row, &mut w);
            let x = |i: usize| f64::from(x.quants[i]) * f64::from(x.scales[i / x.grain.columns()]);
            let exact: f64 = (0..cols).map(|i| f64::from(w[i]) * x(i)).sum();
            let size: f64 = (0..cols).map(|i| (f64::from(w[i]) * x(i)).abs()).sum();
            assert!((f64::from(found) - exact).abs() <= 2e-6 * size, "{}: {found} is not {exact}", block.name());
        }
    }
}

#[test]
fn packed_products_of_extremes_do_not_overflow() {
    // The largest quants and activations, of every sign: where 16-bit sums would saturate.
    let patterns: [fn(usize) -> f32; 4] =
        [|_| 1.0, |_| -1.0, |i| if i % 2 == 0 { 1.0 } else { -1.0 }, |i| if i % 32 == 0 { -1.0 } else { 0.875 }];
    for block in BlockType::ALL {
        let cols = 64.max(block.block_columns());
        for byte in [0x00, 0xff, 0x80, 0x7f, 0x81, 0x08, 0x70] {
            let blocks = blocks_of(block, 16, cols, || byte, || 1.0);
            let weights = Packed::from_blocks(block, &blocks, 16, cols);
            for x in patterns {
                let x: Vec<f32> = (0..17 * cols).map(x).collect();
                for_each_kernel(|kernels| {
                    let x = Activations::new(kernels, block.activations(), &x, cols);
                    let found = product(kernels, weights.view(), x.view(), None);
                    assert_same_bits(&found, &gemm_packed(weights.view(), x.view(), None));
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packed_products_are_exact_for_any_bits(
        rows in 1usize..50,
        blocks in 1usize..4,
        tokens in 1usize..20,
        seed in any::<u64>(),
    ) {
        for block in BlockType::ALL {
            let cols = blocks * block.block_columns();
            let largest = block.activations().largest() as f32;
            let byte = |v: f32| (v * 128.0).floor().clamp(-largest, largest) as i8;
            let quants = values(tokens * cols, seed).into_iter().map(byte).collect();
            let x = Activations::from_parts(block.activations(), quants, &values(tokens * cols / BLOCK, !seed), cols);
            let weights = Packed::random(block, rows, cols, seed ^ 1);
            let bias = values(rows, seed ^ 2);
            let expected = gemm_packed(weights.view(), x.view(), Some(&bias));
            for_each_kernel(|kernels| {
                assert_same_bits(&product(kernels, weights.view(), x.view(), Some(&bias)), &expected);
            });
        }
    }
}

#[test]
fn a_token_does_not_depend_on_the_call() {
    let (rows, tokens) = (113, 19);
    let bias = values(rows, 5);
    for_each_kernel(|kernels| {
        let pool = ThreadPool::new(3);
        for block in BlockType::ALL {
            let cols = block.block_columns();
            let weights = Packed::random(block, rows, cols, 4);
            let x = Activations::new(kernels, block.activations(), &values(tokens * cols, 6), cols);
            let whole = product(kernels, weights.view(), x.view(), Some(&bias));
            for m in [0, 7, 18] {
                let alone = product(kernels, weights.view(), x.slice(m..m + 1), Some(&bias));
                assert_same_bits(&alone, &whole[m * rows..][..rows]);
            }
            for granularity in [16, 32, 48, 112] {
                let mut out = vec![f32::NAN; tokens * rows];
                pool.all().columns([(&mut out, rows)], granularity, &|_, mut out| {
                    kernels.gemm(block)(weights.view(), x.view(), Some(&bias), &mut out);
                });
                assert_same_bits(&out, &whole);
            }
        }
    });
}

#[test]
fn float_products_are_as_defined() {
    for_each_kernel(|kernels| {
        for rows in [1, 2, 3, 5, 16, 17] {
            for cols in [1, 15, 16, 17, 80, 256] {
                let (w, bias) = (values(rows * cols, 7), values(rows, 8));
                let halves: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
                let bhalves: Vec<bf16> = w.iter().map(|&v| bf16::from_f32(v)).collect();
                // One byte more, so that all but the first are not aligned.
                let bytes = |values: &mut dyn Iterator<Item = Vec<u8>>| [vec![0], values.flatten().collect()].concat();
                let encodings: [(super::GemmFloat, Vec<u8>, Vec<f32>); 3] = [
                    (kernels.gemm_f32, bytes(&mut w.iter().map(|v| v.to_le_bytes().to_vec())), w.clone()),
                    (
                        kernels.gemm_f16,
                        bytes(&mut halves.iter().map(|v| v.to_le_bytes().to_vec())),
                        halves.iter().map(|v| v.to_f32()).collect(),
                    ),
                    (
                        kernels.gemm_bf16,
                        bytes(&mut bhalves.iter().map(|v| v.to_le_bytes().to_vec())),
                        bhalves.iter().map(|v| v.to_f32()).collect(),
                    ),
                ];
                for (gemm, bytes, w) in &encodings {
                    for tokens in 1..6 {
                        let x = values(tokens * cols, 9);
                        let mut expected = Vec::new();
                        for x in x.chunks_exact(cols) {
                            expected.extend(w.chunks_exact(cols).zip(&bias).map(|(w, bias)| dot(w, x) + bias));
                        }
                        let mut out = vec![f32::NAN; tokens * rows];
                        gemm(&bytes[1..], cols, &x, Some(&bias), &mut ColumnsMut::whole(&mut out, rows));
                        assert_same_bits(&out, &expected);

                        let mut out = vec![f32::NAN; tokens * rows];
                        ThreadPool::new(2).all().columns([(&mut out, rows)], 3, &|_, mut out| {
                            gemm(&bytes[1..], cols, &x, Some(&bias), &mut out);
                        });
                        assert_same_bits(&out, &expected);
                    }
                }
            }
        }
    });
}

#[test]
fn every_float16_is_widened_exactly() {
    for bits in 0..=u16::MAX {
        let (found, expected) = (generic::widen_f16(bits.to_le_bytes()), f16::from_bits(bits).to_f32());
        assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{bits:04x}: {found}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    for_each_kernel(|kernels| {
        let weights = Packed::new(BlockType::Q8_0, &values(32 * 64, 1), 32, 64);
        let x = Activations::new(kernels, Grain::Fine, &values(2 * 64, 2), 64);
        let refused_by =
            |block, w: PackedView<'_>, x: super::ActivationsView<'_>, bias: Option<&[f32]>, width: usize| {
                let call = || {
                    let mut out = vec![0.0; 2 * width];
                    kernels.gemm(block)(w, x, bias, &mut ColumnsMut::whole(&mut out, width));
                };
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err()
            };
        let refused = |w, x, bias, width| refused_by(BlockType::Q8_0, w, x, bias, width);
        let (w, x) = (weights.view(), x.view());
        assert!(!refused(w, x, None, 32));
        assert!(refused(w, x, None, 33), "more columns than the product has");
        assert!(refused(w, x, Some(&[0.0; 31]), 32), "a bias of another length");
        assert!(refused(PackedView { rows: 48, ..w }, x, None, 32), "a view that lies about its rows");
        assert!(refused(PackedView { block: BlockType::Q4_0, ..w }, x, None, 32), "another type of weights");
        assert!(refused(w, super::ActivationsView { rows: 3, ..x }, None, 32), "a view that lies about its tokens");
        assert!(refused(w, super::ActivationsView { sums: &x.sums[1..], ..x }, None, 32), "sums are missing");
        let wide = Packed::new(BlockType::Q7_128, &values(32 * 128, 1), 32, 128);
        let refused = |grain| {
            let x = Activations::new(kernels, grain, &values(2 * 128, 2), 128);
            refused_by(BlockType::Q7_128, wide.view(), x.view(), None, 32)
        };
        assert!(!refused(Grain::Coarse));
        assert!(refused(Grain::Fine), "a scale for each 32 columns");
    });
}

#[test]
fn activations_are_quantised_as_well_as_two_scales_allow() {
    let cols = 4 * BLOCK;
    let mut x = values(cols, 10);
    x[BLOCK..2 * BLOCK].fill(0.0);
    x[2 * BLOCK..3 * BLOCK].iter_mut().for_each(|v| *v *= 1e-39);
    // Integers whose largest is 127 are their own quants.
    (0..).zip(&mut x[3 * BLOCK..]).for_each(|(i, v)| *v = (i * 37 % 255 - 127) as f32);
    for_each_kernel(|kernels| {
        let found = Activations::new(kernels, Grain::Fine, &x, cols);
        assert_eq!(found, Activations::new(Kernels::for_isa(Isa::Scalar).unwrap(), Grain::Fine, &x, cols));
        assert!(found.quants[3 * BLOCK..].iter().zip(&x[3 * BLOCK..]).all(|(&q, &x)| f32::from(q) == x));
        assert_eq!(found.scales[1..], [0.0, 0.0, 1.0], "zeros, and what is too small to be inverted");
        assert!(found.quants[BLOCK..3 * BLOCK].iter().all(|&q| q == 0));
        for (sum, block) in found.sums.iter().zip(found.quants.chunks_exact(Grain::Fine.sum_columns())) {
            assert_eq!(*sum, block.iter().map(|&q| i32::from(q)).sum::<i32>());
        }
        // Not numbers: any result will do, as long as quants stay in range.
        let odd = Activations::new(kernels, Grain::Fine, &[f32::NAN, f32::INFINITY, 1.0, -1.0].repeat(8), BLOCK);
        assert!(odd.quants.iter().all(|&q| q != i8::MIN));

        let x = values(100 * BLOCK, 40);
        let found = Activations::new(kernels, Grain::Fine, &x, x.len());
        let (mut errors, mut usual) = (0.0, 0.0);
        for ((x, q), &scale) in x.chunks(BLOCK).zip(found.quants.chunks(BLOCK)).zip(&found.scales) {
            let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (x, q) = (wide(x), q.iter().map(|&q| f64::from(q)).collect::<Vec<_>>());
            let largest = x.iter().fold(0f64, |m, v| m.max(v.abs()));
            let nearest = |top: f64| x.iter().map(|v| (v * top / largest).round()).collect::<Vec<_>>();
            let error = |q: &[f64], scale: f64| x.iter().zip(q).map(|(x, q)| (x - scale * q).powi(2)).sum::<f64>();
            let rounding = |top: f64| error(&nearest(top), largest / top);
            let expected = [127.0, 126.0, 125.0, 124.0].map(rounding).into_iter().fold(f64::INFINITY, f64::min);
            let error = error(&q, f64::from(scale));
            assert!((error - expected).abs() <= 1e-3 * expected, "{error} instead of {expected}");
            errors += error;
            usual += x.iter().map(|v| (v - (v * 127.0 / largest).round() * largest / 127.0).powi(2)).sum::<f64>();
        }
        assert!(errors < 0.9 * usual, "{errors} of the usual {usual}");
    });
}

#[test]
fn plain_quants_are_the_nearest_of_one_scale() {
    for (grain, top) in [(Grain::Fine, 127.0), (Grain::Coarse, 63.0)] {
        let columns = grain.columns();
        let mut x: Vec<f32> = values(9 * columns, 41).iter().map(|v| v * v * v).collect();
        x[columns..2 * columns].fill(0.0);
        x[2 * columns..3 * columns].fill(1e-37);
        let function = |kernels: Kernels| match grain {
            Grain::Fine => kernels.quantize_plainly,
            Grain::Coarse => kernels.quantize(grain),
        };
        for_each_kernel(|kernels| {
            let quantized = |kernels, x: &[f32]| Activations::with(function(kernels), grain, x, x.len());
            let found = quantized(kernels, &x);
            let quants: Vec<f32> = found.quants.iter().map(|&q| f32::from(q)).collect();
            for (block, (x, quants)) in x.chunks(columns).zip(quants.chunks(columns)).enumerate() {
                let largest = x.iter().fold(0f32, |largest, v| largest.max(v.abs()));
                let expected = if largest > 1e-36 { largest / top } else { 0.0 };
                assert_eq!(found.scales[block], expected);
                for (x, q) in x.iter().zip(quants) {
                    assert!((x - expected * q).abs() <= expected * 0.500_01 + 1e-37, "{x} as {q} of {expected}");
                }
            }
            for (sum, quants) in found.sums.iter().zip(quants.chunks(grain.sum_columns())) {
                assert_eq!(*sum as f32, quants.iter().sum::<f32>());
            }
            assert_eq!(found, quantized(Kernels::for_isa(Isa::Scalar).unwrap(), &x));
            let odd = quantized(kernels, &[f32::NAN, f32::INFINITY, 1.0, -1.0].repeat(columns / 4));
            assert!(odd.scales[0].is_nan(), "what is not finite does not become a number");
            assert!(odd.quants.iter().all(|&q| f32::from(q).abs() <= top), "quants stay in range");
        });
    }
}

/// The operations on one row, each as `(name, its result for rows made of the seed)`.
fn row_operations(kernels: Kernels, n: usize, seed: u64) -> Vec<(&'static str, Vec<f32>)> {
    let x: Vec<f32> = values(n, seed).iter().map(|v| v * 6.0).collect();
    let (weight, bias) = (values(n, seed + 1), values(n, seed + 2));
    let out = |f: &dyn Fn(&mut [f32])| {
        let mut y = x.clone();
        f(&mut y);
        y
    };
    vec![
        ("layer_norm", out(&|y| (kernels.layer_norm)(&x, &weight, &bias, 1e-5, y))),
        ("rms_norm", out(&|y| (kernels.rms_norm)(&x, &weight, 1e-5, y))),
        ("max", vec![(kernels.max)(&x)]),
        ("softmax", out(&|y| (kernels.softmax)(y))),
        ("log_sum_exp", vec![(kernels.log_sum_exp)(&x)]),
        ("relu", out(&|y| (kernels.activate)(Activation::Relu, y))),
        ("silu", out(&|y| (kernels.activate)(Activation::Silu, y))),
        ("gelu", out(&|y| (kernels.activate)(Activation::Gelu, y))),
        ("add", out(&|y| (kernels.add)(&weight, y))),
        ("exponentials", {
            let mut y = x.clone();
            let sum = (kernels.exponentials)(&mut y, 6.0);
            y.push(sum);
            y
        }),
    ]
}

#[test]
fn row_operations_have_the_same_bits_everywhere() {
    for n in LENGTHS {
        let expected = row_operations(Kernels::for_isa(Isa::Scalar).unwrap(), n, 11);
        for_each_kernel(|kernels| {
            for ((name, found), (_, expected)) in row_operations(kernels, n, 11).iter().zip(&expected) {
                eprintln!("{name} of {n}");
                assert_same_bits(found, expected);
            }
        });
    }
}

#[test]
fn row_operations_are_close_to_their_definitions() {
    let scalar = Kernels::for_isa(Isa::Scalar).unwrap();
    for n in LENGTHS {
        let x: Vec<f64> = values(n, 11).iter().map(|&v| f64::from(v * 6.0)).collect();
        let [weight, bias] = [12, 13].map(|seed| values(n, seed).into_iter().map(f64::from).collect::<Vec<_>>());
        let len = n as f64;
        let mean = x.iter().sum::<f64>() / len;
        let deviation = (x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / len + 1e-5).sqrt();
        let rms = (x.iter().map(|v| v * v).sum::<f64>() / len + 1e-5).sqrt();
        let sum = x.iter().map(|v| v.exp()).sum::<f64>();
        let map = |f: &dyn Fn(usize) -> f64| (0..n).map(f).collect::<Vec<_>>();
        let definitions = [
            ("layer_norm", map(&|i| (x[i] - mean) / deviation * weight[i] + bias[i])),
            ("rms_norm", map(&|i| x[i] / rms * weight[i])),
            ("max", vec![x.iter().copied().fold(f64::NEG_INFINITY, f64::max)]),
            ("softmax", map(&|i| x[i].exp() / sum)),
            ("log_sum_exp", vec![sum.ln()]),
            ("relu", map(&|i| x[i].max(0.0))),
            ("silu", map(&|i| x[i] / (1.0 + (-x[i]).exp()))),
            ("gelu", map(&|i| x[i] * normal_distribution(x[i]))),
            ("add", map(&|i| x[i] + weight[i])),
            ("exponentials", {
                let mut y = map(&|i| (x[i] - 6.0).exp());
                y.push(y.iter().sum());
                y
            }),
        ];
        for ((name, found), (same_name, expected)) in row_operations(scalar, n, 11).iter().zip(&definitions) {
            assert_eq!(name, same_name);
            for (a, b) in found.iter().zip(expected) {
                assert!((f64::from(*a) - b).abs() < 1e-5, "{name} of {n}: {a} instead of {b}");
            }
        }
    }
}

/// The normal distribution by its Taylor series around 0 (x up to 7 or so) in float64.
fn normal_distribution(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for k in 1..200 {
        term *= x * x / (2.0 * f64::from(k) + 1.0);
        sum += term;
    }
    0.5 + (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum
}

#[test]
fn exp_is_within_an_ulp() {
    for i in -87_000..=88_700 {
        let x = i as f32 / 1000.0;
        let exact = f64::from(x).exp() as f32;
        assert!(ulps(generic::exp(x), exact) <= 1, "exp({x}) = {:e}, not {exact:e}", generic::exp(x));
    }
    // Subnormal results.
    for i in 87_000..104_500 {
        let x = -i as f32 / 1000.0;
        assert!(ulps(generic::exp(x), f64::from(x).exp() as f32) <= 1, "exp({x})");
    }
    assert_eq!(generic::exp(0.0), 1.0);
    assert_eq!(generic::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(generic::exp(-1000.0), 0.0);
    assert_eq!(generic::exp(f32::INFINITY), f32::INFINITY);
    assert_eq!(generic::exp(88.73), f32::INFINITY);
    assert!(generic::exp(f32::NAN).is_nan());
}

#[test]
fn exp_downward_is_exp() {
    for i in 0..=87_300 {
        let x = -i as f32 / 1000.0;
        let exact = f64::from(x).exp() as f32;
        assert!(ulps(generic::exp_downward(x), exact) <= 1, "exp({x}) = {:e}", generic::exp_downward(x));
    }
    assert_eq!(generic::exp_downward(0.0), 1.0);
    for x in [-87.7, -88.0, -104.0, -1000.0, f32::NEG_INFINITY] {
        assert_eq!(generic::exp_downward(x), 0.0, "exp({x})");
    }
    assert!(generic::exp_downward(f32::NAN).is_nan());
}

#[test]
fn gelu_and_silu_are_accurate() {
    for i in -6000..=6000 {
        let x = i as f32 / 1000.0;
        let wide = f64::from(x);
        let gelu = wide * normal_distribution(wide);
        let error = (f64::from(generic::gelu(x)) - gelu).abs();
        assert!(error <= 4e-7 * gelu.abs().max(0.01), "gelu({x}): error {error:e}");
        let silu = wide / (1.0 + (-wide).exp());
        let error = (f64::from(generic::silu(x)) - silu).abs();
        assert!(error <= 3e-7 * silu.abs(), "silu({x}): error {error:e}");
    }
    assert_eq!(generic::gelu(100.0), 100.0);
    assert_eq!(generic::gelu(-100.0), 0.0);
    assert_eq!(generic::silu(-1000.0), 0.0);
}

#[test]
fn softmax_and_log_sum_exp_bear_large_values() {
    for_each_kernel(|kernels| {
        let mut x = [1000.0, f32::NEG_INFINITY, 1000.0, -1000.0];
        assert_eq!((kernels.log_sum_exp)(&x), 1000.0 + 2.0f32.ln());
        (kernels.softmax)(&mut x);
        assert_eq!(x, [0.5, 0.0, 0.5, 0.0]);
        assert_eq!((kernels.max)(&[]), f32::NEG_INFINITY);
        assert_eq!((kernels.max)(&[-3.0, f32::NAN, -1.0]), -1.0);
    });
}

#[test]
fn tables_are_found_by_name() {
    assert_eq!(Kernels::all().next().map(|kernels| kernels.isa), Some(Isa::Scalar));
    assert_eq!(Kernels::named("scalar").unwrap().isa, Isa::Scalar);
    let unknown = Kernels::named("mmx").unwrap_err().to_string();
    assert_eq!(unknown, "BABIL_ISA: `mmx` is none of scalar, avx2, avxvnni, avx512, amx, neon, dotprod, i8mm");
    let elsewhere = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let error = Kernels::named(elsewhere).unwrap_err();
    assert!(matches!(error, crate::Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("can run scalar"), "{error}");
    if Kernels::for_isa(Isa::Amx).is_none() {
        let error = Kernels::named("amx").unwrap_err();
        assert!(
            matches!(&error, crate::Error::Unsupported(what) if what.starts_with("BABIL_ISA=amx on this CPU")),
            "{error}"
        );
    }
    for kernels in Kernels::all() {
        assert_eq!(Kernels::named(kernels.isa.name()).unwrap().isa, kernels.isa);
    }
    // Who runs the tests with `BABIL_ISA` wants to know that they have tested it.
    Kernels::from_env().unwrap();
}

/// The bits themselves, which no CPU, operating system or compiler may change: a model's output depends on them.
#[test]
fn bits_are_those_of_every_other_architecture() {
    // FNV-1a over all results.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |values: &[f32]| {
        for byte in values.iter().flat_map(|v| v.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    };
    let kernels = Kernels::detect();
    for n in LENGTHS {
        for (_, values) in row_operations(kernels, n, 21) {
            add(&values);
        }
    }
    attention::results(kernels).for_each(|values| add(&values));
    let (rows, cols, tokens) = (40, 288, 7);
    let bias = values(rows, 24);
    for (block, cols) in [(BlockType::Q8_0, cols), (BlockType::Q4_0, cols), (BlockType::Q7_128, 384)] {
        let x = Activations::new(kernels, block.activations(), &values(tokens * cols, 22), cols);
        let weights = Packed::new(block, &values(rows * cols, 23), rows, cols);
        add(&product(kernels, weights.view(), x.view(), Some(&bias)));
    }
    assert_eq!(format!("{hash:016x}"), "ea0d0cb2e1e409d0");
}
