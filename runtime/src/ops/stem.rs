//! The convolutions that turn frames of sound into an encoder's rows (Whisper).

use super::{Activations, Linear, Machine, for_rows};
use crate::layer::sized;
use crate::spec::Activation;

/// Rows that are made at once: what they are made of stays in a core's cache.
const ROWS: usize = 128;

/// Two convolutions over a position and its neighbours, GELU after each, the second at every other position; then
/// positions are added. Each is one matrix product of all rows with their neighbours beside them.
#[derive(Debug)]
pub(crate) struct Stem {
    /// `[dim, features * 3]` and `[dim, dim * 3]`, the three neighbours of a feature together.
    pub(crate) convolutions: [Linear; 2],
    /// `[max_positions, dim]`, or nothing.
    pub(crate) positions: Vec<f32>,
}

/// Buffers, which grow to what is needed and stay.
#[derive(Debug, Default)]
pub(crate) struct StemScratch {
    /// Rows with their neighbours.
    columns: Vec<f32>,
    /// What comes of the first convolution, from one row before the first that is needed.
    first: Vec<f32>,
}

impl Stem {
    pub(crate) fn new(convolutions: [Linear; 2], positions: Vec<f32>) -> Self {
        Self { convolutions, positions }
    }

    /// How many rows `frames` frames make.
    pub(crate) fn rows(frames: usize) -> usize {
        frames.div_ceil(2)
    }

    /// Values of its buffers, for frames of `features` that become rows of `dim`.
    pub(crate) fn scratch(features: usize, dim: usize) -> usize {
        let frames = 2 * ROWS + 1;
        (frames * features * 3).max(ROWS * dim * 3) + frames * dim
    }

    /// Features of a frame.
    pub(crate) fn features(&self) -> usize {
        self.convolutions[0].weight.cols() / 3
    }

    /// Writes the rows of `frames` (`[features, count]`) to `out` (`[rows(count), dim]`).
    pub(crate) fn forward(
        &self,
        machine: Machine<'_>,
        frames: &[f32],
        scratch: &mut StemScratch,
        activations: &mut Activations,
        out: &mut [f32],
    ) {
        let StemScratch { columns, first } = scratch;
        let [one, two] = &self.convolutions;
        let (features, dim) = (self.features(), two.weight.rows());
        let count = frames.len() / features;
        for (chunk, out) in out.chunks_mut(ROWS * dim).enumerate() {
            let (start, rows) = (chunk * ROWS, out.len() / dim);
            // Frames from `2 * start - 1` on; those outside are zeros.
            let needed = 2 * rows + 1;
            let columns_of_one = sized(columns, needed * features * 3);
            machine.team.rows(columns_of_one, features * 3, &|rows, columns| {
                for (row, columns) in rows.zip(columns.chunks_exact_mut(features * 3)) {
                    for (feature, near) in columns.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                        // Row 0 is frame `2 * start - 1`, its first neighbour the one before.
                        *near = std::array::from_fn(|k| {
                            let frame = (2 * start + row + k).checked_sub(2).filter(|&frame| frame < count);
                            frame.map_or(0.0, |frame| frames[feature * count + frame])
                        });
                    }
                }
            });
            let first = sized(first, needed * dim);
            convolve(machine, one, activations, columns_of_one, first);
            for row in 0..needed {
                if (2 * start + row).checked_sub(1).is_none_or(|frame| frame >= count) {
                    first[row * dim..][..dim].fill(0.0);
                }
            }
            let first = &*first;
            let columns_of_two = sized(columns, rows * dim * 3);
            machine.team.rows(columns_of_two, dim * 3, &|rows, columns| {
                for (row, columns) in rows.zip(columns.chunks_exact_mut(dim * 3)) {
                    let near = &first[2 * row * dim..][..3 * dim];
                    for (feature, three) in columns.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                        *three = std::array::from_fn(|k| near[k * dim + feature]);
                    }
                }
            });
            convolve(machine, two, activations, columns_of_two, out);
            if !self.positions.is_empty() {
                out.iter_mut().zip(&self.positions[start * dim..]).for_each(|(x, p)| *x += p);
            }
        }
    }
}

/// gelu(W x + b) of all rows of `columns`.
fn convolve(machine: Machine<'_>, map: &Linear, activations: &mut Activations, columns: &[f32], out: &mut [f32]) {
    let input = activations.prepare(machine, columns, map.weight.cols(), &[map]);
    map.forward(machine, input, out);
    for_rows(machine, out, map.weight.rows(), &|_, rows| (machine.kernels.activate)(Activation::Gelu, rows));
}
