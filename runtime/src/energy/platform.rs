//! The machine: what a report should say of it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::sources::{entries, number, text};

/// What a report says of the machine. What the system does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Platform {
    /// The board's or the computer's model.
    pub board: Option<String>,
    /// The processor's name; the board's, or the architecture, where it has none.
    pub cpu: String,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// What chooses frequencies, once for each different one.
    pub governors: Vec<String>,
    /// The present frequency of each CPU that tells it, in kHz.
    pub freq_khz: Vec<u64>,
    /// The highest frequency that the system allows any of them, in kHz.
    pub max_freq_khz: Option<u64>,
    /// Memory in bytes.
    pub mem: Option<u64>,
    /// Whether a charger or the mains is connected; none where nothing tells.
    pub on_mains: Option<bool>,
}

impl Platform {
    /// Reads it below `root`, which is `/` but in tests.
    pub fn read(root: &Path) -> Self {
        let read = |path: &str| text(&root.join(path), "").ok().filter(|text| !text.is_empty());
        // A device tree's strings end with a zero byte.
        let tree = read("proc/device-tree/model").map(|model| model.trim_end_matches('\0').to_owned());
        let table = || {
            let parts = ["sys_vendor", "product_name"].map(|name| read(&format!("sys/class/dmi/id/{name}")));
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        };
        let board = tree.or_else(table);
        let cpuinfo = read("proc/cpuinfo").unwrap_or_default();
        let of_cpu = |label: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == label))?;
            Some(line.split_once(':')?.1.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let cpu = of_cpu("model name").or_else(|| of_cpu("Hardware")).or_else(|| board.clone());
        let cpus = entries(&root.join("sys/devices/system/cpu"));
        let frequencies = |file: &str| -> Vec<u64> {
            let of = |cpu: &std::path::PathBuf| number(&cpu.join("cpufreq").join(file), "").ok()?.try_into().ok();
            cpus.iter().filter_map(of).collect()
        };
        let governors: BTreeSet<String> =
            cpus.iter().filter_map(|cpu| text(&cpu.join("cpufreq/scaling_governor"), "").ok()).collect();
        let memory = || {
            let text = read("proc/meminfo")?;
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let online: Vec<bool> = entries(&root.join("sys/class/power_supply"))
            .iter()
            .filter(|supply| text(&supply.join("type"), "").is_ok_and(|kind| kind != "Battery"))
            .filter_map(|supply| number(&supply.join("online"), "").ok())
            .map(|online| online != 0)
            .collect();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            board,
            kernel: read("proc/sys/kernel/osrelease"),
            governors: governors.into_iter().collect(),
            freq_khz: frequencies("scaling_cur_freq"),
            max_freq_khz: frequencies("scaling_max_freq").into_iter().max(),
            mem: memory(),
            on_mains: (!online.is_empty()).then(|| online.contains(&true)),
        }
    }
}
