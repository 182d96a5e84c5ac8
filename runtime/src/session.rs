//! The native backend: a plan plus scratch memory, behind the [`Model`] trait.

use std::ops::Range;
use std::sync::Arc;

use crate::cache::{Cache, CacheShape, Memory};
use crate::decoder::StepScratch;
use crate::kernels::TILE;
use crate::layer::{Attention, Scratch, sized};
use crate::model::{EncoderDecoder, Logits, Model, Row, State, Want};
use crate::ops::{Activations, Block, Machine, keys_len, tile_keys};
use crate::plan::{DecoderPlan, EncoderDecoderPlan};
use crate::spec::StackSpec;
use crate::threads::ThreadPool;
use crate::{Error, Result, Token, decoder, encoder};

pub use crate::cache::KvType;

/// The encoded source of a sequence: some rows of a batch. A decoder-only model has none.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    memory: Arc<Memory>,
    rows: Range<usize>,
    /// Positions of the sources before it in the batch, each filled up to whole tiles.
    tiled: usize,
    /// How many of the rows the decoder sees.
    pub(crate) positions: usize,
}

impl Source {
    /// Whether it is the same source: that of forks.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.rows == other.rows
    }

    /// Keys and values of one head of some of the positions.
    pub(crate) fn block(&self, layer: usize, head: usize, head_dim: usize, positions: Range<usize>) -> Block<'_> {
        self.memory.block(layer, self.rows.clone(), self.tiled, head, head_dim, positions)
    }
}

/// One sequence: the source it reads, if any, and what the model keeps of its tokens.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(crate) source: Source,
    pub(crate) cache: Cache,
}

impl Sequence {
    /// Lets the decoder see the first `positions` tokens of the source only, at least one: for encoders whose input is
    /// padded to a fixed size.
    pub fn keep_source(&mut self, positions: usize) {
        self.source.positions = self.source.positions.min(positions.max(1));
    }

    /// Bytes of the memory it holds, shared with its forks or not.
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }
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

/// Runs a decoder-only plan: owns the scratch memory of one forward pass at a time. Any number of sequences may be used
/// with it, and a sequence with any session of the same plan.
pub struct DecoderSession {
    plan: Arc<DecoderPlan>,
    pool: Arc<ThreadPool>,
    shape: Arc<CacheShape>,
    scratch: Scratch,
    step: StepScratch,
}

impl std::fmt::Debug for DecoderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecoderSession").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl DecoderSession {
    /// A session that computes on the threads of `pool` and stores keys and values as `kv`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where the model's heads are not whole blocks of `kv`.
    pub fn new(plan: Arc<DecoderPlan>, pool: Arc<ThreadPool>, kv: KvType) -> Result<Self> {
        let shape = Arc::new(plan.cache_shape(kv)?);
        Ok(Self { plan, pool, shape, scratch: Scratch::default(), step: StepScratch::default() })
    }

    /// A new sequence, at position 0.
    pub fn sequence(&self) -> Sequence {
        let memory = Arc::new(Memory { dim: 0, layers: Vec::new() });
        Sequence {
            source: Source { memory, rows: 0..0, tiled: 0, positions: 0 },
            cache: Cache::new(self.shape.clone()),
        }
    }

    /// What it runs.
    pub fn plan(&self) -> &Arc<DecoderPlan> {
        &self.plan
    }

    /// The stored form of a sequence: everything that is needed to continue it without its tokens.
    pub fn save(&self, sequence: &Sequence) -> Vec<u8> {
        sequence.cache.save()
    }

    /// The sequence that [`DecoderSession::save`] stored, of the same model with the same type of keys and values;
    /// `None` where the bytes are not that.
    pub fn restore(&self, bytes: &[u8]) -> Option<Sequence> {
        let cache = Cache::restore(self.shape.clone(), bytes)?;
        Some(Sequence { cache, ..self.sequence() })
    }

    /// Appends `tokens` to `sequence` and returns what comes before the output projection, `[tokens, dim]`: for
    /// embeddings of texts.
    ///
    /// # Errors
    /// As [`Model::step`].
    pub fn hidden(&mut self, sequence: &mut Sequence, tokens: &[Token]) -> Result<&[f32]> {
        let Self { plan, pool, scratch, step, .. } = self;
        let spec = &plan.spec().stack;
        check_tokens(spec, tokens, sequence.position())?;
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens.len()) };
        let rows = &mut [Row { state: sequence, tokens, want: Want::All }];
        let wanted = decoder::hidden(machine, &plan.parts, spec.dim, rows, step, scratch);
        Ok(&scratch.x[..wanted * spec.dim])
    }
}

impl Model for DecoderSession {
    type State = Sequence;

