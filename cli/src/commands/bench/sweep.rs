//! `babil bench --sweep`: one test with several settings, and which of them gives the most tokens per joule.
//!
//! What is found is kept as a [`PowerProfile`] of the model on this kind of processor, which `--power` of the other
//! commands uses. Only what was measured is kept: watts that somebody named say nothing about which setting is better.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use babil_models::bench::Test;
use babil_models::bench::report::Row;
use babil_models::bench::subject::Subject;
use babil_models::power::{self, Point, PowerProfile, Setting, profile_folder};
use babil_runtime::Error;
use babil_runtime::topology::{Topology, keep_to};
use clap::ValueEnum;

use super::BenchArgs;
use super::files::{Files, report_text};
use super::lists::numbers;
use super::open::How;
use super::run::Run;
use super::table::{Table, short};
use crate::args::Context;
use crate::exit::UsageError;
use crate::language::KvArg;
use crate::power::place;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dimension {
    /// Numbers of threads: those of -t, or all from 1 on
    Threads,
    /// All cores, and the slow ones alone
    Cores,
    /// The highest frequency of the processor
    Freq,
}

/// Frequencies that are tried, at most.
const FREQUENCIES: usize = 6;

/// A setting that was tried.
#[derive(Clone, Debug, PartialEq)]
struct Tried {
    threads: usize,
    /// The CPUs that it kept to; none where babil chose.
    cpus: Option<Vec<usize>>,
    /// The highest frequency in kHz, where that was chosen.
    freq_khz: Option<u64>,
}

impl Tried {
    /// As in `2 threads on CPUs 0,1 at 1500 MHz`.
    fn text(&self) -> String {
        let Self { threads, cpus, freq_khz } = self;
        let plural = if *threads == 1 { "" } else { "s" };
        let on = cpus.as_ref().map_or_else(String::new, |cpus| format!(" on CPUs {}", listed(cpus)));
        let at = freq_khz.map_or_else(String::new, |khz| format!(" at {:.0} MHz", khz as f64 / 1e3));
        format!("{threads} thread{plural}{on}{at}")
    }
}

