//! The accelerator itself: the layers of the native engine behind the interface of a device, with faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tracing::span;
use tracing::{Event, Level, Metadata, Subscriber};

use super::super::{Accelerator, Compiled, Job, Placement, Stop, Subgraph};
use crate::cache::{Cache, KvType};
use crate::decoder::StepScratch;
use crate::layer::Scratch;
use crate::model::{Row, Want};
use crate::ops::{Machine, StemScratch};
use crate::plan::{DecoderPlan, EncoderDecoderPlan, EncoderInput};
use crate::session::{DecoderSession, Sequence};
use crate::threads::ThreadPool;
use crate::{Cancel, Error, Result, Token, decoder, encoder};

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// It does not.
    None,
    /// Nothing can be compiled, or loaded.
    Compile,
    /// The device is lost in the run of this number, and in all that follow.
    Run(usize),
    /// There are fewer numbers than there should be.
    Shape,
    /// There are numbers that are none.
    NotFinite,
    /// It does not come back until it is stopped.
    Hangs,
    /// Its provider would leave two operations of three to the CPU; whether that is allowed.
    Fallback(bool),
}

pub(super) struct Fake {
    fault: Fault,
    /// Subgraphs that were compiled, those that still exist, and runs.
    pub(super) compiled: AtomicUsize,
    pub(super) alive: AtomicUsize,
    pub(super) runs: AtomicUsize,
    own: std::sync::Weak<Self>,
}

impl Fake {
    pub(super) fn new(fault: Fault) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            fault,
            compiled: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
            own: own.clone(),
        })
    }
}

impl Fake {
    fn placement(&self) -> Placement {
        let fallback_ops = if matches!(self.fault, Fault::Fallback(_)) { 2 } else { 0 };
        Placement { ops: 1, fallback_ops, loaded: false }
    }
}

impl Accelerator for Fake {
    fn device(&self) -> &str {
        "a fake device"
    }

    fn setup(&self) -> String {
        "a fake device, version 1".to_owned()
    }

    fn compile(&self, job: &Job<'_>) -> Result<Box<dyn Compiled>> {
        self.compiled.fetch_add(1, SeqCst);
        if self.fault == Fault::Compile {
            return Err(Error::Accelerator("it does not compile".to_owned()));
        }
        let fake = self.own.upgrade().expect("it is in use");
        if let Fault::Fallback(allowed) = self.fault {
            fake.placement().check(allowed)?;
        }
        self.alive.fetch_add(1, SeqCst);
        Ok(Box::new(Part { fake, subgraph: job.subgraph.clone() }))
    }
}

struct Part {
    fake: Arc<Fake>,
    subgraph: Subgraph,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.fake.alive.fetch_sub(1, SeqCst);
    }
}

