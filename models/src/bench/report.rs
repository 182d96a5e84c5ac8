//! What a test came to, as it is written down: a [`Row`]. A report is a list of rows, as JSON or as a line of JSON
//! each.
//!
//! A row has all fields of llama-bench under the same names and in the same order, so that what reads its JSON reads
//! ours; then those that it does not have. `report.schema.json` describes them for others, and says what each means.

use std::path::Path;

use babil_runtime::energy::{Class, Integration, Scope};
use babil_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

use super::statistics::Spread;
use super::work::{Task, Test};

/// The form of a row. It changes when a field is taken away or means something else.
pub const SCHEMA_VERSION: u32 = 1;

/// The JSON Schema of a report.
pub const SCHEMA: &str = include_str!("report.schema.json");

/// One test of one engine. `report.schema.json` says what each field means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "report.schema.json, which is public, describes each field")]
pub struct Row {
    pub build_commit: String,
    pub build_number: u64,
    pub cpu_info: String,
    pub gpu_info: String,
    pub backends: String,
    pub model_filename: String,
    pub model_type: String,
    pub model_size: u64,
    pub model_n_params: u64,
    pub n_batch: u64,
    pub n_ubatch: u64,
    pub n_threads: u64,
    pub cpu_mask: String,
    pub cpu_strict: bool,
    pub poll: u64,
    pub type_k: String,
    pub type_v: String,
    pub n_gpu_layers: i64,
    pub n_cpu_moe: u64,
    pub split_mode: String,
    pub main_gpu: u64,
    pub no_kv_offload: bool,
    pub flash_attn: i64,
    pub devices: String,
    pub tensor_split: String,
    pub tensor_buft_overrides: String,
    pub load_mode: String,
    pub lazy_mode: String,
    pub embeddings: bool,
    pub no_op_offload: u64,
    pub no_host: bool,
    pub repack: bool,
    pub fit_target: u64,
    pub fit_min_ctx: u64,
    pub n_prompt: u64,
    pub n_gen: u64,
    pub n_depth: u64,
    pub test_time: String,
    pub avg_ns: u64,
    pub stddev_ns: u64,
    pub avg_ts: f64,
    pub stddev_ts: f64,
    pub samples_ns: Vec<u64>,
    pub samples_ts: Vec<f64>,

    pub schema_version: u32,
    pub engine: String,
    pub peer: bool,
    pub task: Task,
    pub test: String,
    pub median_ts: f64,
    pub ci95_ts: Option<[f64; 2]>,
    pub samples_iterations: Vec<u64>,
    pub ttft_ms: Option<f64>,
    pub cpu_s_per_token: Option<Spread>,
    pub samples_cpu_s_per_token: Vec<f64>,
    pub idle_cpu_ticks: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
    pub anon_rss_bytes: Option<u64>,
    pub model_sha256: Option<String>,
    pub backend: String,
    pub isa: Option<String>,
    pub accelerator_used: Option<String>,
    pub fallback_ops: Option<u64>,
    pub bytes_per_token: Option<u64>,
    pub gb_per_s: Option<f64>,
    pub read_gb_per_s: Option<f64>,
    pub words: Option<u64>,
    pub words_per_s: Option<f64>,
    pub words_per_j: Option<f64>,
    pub audio_s: Option<f64>,
    pub rtf: Option<f64>,
    pub j_per_audio_s: Option<f64>,
    pub energy: Option<EnergyRow>,
    pub no_energy: Option<String>,
    pub thermal: ThermalRow,
    pub platform: PlatformRow,
    pub sustain: Option<Sustain>,
    pub flags: Vec<Flag>,
}

/// What the meter says of a test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "report.schema.json, which is public, describes each field")]
pub struct EnergyRow {
    pub source: String,
    pub class: Class,
    pub measured: bool,
    pub scope: Scope,
    pub remark: String,
    pub sample_hz: f64,
    pub n_samples: u64,
    pub window_s: f64,
    pub integration: Integration,
    pub idle_w_pre: Option<f64>,
    pub idle_w_post: Option<f64>,
    pub gross_j: f64,
    pub net_j: Option<f64>,
    pub net_j_ci95: Option<[f64; 2]>,
    pub avg_w: f64,
    pub peak_w: f64,
    pub tokens: u64,
    pub tokens_per_j_gross: Option<f64>,
    pub tokens_per_j_net: Option<f64>,
    pub j_per_token: Option<f64>,
    pub j_per_token_ci95: Option<[f64; 2]>,
    pub rel_uncertainty: Option<f64>,
    pub rel_systematic: Option<f64>,
    pub samples_j: Vec<f64>,
    pub samples_file: Option<String>,
}

/// How warm the machine was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "report.schema.json, which is public, describes each field")]
pub struct ThermalRow {
    pub start_c: Option<f64>,
    pub end_c: Option<f64>,
    pub throttled: Option<bool>,
    pub undervoltage: Option<bool>,
    pub fan_rpm: Option<u64>,
}

/// What the machine is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "report.schema.json, which is public, describes each field")]
pub struct PlatformRow {
    pub board: Option<String>,
    pub kernel: Option<String>,
    pub governor: Option<String>,
    pub freq_khz: Vec<u64>,
    pub max_freq_khz: Option<u64>,
    pub mem: Option<u64>,
    pub on_mains: Option<bool>,
}

