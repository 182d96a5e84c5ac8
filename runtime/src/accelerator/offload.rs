//! A model's accelerator in use: subgraphs compiled when they are first needed, tested where that was asked for, counted,
//! and given up at the first failure.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::{Accelerator, Choices, Compiled, Cost, Job, Placement, Shape, Stop, Subgraph};
use crate::{Cancel, Error, Result};

/// A run that takes longer than this is ended, and was the last one.
const PATIENCE: Duration = Duration::from_secs(60);

/// An accelerator for one model, shared by its sessions.
///
/// Whatever fails (compiling, running, results of a wrong shape), the CPU does the work again and goes on alone; one
/// warning is logged, all that was compiled is dropped, and the accelerator is not asked again.
pub struct Offload {
    accelerator: Arc<dyn Accelerator>,
    model: LazyLock<String, Box<dyn FnOnce() -> String + Send>>,
    /// Where answers are kept whether a subgraph pays; without it, all are taken to.
    choices: Option<Choices>,
    patience: Duration,
    state: Mutex<State>,
}

impl std::fmt::Debug for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offload").field("device", &self.accelerator.device()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    subgraphs: BTreeMap<Shape, Entry>,
    too_short: usize,
    too_long: usize,
    failure: Option<String>,
}

/// Why nothing was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Skipped {
    /// A text that is not worth it.
    TooShort,
    /// One that is longer than what is compiled.
    TooLong,
}

/// A compiled subgraph that sessions share, and run one after the other.
type Shared = Arc<Mutex<Box<dyn Compiled>>>;

/// A subgraph that was asked for.
struct Entry {
    /// `None` where the CPU is better, or the accelerator has failed.
    compiled: Option<Shared>,
    /// What the answer is called that a test has to find.
    trial: Option<String>,
    placement: Placement,
    runs: usize,
    cpu_runs: usize,
}

impl Entry {
    /// One that is for the CPU.
    fn none() -> Self {
        Self { compiled: None, trial: None, placement: Placement::default(), runs: 0, cpu_runs: 0 }
    }
}

/// What became of a subgraph.
pub(crate) enum Ran {
    /// The outputs are there.
    Device,
    /// The CPU has to compute it.
    Cpu,
    /// The outputs are there, the CPU has to compute it all the same, and it is to be told how long that takes.
    Trial(Trial),
}

/// A test that waits for the CPU's side.
pub(crate) struct Trial {
    offload: Arc<Offload>,
    shape: Shape,
    /// What the answer is called.
    key: String,
    device: Cost,
}

/// Does a session's `work` on the device, its inputs and outputs included. Where that is a test, does it again and measures
/// it: what a device does the first time it does not do again.
pub(crate) fn tested(mut work: impl FnMut() -> Ran) -> Ran {
    match work() {
        Ran::Trial(_) => match Cost::measure(work) {
            (Ran::Trial(trial), device) => Ran::Trial(Trial { device, ..trial }),
            (other, _) => other,
        },
        ran => ran,
    }
}

/// What ran where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The device that computed something; `None` where nothing ran on it.
    pub accelerator_used: Option<String>,
    /// Operations that its provider left to its own code for CPUs, in all subgraphs.
    pub fallback_ops: usize,
    /// What was asked for, and how often.
    pub subgraphs: Vec<SubgraphReport>,
    /// Prompts, or parts of them, that are not worth it.
    pub too_short: usize,
    /// Texts that are longer than what is compiled.
    pub too_long: usize,
    /// Why it was given up.
    pub failure: Option<String>,
}

/// What became of one subgraph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubgraphReport {
    /// What it is.
    pub name: String,
    /// Where its operations are.
    pub placement: Placement,
    /// How often it ran on the device.
    pub runs: usize,
    /// How often the CPU computed it instead.
    pub cpu_runs: usize,
}

