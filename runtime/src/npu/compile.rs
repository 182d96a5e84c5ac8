//! A subgraph -> a session on a device: written as ONNX, compiled by the provider, kept, loaded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use ort::compiler::ModelCompiler;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::TensorRef;

use super::cache::Entry;
use super::graph::{self, Calibration, Ranges};
use super::library::{Device, DeviceKind, Devices, Library};
use super::{NpuOptions, raw};
use crate::accelerator::{Accelerator, Compiled, Job, Placement, Precision, Slot, Stop};
use crate::{Error, Result};

/// ONNX Runtime's own code for CPUs: it has nothing to compile.
const CPU_PROVIDER: &str = "CPUExecutionProvider";

/// A device of ONNX Runtime.
#[derive(Debug)]
pub struct Npu {
    device: Device,
    name: String,
    precision: Precision,
    options: NpuOptions,
    library: &'static Library,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

fn failed(doing: &str) -> impl Fn(ort::Error) -> Error + '_ {
    move |error| Error::Accelerator(format!("{doing}: {error}"))
}

/// The same of errors that have the builder in them.
fn refused<T>(error: ort::Error<T>) -> Error {
    Error::Accelerator(format!("an option is not known: {error}"))
}

impl Npu {
    /// Opens the device that `options` ask for.
    ///
    /// # Errors
    /// [`Error::Accelerator`] says what to install, or why the device cannot be used.
    pub fn open(options: NpuOptions) -> Result<Self> {
        let device = Devices::detect()?.choose(options.device.as_deref())?.clone();
        let default = if device.kind == DeviceKind::Cpu { Precision::F32 } else { Precision::F16 };
        let precision = options.precision.unwrap_or(default);
        let name = format!("{} in {}", device.name(), precision.name());
        Ok(Self { device, name, precision, options, library: Library::get()? })
    }

    /// Whether the provider makes something that can be kept.
    fn compiles(&self) -> bool {
        self.device.provider != CPU_PROVIDER
    }

    fn builder(&self) -> Result<SessionBuilder> {
        let environment = &self.library.environment;
        let same = |device: &ort::device::Device<'_>| {
            let (provider, hardware) = (device.ep().unwrap_or_default(), device.hardware_device());
            provider == self.device.provider
                && hardware.id() == self.device.id
                && raw::metadata(device) == self.device.metadata
        };
        let found = environment.devices().find(same);
        let device = found.ok_or_else(|| Error::Accelerator(format!("{} is gone", self.name)))?;
        let builder = Session::builder(environment).map_err(failed("a session cannot be made"))?;
        let builder = builder.with_intra_threads(self.options.threads).map_err(refused)?;
        let recorded = "session.record_ep_graph_assignment_info";
        let mut builder = builder.with_config_entry(recorded, "1").map_err(refused)?;
        if self.compiles() && !self.options.allow_fallback {
            builder = builder.with_disable_cpu_fallback().map_err(refused)?;
        }
        builder.with_devices([device], None).map_err(refused)
    }

    /// Loads the model in `folder`.
    fn load(&self, folder: &Path) -> Result<Session> {
        let mut builder = self.builder()?;
        builder.commit_from_file(folder.join("model.onnx")).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &ort::Error) -> Error {
        let text = error.to_string();
        if text.contains("fallback to CPU EP has been explicitly disabled") {
            let problem = "the device does not have all of the model's operations, and its provider would compute the \
                 others on the CPU: allow that with --npu-fallback";
            return Error::Accelerator(problem.to_owned());
        }
        Error::Accelerator(text)
    }

    /// Writes the subgraph of `entry` to `folder`.
    fn write(&self, job: &Job<'_>, entry: &Entry, folder: &Path) -> Result<()> {
        if self.precision != Precision::Int8 {
            return graph::write(job.subgraph, self.precision, &Calibration::None, folder).map(|_| ());
        }
        let ranges = self.measure(job, entry)?;
        graph::write(job.subgraph, self.precision, &Calibration::Ranges(&ranges), folder).map(|_| ())
    }

    /// The ranges of what goes into the linear maps, as the sample has them. Computed by ONNX Runtime's code for CPUs.
    fn measure(&self, job: &Job<'_>, entry: &Entry) -> Result<Ranges> {
        let folder = place(entry)?;
        let count = graph::write(job.subgraph, Precision::F32, &Calibration::Measure, folder.path())?;
        let builder = Session::builder(&self.library.environment).map_err(failed("a session cannot be made"))?;
        let mut builder = builder.with_intra_threads(self.options.threads).map_err(refused)?;
        let session = builder.commit_from_file(folder.path().join("model.onnx"));
        let mut session = session.map_err(failed("ranges cannot be measured"))?;
        let inputs = job.subgraph.inputs();
        let outputs = (0..count).flat_map(|i| [format!("least.{i}"), format!("most.{i}")]);
        let outputs: Vec<_> = outputs.map(|name| Slot { name, shape: vec![1] }).collect();
        let mut found = vec![Vec::new(); outputs.len()];
        let options = RunOptions::new().map_err(failed("ranges cannot be measured"))?;
        run(&mut session, &options, &inputs, job.sample, &outputs, &mut found)?;
        let ends: Vec<f32> = found.into_iter().map(|end| end.first().copied().unwrap_or(0.0)).collect();
        Ok(ends.as_chunks::<2>().0.to_vec())
    }

    /// The subgraph as it was compiled before, or else compiles it. Whether it was loaded, the session, and what has to stay on
    /// disk while it is used.
    fn session(&self, job: &Job<'_>) -> Result<(bool, Session, Option<tempfile::TempDir>)> {
        let entry = Entry::new(&self.options.folder, job.key(&self.setup()));
        let compiles = self.compiles();
        if compiles && let Some(folder) = entry.open() {
            match self.load(folder) {
                Ok(session) => return Ok((true, session, None)),
                Err(error) => {
                    tracing::debug!("compiling again: {error}");
                    entry.remove();
                }
            }
        }
        let source = place(&entry)?;
        self.write(job, &entry, source.path())?;
        if !compiles {
            let session = self.load(source.path())?;
            return Ok((false, session, Some(source)));
        }
        let compiled = place(&entry)?;
        let compiler = ModelCompiler::new(self.builder()?).map_err(failed("nothing can be compiled"))?;
        compiler
            .with_model_from_file(source.path().join("model.onnx"))
            .and_then(|compiler| compiler.compile_to_file(compiled.path().join("model.onnx")))
            .map_err(|error| self.explain(&error))?;
        drop(source);
        match entry.keep(&compiled) {
            Ok(folder) => Ok((false, self.load(folder)?, None)),
            Err(error) => {
                let folder = self.options.folder.display();
                tracing::debug!("the next start compiles again: {folder} cannot be written: {error}");
                Ok((false, self.load(compiled.path())?, Some(compiled)))
            }
        }
    }
}

