//! A model's accelerator in use: subgraphs compiled when they are first needed, tested where that was asked for, counted,
//! and given up at the first failure.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::{Accelerator, Choices, Compiled, Cost, Job, Placement, Shape, Subgraph};
use crate::{Error, Result};

/// A run that takes longer than this was the last one.
const PATIENCE: Duration = Duration::from_secs(60);

/// An accelerator for one model, shared by its sessions.
///
/// Whatever fails (compiling, running, results of a wrong shape), the CPU does the work again and goes on alone; one
/// warning is logged, all that was compiled is dropped, and the accelerator is not asked again.
pub struct Offload {
    accelerator: Arc<dyn Accelerator>,
    model: String,
    /// Where answers are kept whether a subgraph pays; without it, all are taken to.
    choices: Option<Choices>,
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
    failure: Option<String>,
}

/// A compiled subgraph that sessions share, and run one after the other.
type Shared = Arc<Mutex<Box<dyn Compiled>>>;

/// A subgraph that was asked for.
struct Entry {
    /// `None` where the CPU is better, or the accelerator has failed.
    compiled: Option<Shared>,
    /// Whether it is to be tested first.
    on_trial: bool,
    placement: Placement,
    runs: usize,
    cpu_runs: usize,
}

impl Entry {
    /// One that is for the CPU.
    fn none() -> Self {
        Self { compiled: None, on_trial: false, placement: Placement::default(), runs: 0, cpu_runs: 0 }
    }
}

/// What became of a subgraph.
pub(crate) enum Ran {
    /// The outputs are there.
    Device,
    /// The CPU has to compute it.
    Cpu,
    /// The same, and the accelerator wants to know how long that takes.
    Trial(Trial),
}

/// A test that waits for the CPU's side.
pub(crate) struct Trial {
    offload: Arc<Offload>,
    shape: Shape,
    device: Cost,
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

impl Offload {
    /// Lets `accelerator` compute what it can of the model called `model` (see [`Job::model`]). With `choices`, only what a
    /// test finds to be faster or cheaper there.
    pub fn new(accelerator: Arc<dyn Accelerator>, model: String, choices: Option<Choices>) -> Self {
        Self { accelerator, model, choices, state: Mutex::default() }
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
            failure: state.failure.clone(),
        }
    }

    /// Whether it has failed, or has not yet.
    pub(crate) fn is_over(&self) -> bool {
        self.state().failure.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves is whole: entries are put in when they are complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Computes `subgraph`.
    pub(crate) fn run(self: &Arc<Self>, subgraph: &Subgraph, inputs: &[&[f32]], outputs: &mut Vec<Vec<f32>>) -> Ran {
        let shape = subgraph.shape();
        let (compiled, on_trial) = match self.compiled(subgraph, inputs) {
            Ok(Some(found)) => found,
            Ok(None) => return self.on_cpu(shape),
            Err(error) => {
                self.give_up(shape, &error);
                return Ran::Cpu;
            }
        };
        outputs.resize_with(subgraph.outputs().len(), Vec::new);
        let mut run = || {
            let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
            let cost = compiled.run(inputs, outputs)?;
            for (slot, output) in subgraph.outputs().iter().zip(&*outputs) {
                if output.len() != slot.numbers() {
                    let (name, found, expected) = (&slot.name, output.len(), slot.numbers());
                    return Err(failed(format!("{found} numbers of `{name}`, which has {expected}")));
                }
                if !output.iter().all(|number| number.is_finite()) {
                    return Err(failed(format!("`{}` is not finite", slot.name)));
                }
            }
            if cost.wall > PATIENCE {
                return Err(failed(format!("it took {:.0} s", cost.wall.as_secs_f64())));
            }
            Ok(cost)
        };
        // What a device does the first time it does not do again.
        let cost = if on_trial { run().and_then(|_| run()) } else { run() };
        match (cost, on_trial) {
            (Err(error), _) => {
                self.give_up(shape, &error);
                Ran::Cpu
            }
            (Ok(_), false) => {
                if let Some(entry) = self.state().subgraphs.get_mut(&shape) {
                    entry.runs += 1;
                }
                Ran::Device
            }
            (Ok(device), true) => {
                self.on_cpu(shape);
                Ran::Trial(Trial { offload: self.clone(), shape, device })
            }
        }
    }

    /// What is remembered of a subgraph's test is called.
    fn key(&self, shape: Shape) -> String {
        format!("{} | {} | {shape}", self.accelerator.device(), self.model)
    }

    /// The compiled subgraph and whether it is on trial, or nothing where the CPU is to compute it.
    fn compiled(&self, subgraph: &Subgraph, sample: &[&[f32]]) -> Result<Option<(Shared, bool)>> {
        let shape = subgraph.shape();
        // Held while compiling: whoever needs the same subgraph waits for it.
        let mut state = self.state();
        if state.failure.is_some() {
            return Ok(None);
        }
        let found = |entry: &Entry| entry.compiled.clone().map(|compiled| (compiled, entry.on_trial));
        if let Some(entry) = state.subgraphs.get(&shape) {
            return Ok(found(entry));
        }
        let answer = self.choices.as_ref().map(|choices| choices.get(&self.key(shape)));
        let mut entry = Entry { on_trial: answer == Some(None), ..Entry::none() };
        if answer != Some(Some(false)) {
            subgraph.check()?;
            let compiled = self.accelerator.compile(&Job { model: &self.model, subgraph, sample })?;
            entry.placement = compiled.placement();
            entry.compiled = Some(Arc::new(Mutex::new(compiled)));
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

impl Trial {
    /// Decides, now that it is known what the CPU takes.
    pub(crate) fn decide(self, cpu: Cost) {
        let Self { offload, shape, device } = self;
        let choices = offload.choices.as_ref().expect("only they ask for a test");
        let use_device = choices.judge(&offload.key(shape), device, cpu);
        if let Some(entry) = offload.state().subgraphs.get_mut(&shape) {
            entry.on_trial = false;
            entry.compiled = entry.compiled.take().filter(|_| use_device);
        }
    }
}

fn failed(problem: String) -> Error {
    Error::Accelerator(problem)
}
