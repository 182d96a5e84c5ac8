//! A test's phases and the meter's recording -> its [`Row`].

use babil_runtime::Error;
use babil_runtime::accelerator::Report;
use babil_runtime::energy::{Class, Energy, Flag as MeterFlag, Integration, Platform, Recording};

use super::measure::{Idle, Measured, Phase};
use super::report::{EnergyRow, Flag, PlatformRow, Row, SCHEMA_VERSION, ThermalRow};
use super::statistics::{Spread, interval, mean, median, stddev};
use super::subject::Facts;
use super::work::Task;

/// Repetitions that deviate by more are [`Flag::Noisy`]; idle power that differs by more is [`Flag::IdleDrift`].
const DEVIATION: f64 = 0.05;
/// Processors that others may take before it is a [`Flag::BusyMachine`].
const OTHERS: f64 = 0.1;
/// Half a 95 % interval in standard deviations.
const NORMAL_95: f64 = 1.96;

/// What a row says besides what was measured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Commit and number of the build that measures.
    pub build: (String, u64),
    /// What computes, with its version.
    pub engine: String,
    /// The backend's name.
    pub backend: String,
    /// The instruction set, where it is known.
    pub isa: Option<String>,
    /// Whether it is another program that was run beside babil.
    pub peer: bool,
    /// What the model does.
    pub task: Task,
    /// The test's name.
    pub test: String,
    /// Tokens before the test.
    pub depth: u64,
    /// Tokens of a prompt that are computed together.
    pub batch: u64,
    /// Threads that compute.
    pub threads: u64,
    /// How keys and values are stored.
    pub kv: String,
    /// When the test began, as in `2026-01-31T12:00:00Z`.
    pub test_time: String,
    /// The machine.
    pub machine: Machine,
    /// What the threads read of memory at best, in 10^9 bytes per second, where that was measured.
    pub read_gb_per_s: Option<f64>,
    /// Why there is no energy, where there is none.
    pub no_energy: Option<String>,
    /// Where the meter's samples are kept, if they are.
    pub samples_file: Option<String>,
    /// What ran where during the test, unless everything was for the CPU.
    pub accelerator: Option<Report>,
}

/// The machine, as all rows of a run have it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// What else is known.
    pub platform: PlatformRow,
}

impl Machine {
    /// Reads it below `root`, which is `/` but in tests.
    pub fn read(root: &std::path::Path) -> Self {
        let platform = Platform::read(root);
        let cpu = platform.cpu.clone();
        Self { cpu, platform: platform.into() }
    }
}

