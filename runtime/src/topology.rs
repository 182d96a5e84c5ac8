//! The CPUs that this process may compute on: how many there are, which share a core, and which are fast.
//!
//! ```text
//! /sys/devices/system/cpu, affinity, quota --Topology::detect--> Topology --> how many threads, and on which CPUs
//! ```
//!
//! Phones and some laptops have fast and slow cores. A job is over when its last part is, so a slow core that took a
//! part late is waited for by all: unless more threads are asked for, the slow cores get none. A second thread of a
//! core adds little where both wait for the same memory: by default each core has one.
//!
//! Linux and Android tell all this; elsewhere, and where files are missing or make no sense, all CPUs are alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use crate::threads::Threads;

/// The CPUs that a process may use. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// In order of their numbers, at least one.
    cpus: Vec<Cpu>,
    /// How many threads the system lets run at the same time: the affinity, or a share of processor time if that is
    /// less.
    parallelism: usize,
}

/// One hardware thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cpu {
    /// The system's number.
    number: usize,
    /// The lowest number among the CPUs of its core.
    core: usize,
    fast: bool,
}

/// What tells how fast CPUs are, the better first: the file of a CPU, and what share of the fastest CPU's value makes a
/// CPU fast. Capacity counts work per time: the middle cores of phones have from 0.45 on, the little ones at most 0.35.
/// Frequency says nothing about work per cycle; cores of one kind differ in it by less than a fifth.
const MEASURES: [(&str, f64); 2] = [("cpu_capacity", 0.4), ("cpufreq/cpuinfo_max_freq", 0.8)];

/// More CPUs than Linux can have.
const MOST_CPUS: usize = 1 << 16;

impl Topology {
    /// That of this machine, for the calling thread.
    pub fn detect() -> Self {
        let parallelism = thread::available_parallelism().map_or(1, |n| n.get());
        Self::read(Path::new("/sys/devices/system/cpu"), &affinity::allowed(), parallelism)
    }

    /// What the files in `root`, laid out as `/sys/devices/system/cpu` of Linux, tell of the CPUs that are `allowed`,
    /// of which `parallelism` may run at the same time. Where they tell of none, there are as many as that.
    pub fn read(root: &Path, allowed: &dyn Fn(usize) -> bool, parallelism: usize) -> Self {
        let text = |name: &str| fs::read_to_string(root.join(name)).ok();
        let online = text("online").and_then(|list| parse_list(&list)).unwrap_or_else(|| folders(root));
        let usable = |&number: &usize| {
            allowed(number) && text(&format!("cpu{number}/online")).is_none_or(|online| online.trim() != "0")
        };
        let parallelism = parallelism.max(1);
        let mut numbers: Vec<usize> = online.into_iter().filter(usable).collect();
        if numbers.is_empty() {
            numbers.extend(0..parallelism);
        }
        let fast = MEASURES.iter().find_map(|&(file, share)| {
            let value = |number| text(&format!("cpu{number}/{file}"))?.trim().parse().ok();
            let values: Vec<u64> = numbers.iter().map(value).collect::<Option<_>>()?;
            let (least, most) = (*values.iter().min()?, *values.iter().max()?);
            (least < most).then(|| values.iter().map(|&value| value as f64 >= share * most as f64).collect::<Vec<_>>())
        });
        let core = |number| {
            let siblings = parse_list(&text(&format!("cpu{number}/topology/thread_siblings_list"))?)?;
            siblings.contains(&number).then_some(*siblings.first()?)
        };
        let cpu = |(index, &number): (usize, &usize)| Cpu {
            number,
            core: core(number).unwrap_or(number),
            fast: fast.as_ref().is_none_or(|fast| fast[index]),
        };
        Self { cpus: numbers.iter().enumerate().map(cpu).collect(), parallelism }
    }

    /// Hardware threads that may be used, at least 1.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// The cores that these belong to, at least 1.
    pub fn cores(&self) -> usize {
        cores(self.cpus.iter())
    }

    /// The numbers of the fast CPUs, in order; `None` where all are alike.
    pub fn fast_cpus(&self) -> Option<Vec<usize>> {
        (self.fast().count() < self.cpus.len()).then(|| self.fast().map(|cpu| cpu.number).collect())
    }

    /// The numbers of the others, in order; `None` where all are alike.
    pub fn slow_cpus(&self) -> Option<Vec<usize>> {
        let slow: Vec<usize> = self.cpus.iter().filter(|cpu| !cpu.fast).map(|cpu| cpu.number).collect();
        (!slow.is_empty()).then_some(slow)
    }