fn listed(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Refuses what a sweep would ignore: it has one test.
fn check(args: &BenchArgs, subjects: &[Subject]) -> Result<()> {
    let tests = &args.tests;
    if subjects.len() != 1 {
        return Err(UsageError::new("--sweep takes one model").into());
    }
    let several = |lists: &[super::List]| numbers(lists, &[]).len() > 1;
    let given = [
        ("-n", several(&tests.n_gen)),
        ("-d", several(&tests.n_depth)),
        ("-t", several(&tests.threads) && !tests.sweep.contains(&Dimension::Threads)),
        ("--kv", tests.kv.len() > 1),
        ("--quant", tests.quant.len() > 1),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(UsageError::new(format!("--sweep has one test: {option} takes one value")).into()),
        None if numbers(&tests.n_gen, &[1]) == [0] => Err(UsageError::new("nothing to measure: -n is 0").into()),
        None => Ok(()),
    }
}

/// The CPUs to keep to: babil's own choice, and the slow ones where they are wanted.
fn places(machine: &Topology, wanted: bool) -> Result<Vec<Option<Vec<usize>>>> {
    match (wanted, machine.slow_cpus()) {
        (false, _) => Ok(vec![None]),
        (true, Some(slow)) => Ok(vec![None, Some(slow)]),
        (true, None) => {
            let problem = "--sweep cores: all cores that babil may use are alike here: sweep threads alone";
            Err(Error::NotMeasured(problem.to_owned()).into())
        }
    }
}

pub(super) fn run(args: &BenchArgs, subjects: &[Subject], mut files: Files, context: &Context) -> Result<()> {
    check(args, subjects)?;
    let tests = &args.tests;
    let subject = &subjects[0];
    let path = match subject {
        Subject::Language(path) | Subject::Speech(path) => Some(path.clone()),
        Subject::Translation(_) => place(&args.models[0]),
    };
    let mut run = Run::start(args, context)?;
    if !run.has_meter() && !tests.by_cpu {
        let problem = "--sweep looks for the most tokens per joule, and there is no meter of energy; --by-cpu ranks by \
                       tokens per CPU second instead, which is no energy";
        return Err(Error::NotMeasured(problem.to_owned()).into());
    }
    let places = places(&Topology::detect(), tests.sweep.contains(&Dimension::Cores))?;
    let mut cpus = match tests.sweep.contains(&Dimension::Freq) {
        true => Some(Frequencies::open(run.root())?),
        false => None,
    };
    let facts = Rc::new(subject.facts()?);
    let first = |lists: &[super::List], otherwise| numbers(lists, &[otherwise]).first().copied().unwrap_or(otherwise);
    let test = Test { prompt: 0, generate: first(&tests.n_gen, 128).max(1), depth: first(&tests.n_depth, 0) };
    let kv = tests.kv.first().copied().unwrap_or(KvArg::F16);
    let quant = tests.quant.first().copied();
    // What was tried, in the order of the rows.
    let mut tried = Vec::new();
    let mut all = || -> Result<()> {
        let steps = cpus.as_ref().map_or_else(|| vec![None], |cpus| cpus.steps.iter().copied().map(Some).collect());
        for step in steps {
            if let (Some(cpus), Some(step)) = (&mut cpus, step) {
                cpus.set(step)?;
                run.look_at_machine();
            }
            for place in &places {
                // Those that compute are started by this thread.
                let kept = place.as_deref().and_then(keep_to);
                if place.is_some() && kept.is_none() {
                    let problem = "--sweep cores: this system does not let babil keep to some CPUs";
                    return Err(Error::NotMeasured(problem.to_owned()).into());
                }
                let machine = Topology::detect();
                let otherwise: Vec<usize> = match tests.sweep.contains(&Dimension::Threads) {
                    true => (1..=machine.most_threads()).collect(),
                    false => vec![machine.threads(None, None).decode],
                };
                for threads in run.threads(&machine, &otherwise) {
                    tried.push(Tried { threads, cpus: place.clone(), freq_khz: step });
                    run.of_tests(subject, &facts, How { threads, kv, quant }, &[test])?;
                }
            }
        }
        Ok(())
    };
    let ended = all();
    let highest = cpus.as_ref().and_then(|cpus| cpus.steps.iter().copied().max());
    // The frequencies are what they were before anything else can fail.
    drop(cpus);
    let report = run.finish(ended)?;
    if args.forms.jsonl {
        report.rows.iter().try_for_each(|row| context.output.json(row))?;
    } else if context.output.is_json() {
        context.output.text(report_text(&report.rows)?)?;
    } else {
        context.output.text(ranking(&report.rows, &tried, tests.by_cpu))?;
    }
    files.write(&report, context)?;
    if let Some(error) = report.error {
        return Err(error);
    }
    if !tests.kv.is_empty() || !tests.quant.is_empty() {
        context.output.note("no profile for --power is kept: it is for the model without --kv and --quant");
        return Ok(());
    }
    let Some(path) = path else {
        context.output.note("no profile for --power is kept: it belongs to a model's file, and this one is built in");
        return Ok(());
    };
    keep(&path, &report.rows, &tried, highest, context)
}

/// What a setting is ranked by, the better the higher: tokens per joule, or per CPU second.
fn worth(row: &Row, by_cpu: bool) -> Option<f64> {
    match &row.energy {
        Some(energy) => energy.tokens_per_j_gross,
        None if by_cpu => row.cpu_s_per_token.as_ref().map(|cpu| 1.0 / cpu.mean),
        None => None,
    }
}

/// The settings as a table, the best first, and what it is that is best.
fn ranking(rows: &[Row], tried: &[Tried], by_cpu: bool) -> String {
    let mut order: Vec<(&Row, &Tried)> = rows.iter().zip(tried).collect();
    let key = |row: &Row| worth(row, by_cpu).unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|(a, _), (b, _)| key(b).total_cmp(&key(a)));
    let energy = rows.iter().find_map(|row| row.energy.as_ref());
    let heading = match energy {
        Some(energy) if energy.measured => "tokens/J",
        Some(_) => "tokens/J (modelled)",
        None if by_cpu => "tokens/CPU s",
        None => "tokens/J",
    };
    let line = |(row, tried): &(&Row, &Tried)| {
        let mhz = tried.freq_khz.map_or_else(String::new, |khz| format!("{:.0}", khz as f64 / 1e3));
        let watts = row.energy.as_ref().map_or_else(String::new, |energy| short(energy.avg_w));
        let flags: Vec<String> = row.flags.iter().map(|flag| flag.name()).collect();
        vec![
            tried.threads.to_string(),
            tried.cpus.as_deref().map_or_else(|| "any".to_owned(), listed),
            mhz,
            short(row.median_ts),
            worth(row, by_cpu).map_or_else(String::new, short),
            watts,
            flags.join(", "),
        ]
    };
    let headings = [
        ("threads", true),
        ("CPUs", false),
        ("MHz", true),
        ("tokens/s", true),
        (heading, true),
        ("W", true),
        ("flags", false),
    ];
    let mut text = Table::new(&headings, order.iter().map(line).collect()).text();
    if let Some((best, tried)) = order.first() {
        let setting = tried.text();
        text += &match energy {
            Some(energy) if energy.measured => format!("most tokens per joule: {setting}\n"),
            Some(_) => {
                format!("first under watts that were assumed, which ranks nothing but time: {setting}\n")
            }
            None if by_cpu => format!("most tokens per CPU second: {setting}; energy was not measured\n"),
            None => "nothing to rank by: the meter could not say what any setting took\n".to_owned(),
        };
        if best.samples_ts.len() < 5 {
            text += "fewer than five repetitions: differences may be noise\n";
        }
    }
    text
}