/// The time now, as in `2026-01-31T12:00:00Z`.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Row {
    /// The row of a test; `None` where it has no repetition.
    pub fn new(facts: &Facts, setup: &Setup, measured: &Measured, recording: Option<&Recording>) -> Option<Self> {
        let phases = &measured.phases;
        let work = phases.first()?.work;
        let each = |phase: &Phase| phase.seconds.max(1e-9) / phase.iterations as f64;
        let seconds: Vec<f64> = phases.iter().map(each).collect();
        let rates: Vec<f64> = seconds.iter().map(|seconds| work.tokens() as f64 / seconds).collect();
        let rate = Spread::of(&rates)?;
        let samples_ns: Vec<u64> = seconds.iter().map(|seconds| (seconds * 1e9).round() as u64).collect();
        let per_token = |phase: &Phase| phase.cpu_s.map(|cpu| cpu / phase.tokens() as f64);
        let cpu: Vec<f64> = phases.iter().filter(|phase| phase.tokens() > 0).filter_map(per_token).collect();
        let thermal = ThermalRow::of(&measured.thermal);
        let typical = median(&seconds)?;

        let mut flags = flags(measured, &rate, &thermal);
        let energy = recording.map(|recording| energy(recording, measured, setup.samples_file.as_deref()));
        let (energy, no_energy) = match energy {
            None => (None, setup.no_energy.clone()),
            Some(Ok((energy, more))) => {
                flags.extend(more);
                (Some(energy), None)
            }
            Some(Err(error)) => {
                flags.push(Flag::EnergyUnknown);
                let why = match error {
                    Error::NotMeasured(why) => why,
                    other => other.to_string(),
                };
                (None, Some(why))
            }
        };
        flags.sort_unstable();
        flags.dedup();

        let words = (setup.task == Task::Translation).then_some(work.words);
        let audio_s = (setup.task == Task::Speech).then_some(work.audio.as_secs_f64());
        let iterations: u64 = phases.iter().map(|phase| phase.iterations).sum();
        let joules = energy.as_ref().map(|energy| energy.gross_j / iterations as f64);
        let only_decodes = work.read == 0 && work.generated > 0;
        let bandwidth = facts.bytes_per_token.filter(|_| only_decodes).map(|bytes| bytes as f64 * rate.median / 1e9);
        let firsts: Vec<f64> =
            phases.iter().filter_map(|phase| Some(phase.work.first_token?.as_secs_f64() * 1e3)).collect();
        let idle_ticks: Vec<u64> = measured.idle.iter().flatten().filter_map(|idle| idle.ticks).collect();
        Some(Self {
            build_commit: setup.build.0.clone(),
            build_number: setup.build.1,
            cpu_info: setup.machine.cpu.clone(),
            gpu_info: String::new(),
            backends: "CPU".to_owned(),
            model_filename: facts.filename.clone(),
            model_type: facts.model_type.clone(),
            model_size: facts.bytes,
            model_n_params: facts.parameters,
            n_batch: setup.batch,
            n_ubatch: setup.batch,
            n_threads: setup.threads,
            cpu_mask: "0x0".to_owned(),
            cpu_strict: false,
            poll: 0,
            type_k: setup.kv.clone(),
            type_v: setup.kv.clone(),
            n_gpu_layers: 0,
            n_cpu_moe: 0,
            split_mode: "none".to_owned(),
            main_gpu: 0,
            no_kv_offload: false,
            flash_attn: 1,
            devices: "none".to_owned(),
            tensor_split: "0.00".to_owned(),
            tensor_buft_overrides: "none".to_owned(),
            load_mode: "mmap".to_owned(),
            lazy_mode: "off".to_owned(),
            embeddings: false,
            no_op_offload: 0,
            no_host: false,
            repack: true,
            fit_target: 0,
            fit_min_ctx: 0,
            n_prompt: work.read,
            n_gen: work.generated,
            n_depth: setup.depth,
            test_time: setup.test_time.clone(),
            avg_ns: mean(&seconds).mul_add(1e9, 0.5) as u64,
            stddev_ns: stddev(&seconds).mul_add(1e9, 0.5) as u64,
            avg_ts: rate.mean,
            stddev_ts: rate.stddev,
            samples_ns,
            samples_ts: rates,
            schema_version: SCHEMA_VERSION,
            engine: setup.engine.clone(),
            peer: setup.peer,
            task: setup.task,
            test: setup.test.clone(),
            median_ts: rate.median,
            ci95_ts: rate.ci95,
            samples_iterations: phases.iter().map(|phase| phase.iterations).collect(),
            ttft_ms: median(&firsts),
            cpu_s_per_token: Spread::of(&cpu),
            samples_cpu_s_per_token: cpu,
            idle_cpu_ticks: (!idle_ticks.is_empty()).then(|| idle_ticks.iter().sum()),
            peak_rss_bytes: measured.memory.map(|memory| memory.peak),
            anon_rss_bytes: measured.memory.map(|memory| memory.anonymous),
            model_sha256: facts.sha256.clone(),
            backend: setup.backend.clone(),
            isa: setup.isa.clone(),
            accelerator_used: setup.accelerator.as_ref().and_then(|report| report.accelerator_used.clone()),
            fallback_ops: setup.accelerator.as_ref().map(|report| report.fallback_ops as u64),
            bytes_per_token: facts.bytes_per_token,
            gb_per_s: bandwidth,
            read_gb_per_s: setup.read_gb_per_s,
            words,
            words_per_s: words.map(|words| words as f64 / typical),
            words_per_j: words.zip(joules).map(|(words, joules)| words as f64 / joules),
            audio_s,
            rtf: audio_s.map(|audio| typical / audio),
            j_per_audio_s: audio_s.zip(joules).map(|(audio, joules)| joules / audio),
            energy,
            no_energy,
            thermal,
            platform: setup.machine.platform.clone(),
            sustain: None,
            flags,
        })
    }
}