    fn fast(&self) -> impl Iterator<Item = &Cpu> {
        self.cpus.iter().filter(|cpu| cpu.fast)
    }

    /// The most threads that can run at the same time. More only take turns.
    pub fn most_threads(&self) -> usize {
        self.cpus().min(self.parallelism)
    }

    /// How many threads compute: the numbers asked for, as far as they can run at the same time. Without any it is one
    /// for each fast core; prompts have as many as the rest unless they are asked for.
    pub fn threads(&self, decode: Option<usize>, prefill: Option<usize>) -> Threads {
        let most = self.most_threads();
        let decode = decode.unwrap_or_else(|| cores(self.fast())).clamp(1, most);
        Threads { decode, prefill: prefill.unwrap_or(decode).clamp(1, most) }
    }
}

/// How many cores have these CPUs.
fn cores<'a>(cpus: impl Iterator<Item = &'a Cpu>) -> usize {
    cpus.map(|cpu| cpu.core).collect::<BTreeSet<_>>().len()
}

/// A list of numbers as Linux prints it, such as `0-3,6`.
fn parse_list(text: &str) -> Option<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST_CPUS {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// The CPUs that have a folder.
fn folders(root: &Path) -> BTreeSet<usize> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok();
    let entries = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(number).filter(|&number| number < MOST_CPUS).collect()
}

pub use affinity::{Kept, keep_to};

/// Which CPUs a thread may run on.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod affinity {
    use std::marker::PhantomData;
    use std::sync::MutexGuard;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// Whether the calling thread may run on a CPU: on all, where the system does not say.
    pub(super) fn allowed() -> impl Fn(usize) -> bool {
        let set = sched_getaffinity(None).ok();
        move |cpu| set.as_ref().is_none_or(|set| cpu < CpuSet::MAX_CPU && set.is_set(cpu))
    }

    /// A thread that keeps to some CPUs until this is dropped.
    #[derive(Debug)]
    pub struct Kept {
        before: CpuSet,
        /// It is the calling thread's, so it stays there: a guard cannot be sent away.
        _thread: PhantomData<MutexGuard<'static, ()>>,
    }

    /// Keeps the calling thread, and those that it starts meanwhile, to those of `cpus` that it may use. `None` where there are none or it has no others
    /// already, or where the system refuses: it is a wish.
    pub fn keep_to(cpus: &[usize]) -> Option<Kept> {
        let before = sched_getaffinity(None).ok()?;
        let mut set = CpuSet::new();
        cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU && before.is_set(cpu)).for_each(|&cpu| set.set(cpu));
        if set.count() == 0 || set == before {
            return None;
        }
        sched_setaffinity(None, &set).ok()?;
        Some(Kept { before, _thread: PhantomData })
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            // Where it fails, those CPUs are gone, and the thread stays where it can run.
            let _ = sched_setaffinity(None, &self.before);
        }
    }
}

/// Keeps the calling thread, and those that it starts from now on, to those of `cpus` that it may use, for good. Whether the
/// system lets it.
pub fn stay_on(cpus: &[usize]) -> bool {
    keep_to(cpus).map(std::mem::forget).is_some()
}