/// A folder to write to: beside `entry`, where there is room for the weights or their file can have a second name; if that
/// cannot be written, one for temporary files.
fn place(entry: &Entry) -> Result<tempfile::TempDir> {
    let elsewhere = |_| tempfile::tempdir().map_err(|error| Error::io("write", std::env::temp_dir(), error));
    entry.begin().or_else(elsewhere)
}

impl Accelerator for Npu {
    fn device(&self) -> &str {
        &self.name
    }

    fn setup(&self) -> String {
        let (version, build, metadata) = (env!("CARGO_PKG_VERSION"), ort::info(), &self.device.metadata);
        let NpuOptions { threads, allow_fallback, .. } = self.options;
        format!(
            "babil {version} | {} | threads {threads} | fallback {allow_fallback} | {metadata:?} | {build}",
            self.name
        )
    }

    fn compile(&self, job: &Job<'_>) -> Result<Box<dyn Compiled>> {
        let (loaded, session, folder) = self.session(job)?;
        let assigned = raw::assignment(&session).map_err(failed("it is not known what runs where"))?;
        let placement = self.placement(loaded, &assigned);
        placement.check(self.options.allow_fallback)?;
        let (inputs, outputs) = (job.subgraph.inputs(), job.subgraph.outputs());
        Ok(Box::new(OnDevice { session, inputs, outputs, placement, _folder: folder }))
    }
}

impl Npu {
    fn placement(&self, loaded: bool, assigned: &BTreeMap<String, usize>) -> Placement {
        let on = |own: bool| assigned.iter().filter(move |(name, _)| (**name == self.device.provider) == own);
        let count = |own| on(own).map(|(_, count)| count).sum();
        Placement { ops: count(true), fallback_ops: count(false), loaded }
    }
}

/// A session and what it is called with.
struct OnDevice {
    session: Session,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    placement: Placement,
    /// What the session may read from.
    _folder: Option<tempfile::TempDir>,
}

impl Compiled for OnDevice {
    fn placement(&self) -> Placement {
        self.placement.clone()
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [Vec<f32>], stop: &Stop) -> Result<()> {
        let Self { session, inputs: slots, outputs: wanted, .. } = self;
        let options = RunOptions::new().map_err(failed("it did not run"))?;
        let (running, ended) = mpsc::channel();
        thread::scope(|scope| {
            let options = &options;
            let watch = move || watch(options, stop, &ended);
            // Where there is no thread to be had, it runs as long as it takes.
            let watcher = thread::Builder::new().name("babil-npu".to_owned()).spawn_scoped(scope, watch).ok();
            let done = run(session, options, slots, inputs, wanted, outputs);
            drop(running);
            let stopped = watcher.and_then(|watcher| watcher.join().ok().flatten());
            stopped.map_or(done, Err)
        })
    }
}

/// Ends the run that has these `options` when `stop` says so, and says why; or waits until it has `ended`.
fn watch(options: &RunOptions, stop: &Stop, ended: &Receiver<Infallible>) -> Option<Error> {
    while ended.recv_timeout(Stop::INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if let Err(why) = stop.check() {
            if let Err(error) = options.terminate() {
                tracing::debug!("it goes on: {error}");
            }
            return Some(why);
        }
    }
    None
}

/// Runs a session: `values` for its `inputs`, and its `outputs` to `found`.
fn run(
    session: &mut Session,
    options: &RunOptions,
    inputs: &[Slot],
    values: &[&[f32]],
    outputs: &[Slot],
    found: &mut [Vec<f32>],
) -> Result<()> {
    let mut named: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
    for (slot, values) in inputs.iter().zip(values) {
        let tensor = TensorRef::from_array_view((&slot.shape[..], *values));
        let tensor = tensor.map_err(failed(&format!("the input `{}`", slot.name)))?;
        named.push((slot.name.as_str().into(), tensor.into()));
    }
    let results = session.run_with_options(named, options).map_err(failed("it did not run"))?;
    for (slot, found) in outputs.iter().zip(found) {
        let missing = || Error::Accelerator(format!("there is no output `{}`", slot.name));
        let value = results.get(&slot.name).ok_or_else(missing)?;
        let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(failed(&slot.name))?;
        if !shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).eq(slot.shape.iter().copied()) {
            return Err(Error::Accelerator(format!("`{}` has the shape {shape}, not {:?}", slot.name, slot.shape)));
        }
        found.clear();
        found.extend_from_slice(numbers);
    }
    Ok(())
}
