//! Processor time: of a thread, of this process, and of the whole machine, in seconds.

use std::path::Path;

/// What the calling thread has used; `None` where the system does not tell.
pub fn of_thread() -> Option<f64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Some(seconds(rustix::time::ClockId::ThreadCPUTime));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    None
}

/// What all threads of this process have used, in user and in system mode; `None` where the system does not tell.
pub fn of_process() -> Option<f64> {
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

/// What all processors have used, for whatever process, as `proc/stat` below `root` tells it, which is `/` but in tests;
/// `None` where it does not.
pub fn of_machine(root: &Path) -> Option<f64> {
    busy_of(&std::fs::read_to_string(root.join("proc/stat")).ok()?)
}

/// From the first line of `/proc/stat`: `cpu  user nice system idle iowait irq softirq steal ...`, in hundredths of a
/// second.
fn busy_of(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) as f64 / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_busy_but_for_idling_and_waiting() {
        assert_eq!(busy_of("cpu  100 10 40 9000 77 3 2 5 0 0\ncpu0 1 1 1\n"), Some(1.55));
        assert_eq!(busy_of("intr 1 2 3\n"), None);
    }
}
