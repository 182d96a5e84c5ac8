//! Models x threads x types x tests -> rows.
//!
//! A run has one [`Timeline`]; only when it ends are its phases turned into rows, because the meter's recording ends
//! then. Ctrl-C ends it early: what is complete is reported all the same.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use babil_models::OpenError;
use babil_models::bench::bandwidth::read_bandwidth;
use babil_models::bench::measure::{Idle, Measured, Phase, Series, Timeline};
use babil_models::bench::report::Row;
use babil_models::bench::subject::{Facts, Subject};
use babil_models::bench::sustain::sustain;
use babil_models::bench::{Machine, Setup, Task, Test, Workload, now, root};
use babil_models::language::available_memory;
use babil_runtime::energy::{Choice, Found, Recording, Thermal, find};
use babil_runtime::kernels::Kernels;
use babil_runtime::threads::ThreadPool;
use babil_runtime::topology::Topology;
use babil_runtime::{Cancel, Error};
use indicatif::ProgressBar;

use super::files::Files;
use super::lists::{Pair, numbers};
use super::open::{How, Opened, open};
use super::{BenchArgs, peer, sweep, table};
use crate::args::Context;
use crate::device;
use crate::exit::UsageError;
use crate::interrupt::{interrupted, new_cancel};
use crate::language::KvArg;

/// The name of this program in reports.
const ENGINE: &str = concat!("babil ", env!("CARGO_PKG_VERSION"));
/// What --bandwidth reads, in MiB, and how often.
const READ_MIB: usize = 512;
const READ_PASSES: usize = 8;
/// Idle windows under a meter, in seconds; longer where the meter needs longer phases.
const IDLE: f64 = 30.0;

pub(super) fn run(args: &BenchArgs, context: &Context) -> Result<()> {
    let mut files = Files::open(&args.forms, args.energy.samples.as_deref())?;
    let subjects = args.models.iter().map(|name| found(name)).collect::<Result<Vec<_>>>()?;
    check(args, &subjects)?;
    if !args.tests.sweep.is_empty() {
        return sweep::run(args, &subjects, files, context);
    }
    let mut run = Run::start(args, context)?;
    let ended = subjects.iter().try_for_each(|subject| run.subject(subject));
    let report = run.finish(ended)?;
    table::print(&report.rows, &args.forms, context)?;
    files.write(&report, context)?;
    report.error.map_or(Ok(()), Err)
}

/// The model called `name`; errors keep the types that [`crate::exit`] knows.
fn found(name: &str) -> Result<Subject> {
    Subject::find(name).map_err(|error| match error {
        OpenError::Catalogue(error) => error.into(),
        OpenError::Engine(error) => error.into(),
    })
}

/// Refuses options that mean nothing for the models that are measured.
fn check(args: &BenchArgs, subjects: &[Subject]) -> Result<()> {
    let tests = &args.tests;
    let given = [
        (Task::Language, "-p", !tests.n_prompt.is_empty()),
        (Task::Language, "-n", !tests.n_gen.is_empty()),
        (Task::Language, "--pg", !tests.pg.is_empty()),
        (Task::Language, "-d", !tests.n_depth.is_empty()),
        (Task::Language, "--batch-size", tests.batch_size.is_some()),
        (Task::Language, "--kv", !tests.kv.is_empty()),
        (Task::Language, "--quant", !tests.quant.is_empty()),
        (Task::Language, "--peer", tests.peer.is_some()),
        (Task::Translation, "--text", tests.text.is_some()),
        (Task::Translation, "--from", tests.from.is_some()),
        (Task::Translation, "--to", tests.to.is_some()),
        (Task::Speech, "--sound", tests.sound.is_some()),
    ];
    for (task, option, _) in given.into_iter().filter(|(_, _, given)| *given) {
        if !subjects.iter().any(|subject| subject.task() == task) {
            return Err(UsageError::new(format!("{option} is for {task} models, and none is measured")).into());
        }
    }
    Ok(())
}

