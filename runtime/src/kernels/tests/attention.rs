//! Scores and sums: the same bits on every instruction set, and near their definitions in float64.

use half::f16;

use super::super::testing::{assert_same_bits, for_each_kernel, values};
use super::super::{Isa, Kernels, Keys, Stored, TILE, Values};

/// Stored numbers that own their memory, and what they stand for.
struct Owned {
    floats: Vec<f32>,
    halves: Vec<u16>,
    quants: Vec<i8>,
    scales: Vec<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F32,
    F16,
    Q8_0,
}

impl Owned {
    fn new(n: usize, seed: u64) -> Self {
        let floats = values(n, seed);
        Self {
            halves: floats.iter().map(|&v| f16::from_f32(v).to_bits()).collect(),
            quants: floats.iter().map(|v| (v * 127.0) as i8).collect(),
            scales: values(n / 32, seed + 1),
            floats,
        }
    }

    fn stored(&self, kind: Kind) -> Stored<'_> {
        match kind {
            Kind::F32 => Stored::F32(&self.floats),
            Kind::F16 => Stored::F16(&self.halves),
            Kind::Q8_0 => Stored::Q8_0(&self.quants, &self.scales),
        }
    }

    /// Number `i`, whose scale is number `scale`.
    fn value(&self, kind: Kind, i: usize, scale: usize) -> f64 {
        match kind {
            Kind::F32 => f64::from(self.floats[i]),
            Kind::F16 => f64::from(f16::from_bits(self.halves[i]).to_f32()),
            Kind::Q8_0 => f64::from(self.quants[i]) * f64::from(self.scales[scale]),
        }
    }
}

/// Every type with the sizes that it allows: (kind, features, heads, positions).
fn cases() -> impl Iterator<Item = (Kind, usize, usize, usize)> {
    let kinds = [(Kind::F32, [4, 12, 32, 80]), (Kind::F16, [4, 20, 64, 128]), (Kind::Q8_0, [32, 64, 96, 128])];
    kinds.into_iter().flat_map(|(kind, dims)| {
        dims.into_iter().flat_map(move |dim| {
            [1, 2, 3, 4, 7].into_iter().flat_map(move |heads| [1, 4, 7, 21].map(move |n| (kind, dim, heads, n)))
        })
    })
}

/// Scores of every case.
pub(super) fn results(kernels: Kernels) -> impl Iterator<Item = Vec<f32>> {
    cases().flat_map(move |(kind, dim, heads, positions)| {
        let tiles = positions.div_ceil(TILE);
        let keys = Owned::new(tiles * TILE * dim, 1);
        let q: Vec<f32> = values(heads * dim, 2).iter().flat_map(|&q| [q; 4]).collect();
        let mut scores = vec![0.0; heads * tiles * TILE];
        (kernels.attention_scores)(&q, Keys { stored: keys.stored(kind), dim, next: None }, &mut scores, tiles * TILE);
        let mut sums = vec![0.0; heads * dim];
        let v = Values { stored: keys.stored(kind), stride: dim, positions, next: None };
        (kernels.attention_values)(&scores, tiles * TILE, v, &mut sums, dim);
        [scores, sums]
    })
}

#[test]
fn scores_are_those_of_the_definition_with_the_same_bits_everywhere() {
    for (kind, dim, heads, positions) in cases() {
        let tiles = positions.div_ceil(TILE);
        let owned = Owned::new(tiles * TILE * dim, 1);
        let keys = Keys { stored: owned.stored(kind), dim, next: None };
        let queries = values(heads * dim, 2);
        let q: Vec<f32> = queries.iter().flat_map(|&q| [q; 4]).collect();
        let stride = tiles * TILE + 3;
        let scores = |kernels: Kernels| {
            let mut scores = vec![0.25; heads * stride];
            (kernels.attention_scores)(&q, keys, &mut scores, stride);
            scores
        };
        let expected = scores(Kernels::for_isa(Isa::Scalar).unwrap());
        for (h, row) in expected.chunks(stride).enumerate() {
            for (position, &found) in row[..tiles * TILE].iter().enumerate() {
                let (tile, i) = (position / TILE, position % TILE);
                let key = |d: usize| {
                    let first = tile * TILE * dim;
                    owned.value(kind, first + d * TILE + i, first / 32 + d / 32 * TILE + i)
                };
                let sum: f64 = (0..dim).map(|d| f64::from(queries[h * dim + d]) * key(d)).sum();
                assert!((f64::from(found) - sum).abs() < 1e-5 * dim as f64, "{kind:?} {dim}: {found} instead of {sum}");
            }
            assert!(row[tiles * TILE..].iter().all(|&v| v == 0.25), "what lies between the rows stays");
        }
        for_each_kernel(|kernels| assert_same_bits(&scores(kernels), &expected));
    }
}

#[test]
fn sums_are_those_of_the_definition_with_the_same_bits_everywhere() {
    for (kind, dim, heads, positions) in cases() {
        let step = dim + 32;
        let owned = Owned::new(positions * step, 3);
        let v = Values { stored: owned.stored(kind), stride: step, positions, next: None };
        let stride = positions + 2;
        let p = values(heads * stride, 4);
        let start = values(heads * dim, 5);
        // Odd numbers of features as well, where there are no blocks.
        for dim in [dim, if kind == Kind::Q8_0 { dim } else { dim - 1 }] {
            let sums = |kernels: Kernels| {
                let mut out = start[..heads * dim].to_vec();
                (kernels.attention_values)(&p, stride, v, &mut out, dim);
                out
            };
            let expected = sums(Kernels::for_isa(Isa::Scalar).unwrap());
            for (i, &found) in expected.iter().enumerate() {
                let (h, d) = (i / dim, i % dim);
                let value = |n: usize| owned.value(kind, n * step + d, (n * step + d) / 32);
                let sum: f64 = (0..positions).map(|n| f64::from(p[h * stride + n]) * value(n)).sum();
                let sum = sum + f64::from(start[i]);
                assert!((f64::from(found) - sum).abs() < 1e-5 * positions as f64, "{kind:?}: {found} instead of {sum}");
            }
            for_each_kernel(|kernels| assert_same_bits(&sums(kernels), &expected));
        }
    }
}