impl Compiled for Part {
    fn placement(&self) -> Placement {
        self.fake.placement()
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>], stop: &Stop) -> Result<()> {
        let slots = self.subgraph.inputs();
        assert_eq!(inputs.len(), slots.len());
        for (input, slot) in inputs.iter().zip(&slots) {
            assert_eq!(input.len(), slot.numbers(), "{}", slot.name);
        }
        let run = self.fake.runs.fetch_add(1, SeqCst);
        if matches!(self.fake.fault, Fault::Run(first) if run >= first) {
            // What a device leaves when it is lost.
            outputs.iter_mut().for_each(|output| *output = vec![f32::NAN; 3]);
            return Err(Error::Accelerator("the device was lost".to_owned()));
        }
        if self.fake.fault == Fault::Hangs {
            loop {
                stop.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let found = match &self.subgraph {
            Subgraph::Encoder { plan, positions } => encode(plan, *positions, inputs),
            Subgraph::Prefill { plan, chunk, past } => prefill(plan, *chunk, *past, inputs),
        };
        for (output, found) in outputs.iter_mut().zip(found) {
            *output = found;
        }
        let last = outputs.last_mut().expect("an output");
        match self.fake.fault {
            Fault::Shape => drop(last.pop()),
            Fault::NotFinite => last[0] = f32::NAN,
            _ => {}
        }
        Ok(())
    }
}

/// What rows beyond those that count have: nobody may read it.
const REST: f32 = 1e9;

fn encode(plan: &EncoderDecoderPlan, positions: usize, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let dim = plan.spec().encoder.dim;
    let pool = ThreadPool::new(1);
    let machine = Machine { kernels: plan.kernels(), team: &pool.all() };
    let mut scratch = Scratch::default();
    let count = |seen: &[f32]| seen.iter().take_while(|&&seen| seen == 0.0).count();
    let rows = count(inputs[inputs.len() - 1]);
    match &plan.encoder.input {
        EncoderInput::Tokens(_) => scratch.x = inputs[0][..rows * dim].to_vec(),
        EncoderInput::Frames(stem) => {
            let sound = inputs[1].iter().take_while(|&&sound| sound == 1.0).count();
            let frames = inputs[0].chunks_exact(2 * positions).flat_map(|feature| &feature[..sound]).copied();
            let frames: Vec<f32> = frames.collect();
            scratch.x = vec![0.0; rows * dim];
            let Scratch { x, activations, .. } = &mut scratch;
            stem.forward(machine, &frames, &mut StemScratch::default(), activations, x);
        }
    }
    let cancel = Cancel::default();
    let all = 0..rows;
    let sources = std::slice::from_ref(&all);
    encoder::run_layers(machine, &plan.encoder.stack, dim, sources, KvType::F32, &mut scratch, &cancel).unwrap();
    let Scratch { x, activations, .. } = &mut scratch;
    let cross = plan.decoder.stack.layers.iter().filter_map(|layer| layer.cross.as_ref());
    let maps = cross.flat_map(|(cross, _)| [&cross.key, &cross.value]);
    let outputs = maps.map(|map| {
        let mut out = vec![REST; positions * dim];
        map.forward(machine, activations.prepare(machine, &x[..rows * dim], dim, &[map]), &mut out[..rows * dim]);
        out
    });
    outputs.collect()
}

/// Of a model with one kind of span (causal), no rotations and no final norm.
fn prefill(plan: &Arc<DecoderPlan>, chunk: usize, room: usize, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let stack = &plan.spec().stack;
    let (dim, layers) = (stack.dim, stack.layers.len());
    let pool = Arc::new(ThreadPool::new(1));
    let machine = Machine { kernels: plan.kernels(), team: &pool.all() };
    let [rows, seen] = [inputs[0], inputs[1]];
    let sees = |row: usize| seen[row * (room + chunk)..][..room + chunk].iter().filter(|&&seen| seen == 0.0).count();
    let past = sees(0) - 1;
    let count = 1 + (1..chunk).take_while(|&row| sees(row) == past + row + 1).count();
    assert!((count..chunk).all(|row| sees(row) == 1), "rows that are filled up see themselves");
    // Which tokens these are is known by their rows.
    let token = |row: &[f32]| {
        let mut own = vec![0.0; dim];
        let found = (0..stack.vocab() as Token).find(|&token| {
            plan.parts.embedding.embed(token, 0, &mut own);
            own == row
        });
        found.expect("the row of a token")
    };
    let tokens: Vec<Token> = rows.chunks_exact(dim).take(count).map(token).collect();
    let session = DecoderSession::new(plan.clone(), pool.clone(), KvType::F32).unwrap();
    let width = inputs.last().map_or(0, |last| last.len() / room.max(1));
    let mut cache: Cache = session.sequence().cache;
    cache.extend(past);
    for position in 0..past {
        for layer in 0..layers {
            let row = position * width..(position + 1) * width;
            let [keys, values] = [0, 1].map(|i| &inputs[2 + 2 * layer + i][row.clone()]);
            cache.write(plan.kernels(), layer, position, [keys, values]);
        }
    }
    let mut state = Sequence { cache, ..session.sequence() };
    let (mut scratch, mut step) = (Scratch::default(), StepScratch::default());
    let rows = &mut [Row { state: &mut state, tokens: &tokens, want: Want::All }];
    let cancel = Cancel::default();
    decoder::hidden(machine, &plan.parts, dim, rows, &mut step, &mut scratch, &cancel, None).unwrap();
    let filled = |values: &[f32], width: usize| [values, &vec![REST; (chunk - count) * width]].concat();
    let mut outputs = vec![filled(&scratch.x[..count * dim], dim)];
    for layer in 0..layers {
        let width = stack.dim;
        let (mut keys, mut values) = (vec![0.0; (past + count) * width], vec![0.0; (past + count) * width]);
        state.cache.read(layer, past + count, &mut keys, &mut values);
        outputs.extend([keys, values].map(|all| filled(&all[past * width..], width)));
    }
    outputs
}

/// Counts warnings.
struct Counter(Arc<AtomicUsize>);

impl Subscriber for Counter {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What `work` gives, and how many warnings it logs.
pub(super) fn warnings<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let result = tracing::subscriber::with_default(Counter(count.clone()), work);
    (result, count.load(SeqCst))
}