/// All that a run came to.
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    /// What the meter said, if there was one, and when it was said.
    #[cfg_attr(not(feature = "plot"), expect(dead_code, reason = "only plots show it"))]
    pub(super) recording: Option<Recording>,
    /// What was going on from one time of the recording to another.
    #[cfg_attr(not(feature = "plot"), expect(dead_code, reason = "only plots show it"))]
    pub(super) windows: Vec<Window>,
    /// Why there is not more.
    pub(super) error: Option<anyhow::Error>,
}

/// A part of a recording.
#[derive(PartialEq)]
pub(super) struct Window {
    pub(super) label: String,
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A test that is over.
struct Finished {
    facts: Rc<Facts>,
    setup: Setup,
    measured: Measured,
    /// At the end of each phase of a long run, in °C.
    temperatures: Vec<Option<f64>>,
    /// What llama-bench says of itself and the test.
    peer: Option<peer::Said>,
}

/// A run that is under way.
pub(super) struct Run<'a> {
    args: &'a BenchArgs,
    context: &'a Context,
    root: PathBuf,
    timeline: Timeline,
    machine: Machine,
    no_energy: Option<String>,
    /// Of the threads that compute now, in 10^9 bytes per second.
    read_gb_per_s: Option<f64>,
    cancel: Cancel,
    finished: Vec<Finished>,
    /// The idle window after the test before, with the same model loaded.
    last_idle: Option<Idle>,
    bar: ProgressBar,
}

impl<'a> Run<'a> {
    /// Begins: finds the meter and says which it is.
    pub(super) fn start(args: &'a BenchArgs, context: &'a Context) -> Result<Self> {
        let root = root();
        let found = find(&root, &args.energy.energy);
        let text = found.to_string();
        let (meter, no_energy) = match found {
            Found::Meter { meter, .. } => (Some(meter), None),
            Found::Off => (None, Some("--energy off".to_owned())),
            Found::None { .. } if args.energy.energy == Choice::Auto => {
                context.output.note(&text);
                context.output.note("speed is measured; --energy model:WATTS or csv:FILE brings energy from elsewhere");
                (None, Some(text))
            }
            // A meter that was asked for is wanted.
            Found::None { .. } => return Err(Error::NotMeasured(text).into()),
        };
        let timeline = Timeline::start(meter, args.energy.hz)?;
        if let Some(info) = timeline.meter() {
            let what =
                if info.class == babil_runtime::energy::Class::E { "modelled, not measured" } else { "measured" };
            context.output.note(format_args!("energy: {} (class {}), {what}", info.name, info.class));
        }
        Ok(Self {
            args,
            context,
            machine: Machine::read(&root),
            root,
            timeline,
            no_energy,
            read_gb_per_s: None,
            cancel: new_cancel(),
            finished: Vec::new(),
            last_idle: None,
            bar: context.output.steps_bar(),
        })
    }

