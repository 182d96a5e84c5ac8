//! The native backend: a plan plus scratch memory, behind the [`Model`] trait.

use std::ops::Range;
use std::sync::Arc;

use crate::accelerator::{Encoding, Offload, Prefill, Ran, Report};
use crate::cache::{Cache, CacheShape, Memory, SourcePlace};
use crate::decoder::{StepScratch, Watched};
use crate::layer::{Scratch, sized};
use crate::model::{EncoderDecoder, FrameEncoder, Logits, Model, Row, State, Want};
use crate::ops::{Activations, Block, Machine, Stem, forward_all};
use crate::plan::{DecoderPlan, EncoderDecoderPlan, EncoderInput};
use crate::spec::{Input, StackSpec};
use crate::threads::ThreadPool;
use crate::{Cancel, Error, Result, Token, decoder, encoder};

pub use crate::cache::KvType;

/// The encoded source of a sequence: one of a batch. A decoder-only model has none.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    memory: Arc<Memory>,
    place: SourcePlace,
    /// How many of its positions the decoder sees.
    pub(crate) positions: usize,
}

impl Source {
    /// That of a decoder-only model.
    fn none() -> Self {
        let memory = Arc::new(Memory::new(KvType::F32, 0, 0, 0, &[]));
        Self { memory, place: SourcePlace { tiled: 0, positions: 0 }, positions: 0 }
    }

    /// Whether it is the same source: that of forks.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory) && self.place == other.place
    }

    /// Keys and values of one head of some of the positions.
    pub(crate) fn block(&self, layer: usize, head: usize, positions: Range<usize>) -> Block<'_> {
        self.memory.block(layer, self.place, head, positions)
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

    /// Bytes of the memory it holds, shared with its forks or not; that of the sources it was encoded with included.
    pub fn bytes(&self) -> usize {
        self.cache.bytes() + self.source.memory.bytes()
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
    cancel: Cancel,
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
        let (scratch, step) = (Scratch::default(), StepScratch::default());
        Ok(Self { plan, pool, shape, scratch, step, cancel: Cancel::default() })
    }

    /// Lets `offload` compute prompts, as far as it can.
    #[must_use]
    pub fn with_offload(mut self, offload: Option<Arc<Offload>>) -> Self {
        self.step.prefill = offload.map(|offload| Prefill::new(offload, self.plan.clone()));
        self
    }

    /// A new sequence, at position 0.
    pub fn sequence(&self) -> Sequence {
        Sequence { source: Source::none(), cache: Cache::new(self.shape.clone()) }
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
        let Self { plan, pool, scratch, step, cancel, .. } = self;
        let spec = &plan.spec().stack;
        check_tokens(spec, tokens, sequence.position())?;
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens.len()) };
        let rows = &mut [Row { state: sequence, tokens, want: Want::All }];
        let wanted = decoder::hidden(machine, &plan.parts, spec.dim, rows, step, scratch, cancel, None)?;
        Ok(&scratch.x[..wanted * spec.dim])
    }
}

impl Model for DecoderSession {
    type State = Sequence;

    fn vocab(&self) -> usize {
        self.plan.spec().stack.vocab()
    }

    fn step(&mut self, rows: &mut [Row<'_, Sequence>], logits: &mut Logits) -> Result<()> {
        let Self { plan, pool, scratch, step, cancel, .. } = self;
        for row in rows.iter() {
            check_tokens(&plan.spec().stack, row.tokens, row.state.position())?;
        }
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens_of(rows)) };
        decoder::decode(machine, &plan.parts, plan.spec(), rows, step, scratch, cancel, logits)
    }

    fn set_cancel(&mut self, cancel: &Cancel) {
        self.cancel = cancel.clone();
    }

    fn accelerator(&self) -> Option<Report> {
        self.step.prefill.as_ref().map(Prefill::report)
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
    kv: KvType,
    shape: Arc<CacheShape>,
    scratch: Scratch,
    step: StepScratch,
    cancel: Cancel,
    /// What takes over the encoder.
    encoding: Option<Encoding>,
}

