//! Processor time of this process and of a thread.

use std::path::{Path, PathBuf};

use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// Seconds of processor time that the calling thread has used; none where the system does not tell.
pub(in crate::energy) fn thread_cpu_seconds() -> Option<f64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Some(seconds(rustix::time::ClockId::ThreadCPUTime));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// Seconds of processor time that this process has used; none where the system does not tell.
pub(crate) fn process_cpu_seconds() -> Option<f64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Some(seconds(rustix::time::ClockId::ProcessCPUTime));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn seconds(clock: rustix::time::ClockId) -> f64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A "meter" that counts busy processor time in place of joules: what a log of another meter is aligned with. That of
/// the whole machine where the system tells it, else this process's.
#[derive(Debug)]
pub(in crate::energy) struct CpuSeconds {
    info: SourceInfo,
    stat: PathBuf,
}

impl CpuSeconds {
    pub(in crate::energy) fn new(root: &Path) -> Self {
        let info = SourceInfo {
            name: "cpu-seconds".into(),
            class: Class::E,
            scope: Scope::Core,
            integration: Integration::CounterDifference,
            reads: Vec::new(),
            remark: "seconds of processor time, no energy".into(),
            resolution: 0.0,
            update_s: 0.0,
            gain: 0.0,
            drift: 0.0,
            offset_w: 0.0,
            why: String::new(),
            default_hz: 20.0,
            wraps_at_j: None,
        };
        Self { info, stat: root.join("proc/stat") }
    }

    /// From the first line of `/proc/stat`: `cpu  user nice system idle iowait irq softirq steal ...`, in hundredths
    /// of a second.
    fn busy(&self) -> Option<f64> {
        let text = std::fs::read_to_string(&self.stat).ok()?;
        let mut fields = text.lines().next()?.split_whitespace();
        (fields.next()? == "cpu").then_some(())?;
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
        Some((user + nice + system + irq + softirq) as f64 / 100.0)
    }
}

impl Source for CpuSeconds {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let seconds = self.busy().or_else(process_cpu_seconds);
        seconds.map(Reading::Joules).ok_or_else(|| ReadError::Absent("processor time".into()))
    }
}
