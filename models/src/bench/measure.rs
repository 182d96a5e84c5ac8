//! Work -> times, processor time and marks on the meter's recording.
//!
//! ```text
//! Workload --Timeline::phase--> Phase (from, to, work done) --+
//! quiet ----Timeline::idle----> Idle (from, to, ticks) -------+--> Measured --row.rs--> Row
//! meter ----Timeline::finish--> Recording --------------------+
//! ```
//!
//! A [`Timeline`] is one run of a benchmark: a single recording of the meter, or of no meter, on which phases are
//! marked. Only when it ends are the marks turned into joules, because the log of an external meter comes then.

use std::thread;
use std::time::{Duration, Instant};

use babil_runtime::cpu_time;
use babil_runtime::energy::{EnergyMeter, Recorder, Recording, SourceInfo, Thermal, Throttling};
use babil_runtime::{Error, Result};

use super::process::{Memory, cpu_ticks, memory};
use super::work::{Work, Workload};

/// The time of a run, and what samples the meter during it.
#[derive(Debug)]
pub struct Timeline {
    recorder: Option<Recorder>,
    start: Instant,
}

/// A repetition: work, done over and over until it took long enough.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Where it began and ended on the timeline, in seconds.
    pub from: f64,
    /// As `from`.
    pub to: f64,
    /// Seconds of the work: all of that time, unless who does it has something else to do in between.
    pub seconds: f64,
    /// How often the work was done.
    pub iterations: u64,
    /// What one iteration came to, the mean of all where they differ in time.
    pub work: Work,
    /// Processor seconds of this process; `None` where the system does not tell.
    pub cpu_s: Option<f64>,
    /// Processor seconds of all other processes.
    pub others_s: Option<f64>,
}

impl Phase {
    /// Tokens read and generated in all iterations.
    pub fn tokens(&self) -> u64 {
        self.work.tokens() * self.iterations
    }
}

/// A time in which the program, its model loaded, did nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle {
    /// Where it began and ended on the timeline, in seconds.
    pub from: f64,
    /// As `from`.
    pub to: f64,
    /// Clock ticks of processor time that this process used meanwhile; `None` where the system does not tell.
    pub ticks: Option<u64>,
}

/// All that was seen of one test.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The repetitions, warm-up excluded.
    pub phases: Vec<Phase>,
    /// The idle windows before and after, where there were any.
    pub idle: [Option<Idle>; 2],
    /// The state of the machine before and after.
    pub thermal: [Thermal; 2],
    /// Of this process, after the last repetition.
    pub memory: Option<Memory>,
    /// Whether repetitions are missing because the user ended the run.
    pub interrupted: bool,
}

impl Timeline {
    /// Begins, with a `meter` that is sampled `hz` times a second, or as often as it advises.
    ///
    /// # Errors
    /// A rate that the recorder does not take.
    pub fn start(meter: Option<EnergyMeter>, hz: Option<f64>) -> Result<Self> {
        let recorder = meter.map(|meter| Recorder::start(meter, hz)).transpose()?;
        Ok(Self { recorder, start: Instant::now() })
    }

    /// The meter, if there is one.
    pub fn meter(&self) -> Option<&SourceInfo> {
        self.recorder.as_ref().map(Recorder::info)
    }

    /// How long a phase must be at least for the meter to say something about it (see [`Recorder::least_window`]):
    /// nothing without a meter.
    pub fn least_phase(&self) -> Duration {
        self.recorder.as_ref().map_or(Duration::ZERO, |recorder| Duration::from_secs_f64(recorder.least_window()))
    }

    /// Seconds since the beginning.
    pub fn mark(&self) -> f64 {
        self.recorder.as_ref().map_or_else(|| self.start.elapsed().as_secs_f64(), Recorder::mark)
    }

    /// Does nothing for `duration`, or until `stop` says so.
    ///
    /// # Errors
    /// [`Error::Cancelled`] where it was stopped.
    pub fn idle(&self, duration: Duration, stop: &dyn Fn() -> bool) -> Result<Idle> {
        // Few wake-ups: they are what is measured.
        const NAP: Duration = Duration::from_secs(1);
        let (from, start, ticks) = (self.mark(), Instant::now(), cpu_ticks());
        while let Some(left) = duration.checked_sub(start.elapsed()) {
            if stop() {
                return Err(Error::Cancelled);
            }
            thread::sleep(left.min(NAP));
        }
        let ticks = cpu_ticks().zip(ticks).map(|(after, before)| after - before);
        Ok(Idle { from, to: self.mark(), ticks })
    }

