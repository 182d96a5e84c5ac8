//! A pool without work uses no processor: its workers sleep, and nothing wakes them. A process of its own, because what
//! is counted are this process's threads.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use babil_runtime::threads::{ThreadPool, Threads};

/// What Linux says of a thread.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    /// `S` sleeps, `R` runs or could.
    state: char,
    /// Clock ticks of processor time, in user and in system mode.
    ticks: [u64; 2],
    /// How often it went to sleep, and how often it was interrupted.
    switches: [u64; 2],
}

/// The workers of this process, by thread.
fn workers() -> BTreeMap<String, Account> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let account = |task: std::io::Result<fs::DirEntry>| {
        let folder = task.ok()?.path();
        let read = |name| fs::read_to_string(folder.join(name)).ok();
        let (stat, status) = (read("stat")?, read("status")?);
        // After the name in parentheses: the state, and as the 12th and 13th field the times.
        let (name, fields) = stat.split_once('(')?.1.split_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let switches = |name| status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
        let account = Account {
            state: fields[0].chars().next()?,
            ticks: [fields[11].parse().ok()?, fields[12].parse().ok()?],
            switches: [switches("voluntary_ctxt_switches:")?, switches("nonvoluntary_ctxt_switches:")?],
        };
        name.starts_with("babil-").then(|| (folder.display().to_string(), account))
    };
    tasks.filter_map(account).collect()
}

#[test]
fn an_idle_pool_uses_no_processor_time() {
    // As many as the machine has, more than it has, and a pool of which a job has used a part only.
    let several = Threads { decode: 2, prefill: 4 };
    for (threads, rows) in [(Threads::from(2), 1), (Threads::from(5), 1), (several, 1), (several, 100)] {
        let pool = ThreadPool::new(threads);
        for _ in 0..100 {
            pool.team(rows).run(64, &|part| {
                std::hint::black_box((0..1000 * part as u64).sum::<u64>());
            });
        }
        // A busy machine may take its time to let them go to sleep.
        let start = Instant::now();
        let asleep = loop {
            let workers = workers();
            if workers.len() == pool.threads() - 1 && workers.values().all(|worker| worker.state == 'S') {
                break workers;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{threads:?} never sleep: {workers:?}");
            thread::sleep(Duration::from_millis(5));
        };
        thread::sleep(Duration::from_millis(300));
        assert_eq!(workers(), asleep, "{threads:?}, {rows} rows");
    }
}
