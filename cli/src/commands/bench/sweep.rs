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
use babil_runtime::topology::Topology;
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

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dimension {
    /// Numbers of threads: those of -t, or all from 1 on
    Threads,
    /// The highest frequency of the processor
    Freq,
}

/// Frequencies that are tried, at most.
const FREQUENCIES: usize = 6;

pub(super) fn run(args: &BenchArgs, subjects: &[Subject], mut files: Files, context: &Context) -> Result<()> {
    let [subject @ Subject::Language(path)] = subjects else {
        return Err(UsageError::new("--sweep takes one language model").into());
    };
    let tests = &args.tests;
    let mut run = Run::start(args, context)?;
    if !run.has_meter() && !tests.by_cpu {
        let problem = "--sweep looks for the most tokens per joule, and there is no meter of energy; --by-cpu ranks by \
                       tokens per CPU second instead, which is no energy";
        return Err(Error::NotMeasured(problem.to_owned()).into());
    }
    let machine = Topology::detect();
    let threads = match tests.sweep.contains(&Dimension::Threads) {
        true => numbers(&tests.threads, &(1..=machine.most_threads()).collect::<Vec<_>>()),
        false => vec![
            machine.threads(tests.threads.first().map(|list| numbers(std::slice::from_ref(list), &[])[0]), None).decode,
        ],
    };
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
            for &threads in &threads {
                let threads = machine.threads(Some(threads), None).decode;
                tried.push((threads, step));
                run.of_tests(subject, &facts, How { threads, kv, quant }, &[test])?;
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
    keep(path, &report.rows, &tried, highest, context)
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
fn ranking(rows: &[Row], tried: &[(usize, Option<u64>)], by_cpu: bool) -> String {
    let mut order: Vec<(&Row, (usize, Option<u64>))> = rows.iter().zip(tried.iter().copied()).collect();
    let key = |row: &Row| worth(row, by_cpu).unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|(a, _), (b, _)| key(b).total_cmp(&key(a)));
    let energy = rows.iter().find_map(|row| row.energy.as_ref());
    let heading = match energy {
        Some(energy) if energy.measured => "tokens/J",
        Some(_) => "tokens/J (modelled)",
        None if by_cpu => "tokens/CPU s",
        None => "tokens/J",
    };
    let line = |(row, (threads, frequency)): &(&Row, (usize, Option<u64>))| {
        let mhz = frequency.map_or_else(String::new, |khz| format!("{:.0}", khz as f64 / 1e3));
        let watts = row.energy.as_ref().map_or_else(String::new, |energy| short(energy.avg_w));
        let flags: Vec<String> = row.flags.iter().map(|flag| flag.name()).collect();
        vec![
            threads.to_string(),
            mhz,
            short(row.median_ts),
            worth(row, by_cpu).map_or_else(String::new, short),
            watts,
            flags.join(", "),
        ]
    };
    let headings =
        [("threads", true), ("MHz", true), ("tokens/s", true), (heading, true), ("W", true), ("flags", false)];
    let mut text = Table::new(&headings, order.iter().map(line).collect()).text();
    if let Some((best, (threads, frequency))) = order.first() {
        let at = frequency.map_or_else(String::new, |khz| format!(" at {:.0} MHz", khz as f64 / 1e3));
        text += &match energy {
            Some(energy) if energy.measured => format!("most tokens per joule: {threads} threads{at}\n"),
            Some(_) => {
                format!("{threads} threads{at} come first under watts that were assumed: that ranks nothing but time\n")
            }
            None if by_cpu => format!("most tokens per CPU second: {threads} threads{at}; energy was not measured\n"),
            None => "nothing to rank by: the meter could not say what any setting took\n".to_owned(),
        };
        if best.samples_ts.len() < 5 {
            text += "fewer than five repetitions: differences may be noise\n";
        }
    }
    text
}

/// Keeps what was measured for `--power`.
fn keep(
    path: &Path,
    rows: &[Row],
    tried: &[(usize, Option<u64>)],
    highest: Option<u64>,
    context: &Context,
) -> Result<()> {
    let measured = rows.iter().find_map(|row| row.energy.as_ref()).filter(|energy| energy.measured);
    let (Some(energy), Some(row)) = (measured, rows.first()) else {
        let reasons: BTreeSet<&str> = rows.iter().filter_map(|row| row.no_energy.as_deref()?.lines().next()).collect();
        reasons.iter().for_each(|why| context.output.note(why));
        context.output.note("no profile for --power is kept: it takes energy that was measured");
        return Ok(());
    };
    // `--power` chooses threads; the frequency is the system's.
    let of_system = rows.iter().zip(tried).filter(|(_, (_, frequency))| *frequency == highest);
    let points = of_system.map(|(row, &(threads, freq_khz))| Point {
        setting: Setting { threads, ..Setting::default() },
        freq_khz,
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
