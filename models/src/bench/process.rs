//! What this process has used: ticks of processor time and memory, as the system counts them. Seconds of processor time
//! are [`babil_runtime::cpu_time`]'s.

use serde::{Deserialize, Serialize};

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident memory that no file backs, shared memory included: what the program has allocated.
    pub anonymous: u64,
    /// All resident memory, mapped files and the program itself included.
    pub resident: u64,
    /// The most that was resident at any time so far.
    pub peak: u64,
}

/// The memory of this process now; `None` where the system does not say.
pub fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let anonymous = field(&status, "RssAnon:")? + field(&status, "RssShmem:")?;
    Some(Memory { anonymous, resident: field(&status, "VmRSS:")?, peak: field(&status, "VmHWM:")? })
}

/// A field of `/proc/self/status` that counts kilobytes, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Clock ticks (on Linux hundredths of a second) that Linux has counted for the threads of this process, in user and in
/// system mode; `None` on other systems.
pub fn cpu_ticks() -> Option<u64> {
    ticks_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Clock ticks of processor time in `/proc/PID/stat`: the 14th and 15th field, behind a name in parentheses, which may
/// hold anything.
pub fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use babil_runtime::cpu_time;

    use super::*;

    #[test]
    fn fields_are_found_by_their_name() {
        let status = "VmHWM:\t   10 kB\nVmRSS:\t    7 kB\nRssAnon:\t    3 kB\n";
        assert_eq!(field(status, "RssAnon:"), Some(3 * 1024));
        assert_eq!(field(status, "VmRSS:"), Some(7 * 1024));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "17 (a) R 1 (b) S 1 17 17 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 1 0 500 1000 200";
        assert_eq!(ticks_of(stat), Some(42));
        assert_eq!(ticks_of("17 (babil) S 1 2 3"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processor_time_grows() {
        let machine_seconds = || cpu_time::of_machine("/".as_ref()).unwrap();
        let (before, ticks, machine) = (cpu_time::of_process().unwrap(), cpu_ticks().unwrap(), machine_seconds());
        let mut x = 1u64;
        while cpu_ticks().unwrap() < ticks + 2 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        assert!(cpu_time::of_process().unwrap() > before && machine_seconds() > machine);
        let memory = memory().unwrap();
        assert!(memory.anonymous <= memory.resident && memory.resident <= memory.peak);
    }
}
