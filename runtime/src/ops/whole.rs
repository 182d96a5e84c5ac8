//! Attention of all positions of a source to each other, as products of 8-bit matrices.
//!
//! Scores are keys times queries, and what is attended to is values times probabilities: keys `[positions, head_dim]` and
//! values, transposed, `[head_dim, positions]` are packed as weights of 8 bits are, queries and probabilities quantised as
//! activations. So both products are those of linear maps, several times as fast as sums of floats, and have the same bits
//! on every instruction set. A block of rows stays in a core's cache from its queries to its result.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use super::{Heads, Machine};
use crate::kernels::{ActivationsView, QuantizeRow};
use crate::layer::sized;
use crate::quant::{BLOCK, BlockType, Grain, PackedMut, PackedView, RowsMut, packed_len};
use crate::threads::ColumnsMut;

/// Rows of queries that go through the keys and values of a head together.
const ROWS: usize = 32;

/// Keys and values of one source in one layer, quantised; it grows to the largest source and stays.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// Packed, `[positions, head_dim]` of each head.
    keys: Vec<u8>,
    /// Packed, `[head_dim, positions]` of each head.
    values: Vec<u8>,
}

/// Rows of a packed matrix that are to be written.
enum Piece<'a> {
    /// Keys of a head.
    Keys(usize, RowsMut<'a>),
    /// Features of a head's values.
    Values(usize, RowsMut<'a>),
}

/// What a thread needs; it grows to the largest that it has seen and stays.
#[derive(Default)]
struct Buffers {
    /// What is quantised next.
    floats: Vec<f32>,
    rows: Quantised,
    /// `[rows, positions]`
    scores: Vec<f32>,
    /// `[rows, head_dim]`
    result: Vec<f32>,
}

/// Rows quantised as activations.
#[derive(Default)]
struct Quantised {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

impl Quantised {
    /// Quantises row `row` of `[rows, cols]`.
    fn set(&mut self, quantize: QuantizeRow, row: usize, x: &[f32]) {
        let (blocks, sums) = (x.len() / BLOCK, x.len() / Grain::Fine.sum_columns());
        quantize(
            x,
            &mut self.quants[row * x.len()..][..x.len()],
            &mut self.scales[row * blocks..][..blocks],
            &mut self.sums[row * sums..][..sums],
        );
    }

    /// Makes room for `[rows, cols]`.
    fn reserve(&mut self, rows: usize, cols: usize) {
        sized(&mut self.quants, rows * cols);
        sized(&mut self.scales, rows * cols / BLOCK);
        sized(&mut self.sums, rows * cols / Grain::Fine.sum_columns());
    }

    /// The first `[rows, cols]`.
    fn view(&self, rows: usize, cols: usize) -> ActivationsView<'_> {
        let (quants, scales) = (&self.quants[..rows * cols], &self.scales[..rows * cols / BLOCK]);
        let sums = &self.sums[..rows * cols / Grain::Fine.sum_columns()];
        ActivationsView { rows, cols, grain: Grain::Fine, quants, scales, sums }
    }
}

impl Whole {
    /// Whether heads can be attended with: they are whole blocks.
    pub(crate) fn takes(heads: Heads) -> bool {
        heads.dim.is_multiple_of(BLOCK)
    }

    /// softmax(cap(q K^T * scale)) V for all rows and heads of one source: `q` and `out` are `[positions, heads * head_dim]`,
    /// `k` and `v` `[positions, kv_heads * head_dim]`.
    pub(crate) fn attend(&mut self, machine: Machine<'_>, heads: Heads, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        let Heads { count, kv, dim, scale, softcap } = heads;
        let width = count * dim;
        let positions = q.len() / width;
        // Whole blocks, for products of probabilities and for whole strips of keys; the last keys and values are zeros.
        let padded = positions.next_multiple_of(BLOCK);
        let [keys, values] = self.pack(machine, heads, [k, v], padded);
        let len = |packed: &[u8]| packed.len() / kv;
        let view = |packed: &'_ [u8], head: usize| head * len(packed)..(head + 1) * len(packed);
        let product = machine.kernels.gemm(BlockType::Q8_0);
        machine.team.rows(out, width, &|rows, out| {
            BUFFERS.with_borrow_mut(|Buffers { floats, rows: quantised, scores, result }| {
                let kernels = machine.kernels;
                for (out, first) in out.chunks_mut(ROWS * width).zip(rows.step_by(ROWS)) {
                    let rows = out.len() / width;
                    let (scores, result) = (sized(scores, rows * padded), sized(result, rows * dim));
                    for head in 0..count {
                        let of_keys = &keys[view(keys, head / heads.group())];
                        let of_keys = PackedView::new(BlockType::Q8_0, padded, dim, of_keys).expect("of this length");
                        let of_values = &values[view(values, head / heads.group())];
                        let of_values =
                            PackedView::new(BlockType::Q8_0, dim, padded, of_values).expect("of this length");
                        quantised.reserve(rows, dim);
                        for row in 0..rows {
                            let scaled = sized(floats, dim);
                            scaled.copy_from_slice(&q[(first + row) * width + head * dim..][..dim]);
                            (kernels.scale)(scale, scaled);
                            quantised.set(kernels.quantize_row, row, scaled);
                        }
                        product(of_keys, quantised.view(rows, dim), None, &mut ColumnsMut::whole(scores, padded));
                        quantised.reserve(rows, padded);
                        let mut sums = [0.0; ROWS];
                        for (row, (scores, sum)) in scores.chunks_exact_mut(padded).zip(&mut sums).enumerate() {
                            let (seen, rest) = scores.split_at_mut(positions);
                            if let Some(cap) = softcap {
                                (kernels.softcap)(cap, seen);
                            }
                            *sum = (kernels.exponentials)(seen, (kernels.max)(seen));
                            rest.fill(0.0);
                            quantised.set(kernels.quantize_plainly, row, scores);
                        }
                        product(of_values, quantised.view(rows, padded), None, &mut ColumnsMut::whole(result, dim));
                        let out = out.chunks_exact_mut(width).zip(result.chunks_exact(dim));
                        for ((out, result), sum) in out.zip(sums) {
                            let out = &mut out[head * dim..][..dim];
                            out.copy_from_slice(result);
                            (kernels.scale)(1.0 / sum, out);
                        }
                    }
                }
            });
        });
    }

    /// Quantises keys and values, and returns the packed matrices of all heads of each.
    fn pack(&mut self, machine: Machine<'_>, heads: Heads, [k, v]: [&[f32]; 2], padded: usize) -> [&[u8]; 2] {
        let Heads { kv, dim, .. } = heads;
        let (width, positions) = (kv * dim, k.len() / (kv * dim));
        let len =
            |rows, cols| packed_len(BlockType::Q8_0, rows, cols).expect("about as many bytes as there are numbers");
        let (key_len, value_len) = (len(padded, dim), len(dim, padded));
        if self.keys.len() != kv * key_len {
            // Of positions that there are not, zeros.
            self.keys = vec![0; kv * key_len];
            self.values = vec![0; kv * value_len];
        }
        let matrices =
            |packed, rows, cols| PackedMut::new(BlockType::Q8_0, rows, cols, packed).expect("of this length");
        let mut pieces = Vec::new();
        for (head, packed) in self.values.chunks_exact_mut(value_len).enumerate() {
            pieces
                .extend(matrices(packed, dim, padded).groups().map(|rows| Mutex::new(Some(Piece::Values(head, rows)))));
        }
        for (head, packed) in self.keys.chunks_exact_mut(key_len).enumerate() {
            pieces.extend(matrices(packed, padded, dim).groups().map(|rows| Mutex::new(Some(Piece::Keys(head, rows)))));
        }
        machine.team.run(pieces.len(), &|piece| {
            let piece = pieces[piece].lock().unwrap_or_else(PoisonError::into_inner).take();
            BUFFERS.with_borrow_mut(|Buffers { floats, rows: quantised, .. }| match piece {
                Some(Piece::Keys(head, rows)) => {
                    let those = rows.rows().start..rows.rows().end.min(positions);
                    quantised.reserve(those.len(), dim);
                    for (row, position) in those.clone().enumerate() {
                        quantised.set(machine.kernels.quantize_row, row, &k[position * width + head * dim..][..dim]);
                    }
                    let ActivationsView { quants, scales, .. } = quantised.view(those.len(), dim);
                    rows.pack_quants(quants, scales);
                }
                Some(Piece::Values(head, rows)) => {
                    let features = rows.rows();
                    let transposed = sized(floats, features.len() * padded);
                    for (position, row) in v.chunks_exact(width).enumerate() {
                        let row = &row[head * dim + features.start..][..features.len()];
                        row.iter().enumerate().for_each(|(feature, &value)| {
                            transposed[feature * padded + position] = value;
                        });
                    }
                    quantised.reserve(features.len(), padded);
                    for (row, values) in transposed.chunks_exact_mut(padded).enumerate() {
                        values[positions..].fill(0.0);
                        quantised.set(machine.kernels.quantize_row, row, values);
                    }
                    let ActivationsView { quants, scales, .. } = quantised.view(features.len(), padded);
                    rows.pack_quants(quants, scales);
                }
                None => {}
            });
        });
        [&self.keys, &self.values]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Isa, Kernels};
    use crate::threads::ThreadPool;

    /// Numbers from -1 to 1 that look random.
    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// softmax(cap(q K^T * scale)) V in float64, by its definition.
    fn naive(heads: Heads, [q, k, v]: [&[f32]; 3]) -> Vec<f64> {
        let (width, keys) = (heads.count * heads.dim, heads.kv * heads.dim);
        let mut out = vec![0.0; q.len()];
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            for (head, out) in out.chunks_exact_mut(heads.dim).enumerate() {
                let q = &q[row * width + head * heads.dim..][..heads.dim];
                let of = |x: &[f32], position: usize, i: usize| {
                    f64::from(x[position * keys + head / heads.group() * heads.dim + i])
                };
                let score = |position: usize| {
                    let dot: f64 = q.iter().enumerate().map(|(i, q)| f64::from(*q) * of(k, position, i)).sum();
                    let scaled = dot * f64::from(heads.scale);
                    heads.softcap.map_or(scaled, |cap| f64::from(cap) * (scaled / f64::from(cap)).tanh()).exp()
                };
                let weights: Vec<f64> = (0..k.len() / keys).map(score).collect();
                let sum: f64 = weights.iter().sum();
                for (i, out) in out.iter_mut().enumerate() {
                    let attended = weights.iter().enumerate().map(|(position, weight)| weight * of(v, position, i));
                    *out = attended.sum::<f64>() / sum;
                }
            }
        }
        out
    }

    fn attended(heads: Heads, kernels: &Kernels, threads: usize, qkv: [&[f32]; 3], whole: &mut Whole) -> Vec<f32> {
        let pool = ThreadPool::new(threads);
        let mut out = vec![f32::NAN; qkv[0].len()];
        whole.attend(Machine { kernels, team: &pool.all() }, heads, qkv, &mut out);
        out
    }

    #[test]
    fn it_is_attention_with_the_same_bits_everywhere() {
        // More rows than a block has, positions that are not whole blocks, fewer than one, heads that share keys.
        for (positions, count, kv, dim, softcap) in
            [(70, 2, 2, 64, None), (1, 1, 1, 32, None), (32, 4, 2, 32, Some(3.0)), (45, 3, 1, 96, None)]
        {
            let heads = Heads { count, kv, dim, scale: 3.0 / (dim as f32).sqrt(), softcap };
            let q: Vec<f32> = values(positions * count * dim, 1).iter().map(|q| 3.0 * q).collect();
            let (k, v) = (values(positions * kv * dim, 2), values(positions * kv * dim, 3));
            let qkv = [&q[..], &k[..], &v[..]];
            let expected = naive(heads, qkv);
            let reference = attended(heads, &Kernels::for_isa(Isa::Scalar).unwrap(), 1, qkv, &mut Whole::default());
            let error =
                |found: &[f32]| found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
            let size: f64 = expected.iter().map(|b| b * b).sum();
            let relative = (error(&reference) / size).sqrt();
            assert!(relative < 0.02, "{positions} positions, heads of {dim}: {relative}");
            // What was there before does not matter.
            let mut used = Whole::default();
            for kernels in Kernels::all() {
                for threads in [1, 3] {
                    let found = attended(heads, &kernels, threads, qkv, &mut used);
                    assert_eq!(found, reference, "{}, {threads} threads", kernels.isa);
                }
            }
        }
    }
}
