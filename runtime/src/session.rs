//! The native backend: a plan plus scratch memory, behind the [`Model`] trait.

use std::ops::Range;
use std::sync::Arc;

use crate::cache::{CacheShape, KvCache, Memory};
use crate::layer::Scratch;
use crate::model::{EncoderDecoder, Logits, Model, Row, State};
use crate::ops::{Activations, Machine};
use crate::plan::EncoderDecoderPlan;
use crate::spec::StackSpec;
use crate::threads::ThreadPool;
use crate::{Error, Result, Token, decoder, encoder};

/// One sequence of an encoder-decoder model: the encoded source it reads and the tokens it has written.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(crate) memory: Arc<Memory>,
    /// This sequence's rows of `memory`.
    pub(crate) source: Range<usize>,
    pub(crate) cache: KvCache,
}

impl State for Sequence {
    fn fork(&self) -> Self {
        self.clone()
    }

    fn position(&self) -> usize {
        self.cache.positions()
    }

    fn truncate(&mut self, position: usize) -> usize {
        self.cache.truncate(position);
        self.cache.positions()
    }
}

/// Runs a plan: owns the scratch memory of one forward pass at a time. Sequences may be used with any session of the
/// same plan.
pub struct EncoderDecoderSession {
    plan: Arc<EncoderDecoderPlan>,
    pool: Arc<ThreadPool>,
    scratch: Scratch,
    at: Vec<(usize, usize)>,
}

impl std::fmt::Debug for EncoderDecoderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderDecoderSession").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl EncoderDecoderSession {
    /// A session that computes on the threads of `pool`.
    pub fn new(plan: Arc<EncoderDecoderPlan>, pool: Arc<ThreadPool>) -> Self {
        Self { plan, pool, scratch: Scratch::default(), at: Vec::new() }
    }

    /// The same session on the threads of another pool.
    #[must_use]
    pub fn with_pool(self, pool: Arc<ThreadPool>) -> Self {
        Self { pool, ..self }
    }

    /// As [`EncoderDecoder::encode`], returning the encoder's output itself, `[tokens of all sources, dim]`: for
    /// parity tests and embeddings.
    ///
    /// # Errors
    /// As [`EncoderDecoder::encode`].
    pub fn encoder_output(&mut self, sources: &[&[Token]]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        self.run_encoder(sources, |_, _, output, _| all.extend_from_slice(output))?;
        Ok(all)
    }

    /// Encodes `sources` in groups of at most [`ENCODER_ROWS`] tokens, or one source, and hands each group's output
    /// (`[tokens, dim]`) and each source's rows in it to `take`.
    fn run_encoder(
        &mut self,
        sources: &[&[Token]],
        mut take: impl FnMut(Machine<'_>, &mut Activations, &[f32], &[Range<usize>]),
    ) -> Result<()> {
        let Self { plan, pool, scratch, .. } = self;
        let spec = &plan.spec().encoder;
        for source in sources {
            check_tokens(spec, source, 0)?;
        }
        let machine = Machine { kernels: plan.kernels(), pool };
        let mut rest = sources;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest.iter().take_while(|source| {
                tokens += source.len();
                tokens <= ENCODER_ROWS
            });
            let (group, others) = rest.split_at(fitting.count().max(1));
            rest = others;
            let ranges = encoder::encode(machine, &plan.encoder, spec.dim, group, scratch);
            let rows = ranges.last().map_or(0, |range| range.end);
            let Scratch { x, activations, .. } = &mut *scratch;
            take(machine, activations, &x[..rows * spec.dim], &ranges);
        }
        Ok(())
    }
}

/// Rows that the encoder computes together: enough for matrix products at full speed, few enough for a layer's
/// activations to stay in a core's cache.
const ENCODER_ROWS: usize = 192;

/// Refuses tokens that the model does not have, and more of them than it has positions for.
fn check_tokens(spec: &StackSpec, tokens: &[Token], first: usize) -> Result<()> {
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= spec.vocab) {
        return Err(Error::BadRequest(format!("token {token} is outside the vocabulary of {}", spec.vocab)));
    }
    let end = first + tokens.len();
    if tokens.is_empty() || end > spec.max_positions {
        let limit = spec.max_positions;
        return Err(Error::BadRequest(format!("a sequence of {end} tokens: the model takes 1 to {limit}")));
    }
    Ok(())
}

impl Model for EncoderDecoderSession {
    type State = Sequence;

    fn vocab(&self) -> usize {
        self.plan.spec().decoder.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, Sequence>], logits: &mut Logits) -> Result<()> {
        let Self { plan, pool, scratch, at } = self;
        let spec = &plan.spec().decoder;
        if rows.is_empty() {
            logits.reset(0, spec.vocab);
            return Ok(());
        }
        for row in rows.iter() {
            check_tokens(spec, row.tokens, row.state.position())?;
        }
        let machine = Machine { kernels: plan.kernels(), pool };
        let wanted = decoder::decode(machine, &plan.decoder, spec.dim, rows, at, scratch);
        let Scratch { x, activations, .. } = scratch;
        let logits = logits.reset(wanted, spec.vocab);
        if wanted > 0 {
            let input = activations.prepare(machine, &x[..wanted * spec.dim], spec.dim, &[&plan.output]);
            plan.output.forward(machine, input, logits);
        }
        Ok(())
    }
}

impl EncoderDecoder for EncoderDecoderSession {
    fn encode(&mut self, sources: &[&[Token]]) -> Result<Vec<Sequence>> {
        let plan = self.plan.clone();
        let dim = plan.spec().decoder.dim;
        let maps: Vec<_> = plan.decoder.layers.iter().filter_map(|layer| layer.cross.as_ref()).collect();
        let users: Vec<_> = maps.iter().flat_map(|(cross, _)| [&cross.key, &cross.value]).collect();
        let rows: usize = sources.iter().map(|source| source.len()).sum();
        let mut layers: Vec<_> = maps.iter().map(|_| (vec![0.0; rows * dim], vec![0.0; rows * dim])).collect();
        let mut ranges = Vec::with_capacity(sources.len());
        let mut first = 0;
        self.run_encoder(sources, |machine, activations, output, encoded| {
            let input = activations.prepare(machine, output, dim, &users);
            let span = first * dim..first * dim + output.len();
            for ((cross, _), (keys, values)) in maps.iter().zip(&mut layers) {
                cross.key.forward(machine, input, &mut keys[span.clone()]);
                cross.value.forward(machine, input, &mut values[span.clone()]);
            }
            ranges.extend(encoded.iter().map(|range| first + range.start..first + range.end));
            first += output.len() / dim;
        })?;
        let memory = Arc::new(Memory { dim, layers });
        let shape = CacheShape { layers: plan.decoder.layers.len(), dim };
        let sequence = |source| Sequence { memory: memory.clone(), source, cache: KvCache::new(shape) };
        Ok(ranges.into_iter().map(sequence).collect())
    }
}