impl std::fmt::Debug for EncoderDecoderSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderDecoderSession").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl EncoderDecoderSession {
    /// A session that computes on the threads of `pool` and stores keys and values, those of sources too, as `kv`. If that
    /// is not float32, an encoder's rows attend to each other by products of 8-bit numbers, as linear maps are.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where the model's heads are not whole blocks of `kv`.
    pub fn new(plan: Arc<EncoderDecoderPlan>, pool: Arc<ThreadPool>, kv: KvType) -> Result<Self> {
        let page = match plan.spec().encoder.input {
            Input::Tokens { .. } => CacheShape::SHORT_PAGE,
            Input::Frames { .. } => CacheShape::MEDIUM_PAGE,
        };
        let shape = Arc::new(CacheShape::new(&plan.spec().decoder.stack, kv, page)?);
        let (scratch, step) = (Scratch::default(), StepScratch::default());
        Ok(Self { plan, pool, kv, shape, scratch, step, cancel: Cancel::default(), encoding: None })
    }

    /// Lets `offload` encode sources, as far as it can.
    #[must_use]
    pub fn with_offload(self, offload: Option<Arc<Offload>>) -> Self {
        Self { encoding: offload.map(|offload| Encoding::new(offload, self.plan.clone())), ..self }
    }

    /// The same session on the threads of another pool.
    #[must_use]
    pub fn with_pool(self, pool: Arc<ThreadPool>) -> Self {
        Self { pool, ..self }
    }

    /// What it runs.
    pub fn plan(&self) -> &Arc<EncoderDecoderPlan> {
        &self.plan
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

    /// As [`FrameEncoder::encode_frames`], returning the encoder's output itself, `[positions, dim]`.
    ///
    /// # Errors
    /// As [`FrameEncoder::encode_frames`].
    pub fn encoder_output_of_frames(&mut self, frames: &[f32]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        self.run_encoder_on_frames(frames, |_, _, output, _| all.extend_from_slice(output))?;
        Ok(all)
    }

    /// Appends `tokens` to `sequence` and returns how much some heads of the attention to its source, each a layer and a
    /// head, look at each position from each token: `[heads][tokens][positions]`.
    ///
    /// # Errors
    /// As [`Model::step`], or a head that the model does not have.
    pub fn attention_to_source(
        &mut self,
        sequence: &mut Sequence,
        tokens: &[Token],
        heads: &[[usize; 2]],
    ) -> Result<Vec<f32>> {
        let Self { plan, pool, scratch, step, cancel, .. } = self;
        let spec = &plan.spec().decoder.stack;
        check_tokens(spec, tokens, sequence.position())?;
        let count = |layer: usize| spec.layers.get(layer).and_then(|layer| layer.cross.as_ref()).map(|c| c.heads);
        if let Some([layer, head]) = heads.iter().find(|&&[layer, head]| count(layer).is_none_or(|heads| head >= heads))
        {
            return Err(Error::BadRequest(format!("head {head} of layer {layer}: the model does not have it")));
        }
        let weights = vec![0.0; heads.len() * tokens.len() * sequence.source.positions];
        let mut watched = Watched { heads, weights };
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens.len()) };
        let rows = &mut [Row { state: sequence, tokens, want: Want::Nothing }];
        decoder::hidden(machine, &plan.decoder, spec.dim, rows, step, scratch, cancel, Some(&mut watched))?;
        Ok(watched.weights)
    }

    /// Encodes `sources` in groups of at most [`ENCODER_ROWS`] tokens, or one source, and hands each group's output
    /// (`[tokens, dim]`) and each source's rows in it to `take`.
    fn run_encoder(
        &mut self,
        sources: &[&[Token]],
        mut take: impl FnMut(Machine<'_>, &mut Activations, &[f32], &[Range<usize>]),
    ) -> Result<()> {
        let Self { plan, pool, kv, scratch, cancel, .. } = self;
        let spec = &plan.spec().encoder;
        let EncoderInput::Tokens(embedding) = &plan.encoder.input else {
            return Err(Error::BadRequest("tokens for a model of sound".to_owned()));
        };
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
            let ranges =
                encoder::encode(machine, embedding, &plan.encoder.stack, spec.dim, group, *kv, scratch, cancel)?;
            let rows = ranges.last().map_or(0, |range| range.end);
            let Scratch { x, activations, .. } = &mut *scratch;
            take(machine, activations, &x[..rows * spec.dim], &ranges);
        }
        Ok(())
    }

    /// How many rows `frames` (`[features, count]`) make; refuses those that the model does not take.
    fn rows_of(&self, frames: &[f32]) -> Result<usize> {
        let EncoderInput::Frames(stem) = &self.plan.encoder.input else {
            return Err(Error::BadRequest("sound for a model of tokens".to_owned()));
        };
        let (features, most) = (stem.features(), self.plan.spec().encoder.max_positions);
        let rows = Stem::rows(frames.len() / features);
        if !frames.len().is_multiple_of(features) || rows == 0 || rows > most {
            let count = frames.len() as f64 / features as f64;
            let problem = format!("{count} frames of {features} features: the model takes 1 to {} frames", 2 * most);
            return Err(Error::BadRequest(problem));
        }
        Ok(rows)
    }

    /// The same for `frames` (`[features, count]`), one source.
    fn run_encoder_on_frames(
        &mut self,
        frames: &[f32],
        mut take: impl FnMut(Machine<'_>, &mut Activations, &[f32], &[Range<usize>]),
    ) -> Result<()> {
        let rows = self.rows_of(frames)?;
        let Self { plan, pool, kv, scratch, cancel, .. } = self;
        let spec = &plan.spec().encoder;
        let EncoderInput::Frames(stem) = &plan.encoder.input else {
            return Err(Error::BadRequest("sound for a model of tokens".to_owned()));
        };
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(rows) };
        let rows = encoder::encode_frames(machine, stem, &plan.encoder.stack, spec.dim, frames, *kv, scratch, cancel)?;
        let Scratch { x, activations, .. } = &mut *scratch;
        take(machine, activations, &x[..rows.len() * spec.dim], &[rows]);
        Ok(())
    }

    /// Room for the keys and values of sources of so many positions.
    fn memory(&self, sources: impl Iterator<Item = usize>) -> Sources {
        let spec = &self.plan.spec().decoder.stack;
        let (heads, head_dim) = spec.layers.iter().find_map(|layer| layer.cross.as_ref()).map_or((0, 0), |cross| {
            // All layers have the same, see `EncoderDecoderSpec::check`.
            (cross.heads, cross.head_dim)
        });
        let places = SourcePlace::all(sources);
        let memory = Memory::new(self.kv, spec.layers.len(), heads, head_dim, &places);
        Sources { plan: self.plan.clone(), memory, places, next: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }

    /// A sequence for each source.
    fn sequences(&self, sources: Sources) -> Vec<Sequence> {
        let memory = Arc::new(sources.memory);
        let sequence = |place: SourcePlace| {
            let source = Source { memory: memory.clone(), place, positions: place.positions };
            Sequence { source, cache: Cache::new(self.shape.clone()) }
        };
        sources.places.into_iter().map(sequence).collect()
    }
}

