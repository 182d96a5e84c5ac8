//! How much memory a model will need, from its description and the headers of its weights alone, before anything is loaded:
//! of a decoder-only model by part, of an encoder and decoder what they take beside their weights.

use serde::Serialize;

use crate::Result;
use crate::cache::{CacheShape, KvType};
use crate::decoder::MANY_ITEMS;
use crate::generate::Lookup;
use crate::layer::FFN_ROWS;
use crate::ops::{Heads, PART, Partial, Stem};
use crate::plan::decoder_parameters;
use crate::quant::{BlockType, packed_len};
use crate::spec::{DecoderSpec, EncoderDecoderSpec, FfnKind, Input, Mixer, StackSpec, TensorNames};
use crate::text::Tokenizer;
use crate::weights::{Encoding, Weights};

/// What a model needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryNeeds {
    /// Weights as they are computed on: mapped from a file, and dropped by the system when memory is short.
    pub weights: u64,
    /// The packed copy of the weights on disk, where they have to be packed first.
    pub packed_copy: u64,
    /// Norms, biases and other small tensors, decoded.
    pub small_tensors: u64,
    /// The vocabulary.
    pub tokenizer: u64,
    /// Keys, values and other state of one conversation of the full context.
    pub cache: u64,
    /// Buffers of a forward pass.
    pub scratch: u64,
    /// Logits of a step, those after each token of a draft ([`Lookup`]) too.
    pub logits: u64,
}

impl MemoryNeeds {
    /// The needs of a model for conversations of `context` tokens whose prompts come in chunks of `chunk`, with float
    /// matrices quantised to `quant`. Without a tokenizer, see [`MemoryNeeds::with_tokenizer`].
    ///
    /// # Errors
    /// Heads that are not whole blocks of `kv`.
    pub fn of(
        spec: &DecoderSpec,
        weights: &Weights,
        names: &dyn TensorNames,
        context: usize,
        chunk: usize,
        kv: KvType,
        quant: Option<BlockType>,
    ) -> Result<Self> {
        let (mut mapped, mut packed, mut small) = (0, 0, 0);
        for (name, matrix) in decoder_parameters(spec, weights, names) {
            let Some(tensor) = weights.get(&name) else { continue };
            let packed_bytes = match (tensor.encoding(), tensor.shape(), quant) {
                (Encoding::Blocks(block), &[rows, cols], _) => packed_len(block, rows, cols),
                (Encoding::F32 | Encoding::F16 | Encoding::Bf16, &[rows, cols], Some(block)) => {
                    packed_len(block, rows, cols)
                }
                _ => None,
            };
            match (matrix, packed_bytes, tensor.shape()) {
                (true, Some(bytes), _) => {
                    mapped += bytes;
                    packed += bytes;
                }
                (true, None, _) => mapped += tensor.bytes().len(),
                (false, _, shape) => small += 4 * shape.iter().product::<usize>(),
            }
        }
        let rows = chunk.min(context).max(1);
        // Scores of a part of the past on each of a few threads, and what threads find that share a long one.
        let heads = spec.stack.layers.iter().filter_map(|layer| match &layer.mixer {
            Mixer::Attention(attention) => Some(Heads::from(attention)),
            Mixer::ShortConv { .. } => None,
        });
        let attention = |context: usize| {
            let parts = context.div_ceil(PART);
            let shared = |heads: Heads| if parts > 1 { MANY_ITEMS * parts * Partial::len(heads) } else { 0 };
            let of = |heads: Heads| 8 * heads.group() * context.min(PART) + shared(heads);
            4 * heads.clone().map(of).max().unwrap_or(0)
        };
        Ok(Self {
            weights: mapped as u64,
            packed_copy: packed as u64,
            small_tensors: small as u64,
            tokenizer: 0,
            cache: CacheShape::new(&spec.stack, kv, CacheShape::LONG_PAGE)?.bytes(context, rows) as u64,
            scratch: (pass(&spec.stack, rows) + attention(context)) as u64,
            logits: 4 * spec.stack.vocab() as u64 * (1 + Lookup::default().draft as u64),
        })
    }

    /// The same with what `tokenizer` takes.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: &Tokenizer) -> Self {
        Self { tokenizer: tokenizer.held_bytes() as u64, ..self }
    }

    /// Memory that is the program's own, and cannot be dropped by the system.
    pub fn anonymous(&self) -> u64 {
        self.small_tensors + self.tokenizer + self.cache + self.scratch + self.logits
    }

    /// Everything: what must be there for the model to run at its full speed.
    pub fn total(&self) -> u64 {
        self.weights + self.anonymous()
    }
}

/// Buffers of a pass over `rows` rows, without what attention takes.
fn pass(stack: &StackSpec, rows: usize) -> usize {
    // Of one row: the stream and its norms, then what is widest in a mixer and in a feed-forward.
    let dim = stack.dim;
    let mixer = |mixer: &Mixer| match mixer {
        Mixer::Attention(a) => (3 * a.heads + 2 * a.kv_heads) * a.head_dim,
        Mixer::ShortConv { .. } => 4 * dim,
    };
    let mixers = stack.layers.iter().map(|layer| mixer(&layer.mixer)).max().unwrap_or(0);
    let ffn = |hidden: usize, kind: FfnKind| if kind == FfnKind::Gated { 2 * hidden } else { hidden };
    let ffns = stack.layers.iter().map(|layer| ffn(layer.ffn.hidden, layer.ffn.kind)).max().unwrap_or(0);
    let widest = stack.layers.iter().map(|layer| layer.ffn.hidden.max(dim)).max().unwrap_or(dim);
    // Feed-forwards take some rows at a time. Quantised activations: a byte each, and scale and sums for every 32.
    let some = rows.min(FFN_ROWS);
    4 * (rows * (3 * dim + mixers) + some * ffns) + (some * widest).max(rows * dim) * 3 / 2
}

/// Memory that an encoder and decoder take of their own while they run, in bytes, from their description alone: a pass of
/// the encoder over the longest source, what the decoder keeps of that in the type `kv`, and `beams` texts of the most
/// tokens that the decoder has positions for.
///
/// # Errors
/// Heads that are not whole blocks of `kv`.
pub fn encoder_decoder_memory(spec: &EncoderDecoderSpec, beams: usize, kv: KvType) -> Result<u64> {
    let (encoder, decoder) = (&spec.encoder, &spec.decoder.stack);
    let (rows, dim) = (encoder.max_positions, encoder.dim);
    let plane = rows * dim;
    // The convolutions before an encoder of sound, and the frames that they read.
    let stem = match encoder.input {
        Input::Frames { features } => 4 * (Stem::scratch(features, dim) + 2 * rows * features),
        Input::Tokens { .. } => 0,
    };
    // Keys and values of a layer of the encoder, which it keeps for the layer, and then those of a layer of the decoder.
    let of_a_layer = 4 * 2 * plane;
    let kept = decoder.layers.iter().filter(|layer| layer.cross.is_some()).count() * kv.bytes(2 * plane);
    let cache = CacheShape::new(decoder, kv, CacheShape::LONG_PAGE)?.bytes(decoder.max_positions, 1);
    let texts = beams * (cache + pass(decoder, 1) + 4 * decoder.vocab());
    Ok((pass(encoder, rows) + stem + 2 * of_a_layer + kept + texts) as u64)
}