    /// Does `work` until it took `least`, at least once.
    ///
    /// # Errors
    /// Those of the work.
    pub fn phase(&self, work: &mut dyn Workload, least: Duration) -> Result<Phase> {
        work.prepare()?;
        let (mut iterations, mut first_tokens) = (0, Vec::new());
        let of_machine = || cpu_time::of_machine("/".as_ref());
        let (cpu, machine) = (cpu_time::of_process(), of_machine());
        let (from, start) = (self.mark(), Instant::now());
        let done = loop {
            let done = work.run()?;
            iterations += 1;
            first_tokens.extend(done.first_token);
            if start.elapsed() >= least {
                break done;
            }
        };
        let to = self.mark();
        let cpu_s = cpu_time::of_process().zip(cpu).map(|(after, before)| after - before);
        let all_s = of_machine().zip(machine).map(|(after, before)| after - before);
        let count = first_tokens.len() as u32;
        let first_token = (count > 0).then(|| first_tokens.iter().sum::<Duration>() / count);
        Ok(Phase {
            from,
            to,
            seconds: to - from,
            iterations,
            work: Work { first_token, ..done },
            cpu_s,
            others_s: all_s.zip(cpu_s).map(|(all, own)| (all - own).max(0.0)),
        })
    }

    /// Ends it: what the meter has said, if there is one.
    ///
    /// # Errors
    /// The log of an external meter that cannot be read.
    pub fn finish(self) -> Result<Option<Recording>> {
        self.recorder.map(Recorder::finish).transpose()
    }
}

/// A test that is under way: repetitions, one at a time, so that those of others can come between.
#[derive(Debug)]
pub struct Series {
    phases: Vec<Phase>,
    before: Thermal,
    /// What was seen of the machine between repetitions.
    throttling: Option<Throttling>,
    memory: Option<Memory>,
}

impl Series {
    /// Begins one on a machine in the state `before`.
    pub fn new(before: Thermal) -> Self {
        Self { phases: Vec::new(), before, throttling: None, memory: None }
    }

    /// One more repetition.
    ///
    /// # Errors
    /// As [`Timeline::phase`].
    pub fn repeat(&mut self, timeline: &Timeline, work: &mut dyn Workload, least: Duration) -> Result<&Phase> {
        let phase = timeline.phase(work, least)?;
        self.memory = memory();
        self.phases.push(phase);
        Ok(self.phases.last().expect("it was just pushed"))
    }

    /// The machine is in this `state` after a repetition.
    pub fn look(&mut self, state: &Thermal) {
        self.throttling = [self.throttling, state.throttling].into_iter().flatten().reduce(Throttling::or);
    }

    /// Adds a repetition that somebody else has timed.
    pub fn push(&mut self, phase: Phase) {
        self.phases.push(phase);
    }

    /// Repetitions so far.
    pub fn len(&self) -> usize {
        self.phases.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.phases.is_empty()
    }

    /// The test is over, and the machine in the state `after`; what slowed it down meanwhile is a part of that.
    pub fn finish(self, idle: [Option<Idle>; 2], mut after: Thermal, interrupted: bool) -> Measured {
        let Self { phases, before, throttling, memory } = self;
        after.throttling = after.throttling.into_iter().chain(throttling).reduce(Throttling::or);
        Measured { phases, idle, thermal: [before, after], memory, interrupted }
    }
}

#[cfg(test)]
mod tests {
    use babil_runtime::energy::{Found, find};

    use super::*;

    /// Does something for a millisecond, and counts.
    #[derive(Default)]
    struct Counter {
        prepared: u32,
        runs: u64,
    }

    impl Workload for Counter {
        fn prepare(&mut self) -> Result<()> {
            self.prepared += 1;
            Ok(())
        }

        fn run(&mut self) -> Result<Work> {
            self.runs += 1;
            if self.runs > 1000 {
                return Err(Error::Cancelled);
            }
            thread::sleep(Duration::from_millis(1));
            Ok(Work { read: 3, generated: 2, first_token: Some(Duration::from_millis(1)), ..Work::default() })
        }
    }