/// A long run: its first minute beside its last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sustain {
    /// How long it was, in minutes.
    pub minutes: f64,
    /// The first minute, or half of a run of less than two.
    pub first: Stretch,
    /// The last minute.
    pub last: Stretch,
    /// Tokens per second of the last minute by those of the first.
    pub ratio_ts: f64,
}

/// A part of a long run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Seconds.
    pub seconds: f64,
    /// Tokens per second.
    pub ts: f64,
    /// Joules per token, gross.
    pub j_per_token: Option<f64>,
    /// Watts.
    pub avg_w: Option<f64>,
    /// The processor's temperature at its end, in °C.
    pub end_c: Option<f64>,
}

/// What makes a figure worth less than it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// A phase of less than ten seconds, under a meter.
    ShortPhase,
    /// A phase with fewer than 50 samples of the meter.
    FewSamples,
    /// No sample of the meter for more than three times the usual interval.
    Gap,
    /// Some readings of the meter failed.
    FailedReadings,
    /// All readings of a phase are the same.
    Stuck,
    /// The meter's counter moved by fewer than 30 of its steps in a phase.
    FewSteps,
    /// Watts that were assumed, not measured.
    Modelled,
    /// The idle power before and after differs by more than 5 %.
    IdleDrift,
    /// The meter could not say what an idle window took; net energy is left out.
    IdleUnknown,
    /// The machine slowed down because of heat, power or voltage.
    Throttled,
    /// Repetitions deviate by more than 5 %.
    Noisy,
    /// Fewer than five repetitions.
    FewRepetitions,
    /// Other programs took more than a tenth of a processor meanwhile.
    BusyMachine,
    /// The user ended it before all repetitions were done.
    Interrupted,
    /// The meter could not say what a phase took; the energy of the test is left out.
    EnergyUnknown,
}

impl Flag {
    /// As in reports.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

impl Row {
    /// The test of a language model that it is of.
    pub fn language_test(&self) -> Test {
        Test { prompt: self.n_prompt as usize, generate: self.n_gen as usize, depth: self.n_depth as usize }
    }

    /// Joules per token of each repetition.
    pub fn samples_j_per_token(&self) -> Vec<f64> {
        let Some(energy) = &self.energy else { return Vec::new() };
        let tokens = (self.n_prompt + self.n_gen) as f64;
        let per_token = |(joules, iterations): (&f64, &u64)| joules / (tokens * *iterations as f64);
        energy.samples_j.iter().zip(&self.samples_iterations).map(per_token).collect()
    }
}

/// Reads the report in `path`: a list of rows, or a row on each line.
///
/// # Errors
/// A file that cannot be read, that is no report, or that is one of another version.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::BadRequest(format!("cannot read {}: {error}", path.display())))?;
    parse(&text).map_err(|problem| Error::BadRequest(format!("{}: {problem}", path.display())))
}

/// The rows as JSON, whatever they hold.
///
/// # Errors
/// Text that is neither a list of objects nor lines of them.
pub fn values(text: &str) -> std::result::Result<Vec<serde_json::Value>, String> {
    let rows = match serde_json::from_str(text) {
        Ok(serde_json::Value::Array(rows)) => rows,
        Ok(row @ serde_json::Value::Object(_)) => vec![row],
        Ok(_) => return Err("is JSON, but no report: that is a list of rows".to_owned()),
        Err(whole) => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let row = |(index, line): (usize, &str)| {
                serde_json::from_str(line).map_err(|error| match index {
                    // The text is no lines of JSON; what is wrong with it as a whole says more.
                    0 => format!("is no JSON: {whole}"),
                    _ => format!("line {}: is no JSON: {error}", index + 1),
                })
            };
            lines.map(row).collect::<std::result::Result<_, _>>()?
        }
    };
    match rows.is_empty() {
        true => Err("is a report without rows".to_owned()),
        false => Ok(rows),
    }
}

/// The rows of a report.
///
/// # Errors
/// Says what is wrong, and in which row.
pub fn parse(text: &str) -> std::result::Result<Vec<Row>, String> {
    let row = |(index, value): (usize, serde_json::Value)| {
        let bad = |problem: String| format!("row {}: {problem}", index + 1);
        check_version(&value).map_err(bad)?;
        serde_json::from_value(value).map_err(|error| bad(error.to_string()))
    };
    values(text)?.into_iter().enumerate().map(row).collect()
}

/// Refuses a row of another version than this program writes.
///
/// # Errors
/// Says which version it is of.
pub fn check_version(row: &serde_json::Value) -> std::result::Result<(), String> {
    match row.get("schema_version").map(|version| (version.as_u64(), version)) {
        Some((Some(version), _)) if version == u64::from(SCHEMA_VERSION) => Ok(()),
        Some((_, version)) => Err(format!(
            "is of schema version {version}; this babil reads version {SCHEMA_VERSION}: measure again, or use the babil \
             that wrote it"
        )),
        None if row.get("avg_ts").is_some() => {
            Err("has no schema_version: it is llama-bench's own, which --peer llama.cpp=PATH runs beside babil"
                .to_owned())
        }
        None => Err("has no schema_version: it is no row of `babil bench`".to_owned()),
    }
}