/// Keeps what was measured for `--power`.
fn keep(path: &Path, rows: &[Row], tried: &[Tried], highest: Option<u64>, context: &Context) -> Result<()> {
    let measured = rows.iter().find_map(|row| row.energy.as_ref()).filter(|energy| energy.measured);
    let (Some(energy), Some(row)) = (measured, rows.first()) else {
        let reasons: BTreeSet<&str> = rows.iter().filter_map(|row| row.no_energy.as_deref()?.lines().next()).collect();
        reasons.iter().for_each(|why| context.output.note(why));
        context.output.note("no profile for --power is kept: it takes energy that was measured");
        return Ok(());
    };
    // `--power` chooses threads and CPUs; the frequency is the system's.
    let of_system = rows.iter().zip(tried).filter(|(_, tried)| tried.freq_khz == highest);
    let points = of_system.map(|(row, tried)| Point {
        setting: Setting { threads: tried.threads, cpus: tried.cpus.clone(), ..Setting::default() },
        freq_khz: tried.freq_khz,
        tokens_per_s: row.median_ts,
        tokens_per_j: row.energy.as_ref().and_then(|energy| energy.tokens_per_j_gross),
    });
    let subject = power::Subject {
        model: path.to_owned(),
        model_sha256: row.model_sha256.clone(),
        model_type: row.model_type.clone(),
        cpu: row.cpu_info.clone(),
        source: energy.source.clone(),
        class: energy.class,
    };
    let kept = PowerProfile::of(subject, points.collect())?.save(&profile_folder())?;
    context.output.note(format_args!("profile for --power -> {}", kept.display()));
    Ok(())
}

/// The highest frequency of each CPU, which the system lets us choose.
struct Frequencies {
    /// `scaling_max_freq` of each CPU, and what it said before.
    files: Vec<(PathBuf, String)>,
    /// What is tried, in kHz, growing.
    steps: Vec<u64>,
}