/// Which CPUs a thread may run on: not known on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod affinity {
    pub(super) fn allowed() -> impl Fn(usize) -> bool {
        |_| true
    }

    /// A thread that keeps to some CPUs: there is none.
    #[derive(Debug)]
    pub enum Kept {}

    /// Not possible on this system.
    pub fn keep_to(_: &[usize]) -> Option<Kept> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::ThreadPool;

    /// A folder with these files: `cpu0-3/online` stands for those of four CPUs, and `#` in a value for the CPU's
    /// number.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, value: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        };
        for (path, value) in files {
            match path.strip_prefix("cpu").and_then(|path| path.split_once('/')) {
                None => write(path, value),
                Some((cpus, file)) => parse_list(cpus).unwrap().into_iter().for_each(|cpu| {
                    write(&format!("cpu{cpu}/{file}"), &value.replace('#', &cpu.to_string()));
                }),
            }
        }
        root
    }

    /// What is known of the CPUs of a tree, all of which may be used and run at the same time.
    fn read(files: &[(&str, &str)]) -> Topology {
        Topology::read(tree(files).path(), &|_| true, 1000)
    }

    /// CPUs, cores, fast CPUs, and the threads of a pool that nobody asked a number for.
    fn found(topology: &Topology) -> (usize, usize, Option<Vec<usize>>, usize) {
        let threads = topology.threads(None, None);
        assert_eq!(threads.decode, threads.prefill);
        (topology.cpus(), topology.cores(), topology.fast_cpus(), threads.decode)
    }

    const RASPBERRY_PI_5: &[(&str, &str)] = &[
        ("online", "0-3"),
        ("cpu0-3/topology/thread_siblings_list", "#"),
        ("cpu0-3/cpufreq/cpuinfo_max_freq", "2400000"),
    ];

    /// A Snapdragon 855: four little cores, three middle ones and a large one.
    const PHONE: &[(&str, &str)] = &[
        ("online", "0-7"),
        ("cpu0-7/topology/thread_siblings_list", "#"),
        ("cpu0-3/cpu_capacity", "326"),
        ("cpu4-6/cpu_capacity", "871"),
        ("cpu7/cpu_capacity", "1024"),
        ("cpu0-3/cpufreq/cpuinfo_max_freq", "1785600"),
        ("cpu4-6/cpufreq/cpuinfo_max_freq", "2419200"),
        ("cpu7/cpufreq/cpuinfo_max_freq", "2841600"),
    ];

    /// A Core i5-1240P: four cores of two threads each, eight slow cores of one.
    const LAPTOP: &[(&str, &str)] = &[
        ("online", "0-15"),
        ("cpu0-1/topology/thread_siblings_list", "0-1"),
        ("cpu2-3/topology/thread_siblings_list", "2-3"),
        ("cpu4-5/topology/thread_siblings_list", "4-5"),
        ("cpu6-7/topology/thread_siblings_list", "6-7"),
        ("cpu8-15/topology/thread_siblings_list", "#"),
        ("cpu0-7/cpufreq/cpuinfo_max_freq", "4400000"),
        ("cpu8-15/cpufreq/cpuinfo_max_freq", "3300000"),
    ];

    /// Four cores of two threads, of which one may go faster.
    const DESKTOP: &[(&str, &str)] = &[
        ("online", "0-7"),
        ("cpu0,4/topology/thread_siblings_list", "0,4"),
        ("cpu1,5/topology/thread_siblings_list", "1,5"),
        ("cpu2,6/topology/thread_siblings_list", "2,6"),
        ("cpu3,7/topology/thread_siblings_list", "3,7"),
        ("cpu0,4/cpufreq/cpuinfo_max_freq", "5050000"),
        ("cpu1-3,5-7/cpufreq/cpuinfo_max_freq", "4850000"),
    ];

    const VIRTUAL_MACHINE: &[(&str, &str)] =
        &[("online", "0-1"), ("cpu0-1/topology/thread_siblings_list", "#"), ("cpu0-1/cpu_capacity", "1024")];

    #[test]
    fn machines_are_told_from_their_files() {
        assert_eq!(found(&read(RASPBERRY_PI_5)), (4, 4, None, 4));
        assert_eq!(found(&read(PHONE)), (8, 8, Some(vec![4, 5, 6, 7]), 4));
        assert_eq!(found(&read(LAPTOP)), (16, 12, Some((0..8).collect()), 4));
        assert_eq!(found(&read(DESKTOP)), (8, 4, None, 4));
        assert_eq!(found(&read(VIRTUAL_MACHINE)), (2, 2, None, 2));
    }

    #[test]
    fn what_may_not_be_used_does_not_count() {
        let phone = tree(PHONE);
        let of =
            |allowed: &dyn Fn(usize) -> bool, parallelism| found(&Topology::read(phone.path(), allowed, parallelism));
        assert_eq!(of(&|cpu| cpu < 4, 4), (4, 4, None, 4), "in the background an app has the little cores");
        assert_eq!(of(&|cpu| cpu % 2 == 1, 4), (4, 4, Some(vec![5, 7]), 2));
        assert_eq!(of(&|_| true, 3), (8, 8, Some(vec![4, 5, 6, 7]), 3), "a share of the processor's time");
        assert_eq!(of(&|_| false, 2), (2, 2, None, 2), "files that have nothing to do with this process");

        let with = |files: &[(&'static str, &'static str)]| read(&[PHONE, files].concat());
        assert_eq!(found(&with(&[("online", "0-6")])), (7, 7, Some(vec![4, 5, 6]), 3), "the large core is off");
        assert_eq!(found(&with(&[("cpu7/online", "0"), ("cpu0-6/online", "1")])), (7, 7, Some(vec![4, 5, 6]), 3));
    }

    #[test]
    fn without_files_or_with_senseless_ones_cpus_are_alike() {
        let nowhere = Topology::read(Path::new("/nowhere/at/all"), &|_| true, 6);
        assert_eq!(found(&nowhere), (6, 6, None, 6));
        assert_eq!(found(&Topology::read(tree(&[]).path(), &|_| true, 0)), (1, 1, None, 1));

        let phone = |files: &[(&'static str, &'static str)]| found(&read(&[PHONE, files].concat()));
        let told = (8, 8, Some(vec![4, 5, 6, 7]), 4);
        for list in ["", "zebra", "7-0", "0-", "-1", "0-99999999999999999999", "0-4294967295"] {
            assert_eq!(phone(&[("online", list)]), told, "the folders tell: `{list}`");
            assert_eq!(phone(&[("cpu0-7/topology/thread_siblings_list", list)]), told, "`{list}`");
        }
        assert_eq!(phone(&[("cpu3/topology/thread_siblings_list", "4-5")]), told, "a core without its own CPU");
        // One capacity that cannot be read: frequencies tell. The same with one of these: nothing does.
        for value in ["", "fast", "-5", "1e9"] {
            assert_eq!(phone(&[("cpu5/cpu_capacity", value)]), told, "`{value}`");
            let alike = phone(&[("cpu5/cpu_capacity", value), ("cpu0/cpufreq/cpuinfo_max_freq", value)]);
            assert_eq!(alike, (8, 8, None, 8), "`{value}`");
        }
        assert_eq!(phone(&[("cpu0-7/cpu_capacity", "0")]), told, "capacities that say nothing");
    }

    #[test]
    fn no_more_threads_than_can_run() {
        let threads = |topology: &Topology, decode, prefill| {
            let Threads { decode, prefill } = topology.threads(decode, prefill);
            (decode, prefill)
        };
        let phone = &read(PHONE);
        assert_eq!(threads(phone, None, None), (4, 4));
        assert_eq!(threads(phone, Some(2), None), (2, 2));
        assert_eq!(threads(phone, None, Some(8)), (4, 8));
        assert_eq!(threads(phone, Some(2), Some(4)), (2, 4));
        assert_eq!(threads(phone, Some(100), Some(0)), (8, 1));
        let machine = &read(VIRTUAL_MACHINE);
        assert_eq!(threads(machine, Some(4), Some(3)), (2, 2));
        let pool = ThreadPool::for_machine(machine, Some(4), None);
        assert_eq!((pool.threads(), pool.team(1).threads()), (2, 2));
    }

    #[test]
    fn this_machine_runs_what_it_says() {
        let machine = Topology::detect();
        let parallelism = thread::available_parallelism().map_or(1, |n| n.get());
        assert!((1..=parallelism).contains(&machine.threads(None, None).decode));
        assert_eq!(machine.most_threads(), parallelism.min(machine.cpus()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_keep_to_the_fast_cpus_while_they_compute() {
        use std::sync::Barrier;
        use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

        let mine = || -> BTreeSet<usize> {
            let allowed = affinity::allowed();
            (0..MOST_CPUS).filter(|&cpu| allowed(cpu)).collect()
        };
        let all = mine();
        // As if the first half of this machine's CPUs were fast, and one more that has just been switched off.
        let here: BTreeSet<usize> = all.iter().copied().take(all.len().div_ceil(2)).collect();
        for off in [None, Some(MOST_CPUS - 1)] {
            let is_fast = |cpu: usize| here.contains(&cpu) || Some(cpu) == off;
            let cpu = |number| Cpu { number, core: number, fast: is_fast(number) };
            let cpus: Vec<Cpu> = all.iter().copied().chain(off).map(cpu).collect();
            let fast = cpus.iter().filter(|cpu| cpu.fast).count();
            let machine = Topology { cpus, parallelism: all.len() };
            for threads in [None, Some(all.len())] {
                let pool = ThreadPool::for_machine(&machine, threads, None);
                let team = pool.all();
                let (together, kept) = (Barrier::new(team.threads()), AtomicUsize::new(0));
                team.run(team.threads(), &|_| {
                    together.wait();
                    kept.fetch_add(usize::from(mine() == here), SeqCst);
                });
                assert_eq!(kept.into_inner(), team.threads().min(fast), "{threads:?} on {machine:?}");
                drop(team);
                assert_eq!(mine(), all, "the caller has its CPUs back");
            }
        }
        // CPUs that this process does not have are no place to go.
        assert!(keep_to(&[MOST_CPUS]).is_none() && keep_to(&[]).is_none());
        assert_eq!(mine(), all);
    }
}