    fn vocab(&self) -> usize {
        self.plan.spec().stack.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, Sequence>], logits: &mut Logits) -> Result<()> {
        let Self { plan, pool, scratch, step, .. } = self;
        for row in rows.iter() {
            check_tokens(&plan.spec().stack, row.tokens, row.state.position())?;
        }
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens_of(rows)) };
        decoder::decode(machine, &plan.parts, plan.spec(), rows, step, scratch, logits);
        Ok(())
    }
}

/// How many tokens a step is of.
fn tokens_of(rows: &[Row<'_, Sequence>]) -> usize {
    rows.iter().map(|row| row.tokens.len()).sum()
}

/// Runs an encoder-decoder plan: owns the scratch memory of one forward pass at a time. Sequences may be used with any
/// session of the same plan.
pub struct EncoderDecoderSession {
    plan: Arc<EncoderDecoderPlan>,
    pool: Arc<ThreadPool>,
    shape: Arc<CacheShape>,
    scratch: Scratch,
    step: StepScratch,
}

impl std::fmt::Debug for EncoderDecoderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderDecoderSession").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl EncoderDecoderSession {
    /// A session that computes on the threads of `pool`.
    pub fn new(plan: Arc<EncoderDecoderPlan>, pool: Arc<ThreadPool>) -> Self {
        let shape = CacheShape::new(&plan.spec().decoder.stack, KvType::F32, CacheShape::SHORT_PAGE);
        let shape = Arc::new(shape.expect("float32 suits every shape"));
        Self { plan, pool, shape, scratch: Scratch::default(), step: StepScratch::default() }
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
        let tokens = sources.iter().map(|source| source.len()).sum();
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens) };
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
        self.plan.spec().decoder.stack.vocab
    }

    fn step(&mut self, rows: &mut [Row<'_, Sequence>], logits: &mut Logits) -> Result<()> {
        let Self { plan, pool, scratch, step, .. } = self;
        let spec = &plan.spec().decoder;
        for row in rows.iter() {
            check_tokens(&spec.stack, row.tokens, row.state.position())?;
        }
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens_of(rows)) };
        decoder::decode(machine, &plan.decoder, spec, rows, step, scratch, logits);
        Ok(())
    }
}

impl EncoderDecoder for EncoderDecoderSession {
    fn encode(&mut self, sources: &[&[Token]]) -> Result<Vec<Sequence>> {
        let plan = self.plan.clone();
        let dim = plan.spec().decoder.stack.dim;
        let maps: Vec<_> = plan.decoder.stack.layers.iter().filter_map(|layer| layer.cross.as_ref()).collect();
        let users: Vec<_> = maps.iter().flat_map(|(cross, _)| [&cross.key, &cross.value]).collect();
        let rows: usize = sources.iter().map(|source| source.len()).sum();
        let tiled: usize = sources.iter().map(|source| source.len().next_multiple_of(TILE)).sum();
        let layer = |(cross, _): &&(Attention, _)| {
            (vec![0.0; keys_len(tiled, cross.heads.kv, cross.heads.dim)], vec![0.0; rows * dim])
        };
        let mut layers: Vec<_> = maps.iter().map(layer).collect();
        let mut places = Vec::with_capacity(sources.len());
        let (mut first, mut first_tiled) = (0, 0);
        let mut all_keys = Vec::new();
        self.run_encoder(sources, |machine, activations, output, encoded| {
            let input = activations.prepare(machine, output, dim, &users);
            let span = first * dim..first * dim + output.len();
            let place = |range: &Range<usize>| {
                let place = (first + range.start..first + range.end, first_tiled);
                first_tiled += range.len().next_multiple_of(TILE);
                place
            };
            let group = places.len();
            places.extend(encoded.iter().map(place));
            for ((cross, _), (tiles, values)) in maps.iter().zip(&mut layers) {
                let (heads, all_keys) = (cross.heads, sized(&mut all_keys, output.len()));
                cross.key.forward(machine, input, all_keys);
                for (range, (_, tiled)) in encoded.iter().zip(&places[group..]) {
                    let tiles = &mut tiles[keys_len(*tiled, heads.kv, heads.dim)..];
                    tile_keys(&all_keys[range.start * dim..range.end * dim], heads.kv, heads.dim, tiles);
                }
                cross.value.forward(machine, input, &mut values[span.clone()]);
            }
            first += output.len() / dim;
        })?;
        let memory = Arc::new(Memory { dim, layers });
        let sequence = |(rows, tiled): (Range<usize>, usize)| {
            let positions = rows.len();
            let source = Source { memory: memory.clone(), rows, tiled, positions };
            Sequence { source, cache: Cache::new(self.shape.clone()) }
        };
        Ok(places.into_iter().map(sequence).collect())
    }
}
