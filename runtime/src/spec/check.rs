//! Refuses specs whose parts do not fit each other, and sizes that no real model has: what follows allocates by them.

use super::{
    AttentionSpec, DecoderSpec, EncoderDecoderSpec, Input, LayerSpec, Mixer, Position, RopeScaling, StackSpec,
};
use crate::{Error, Result};

/// The most features, rows of a vocabulary or positions.
const MOST: usize = 1 << 24;
const MOST_DIM: usize = 1 << 20;
const MOST_LAYERS: usize = 1 << 10;
/// The most values of a table of positions.
const MOST_TABLE: usize = 1 << 26;

fn bad<T>(what: String) -> Result<T> {
    Err(Error::Unsupported(what))
}

impl EncoderDecoderSpec {
    /// Refuses specs whose parts do not fit each other.
    ///
    /// # Errors
    /// [`Error::Unsupported`] says which part.
    pub fn check(&self) -> Result<()> {
        self.encoder.check("encoder")?;
        self.decoder.check()?;
        let cross = |layer: &LayerSpec| layer.cross.is_some();
        if self.encoder.layers.iter().any(cross) || !self.decoder.stack.layers.iter().all(cross) {
            return bad("attention to the encoder anywhere but in every decoder layer".to_owned());
        }
        let heads = |layer: &LayerSpec| layer.cross.as_ref().map(|cross| (cross.heads, cross.head_dim));
        if self.decoder.stack.layers.windows(2).any(|layers| heads(&layers[0]) != heads(&layers[1])) {
            return bad("layers with different heads in attention to the encoder".to_owned());
        }
        let (encoder, decoder) = (self.encoder.dim, self.decoder.stack.dim);
        if encoder != decoder {
            return bad(format!("an encoder of width {encoder} under a decoder of {decoder}"));
        }
        Ok(())
    }
}

impl DecoderSpec {
    /// Refuses specs whose parts do not fit each other.
    ///
    /// # Errors
    /// [`Error::Unsupported`] says which part.
    pub fn check(&self) -> Result<()> {
        if let Input::Frames { .. } = self.stack.input {
            return bad("a decoder of frames".to_owned());
        }
        self.stack.check("decoder")?;
        if !self.logit_scale.is_finite() || self.logit_softcap.is_some_and(|cap| !cap.is_finite() || cap <= 0.0) {
            return bad(format!("logits scaled by {} and capped at {:?}", self.logit_scale, self.logit_softcap));
        }
        Ok(())
    }
}

impl StackSpec {
    fn check(&self, name: &str) -> Result<()> {
        let (dim, positions) = (self.dim, self.max_positions);
        let (what, width) = match self.input {
            Input::Tokens { vocab, .. } => ("vocabulary", vocab),
            Input::Frames { features } => ("frames", features),
        };
        let possible = (2..=MOST_DIM).contains(&dim) && dim % 2 == 0 && (1..=MOST).contains(&width);
        let table = self.position == Position::None || dim.checked_mul(positions).is_some_and(|len| len <= MOST_TABLE);
        if !possible || !(1..=MOST).contains(&positions) || !table {
            return bad(format!("an {name} of width {dim}, {what} {width} and {positions} positions"));
        }
        if self.layers.len() > MOST_LAYERS {
            return bad(format!("{} {name} layers", self.layers.len()));
        }
        self.layers.iter().try_for_each(|layer| layer.check(name, dim))
    }
}

impl LayerSpec {
    fn check(&self, name: &str, dim: usize) -> Result<()> {
        match &self.mixer {
            Mixer::Attention(attention) => attention.check(name, dim)?,
            Mixer::ShortConv { kernel, .. } if !(1..=64).contains(kernel) => {
                return bad(format!("convolutions over {kernel} positions in {name} layers"));
            }
            Mixer::ShortConv { .. } => {}
        }
        if let Some(cross) = &self.cross {
            cross.check(name, dim)?;
            if cross.rope.is_some() || cross.head_norm.is_some() || cross.kv_heads != cross.heads {
                return bad("rotated, normalised or grouped heads in attention to the encoder".to_owned());
            }
            if cross.heads * cross.head_dim != dim {
                let (heads, head_dim) = (cross.heads, cross.head_dim);
                return bad(format!("{heads} heads of {head_dim} in attention to an encoder of {dim} features"));
            }
        }
        if !(1..=MOST_DIM).contains(&self.ffn.hidden) {
            return bad(format!("a feed-forward of {} features in {name} layers", self.ffn.hidden));
        }
        Ok(())
    }
}

impl AttentionSpec {
    fn check(&self, name: &str, dim: usize) -> Result<()> {
        let (heads, kv_heads, head_dim) = (self.heads, self.kv_heads, self.head_dim);
        let grouped = heads > 0 && kv_heads > 0 && heads % kv_heads == 0;
        // Widths beyond a few times the model's are a mistake, and would be allocated.
        let possible = head_dim > 0 && heads.checked_mul(head_dim).is_some_and(|inner| inner <= dim.saturating_mul(16));
        if !grouped || !possible || !self.scale.is_finite() {
            return bad(format!("{heads} heads ({kv_heads} of keys) of {head_dim} in {name} layers of width {dim}"));
        }
        if let Some(growth) = self.growth.filter(|growth| growth.every == 0 || !growth.factor.is_finite()) {
            return bad(format!("queries that grow by {} every {} positions", growth.factor, growth.every));
        }
        if let Some(rope) = &self.rope {
            let dims = rope.dims;
            if dims == 0 || dims % 2 != 0 || dims > head_dim || !rope.theta.is_finite() || rope.theta <= 0.0 {
                return bad(format!("{dims} rotated features, base {}, in heads of {head_dim}", rope.theta));
            }
            if let RopeScaling::PerPair { factors, .. } = &rope.scaling
                && factors.len() != dims / 2
            {
                return bad(format!("{} factors for {} rotated pairs of features", factors.len(), dims / 2));
            }
        }
        Ok(())
    }
}