    pub(super) fn has_meter(&self) -> bool {
        self.timeline.meter().is_some()
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The machine may have another frequency now.
    pub(super) fn look_at_machine(&mut self) {
        self.machine = Machine::read(&self.root);
    }

    /// The tests of a language model.
    fn tests(&self) -> Vec<Test> {
        let args = &self.args.tests;
        let (prompts, generations) = (numbers(&args.n_prompt, &[512]), numbers(&args.n_gen, &[128]));
        let mut pairs = args.pg.clone();
        // Under a meter prefill and decode are told apart, and the whole is measured, too.
        if pairs.is_empty()
            && self.has_meter()
            && let (&[prompt, ..], &[generate, ..]) = (&prompts[..], &generations[..])
            && prompt > 0
            && generate > 0
        {
            pairs.push(Pair { prompt, generate });
        }
        let depths = numbers(&args.n_depth, &[0]);
        let of_depth = |depth: usize| {
            let prefill = prompts.iter().map(move |&prompt| Test { prompt, generate: 0, depth });
            let decode = generations.iter().map(move |&generate| Test { prompt: 0, generate, depth });
            let both = pairs.iter().map(move |&Pair { prompt, generate }| Test { prompt, generate, depth });
            prefill.chain(decode).chain(both).filter(|test| test.prompt + test.generate > 0).collect::<Vec<_>>()
        };
        depths.into_iter().flat_map(of_depth).collect()
    }

    /// The numbers of threads that were asked for, or `otherwise`, as far as the `machine` has them; each once.
    pub(super) fn threads(&self, machine: &Topology, otherwise: &[usize]) -> Vec<usize> {
        let asked = numbers(&self.args.tests.threads, otherwise);
        let mut all: Vec<usize> = Vec::new();
        for threads in asked {
            let possible = machine.threads(Some(threads), None).decode;
            if possible != threads {
                let note = format!("{threads} threads: {possible} can run at the same time here, so it is {possible}");
                self.context.output.note(note);
            }
            if !all.contains(&possible) {
                all.push(possible);
            }
        }
        all
    }

    /// All tests of a model.
    fn subject(&mut self, subject: &Subject) -> Result<()> {
        let facts = Rc::new(subject.facts()?);
        let tests = &self.args.tests;
        let kinds = if tests.kv.is_empty() { vec![KvArg::F16] } else { tests.kv.clone() };
        let quants: Vec<_> =
            if tests.quant.is_empty() { vec![None] } else { tests.quant.iter().copied().map(Some).collect() };
        let machine = Topology::detect();
        for threads in self.threads(&machine, &[machine.threads(None, None).decode]) {
            for &kv in &kinds {
                for &quant in &quants {
                    self.model(subject, &facts, How { threads, kv, quant })?;
                }
            }
        }
        Ok(())
    }

    /// All tests of a model that is run in one way.
    fn model(&mut self, subject: &Subject, facts: &Rc<Facts>, how: How) -> Result<()> {
        let tests = self.tests();
        if subject.task() == Task::Language && tests.is_empty() {
            return Err(UsageError::new("nothing to measure: -p and -n are 0").into());
        }
        self.of_tests(subject, facts, how, &tests)
    }

    /// Some tests of a model that is run in one way.
    pub(super) fn of_tests(&mut self, subject: &Subject, facts: &Rc<Facts>, how: How, tests: &[Test]) -> Result<()> {
        // A model that is closed is not loaded while it idles.
        self.last_idle = None;
        if self.args.tests.bandwidth {
            self.bar.set_message("memory");
            let pool = ThreadPool::for_machine(&Topology::detect(), Some(how.threads), None);
            // Several times as much as the caches hold, but not more than a small board can spare.
            let room = available_memory().map_or(READ_MIB, |bytes| (bytes >> 22) as usize);
            self.read_gb_per_s = Some(read_bandwidth(&pool, READ_MIB.min(room), READ_PASSES) / 1e9);
        }
        let opened = open(subject, how, tests, &self.args.tests, &self.cancel)?;
        let facts = match how.quant {
            None => facts.clone(),
            Some(quant) => {
                let model_type = format!("{} as {}", facts.model_type, quant.name());
                Rc::new(Facts { model_type, bytes_per_token: None, ..Facts::clone(facts) })
            }
        };
        match opened {
            Opened::Language(mut work) => tests.iter().try_for_each(|&test| {
                work.set_test(test)?;
                let setup = self.setup(subject.task(), test.to_string(), test.depth, how);
                self.case(&facts, setup, &mut *work, Some(test))
            }),
            Opened::Other(mut work, name) => {
                let setup = self.setup(subject.task(), name, 0, how);
                self.case(&facts, setup, &mut *work, None)
            }
        }
    }

    fn setup(&self, task: Task, test: String, depth: usize, how: How) -> Setup {
        let batch = match task {
            Task::Language => self.args.tests.batch_size.unwrap_or(babil_models::language::CHUNK as u32),
            _ => 0,
        };
        let kv = match task {
            Task::Language => how.kv.name(),
            // The model's own choice.
            _ => "auto".to_owned(),
        };
        Setup {
            build: (env!("BABIL_BUILD_COMMIT").to_owned(), env!("BABIL_BUILD_NUMBER").parse().unwrap_or(0)),
            engine: ENGINE.to_owned(),
            backend: "cpu".to_owned(),
            isa: Kernels::from_env().ok().map(|kernels| kernels.isa.name().to_owned()),
            peer: false,
            task,
            test,
            depth: depth as u64,
            batch: batch.into(),
            threads: how.threads as u64,
            kv,
            test_time: now(),
            machine: self.machine.clone(),
            read_gb_per_s: self.read_gb_per_s,
            no_energy: self.no_energy.clone(),
            samples_file: self.args.energy.samples.as_ref().map(|path| path.display().to_string()),
            accelerator: None,
        }
    }

    /// Measures one test. Repetitions that are complete are kept whatever ends it.
    fn case(&mut self, facts: &Rc<Facts>, setup: Setup, work: &mut dyn Workload, test: Option<Test>) -> Result<()> {
        let mut series = Series::new(Thermal::default());
        let mut peer_series = Series::new(Thermal::default());
        let (mut temperatures, mut said) = (Vec::new(), None);
        let mut idle = [None, None];
        let mut before = Thermal::default();
        let last_idle = self.last_idle.take();
        let earlier = work.accelerator().unwrap_or_default();
        let mut repetitions = || -> Result<()> {
            self.rest(Duration::from_secs_f64(self.args.tests.delay))?;
            self.bar.set_message(format!("{}: warm-up", setup.test));
            if !self.args.tests.no_warmup {
                work.prepare()?;
                work.run()?;
            }
            idle[0] = match last_idle {
                Some(idle) => Some(idle),
                None => self.idle()?,
            };
            before = Thermal::read(&self.root);
            let least = self.args.energy.phase.map_or_else(|| self.timeline.least_phase(), Duration::from_secs_f64);
            match self.args.tests.sustain {
                Some(minutes) => self.long(minutes * 60.0, &mut series, &mut temperatures, work, least)?,
                None => {
                    for number in 0..self.args.tests.repetitions {
                        self.bar.set_length(self.args.tests.repetitions.into());
                        self.bar.set_position(number.into());
                        self.bar.set_message(setup.test.clone());
                        series.repeat(&self.timeline, work, least)?;
                        series.look(&Thermal::read(&self.root));
                        if let (Some(peer), Some(test)) = (&self.args.tests.peer, test) {
                            self.bar.set_message(format!("{}: {}", setup.test, peer.name()));
                            let (phase, what) = peer.phase(&self.timeline, facts, &setup, test, least)?;
                            peer_series.push(phase);
                            peer_series.look(&Thermal::read(&self.root));
                            said = Some(what);
                        }
                    }
                }
            }
            idle[1] = self.idle()?;
            Ok(())
        };
        let ended = repetitions();
        self.last_idle = idle[1].filter(|_| self.args.tests.delay == 0.0);
        let after = Thermal::read(&self.root);
        let early = ended.is_err();
        let accelerator = work.accelerator().map(|report| report.since(&earlier));
        device::note(accelerator.as_ref(), self.context);
        let setup = Setup { accelerator, ..setup };
        let measured = |series: Series| {
            let mut measured = series.finish(idle, after.clone(), early);
            measured.thermal[0] = before.clone();
            measured
        };
        let mut finish = |setup: Setup, series: Series, temperatures: Vec<Option<f64>>, peer: Option<peer::Said>| {
            if !series.is_empty() {
                let (facts, measured) = (facts.clone(), measured(series));
                self.finished.push(Finished { facts, setup, measured, temperatures, peer });
            }
        };
        if let Some(said) = said {
            finish(setup.clone(), series, temperatures, None);
            finish(
                Setup { peer: true, engine: said.engine(), isa: None, accelerator: None, ..setup },
                peer_series,
                Vec::new(),
                Some(said),
            );
        } else {
            finish(setup, series, temperatures, None);
        }
        ended
    }

    /// Repetitions for so many seconds, one after the other.
    fn long(
        &self,
        seconds: f64,
        series: &mut Series,
        temperatures: &mut Vec<Option<f64>>,
        work: &mut dyn Workload,
        least: Duration,
    ) -> Result<()> {
        let start = self.timeline.mark();
        // Enough parts for two ends, however short the run is.
        let part = least.max(Duration::from_secs(1)).min(Duration::from_secs_f64(seconds / 4.0));
        self.bar.set_length(seconds as u64);
        loop {
            series.repeat(&self.timeline, work, part)?;
            let state = Thermal::read(&self.root);
            series.look(&state);
            temperatures.push(state.cpu_c);
            let elapsed = self.timeline.mark() - start;
            self.bar.set_position(elapsed as u64);
            if elapsed >= seconds && series.len() > 1 {
                return Ok(());
            }
        }
    }

    /// The idle window, if one is wanted.
    fn idle(&self) -> Result<Option<Idle>> {
        let default = || match self.has_meter() {
            true => IDLE.max(self.timeline.least_phase().as_secs_f64()),
            false => 0.0,
        };
        let seconds = self.args.energy.idle.unwrap_or_else(default);
        if seconds == 0.0 {
            return Ok(None);
        }
        self.bar.set_message(format!("idle for {seconds} s"));
        Ok(Some(self.timeline.idle(Duration::from_secs_f64(seconds), &interrupted)?))
    }

    /// Waits.
    fn rest(&self, duration: Duration) -> Result<()> {
        let step = Duration::from_millis(100);
        let mut left = duration;
        while !left.is_zero() {
            if interrupted() {
                return Err(Error::Cancelled.into());
            }
            thread::sleep(left.min(step));
            left = left.saturating_sub(step);
        }
        Ok(())
    }

    /// Makes rows of what was measured until it `ended`.
    pub(super) fn finish(self, ended: Result<()>) -> Result<Report> {
        let Self { args, context, timeline, finished, bar, .. } = self;
        bar.finish_and_clear();
        let (recording, mut error) = match (timeline.finish(), ended) {
            (Ok(recording), ended) => (recording, ended.err()),
            // The log of another meter that cannot be used: the speeds are worth having all the same.
            (Err(error), ended) => (None, Some(ended.err().unwrap_or(error.into()))),
        };
        let (mut rows, mut windows) = (Vec::new(), Vec::new());
        for test in &finished {
            let mut setup = test.setup.clone();
            if recording.is_none() && setup.no_energy.is_none() {
                setup.no_energy = error.as_ref().map(|error| format!("{error:#}"));
            }
            let Some(mut row) = Row::new(&test.facts, &setup, &test.measured, recording.as_ref()) else { continue };
            if args.tests.sustain.is_some() {
                row.sustain = sustain(&test.measured.phases, &test.temperatures, recording.as_ref());
            }
            if let Some(said) = &test.peer {
                row = said.row(row)?;
            }
            for window in shown(&test.measured, &row) {
                // The idle window between two tests is that of both.
                if !windows.contains(&window) {
                    windows.push(window);
                }
            }
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(error.take().unwrap_or_else(|| Error::NotMeasured("no test was run".to_owned()).into()));
        }
        if interrupted() {
            let tests = rows.iter().filter(|row| !row.flags.contains(&babil_models::bench::report::Flag::Interrupted));
            context
                .output
                .note(format_args!("interrupted: {} tests are complete, and shown with what is not", tests.count()));
        }
        if let (Some(recording), Some(path)) = (&recording, &args.energy.samples)
            && let Err(problem) = recording.write(path)
        {
            error.get_or_insert(problem.into());
        }
        Ok(Report { rows, recording, windows, error })
    }
}

/// The parts of a recording that a test is.
fn shown(measured: &Measured, row: &Row) -> Vec<Window> {
    let name = if row.peer { format!("{} ({})", row.test, row.engine) } else { row.test.clone() };
    let phase = |phase: &Phase| Window { label: name.clone(), from: phase.from, to: phase.to };
    let idle = |idle: &Idle| Window { label: "idle".to_owned(), from: idle.from, to: idle.to };
    // The peer's idle windows are babil's.
    let idles = measured.idle.iter().flatten().filter(|_| !row.peer).map(idle);
    idles.chain(measured.phases.iter().map(phase)).collect()
}
