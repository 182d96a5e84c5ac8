//! What the benchmarks share: how much processor time and memory this process has used, and medians.

use serde::Serialize;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident memory that no file backs, shared memory included: what the program has allocated.
    pub anonymous: u64,
    /// All resident memory, mapped files and the program itself included.
    pub resident: u64,
}

/// The memory of this process now; `None` where the system does not say.
pub fn memory() -> Option<Memory> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let anonymous = field(&status, "RssAnon:")? + field(&status, "RssShmem:")?;
    Some(Memory { anonymous, resident: field(&status, "VmRSS:")? })
}

/// A field of `/proc/self/status` that counts kilobytes, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Seconds that all threads of this process have computed so far, in user and in system mode; `None` where the system
/// does not say.
#[cfg(unix)]
pub fn cpu_seconds() -> Option<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is valid for writing one `rusage`.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: getrusage has succeeded, so it has filled the whole structure.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Some(seconds(usage.ru_utime) + seconds(usage.ru_stime))
}

/// Seconds that all threads of this process have computed so far: not known on this system.
#[cfg(not(unix))]
pub fn cpu_seconds() -> Option<f64> {
    None
}

/// When a measurement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// Once, uncounted, to warm up, then so often.
    Rounds(usize),
    /// For each line of stdin: somebody else says whose turn it is.
    OnRequest,
}

impl Turns {
    /// Calls `repeat` whenever it is time, with whether that counts.
    ///
    /// # Errors
    /// Reading stdin, and those of `repeat`.
    pub fn run<E: From<std::io::Error>>(self, mut repeat: impl FnMut(bool) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Rounds(0) => Ok(()),
            Self::Rounds(rounds) => (0..=rounds).try_for_each(|round| repeat(round > 0)),
            Self::OnRequest => std::io::stdin().lines().try_for_each(|line| {
                line?;
                repeat(true)
            }),
        }
    }
}

/// The middle one of `values`, of an even number of them the upper one. Panics if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_name() {
        let status = "VmHWM:\t   10 kB\nVmRSS:\t    7 kB\nRssAnon:\t    3 kB\n";
        assert_eq!(field(status, "RssAnon:"), Some(3 * 1024));
        assert_eq!(field(status, "VmRSS:"), Some(7 * 1024));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn medians_do_not_depend_on_the_order() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 3.0);
    }

    #[cfg(unix)]
    #[test]
    fn processor_time_grows() {
        let before = cpu_seconds().unwrap();
        let mut x = 1u64;
        while cpu_seconds().unwrap() <= before {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }
}