impl Report {
    /// What ran where after `before`, an earlier report of the same.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        for graph in &mut self.subgraphs {
            if let Some(old) = before.subgraphs.iter().find(|old| old.name == graph.name) {
                graph.runs -= old.runs.min(graph.runs);
                graph.cpu_runs -= old.cpu_runs.min(graph.cpu_runs);
            }
        }
        self.subgraphs.retain(|graph| graph.runs + graph.cpu_runs > 0);
        self.accelerator_used = self.accelerator_used.filter(|_| self.subgraphs.iter().any(|graph| graph.runs > 0));
        self.fallback_ops = self.subgraphs.iter().map(|graph| graph.placement.fallback_ops).sum();
        self.too_short -= before.too_short.min(self.too_short);
        self.too_long -= before.too_long.min(self.too_long);
        self
    }
}

impl Offload {
    /// Lets `accelerator` compute what it can of the model that `model` names (see [`Job::model`]; it is asked once, before
    /// anything is compiled). With `choices`, only what a test finds to be faster or cheaper there.
    pub fn new(
        accelerator: Arc<dyn Accelerator>,
        model: impl FnOnce() -> String + Send + 'static,
        choices: Option<Choices>,
    ) -> Self {
        let model: Box<dyn FnOnce() -> String + Send> = Box::new(model);
        Self { accelerator, model: LazyLock::new(model), choices, patience: PATIENCE, state: Mutex::default() }
    }

    /// The same, with another patience than a minute's.
    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What ran where so far.
    pub fn report(&self) -> Report {
        let state = self.state();
        let subgraphs: Vec<_> = state
            .subgraphs
            .iter()
            .map(|(shape, entry)| SubgraphReport {
                name: shape.to_string(),
                placement: entry.placement.clone(),
                runs: entry.runs,
                cpu_runs: entry.cpu_runs,
            })
            .collect();
        Report {
            accelerator_used: subgraphs
                .iter()
                .any(|graph| graph.runs > 0)
                .then(|| self.accelerator.device().to_owned()),
            fallback_ops: subgraphs.iter().map(|graph| graph.placement.fallback_ops).sum(),
            subgraphs,
            too_short: state.too_short,
            too_long: state.too_long,
            failure: state.failure.clone(),
        }
    }

    /// Whether it has failed, or has not yet.
    pub(crate) fn is_over(&self) -> bool {
        self.state().failure.is_some()
    }