/// The memory of a batch of sources while it is written.
struct Sources {
    plan: Arc<EncoderDecoderPlan>,
    memory: Memory,
    places: Vec<SourcePlace>,
    /// Which sources [`Sources::add`] is given next, the last one first.
    next: Vec<usize>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Sources {
    /// Lets [`Sources::add`] have these sources.
    fn expect(&mut self, sources: impl DoubleEndedIterator<Item = usize>) {
        self.next.clear();
        self.next.extend(sources.rev());
    }

    /// Adds sources: the encoder's output, and the rows of each.
    fn add(&mut self, machine: Machine<'_>, activations: &mut Activations, output: &[f32], rows: &[Range<usize>]) {
        let Self { plan, memory, places, next, keys, values } = self;
        let added: Vec<_> = next.drain(next.len() - rows.len()..).rev().map(|source| places[source]).collect();
        let dim = plan.spec().decoder.stack.dim;
        let maps = || plan.decoder.stack.layers.iter().filter_map(|layer| layer.cross.as_ref());
        let users: Vec<_> = maps().flat_map(|(cross, _)| [&cross.key, &cross.value]).collect();
        let input = activations.prepare(machine, output, dim, &users);
        for (layer, (cross, _)) in maps().enumerate() {
            let (keys, values) = (sized(keys, output.len()), sized(values, output.len()));
            forward_all(machine, input, [(&cross.key, &mut *keys), (&cross.value, &mut *values)]);
            for (rows, &place) in rows.iter().zip(&added) {
                let span = rows.start * dim..rows.end * dim;
                memory.write(machine, layer, place, &keys[span.clone()], &values[span]);
            }
        }
    }

    /// Adds a source by the keys and values of each layer in turn, of which only the first positions may be its own.
    fn add_layers(&mut self, machine: Machine<'_>, source: usize, layers: &[Vec<f32>]) {
        let dim = self.plan.spec().decoder.stack.dim;
        let place = self.places[source];
        for (layer, [keys, values]) in layers.as_chunks::<2>().0.iter().enumerate() {
            let own = place.positions * dim;
            self.memory.write(machine, layer, place, &keys[..own], &values[..own]);
        }
    }
}

/// Rows that the encoder computes together: enough for matrix products at full speed, few enough for a layer's
/// activations to stay in a core's cache.
const ENCODER_ROWS: usize = 192;

/// Refuses tokens that the model does not have, and more of them than it has positions for.
fn check_tokens(spec: &StackSpec, tokens: &[Token], first: usize) -> Result<()> {
    let vocab = spec.vocab();
    if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(Error::BadRequest(format!("token {token} is outside the vocabulary of {vocab}")));
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
        self.plan.spec().decoder.stack.vocab()
    }

