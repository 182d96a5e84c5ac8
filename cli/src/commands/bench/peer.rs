//! llama-bench beside babil: the same model, threads and test, in turns, under the same meter.
//!
//! A repetition is a process of its own, which loads the model and warms up by itself. It says on stderr when its first
//! timed run begins and when the last one ended, and between these two moments lies what the meter is asked for: of
//! tests at a depth, that includes bringing the context back to it. Speeds are llama-bench's own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use babil_models::bench::measure::{Phase, Timeline};
use babil_models::bench::report::Row;
use babil_models::bench::subject::Facts;
use babil_models::bench::{Setup, Test, Work};
use babil_runtime::Error;
use serde_json::{Map, Value};

use crate::interrupt::interrupted;

/// A program to run beside babil.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    llama_bench: PathBuf,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("llama.cpp", path)) if !path.is_empty() => Ok(Self { llama_bench: path.into() }),
            Some((name, _)) if name != "llama.cpp" => {
                Err(format!("`{name}` is no peer that babil knows: llama.cpp=PATH"))
            }
            _ => Err("llama.cpp=PATH, the path of llama-bench".to_owned()),
        }
    }
}

/// Most repetitions of a process: a test that is shorter than this part of a phase is not worth more.
const MOST_RUNS: f64 = 10_000.0;

/// Runs may be faster than the first one was.
const MARGIN: f64 = 1.1;

/// How often a test that took so many seconds is done, for it to take the `least`.
fn runs(seconds: f64, least: f64) -> u64 {
    if seconds >= least { 1 } else { (MARGIN * least / seconds.max(1e-9)).ceil().min(MOST_RUNS) as u64 }
}

/// What llama-bench says of a test and itself: a row of its own JSON.
#[derive(Clone, Debug)]
pub(crate) struct Said(Map<String, Value>);

impl Said {
    fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or("unknown")
    }

    /// Its name and version.
    pub(super) fn engine(&self) -> String {
        format!("llama.cpp {}", self.text("build_commit"))
    }

    /// `row` with the fields that llama-bench alone can fill.
    pub(super) fn row(&self, row: Row) -> Result<Row> {
        /// What was measured here, or is known better.
        const OURS: [&str; 11] = [
            "model_type",
            "n_prompt",
            "n_gen",
            "n_depth",
            "test_time",
            "avg_ns",
            "stddev_ns",
            "avg_ts",
            "stddev_ts",
            "samples_ns",
            "samples_ts",
        ];
        let mut merged = serde_json::to_value(row)?;
        if let Value::Object(fields) = &mut merged {
            for (name, value) in &self.0 {
                if !OURS.contains(&name.as_str()) && fields.contains_key(name) {
                    fields[name] = value.clone();
                }
            }
            fields["backend"] = "llama.cpp".into();
            for unknown in ["peak_rss_bytes", "anon_rss_bytes", "idle_cpu_ticks", "ttft_ms"] {
                fields[unknown] = Value::Null;
            }
        }
        let unlike = |error| Error::BadRequest(format!("llama-bench says something else than expected: {error}"));
        Ok(serde_json::from_value(merged).map_err(unlike)?)
    }
}

/// A process that is ended with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Peer {
    pub(super) fn name(&self) -> &'static str {
        "llama.cpp"
    }

    /// One repetition of `test`, of at least the duration `least`.
    pub(super) fn phase(
        &self,
        timeline: &Timeline,
        facts: &Facts,
        setup: &Setup,
        test: Test,
        least: Duration,
    ) -> Result<(Phase, Said)> {
        let first = self.process(timeline, facts, setup, test, 1)?;
        match runs(first.0.seconds, least.as_secs_f64()) {
            1 => Ok(first),
            runs => self.process(timeline, facts, setup, test, runs),
        }
    }

    /// A process that does `test` so often.
    fn process(
        &self,
        timeline: &Timeline,
        facts: &Facts,
        setup: &Setup,
        test: Test,
        runs: u64,
    ) -> Result<(Phase, Said)> {
        let Test { prompt, generate, depth } = test;
        let mut command = Command::new(&self.llama_bench);
        command.arg("-m").arg(&facts.filename);
        match (prompt, generate) {
            (_, 0) | (0, _) => command.args(["-p", &prompt.to_string(), "-n", &generate.to_string()]),
            _ => command.args(["-p", "0", "-n", "0", "-pg", &format!("{prompt},{generate}")]),
        };
        command.args(["-d", &depth.to_string(), "-t", &setup.threads.to_string(), "-r", &runs.to_string()]);
        let batch = setup.batch.to_string();
        command.args(["-b", &batch, "-ub", &batch]);
        command.args(["-ctk", &setup.kv, "-ctv", &setup.kv, "--progress", "-o", "jsonl", "-oe", "jsonl"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let program = self.llama_bench.display();
        let cannot = |error: std::io::Error| Error::BadRequest(format!("cannot run {program}: {error}"));
        let mut process = Running(command.spawn().map_err(cannot)?);
        let stderr = process.0.stderr.take().map(BufReader::new);
        let (mut begun, mut found, mut last) = (None, None, String::new());
        for line in stderr.into_iter().flat_map(BufRead::lines) {
            let line = line.map_err(cannot)?;
            if interrupted() {
                return Err(Error::Cancelled.into());
            }
            if begun.is_none() && ["prompt run 1/", "generation run 1/"].iter().any(|run| line.contains(run)) {
                begun = Some((timeline.mark(), ticks(process.0.id())));
            } else if line.starts_with('{') {
                found =
                    Some((timeline.mark(), ticks(process.0.id()), serde_json::from_str::<Map<String, Value>>(&line)));
            }
            if !line.trim().is_empty() {
                last = line;
            }
        }
        let status = process.0.wait().map_err(cannot)?;
        // Ctrl-C reaches it, too.
        if interrupted() {
            return Err(Error::Cancelled.into());
        }
        let (Some((from, before)), Some((to, after, Ok(row)))) = (begun, found) else {
            let problem = format!("{program} did not do {test} ({status}); it is to be llama-bench, and says: {last}");
            return Err(Error::BadRequest(problem).into());
        };
        let said = Said(row);
        let own: f64 =
            said.0.get("samples_ns").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_f64).sum();
        let phase = Phase {
            from,
            to,
            seconds: own / 1e9,
            iterations: runs,
            work: Work { read: prompt as u64, generated: generate as u64, ..Work::default() },
            cpu_s: after.zip(before).map(|(after, before)| (after - before) as f64 / 100.0),
            others_s: None,
        };
        Ok((phase, said))
    }
}

/// Hundredths of a second that a process has computed so far, where Linux tells.
fn ticks(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    babil_models::bench::process::ticks_of(&stat)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_done_more_often() {
        assert_eq!([runs(10.0, 10.0), runs(3.0, 0.0), runs(9.9, 10.0), runs(1.0, 10.0)], [1, 1, 2, 11]);
        assert_eq!(runs(0.0, 10.0), 10_000);
    }

    #[test]
    fn peers_have_names() {
        let peer: Peer = "llama.cpp=/bin/llama-bench".parse().unwrap();
        assert_eq!(peer, Peer { llama_bench: "/bin/llama-bench".into() });
        for text in ["", "llama.cpp", "llama.cpp=", "ollama=/bin/ollama"] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }
}
