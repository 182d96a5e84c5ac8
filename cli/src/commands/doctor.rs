//! `babil doctor`: what babil finds on this machine.

#[cfg_attr(not(feature = "npu"), path = "doctor/no_devices.rs")]
mod devices;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::Result;
use babil_models::OpenOptions;
use babil_runtime::kernels::Kernels;
use babil_runtime::topology::Topology;
use clap::Args;
use serde::Serialize;

use crate::args::Context;
use crate::output::human_bytes;

/// Show what babil finds on this machine: CPU, memory, cache, models
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  babil doctor
  babil doctor --devices
  babil doctor --json | jq .instruction_set")]
pub(crate) struct DoctorArgs {
    /// Show the devices that ONNX Runtime's providers offer, such as NPUs, and why one cannot be used
    #[arg(long)]
    devices: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    cpu_features: Vec<&'static str>,
    instruction_set: Option<&'static str>,
    cpus: Cpus,
    /// How many compute unless a number is asked for.
    threads: usize,
    most_threads: usize,
    memory: Option<Memory>,
    cache: Option<Cache>,
    bundled_model: bool,
    offline: bool,
    /// What will not work.
    problems: Vec<String>,
}

/// The CPUs that babil may use.
#[derive(Debug, Serialize)]
struct Cpus {
    usable: usize,
    cores: usize,
    /// The numbers of the fast ones; none where all are alike.
    fast: Option<Vec<usize>>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Memory {
    total_bytes: u64,
    available_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Cache {
    path: PathBuf,
    exists: bool,
    writable: bool,
}

pub(crate) fn run(args: DoctorArgs, context: &Context) -> Result<()> {
    if args.devices {
        return devices::run(context);
    }
    let report = Report::new(context);
    if context.output.is_json() { context.output.json(&report) } else { context.output.text(report.table()) }
}

impl Report {
    fn new(context: &Context) -> Self {
        let mut problems = Vec::new();
        let settings = context.settings().map_err(|error| problems.push(format!("{error:#}"))).ok();
        let cache = settings.as_ref().map(|settings| Cache::at(&settings.cache));
        if let Some(cache) = &cache
            && !cache.writable
        {
            problems.push(format!("{} is not writable: models cannot be pulled", cache.path.display()));
        }
        let bundled_model = babil_models::open_translator(&OpenOptions::default())
            .map_err(|error| problems.push(format!("the built-in model does not open: {error}")))
            .is_ok();
        let instruction_set = Kernels::from_env().map(|kernels| kernels.isa.name());
        let instruction_set = instruction_set.map_err(|error| problems.push(error.to_string())).ok();
        let machine = Topology::detect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpu_features: cpu_features(),
            instruction_set,
            cpus: Cpus { usable: machine.cpus(), cores: machine.cores(), fast: machine.fast_cpus() },
            threads: machine.threads(None, None).decode,
            most_threads: machine.most_threads(),
            memory: fs::read_to_string("/proc/meminfo").ok().and_then(|text| Memory::parse(&text)),
            cache,
            bundled_model,
            offline: settings.is_some_and(|settings| settings.offline),
            problems,
        }
    }

    fn table(&self) -> String {
        let yes = |yes| if yes { "yes" } else { "no" };
        let memory = self.memory.as_ref().map_or("unknown".into(), |memory| {
            format!("{} available of {}", human_bytes(memory.available_bytes), human_bytes(memory.total_bytes))
        });
        let cache = self.cache.as_ref().map_or("unknown".into(), |cache| {
            let state = match (cache.exists, cache.writable) {
                (_, false) => "not writable",
                (true, true) => "writable",
                (false, true) => "not there yet",
            };
            format!("{} ({state})", cache.path.display())
        });
        let rows = [
            ("babil", self.version.to_owned()),
            ("system", format!("{} {}", self.os, self.arch)),
            ("CPU features", self.cpu_features.join(" ")),
            ("instructions", self.instruction_set.unwrap_or("unknown").to_owned()),
            ("CPUs", self.cpus.to_string()),
            ("threads", format!("{} (at most {})", self.threads, self.most_threads)),
            ("memory", memory),
            ("cache", cache),
            ("built-in model", yes(self.bundled_model).to_owned()),
            ("offline", yes(self.offline).to_owned()),
        ];
        let rows = rows.into_iter().chain(self.problems.iter().map(|problem| ("problem", problem.clone())));
        rows.map(|(label, value)| format!("{label:<15} {value}").trim_end().to_owned() + "\n").collect()
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} cores", self.usable, self.cores)?;
        match &self.fast {
            None => Ok(()),
            Some(fast) => {
                write!(f, ", fast:")?;
                fast.iter().try_for_each(|cpu| write!(f, " {cpu}"))
            }
        }
    }
}

impl Memory {
    /// From the content of `/proc/meminfo`.
    fn parse(meminfo: &str) -> Option<Self> {
        let bytes = |label: &str| -> Option<u64> {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(label))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total_bytes: bytes("MemTotal:")?, available_bytes: bytes("MemAvailable:")? })
    }
}

impl Cache {
    fn at(path: &Path) -> Self {
        let existing = path.ancestors().find(|folder| folder.exists());
        Self { path: path.to_owned(), exists: path.is_dir(), writable: existing.is_some_and(is_writable) }
    }
}

/// Whether a file can be made in `folder`: tried, since permissions alone do not tell (a read-only file system).
fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!(".babil-doctor-{}", process::id()));
    let created = File::create_new(&probe).is_ok();
    if created {
        let _ = fs::remove_file(&probe);
    }
    created
}

/// The names of the features that kernels make use of, as far as this CPU has them.
fn cpu_features() -> Vec<&'static str> {
    macro_rules! detected {
        ($detect:ident: $($feature:tt)*) => {
            [$(($feature, std::arch::$detect!($feature))),*].iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
        };
    }
    #[cfg(target_arch = "x86_64")]
    return {
        let mut features: Vec<_> = detected!(
            is_x86_feature_detected: "sse4.2" "avx" "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512vl"
            "avx512vnni"
        );
        // Rust has no stable way to ask for tiles; the system has to grant them, too.
        features.extend(Kernels::for_isa(babil_runtime::kernels::Isa::Amx).map(|_| "amx-int8"));
        features
    };
    #[cfg(target_arch = "aarch64")]
    return detected!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "fp16" "bf16" "sve" "sve2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return Vec::new();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    8000 kB\n";
        assert_eq!(Memory::parse(text), Some(Memory { total_bytes: 16_384_000, available_bytes: 8_192_000 }));
        assert_eq!(Memory::parse("MemTotal: x kB\n"), None);
    }

    #[test]
    fn the_table_names_problems() {
        let report = Report {
            version: "1.2.3",
            os: "linux",
            arch: "aarch64",
            cpu_features: vec!["neon", "dotprod"],
            instruction_set: Some("dotprod"),
            cpus: Cpus { usable: 8, cores: 8, fast: Some(vec![4, 5, 6, 7]) },
            threads: 4,
            most_threads: 8,
            memory: Some(Memory { total_bytes: 8_000_000_000, available_bytes: 5_500_000_000 }),
            cache: Some(Cache { path: "/home/me/.cache/huggingface/hub".into(), exists: false, writable: false }),
            bundled_model: true,
            offline: false,
            problems: vec!["something is wrong".into()],
        };
        insta::assert_snapshot!(report.table());
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_writable_where_its_parent_is() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("a/b"));
        assert!(!cache.exists && cache.writable);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