/// What is to be said of the repetitions without a meter.
fn flags(measured: &Measured, rate: &Spread, thermal: &ThermalRow) -> Vec<Flag> {
    let total: f64 = measured.phases.iter().map(|phase| phase.seconds).sum();
    let others: f64 = measured.phases.iter().filter_map(|phase| phase.others_s).sum();
    // The system counts in hundredths of a second, so what is shorter than a few of them says nothing.
    let busy = others > OTHERS * total && others > 0.05;
    let slow = thermal.throttled == Some(true) || thermal.undervoltage == Some(true);
    [
        (rate.stddev > DEVIATION * rate.mean, Flag::Noisy),
        (measured.phases.len() < 5, Flag::FewRepetitions),
        (busy, Flag::BusyMachine),
        (slow, Flag::Throttled),
        (measured.interrupted, Flag::Interrupted),
    ]
    .into_iter()
    .filter_map(|(is_so, flag)| is_so.then_some(flag))
    .collect()
}

fn of_meter(flag: MeterFlag) -> Flag {
    match flag {
        MeterFlag::FewSamples => Flag::FewSamples,
        MeterFlag::ShortWindow => Flag::ShortPhase,
        MeterFlag::Gap => Flag::Gap,
        MeterFlag::FailedReadings => Flag::FailedReadings,
        MeterFlag::Stuck => Flag::Stuck,
        MeterFlag::FewSteps => Flag::FewSteps,
        MeterFlag::Modelled => Flag::Modelled,
    }
}

/// The energy of all repetitions.
///
/// Half of the interval of joules per token is, in squares, Student's of the repetitions (which has what differs from
/// one to the next: noise, edges, the resolution of a counter) and what one meter gets wrong in the same way each time
/// (gain, offset, shift, the resolution of power). An idle window that the meter could not measure costs the net figure
/// alone.
fn energy(
    recording: &Recording,
    measured: &Measured,
    samples_file: Option<&str>,
) -> Result<(EnergyRow, Vec<Flag>), Error> {
    let phases = &measured.phases;
    let of = |from, to| recording.energy(from, to);
    let each: Vec<Energy> = phases.iter().map(|phase| of(phase.from, phase.to)).collect::<Result<_, _>>()?;
    let of_idle = |idle: &Option<Idle>| idle.and_then(|idle| of(idle.from, idle.to).ok());
    let idle = [of_idle(&measured.idle[0]), of_idle(&measured.idle[1])];
    let first = each.first().ok_or_else(|| Error::NotMeasured("no repetition".to_owned()))?;

    let gross: f64 = each.iter().map(|energy| energy.joules).sum();
    let window: f64 = each.iter().map(|energy| energy.window_s).sum();
    let tokens: u64 = phases.iter().map(Phase::tokens).sum();
    let idles: Vec<&Energy> = idle.iter().flatten().collect();
    let all_known = idles.len() == measured.idle.iter().flatten().count();
    let net = (all_known && !idles.is_empty()).then(|| net(&each, &idles));

    let per_token: Vec<f64> =
        each.iter().zip(phases).map(|(energy, phase)| energy.joules / phase.tokens() as f64).collect();
    let value = (tokens > 0).then(|| gross / tokens as f64);
    let systematic = each.iter().map(systematic).fold(0.0, f64::max);
    let assumed = first.class == Class::E;
    let half = value.filter(|_| !assumed).map(|value| match interval(per_token.len(), stddev(&per_token)) {
        Some(half) => half.hypot(systematic * value),
        None => first.half_width_95_j.unwrap_or(0.0) / tokens as f64,
    });

    let mut flags: Vec<Flag> =
        each.iter().chain(idle.iter().flatten()).flat_map(|e| e.flags.iter().copied()).map(of_meter).collect();
    if !all_known {
        flags.push(Flag::IdleUnknown);
    }
    if let [Some(before), Some(after)] = &idle
        && (before.avg_w - after.avg_w).abs() > DEVIATION * before.avg_w.max(after.avg_w)
    {
        flags.push(Flag::IdleDrift);
    }
    let row = EnergyRow {
        source: first.source.clone(),
        class: first.class,
        measured: !assumed,
        scope: first.scope,
        remark: recording.info.remark.clone(),
        sample_hz: first.sample_hz,
        n_samples: each.iter().map(|energy| energy.samples as u64).sum(),
        window_s: window,
        integration: first.integration,
        idle_w_pre: idle[0].as_ref().map(|idle| idle.avg_w),
        idle_w_post: idle[1].as_ref().map(|idle| idle.avg_w),
        gross_j: gross,
        net_j: net.map(|(joules, _)| joules),
        net_j_ci95: net.filter(|_| !assumed).map(|(joules, half)| [joules - half, joules + half]),
        avg_w: gross / window,
        peak_w: each.iter().map(|energy| energy.peak_w).fold(0.0, f64::max),
        tokens,
        tokens_per_j_gross: (tokens > 0 && gross > 0.0).then(|| tokens as f64 / gross),
        // What is left of an assumed power is the rounding of its sums.
        tokens_per_j_net: net.filter(|(net, _)| *net > 1e-3 * gross && tokens > 0).map(|(net, _)| tokens as f64 / net),
        j_per_token: value,
        j_per_token_ci95: value.zip(half).map(|(value, half)| [value - half, value + half]),
        rel_uncertainty: value.zip(half).map(|(value, half)| half / value),
        rel_systematic: (!assumed).then_some(systematic),
        samples_j: each.iter().map(|energy| energy.joules).collect(),
        samples_file: samples_file.map(str::to_owned),
    };
    Ok((row, flags))
}