impl Frequencies {
    /// Those below `root`.
    fn open(root: &Path) -> Result<Self> {
        let folder = root.join("sys/devices/system/cpu");
        let cannot = |problem: String| Error::NotMeasured(format!("--sweep freq: {problem}"));
        let entries = fs::read_dir(&folder).map_err(|error| cannot(format!("{}: {error}", folder.display())))?;
        let mut cpus: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path().join("cpufreq"))).collect();
        cpus.retain(|cpu| cpu.join("scaling_max_freq").is_file());
        cpus.sort();
        let Some(first) = cpus.first().cloned() else {
            let problem = format!(
                "{} has no CPU with cpufreq: the system does not let its frequency be chosen",
                folder.display()
            );
            return Err(cannot(problem).into());
        };
        let read =
            |path: PathBuf| fs::read_to_string(&path).map_err(|error| cannot(format!("{}: {error}", path.display())));
        let number = |name: &str| -> Result<u64> {
            let path = first.join(name);
            let text = read(path.clone())?;
            Ok(text
                .trim()
                .parse()
                .map_err(|_| cannot(format!("{}: `{}` is no frequency", path.display(), text.trim())))?)
        };
        let steps = match fs::read_to_string(first.join("scaling_available_frequencies")) {
            Ok(list) => list.split_whitespace().filter_map(|text| text.parse().ok()).collect(),
            Err(_) => {
                let (least, most) = (number("cpuinfo_min_freq")?, number("cpuinfo_max_freq")?);
                (0..FREQUENCIES as u64)
                    .map(|step| least + (most - least.min(most)) * step / (FREQUENCIES as u64 - 1))
                    .collect()
            }
        };
        let files = cpus.into_iter().map(|cpu| {
            let path = cpu.join("scaling_max_freq");
            read(path.clone()).map(|text| (path, text.trim().to_owned()))
        });
        let mut all = Self { files: files.collect::<Result<_, _>>()?, steps: thin(steps) };
        // What cannot be written is said before anything is measured.
        let present = all.files[0].1.clone();
        all.write(&present)?;
        if all.steps.is_empty() {
            return Err(cannot(format!("{}: no frequencies", first.display())).into());
        }
        Ok(all)
    }

    fn set(&mut self, khz: u64) -> Result<()> {
        self.write(&khz.to_string())
    }

    fn write(&mut self, khz: &str) -> Result<()> {
        for (path, _) in &self.files {
            fs::write(path, khz).map_err(|error| {
                let path = path.display();
                let help = "as root, or let your user write it (chown), or sweep threads alone";
                Error::NotMeasured(format!("--sweep freq: cannot write {path}: {error}: {help}"))
            })?;
        }
        Ok(())
    }
}

/// Not more steps than are worth the time: the ends, and others evenly between them.
fn thin(mut steps: Vec<u64>) -> Vec<u64> {
    steps.sort_unstable();
    steps.dedup();
    if steps.len() <= FREQUENCIES {
        return steps;
    }
    let last = steps.len() - 1;
    (0..FREQUENCIES).map(|at| steps[at * last / (FREQUENCIES - 1)]).collect()
}

/// Frequencies are what they were before.
impl Drop for Frequencies {
    fn drop(&mut self) {
        for (path, before) in &self.files {
            if let Err(error) = fs::write(path, before) {
                tracing::warn!("cannot set {} back to {before}: {error}", path.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_cores_are_a_place_of_their_own() {
        let root = tempfile::tempdir().unwrap();
        for (cpu, capacity) in [(0, 300), (1, 300), (2, 1024), (3, 1024)] {
            let folder = root.path().join(format!("cpu{cpu}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cpu_capacity"), capacity.to_string()).unwrap();
        }
        let machine = |allowed: &dyn Fn(usize) -> bool| Topology::read(root.path(), allowed, 4);
        assert_eq!(places(&machine(&|_| true), true).unwrap(), [None, Some(vec![0, 1])]);
        assert_eq!(places(&machine(&|_| true), false).unwrap(), [None]);
        assert!(places(&machine(&|cpu| cpu > 1), true).unwrap_err().to_string().contains("all cores"));
        let tried = Tried { threads: 2, cpus: Some(vec![0, 1]), freq_khz: Some(1_500_000) };
        assert_eq!(tried.text(), "2 threads on CPUs 0,1 at 1500 MHz");
        assert_eq!(Tried { threads: 1, cpus: None, freq_khz: None }.text(), "1 thread");
    }

    #[test]
    fn frequencies_are_thinned_and_set_back() {
        let root = tempfile::tempdir().unwrap();
        for cpu in ["cpu0", "cpu1"] {
            let folder = root.path().join("sys/devices/system/cpu").join(cpu).join("cpufreq");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("scaling_max_freq"), "2400000\n").unwrap();
            fs::write(folder.join("scaling_available_frequencies"), "1500000 2400000 1600000\n").unwrap();
        }
        let file = root.path().join("sys/devices/system/cpu/cpu1/cpufreq/scaling_max_freq");
        let mut all = Frequencies::open(root.path()).unwrap();
        assert_eq!(all.steps, [1_500_000, 1_600_000, 2_400_000]);
        all.set(1_500_000).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1500000");
        drop(all);
        assert_eq!(fs::read_to_string(&file).unwrap(), "2400000");
        assert_eq!(thin((0..=100).collect()), [0, 20, 40, 60, 80, 100]);

        let none = tempfile::tempdir().unwrap();
        let error = Frequencies::open(none.path()).err().unwrap().to_string();
        assert!(error.contains("--sweep freq") && error.contains("sys/devices/system/cpu"), "{error}");
    }
}