    fn step(&mut self, rows: &mut [Row<'_, Sequence>], logits: &mut Logits) -> Result<()> {
        let Self { plan, pool, scratch, step, cancel, .. } = self;
        let spec = &plan.spec().decoder;
        for row in rows.iter() {
            check_tokens(&spec.stack, row.tokens, row.state.position())?;
        }
        let machine = Machine { kernels: plan.kernels(), team: &pool.team(tokens_of(rows)) };
        decoder::decode(machine, &plan.decoder, spec, rows, step, scratch, cancel, logits)
    }

    fn set_cancel(&mut self, cancel: &Cancel) {
        self.cancel = cancel.clone();
    }
}

impl EncoderDecoder for EncoderDecoderSession {
    fn encode(&mut self, sources: &[&[Token]]) -> Result<Vec<Sequence>> {
        for source in sources {
            check_tokens(&self.plan.spec().encoder, source, 0)?;
        }
        let mut memory = self.memory(sources.iter().map(|source| source.len()));
        // Taken out while it is in use, because the CPU's way needs the whole session.
        let mut encoding = self.encoding.take();
        let result = self.encode_with(encoding.as_mut(), sources, &mut memory);
        self.encoding = encoding;
        result?;
        Ok(self.sequences(memory))
    }
}

impl FrameEncoder for EncoderDecoderSession {
    fn encode_frames(&mut self, frames: &[f32]) -> Result<Sequence> {
        let rows = self.rows_of(frames)?;
        let mut memory = self.memory(std::iter::once(rows));
        let mut encoding = self.encoding.take();
        let result = self.encode_frames_with(encoding.as_mut(), frames, rows, &mut memory);
        self.encoding = encoding;
        result?;
        Ok(self.sequences(memory).remove(0))
    }
}

impl EncoderDecoderSession {
    /// Encodes `sources` into `memory`, which has room for them: on the accelerator, and where that does not do all of them,
    /// on the CPU.
    fn encode_with(
        &mut self,
        encoding: Option<&mut Encoding>,
        sources: &[&[Token]],
        memory: &mut Sources,
    ) -> Result<()> {
        let (mut left, mut trial) = (Vec::new(), None);
        match encoding {
            None => left.extend(0..sources.len()),
            Some(encoding) => {
                for (index, source) in sources.iter().enumerate() {
                    self.cancel.check()?;
                    let machine = Machine { kernels: self.plan.kernels(), team: &self.pool.team(source.len()) };
                    let take = |layers: &[Vec<f32>]| memory.add_layers(machine, index, layers);
                    match encoding.tokens(source, &self.cancel, take) {
                        Ran::Device => {}
                        Ran::Cpu => left.push(index),
                        Ran::Trial(found) => {
                            // What it finds is for those that come after this batch.
                            left.extend(index..sources.len());
                            trial = Some((found, source.len()));
                            break;
                        }
                    }
                }
            }
        }
        let rest: Vec<&[Token]> = left.iter().map(|&index| sources[index]).collect();
        let mut run = || {
            memory.expect(left.iter().copied());
            self.run_encoder(&rest, |machine, activations, output, rows| {
                memory.add(machine, activations, output, rows);
            })
        };
        match trial {
            Some((trial, tokens)) => trial.against_cpu(tokens, rest.iter().map(|source| source.len()).sum(), run),
            None => run(),
        }
    }

    /// The same of `frames`, which make `rows` rows.
    fn encode_frames_with(
        &mut self,
        encoding: Option<&mut Encoding>,
        frames: &[f32],
        rows: usize,
        memory: &mut Sources,
    ) -> Result<()> {
        let mut ran = Ran::Cpu;
        if let Some(encoding) = encoding {
            self.cancel.check()?;
            let machine = Machine { kernels: self.plan.kernels(), team: &self.pool.team(rows) };
            ran = encoding.frames(frames, &self.cancel, |layers| memory.add_layers(machine, 0, layers));
        }
        let mut run = || {
            memory.expect(0..1);
            self.run_encoder_on_frames(frames, |machine, activations, output, rows| {
                memory.add(machine, activations, output, rows);
            })
        };
        match ran {
            Ran::Device => Ok(()),
            Ran::Cpu => run(),
            Ran::Trial(trial) => trial.against_cpu(1, 1, run),
        }
    }
}