/// Half the 95 % interval of what a meter gets wrong in the same way each time, in parts of the energy.
fn systematic(energy: &Energy) -> f64 {
    let budget = &energy.budget;
    let parts = budget.gain_j.hypot(budget.offset_j).hypot(budget.shift_j).hypot(same_rounding(energy));
    NORMAL_95 * parts / energy.joules.max(f64::MIN_POSITIVE)
}

/// The part of the resolution that is the same in each repetition, in joules: power that does not change is rounded the
/// same way every time, a counter differently.
fn same_rounding(energy: &Energy) -> f64 {
    match energy.integration {
        Integration::Trapezoid => energy.budget.resolution_j,
        Integration::CounterDifference => 0.0,
    }
}

/// What the repetitions took beyond idling, in joules, and half of its 95 % interval. The gain counts for the
/// difference alone, and an offset cancels ([`Energy::above`]); what is not known of the idle power is the same in all
/// repetitions.
fn net(each: &[Energy], idles: &[&Energy]) -> (f64, f64) {
    let count = idles.len() as f64;
    let window: f64 = each.iter().map(|energy| energy.window_s).sum();
    let above: Vec<Vec<Energy>> =
        each.iter().map(|energy| idles.iter().map(|idle| energy.above(idle)).collect()).collect();
    let of_idles = |above: &[Energy], of: fn(&Energy) -> f64| above.iter().map(of).sum::<f64>() / count;
    let sum = |of: fn(&Energy) -> f64| above.iter().map(|above| of_idles(above, of)).sum::<f64>();
    let watts: Vec<f64> = above.iter().map(|above| of_idles(above, |energy| energy.avg_w)).collect();
    // Joules that the idle watts of one window are wrong by, over all repetitions.
    let scaled = |idle: &Energy, joules: f64| joules / idle.window_s * window / count;
    let by_itself = |idle: &&Energy| {
        let (budget, rounding) = (&idle.budget, same_rounding(idle));
        let resolution = if rounding > 0.0 { 0.0 } else { budget.resolution_j };
        scaled(idle, budget.noise_j.hypot(budget.edges_j).hypot(resolution))
    };
    let idle = idles.iter().map(by_itself).fold(0.0, f64::hypot);
    let idle_rounding: f64 = idles.iter().map(|idle| scaled(idle, same_rounding(idle))).sum();
    let rounding = each.iter().map(same_rounding).sum::<f64>().hypot(idle_rounding);
    let common = NORMAL_95 * sum(|energy| energy.budget.gain_j).hypot(idle).hypot(rounding);
    let half = match interval(watts.len(), stddev(&watts)) {
        Some(half) => common.hypot(half * window),
        None => sum(|energy| energy.half_width_95_j.unwrap_or(0.0)),
    };
    (sum(|energy| energy.joules), half)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use babil_runtime::energy::{Sample, SamplerCost, Scope, SourceInfo, Thermal};

    use super::super::work::Work;
    use super::*;

    pub(crate) fn facts() -> Facts {
        Facts {
            filename: "model.gguf".to_owned(),
            model_type: "llama 1M Q4_0".to_owned(),
            bytes: 1_000_000,
            parameters: 1_000_000,
            bytes_per_token: Some(900_000),
            sha256: None,
        }
    }

    pub(crate) fn setup(task: Task) -> Setup {
        Setup {
            build: ("0123abcd".to_owned(), 7),
            engine: "babil 0.1.0".to_owned(),
            backend: "cpu".to_owned(),
            isa: Some("scalar".to_owned()),
            peer: false,
            task,
            test: "test".to_owned(),
            depth: 0,
            batch: 256,
            threads: 2,
            kv: "f16".to_owned(),
            test_time: now(),
            machine: Machine { cpu: "cpu".to_owned(), platform: PlatformRow::default() },
            read_gb_per_s: None,
            no_energy: Some("no meter".to_owned()),
            samples_file: None,
            accelerator: None,
        }
    }

    fn measured(work: Work, seconds: &[f64]) -> Measured {
        let mut at = 0.0;
        let phase = |&seconds: &f64| {
            let from = at;
            at += seconds;
            Phase { from, to: at, seconds, iterations: 2, work, cpu_s: Some(2.0 * seconds), others_s: Some(0.0) }
        };
        Measured {
            phases: seconds.iter().map(phase).collect(),
            idle: [None; 2],
            thermal: [Thermal::default(), Thermal::default()],
            memory: None,
            interrupted: false,
        }
    }

    #[test]
    fn rates_are_of_one_iteration() {
        let work = Work { generated: 10, ..Work::default() };
        let row = Row::new(&facts(), &setup(Task::Language), &measured(work, &[2.0, 2.0, 4.0]), None).unwrap();
        assert_eq!((row.n_prompt, row.n_gen), (0, 10));
        assert_eq!(row.samples_ns, [1_000_000_000, 1_000_000_000, 2_000_000_000]);
        assert_eq!((row.samples_ts.as_slice(), row.median_ts), (&[10.0, 10.0, 5.0][..], 10.0));
        assert_eq!(row.avg_ns, 1_333_333_333);
        let cpu = row.cpu_s_per_token.unwrap();
        assert!((cpu.mean - (0.2 + 0.2 + 0.4) / 3.0).abs() < 1e-12);
        assert_eq!(row.gb_per_s, Some(900_000.0 * 10.0 / 1e9));
        assert_eq!(row.flags, [Flag::Noisy, Flag::FewRepetitions]);
        assert_eq!((row.energy, row.no_energy.as_deref()), (None, Some("no meter")));
        assert_eq!((row.words, row.audio_s, row.ttft_ms), (None, None, None));
        assert!(Row::new(&facts(), &setup(Task::Language), &measured(work, &[]), None).is_none());
    }

    #[test]
    fn tasks_have_figures_of_their_own() {
        let work = Work { read: 12, generated: 8, words: 10, ..Work::default() };
        let row = Row::new(&facts(), &setup(Task::Translation), &measured(work, &[2.0; 5]), None).unwrap();
        assert_eq!((row.words, row.words_per_s, row.words_per_j, row.rtf), (Some(10), Some(10.0), None, None));
        assert_eq!(row.flags, []);
        let work = Work { generated: 4, audio: Duration::from_secs(5), ..Work::default() };
        let row = Row::new(&facts(), &setup(Task::Speech), &measured(work, &[2.0; 5]), None).unwrap();
        assert_eq!((row.audio_s, row.rtf, row.words), (Some(5.0), Some(0.2), None));
    }

    #[test]
    fn other_programs_are_noticed() {
        let mut busy = measured(Work { read: 1, ..Work::default() }, &[1.0; 5]);
        busy.phases[2].others_s = Some(0.8);
        busy.interrupted = true;
        let row = Row::new(&facts(), &setup(Task::Language), &busy, None).unwrap();
        assert_eq!(row.flags, [Flag::BusyMachine, Flag::Interrupted]);
    }

    /// Random numbers from 0 to 1, and normal ones by the sum of twelve.
    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }

    /// What a meter is said to be whose factor is wrong by `gain`, and which says power in steps of so many watts.
    fn meter(gain: f64, resolution: f64) -> SourceInfo {
        SourceInfo {
            name: "test".to_owned(),
            class: Class::B,
            scope: Scope::Device,
            integration: Integration::Trapezoid,
            reads: Vec::new(),
            remark: String::new(),
            resolution,
            update_s: 0.0,
            gain,
            drift: 0.0,
            offset_w: 0.01,
            why: String::new(),
            default_hz: 10.0,
            wraps_at_j: None,
        }
    }

    /// Idling, five repetitions of ten seconds and idling as such a meter sees it, and the true watts of both.
    fn recorded(info: SourceInfo, dice: &mut Dice) -> (Measured, Recording, [f64; 2]) {
        let (idle, work) = (2.0 + dice.unit(), 3.5 + dice.unit());
        let (gain, offset) = (1.0 + info.gain * dice.normal(), info.offset_w * dice.normal());
        let mut measured = measured(Work { generated: 10, ..Work::default() }, &[10.0; 5]);
        for phase in &mut measured.phases {
            (phase.from, phase.to) = (phase.from + 30.0, phase.to + 30.0);
        }
        let quiet = |from, to| Some(Idle { from, to, ticks: None });
        measured.idle = [quiet(0.0, 30.0), quiet(80.0, 110.0)];
        let sample = |i: u32| {
            let time = f64::from(i) / 10.0 + 0.05;
            let truth = if (30.0..80.0).contains(&time) { work } else { idle };
            let value = truth * gain + offset + 0.003 * dice.normal();
            let value = (value / info.resolution).round() * info.resolution;
            Sample { time, within: 0.0, value }
        };
        let recording = Recording {
            samples: (0..1100).map(sample).collect(),
            info,
            restarts: Vec::new(),
            failures: Vec::new(),
            shift_s: 0.0,
            start_unix: 0.0,
            cost: SamplerCost { cpu_s: None, wall_s: 110.0, failed: 0 },
        };
        (measured, recording, [idle, work])
    }

    /// All repetitions are rounded the same way, so that their scatter does not tell of it.
    #[test]
    fn intervals_of_repetitions_hold_the_truth() {
        let held = |gain: f64, resolution: f64| {
            let (mut gross, mut net) = (0, 0);
            for seed in 0..1000 {
                let (measured, recording, [idle, work]) = recorded(meter(gain, resolution), &mut Dice(seed));
                let row = Row::new(&facts(), &setup(Task::Language), &measured, Some(&recording)).unwrap();
                let energy = row.energy.unwrap();
                // Ten tokens, twice in each repetition of ten seconds.
                let [low, high] = energy.j_per_token_ci95.unwrap();
                gross += u32::from((low..=high).contains(&(work * 0.5)));
                let [low, high] = energy.net_j_ci95.unwrap();
                net += u32::from((low..=high).contains(&((work - idle) * 50.0)));
            }
            println!("gain {gain}, step {resolution} W: {gross} of 1000 hold the truth, {net} of net joules");
            (gross, net)
        };
        let (coarse, fine) = (held(0.01, 0.1), held(0.02, 0.02));
        assert!((920..=980).contains(&coarse.0) && (920..=980).contains(&fine.0), "{coarse:?} {fine:?}");
        // Two roundings have bounds, which a normal distribution does not know.
        assert!(coarse.1 >= 920 && (920..=980).contains(&fine.1), "{coarse:?} {fine:?}");
    }

    #[test]
    fn what_was_not_measured_says_so_once() {
        let (measured, mut recording, _) = recorded(meter(0.01, 0.1), &mut Dice(1));
        recording.samples.clear();
        let row = Row::new(&facts(), &setup(Task::Language), &measured, Some(&recording)).unwrap();
        let why = row.no_energy.unwrap();
        assert!(why.starts_with("test: 0 readings") && row.flags.contains(&Flag::EnergyUnknown), "{why}");
    }

    #[test]
    fn a_bad_idle_window_costs_the_net_figure_alone() {
        let (measured, mut recording, _) = recorded(meter(0.01, 0.1), &mut Dice(1));
        recording.samples.retain(|sample| !(5.0..25.0).contains(&sample.time));
        let row = Row::new(&facts(), &setup(Task::Language), &measured, Some(&recording)).unwrap();
        let energy = row.energy.unwrap();
        assert!(energy.gross_j > 150.0 && energy.j_per_token_ci95.is_some(), "{energy:?}");
        assert!(energy.idle_w_pre.is_none() && energy.idle_w_post.is_some(), "{energy:?}");
        assert_eq!((energy.net_j, energy.net_j_ci95, energy.tokens_per_j_net), (None, None, None));
        assert!(row.flags.contains(&Flag::IdleUnknown) && !row.flags.contains(&Flag::EnergyUnknown), "{:?}", row.flags);
    }
}