    /// Counts what was not asked for.
    pub(crate) fn skip(&self, why: Skipped) {
        let mut state = self.state();
        match why {
            Skipped::TooShort => state.too_short += 1,
            Skipped::TooLong => state.too_long += 1,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves is whole: entries are put in when they are complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes `subgraph`, unless `cancel` says otherwise: the CPU's way then finds that out, too.
    pub(crate) fn run(
        self: &Arc<Self>,
        subgraph: &Subgraph,
        inputs: &[&[f32]],
        outputs: &mut Vec<Vec<f32>>,
        cancel: &Cancel,
    ) -> Ran {
        let shape = subgraph.shape();
        let (compiled, trial) = match self.compiled(subgraph, inputs) {
            Ok(Some(found)) => found,
            Ok(None) => return self.on_cpu(shape),
            Err(error) => {
                self.give_up(shape, &error);
                return Ran::Cpu;
            }
        };
        outputs.resize_with(subgraph.outputs().len(), Vec::new);
        let result = {
            let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
            compiled.run(inputs, outputs, &Stop::new(cancel, self.patience))
        };
        match (result.and_then(|()| check(subgraph, outputs)), trial) {
            (Err(_), _) if cancel.is_cancelled() => Ran::Cpu,
            (Err(error), None) => {
                self.give_up(shape, &error);
                Ran::Cpu
            }
            (Err(error), Some(key)) => {
                self.reject(shape, key, &error);
                self.on_cpu(shape)
            }
            (Ok(()), None) => {
                if let Some(entry) = self.state().subgraphs.get_mut(&shape) {
                    entry.runs += 1;
                }
                Ran::Device
            }
            (Ok(()), Some(key)) => Ran::Trial(Trial { offload: self.clone(), shape, key, device: Cost::default() }),
        }
    }

    /// The compiled subgraph, and where it is on trial what the answer is called; or nothing where the CPU is to compute it.
    fn compiled(&self, subgraph: &Subgraph, sample: &[&[f32]]) -> Result<Option<(Shared, Option<String>)>> {
        let shape = subgraph.shape();
        // Held while compiling: whoever needs the same subgraph waits for it.
        let mut state = self.state();
        if state.failure.is_some() {
            return Ok(None);
        }
        let found = |entry: &Entry| entry.compiled.clone().map(|compiled| (compiled, entry.trial.clone()));
        if let Some(entry) = state.subgraphs.get(&shape) {
            return Ok(found(entry));
        }
        let job = Job { model: &self.model, subgraph, sample };
        // The CPU's speed is a part of the answer.
        let key = || format!("{} | {}", job.key(&self.accelerator.setup()), subgraph.isa());
        let asked = self.choices.as_ref().map(|choices| (choices, key()));
        let answer = asked.as_ref().map(|(choices, key)| choices.get(key));
        let mut entry = Entry::none();
        if answer != Some(Some(false)) {
            match (subgraph.check().and_then(|()| self.accelerator.compile(&job)), &asked) {
                (Ok(compiled), _) => {
                    entry.placement = compiled.placement();
                    entry.compiled = Some(Arc::new(Mutex::new(compiled)));
                    entry.trial = asked.filter(|_| answer == Some(None)).map(|(_, key)| key);
                }
                (Err(error), Some((choices, key))) => {
                    tracing::debug!("the CPU computes the {shape}, from now on: {error}");
                    choices.refuse(key.clone());
                }
                (Err(error), None) => return Err(error),
            }
        }
        let compiled = found(&entry);
        state.subgraphs.insert(shape, entry);
        Ok(compiled)
    }

    fn on_cpu(&self, shape: Shape) -> Ran {
        if let Some(entry) = self.state().subgraphs.get_mut(&shape) {
            entry.cpu_runs += 1;
        }
        Ran::Cpu
    }

    /// Leaves the subgraph of a test to the CPU, for good: nobody has counted on the device.
    fn reject(&self, shape: Shape, key: String, error: &Error) {
        tracing::debug!("the CPU computes the {shape}, from now on: {error}");
        if let Some(choices) = &self.choices {
            choices.refuse(key);
        }
        self.settle(shape, false);
    }

    /// Ends a test.
    fn settle(&self, shape: Shape, use_device: bool) {
        if let Some(entry) = self.state().subgraphs.get_mut(&shape) {
            entry.trial = None;
            entry.compiled = entry.compiled.take().filter(|_| use_device);
        }
    }

    /// Leaves everything to the CPU from now on, and says so, once.
    fn give_up(&self, shape: Shape, error: &Error) {
        let mut state = self.state();
        state.subgraphs.entry(shape).or_insert_with(Entry::none).cpu_runs += 1;
        state.subgraphs.values_mut().for_each(|entry| entry.compiled = None);
        if state.failure.is_none() {
            let device = self.accelerator.device();
            tracing::warn!("{device} cannot compute the {shape}: {error}; the CPU does it, and all that follows");
            state.failure = Some(format!("{shape}: {error}"));
        }
    }
}

/// Refuses outputs that are not what `subgraph` has.
fn check(subgraph: &Subgraph, outputs: &[Vec<f32>]) -> Result<()> {
    for (slot, output) in subgraph.outputs().iter().zip(outputs) {
        if output.len() != slot.numbers() {
            let (name, found, expected) = (&slot.name, output.len(), slot.numbers());
            return Err(failed(format!("{found} numbers of `{name}`, which has {expected}")));
        }
        if !output.iter().all(|number| number.is_finite()) {
            return Err(failed(format!("`{}` is not finite", slot.name)));
        }
    }
    Ok(())
}

impl Trial {
    /// Lets the CPU do the same `work`, twice, because the first time it may have to read the weights from disk, too; decides
    /// by what the second time takes, of which `part` of `all` tokens are those that the device had.
    ///
    /// # Errors
    /// Those of the work. Nothing is decided then.
    pub(crate) fn against_cpu(self, part: usize, all: usize, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        let Self { offload, shape, key, device } = self;
        offload.on_cpu(shape);
        work()?;
        let (done, cpu) = Cost::measure(work);
        done?;
        let choices = offload.choices.as_ref().expect("only they ask for a test");
        offload.settle(shape, choices.judge(key, device, cpu.share(part, all)));
        Ok(())
    }
}

fn failed(problem: String) -> Error {
    Error::Accelerator(problem)
}