    #[test]
    fn work_is_repeated_until_it_took_long_enough() {
        let timeline = Timeline::start(None, None).unwrap();
        assert_eq!((timeline.least_phase(), timeline.meter()), (Duration::ZERO, None));
        let (mut work, mut series) = (Counter::default(), Series::new(Thermal::default()));
        assert_eq!(series.repeat(&timeline, &mut work, Duration::ZERO).unwrap().iterations, 1);
        let long = series.repeat(&timeline, &mut work, Duration::from_millis(20)).unwrap().clone();
        assert_eq!((work.prepared, work.runs), (2, 1 + long.iterations));
        assert!(long.iterations > 1 && long.seconds >= 0.02 && long.tokens() == 5 * long.iterations, "{long:?}");
        assert_eq!(long.work.first_token, Some(Duration::from_millis(1)));
        let measured = series.finish([None; 2], Thermal::default(), false);
        assert!(measured.phases[0].to <= measured.phases[1].from && measured.phases.len() == 2);
        assert_eq!(timeline.finish().unwrap(), None);
    }

    #[test]
    fn what_is_cancelled_leaves_whole_repetitions() {
        let timeline = Timeline::start(None, None).unwrap();
        let (mut work, mut series) = (Counter::default(), Series::new(Thermal::default()));
        series.repeat(&timeline, &mut work, Duration::ZERO).unwrap();
        work.runs = 995;
        let error = series.repeat(&timeline, &mut work, Duration::from_secs(3600)).unwrap_err();
        assert!(matches!(error, Error::Cancelled) && series.len() == 1);
        assert!(matches!(timeline.idle(Duration::from_secs(3600), &|| true), Err(Error::Cancelled)));
    }

    #[test]
    fn a_machine_that_is_slow_between_two_looks_was_throttled() {
        let state = |throttled| {
            let throttling = Some(Throttling { throttled, events: 4, ..Throttling::default() });
            Thermal { throttling, ..Thermal::default() }
        };
        let found = |during: &[bool]| {
            let mut series = Series::new(state(false));
            during.iter().for_each(|&throttled| series.look(&state(throttled)));
            series.finish([None; 2], state(false), false).thermal[1].throttling.unwrap().throttled
        };
        assert!(found(&[false, true, false]) && !found(&[false, false]) && !found(&[]));
    }

    /// A meter that measures once a second, however often it is asked.
    #[test]
    fn phases_are_as_long_as_fifty_readings() {
        let folder = tempfile::tempdir().unwrap();
        let battery = folder.path().join("sys/class/power_supply/BAT0");
        std::fs::create_dir_all(&battery).unwrap();
        for (file, value) in
            [("type", "Battery"), ("status", "Discharging"), ("current_now", "500000"), ("voltage_now", "4000000")]
        {
            std::fs::write(battery.join(file), value).unwrap();
        }
        let log = folder.path().join("log.csv");
        let lines: String = (0..10).map(|line| format!("{},5\n", 2 * line)).collect();
        std::fs::write(&log, format!("time,power\n{lines}")).unwrap();
        let least = |choice: &str, hz| {
            let meter = match find(folder.path(), &choice.parse().unwrap()) {
                Found::Meter { meter, .. } => meter,
                other => panic!("{other}"),
            };
            Timeline::start(Some(meter), hz).unwrap().least_phase().as_secs_f64()
        };
        assert_eq!((least("battery", None), least("battery", Some(0.5))), (50.0, 100.0));
        assert_eq!((least("model:5", None), least("model:5", Some(2.0))), (10.0, 25.0));
        assert_eq!((least(&format!("csv:{}", log.display()), None), least("csv:no-such-file", None)), (100.0, 25.0));
        for hz in [1e-30, 0.0, -1.0, f64::NAN, 1e9] {
            let Found::Meter { meter, .. } = find(folder.path(), &"model:5".parse().unwrap()) else { panic!() };
            let error = Timeline::start(Some(meter), Some(hz)).unwrap_err().to_string();
            assert!(error.contains("0.001 to 1000 are possible"), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_quiet_time_has_an_end() {
        let timeline = Timeline::start(None, None).unwrap();
        let idle = timeline.idle(Duration::from_millis(30), &|| false).unwrap();
        assert!(idle.to - idle.from >= 0.03 && idle.ticks.is_some());
    }
}
