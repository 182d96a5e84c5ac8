//! The thread pool: persistent workers that share out the parts of one job at a time.
//!
//! ```text
//! ThreadPool --team(rows)--> Team: the threads for a forward pass of so many rows --run--> parts, on all of them
//! ```
//!
//! [`Team::run`] opens a job and gives each thread of the team an equal share of its parts, which it takes in order, so that
//! it reads memory from one end to the other. Who has finished takes parts from the ends of the others' shares until none is
//! left; the caller then closes the job and waits for the workers that joined it. A worker that wakes late finds the job
//! closed and is not waited for, so a busy machine never delays a job by more than the parts it took.
//!
//! A worker without a job spins for some microseconds, because the next job of a forward pass is microseconds away, and then
//! parks: an idle pool uses no processor time. Nothing here allocates or locks while a job runs.
//!
//! `shares.rs` is what the threads of a pool share, and `columns.rs` cuts matrices into parts.
#![allow(unsafe_code)]

mod columns;
mod shares;
#[cfg(test)]
mod tests;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use self::columns::ColumnsMut;
use self::shares::{Job, MOST_PARTS, MOST_WORKERS, Shared};
use crate::topology::{Kept, Topology, keep_to};

/// How long a thread looks for work, or for the end of a job, before it sleeps.
const SPIN: Duration = Duration::from_micros(40);

/// From so many rows on, a forward pass is one of a prompt: each weight serves so many rows that arithmetic takes the
/// time, not reading weights.
const PREFILL_ROWS: usize = 16;

/// How many threads share the work of a forward pass, at least 1. The numbers change the speed, never a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// When text is generated: a few rows, which wait for the memory that weights are read from. Fewer threads than
    /// there are cores may get all that it has.
    pub decode: usize,
    /// Of a prompt: many rows.
    pub prefill: usize,
}

impl Threads {
    /// The larger of the two.
    pub(crate) fn most(self) -> usize {
        self.decode.max(self.prefill)
    }

    fn for_rows(self, rows: usize) -> usize {
        if rows < PREFILL_ROWS { self.decode } else { self.prefill }
    }
}

impl From<usize> for Threads {
    fn from(threads: usize) -> Self {
        Self { decode: threads, prefill: threads }
    }
}

/// Threads that run the parts of a job together. See the [module](self).
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// let pool = babil_runtime::threads::ThreadPool::new(2);
/// let sum = AtomicUsize::new(0);
/// pool.all().run(10, &|part| {
///     sum.fetch_add(part, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    threads: Threads,
    /// The CPUs that as many threads keep to, where that is not all of them.
    home: Option<Arc<[usize]>>,
}

impl ThreadPool {
    /// The pool for a machine: as many threads as asked for, but no more than can run at the same time, because threads
    /// that take turns cost more than they bring; [`Topology::threads`] says how many without a wish. Where the machine
    /// has slow cores, as many threads as there are fast CPUs keep to these: the first workers, and the caller while
    /// its forward pass runs.
    pub fn for_machine(machine: &Topology, decode: Option<usize>, prefill: Option<usize>) -> Self {
        Self::start(machine.threads(decode, prefill), machine.fast_cpus().map(Into::into))
    }

    /// A pool of exactly so many threads, whatever the machine has, of which the caller of [`Team::run`] is one: with 1
    /// (or 0) there are no workers and everything runs inline. When the system refuses a thread, the pool has fewer.
    pub fn new(threads: impl Into<Threads>) -> Self {
        Self::start(threads.into(), None)
    }

    /// A pool without workers that keeps to the same CPUs: for a thread that computes by itself beside others.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self::start(1.into(), self.home.clone())
    }

    fn start(threads: Threads, home: Option<Arc<[usize]>>) -> Self {
        let threads = Threads { decode: threads.decode.max(1), prefill: threads.prefill.max(1) };
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        let workers = (threads.most() - 1).min(MOST_WORKERS);
        // With more threads than cores, a spinning thread keeps the core from one that has work.
        let spin = if threads.most() > cores { Duration::ZERO } else { SPIN };
        let shared = Arc::new(Shared::new(workers, spin));
        let start = |index| {
            let shared = Arc::clone(&shared);
            let home = home.clone().filter(|home| index + 1 < home.len());
            let builder = thread::Builder::new().name(format!("babil-{}", index + 1));
            let life = move || {
                let _kept = home.as_deref().and_then(keep_to);
                shared.work(index);
            };
            builder.spawn(life).ok()
        };
        let workers: Vec<_> = (0..workers).map_while(start).collect();
        Self { shared, workers, threads, home }
    }

    /// The most threads that work on a job, the caller included: at least 1.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The threads for a forward pass of so many rows, of which the calling thread is one.
    pub fn team(&self, rows: usize) -> Team<'_> {
        let threads = self.threads.for_rows(rows).min(self.threads());
        Team { pool: self, threads, _kept: self.home.as_deref().and_then(keep_to) }
    }

    /// All threads.
    pub fn all(&self) -> Team<'_> {
        Team { threads: self.threads(), ..self.team(0) }
    }
}

/// The calling thread and some of a pool's workers. While it lives, the calling thread keeps to the pool's CPUs, if it
/// has some of its own.
#[derive(Debug)]
pub struct Team<'a> {
    pool: &'a ThreadPool,
    threads: usize,
    _kept: Option<Kept>,
}

impl Team<'_> {
    /// Threads that work on a job, the caller included: at least 1.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `f(0)`, `f(1)`, .. `f(parts - 1)`, each once, on the workers and on this thread, and returns when all are
    /// done. Which thread runs which part, and in what order, is not defined.
    ///
    /// Called from inside a part, or while another thread's job is running, it runs its parts inline, in order, on the
    /// calling thread; so it can be nested and shared and never deadlocks.
    ///
    /// # Panics
    /// If a part panics: the other parts still run, and then the first panic continues here. (Inline, it continues at
    /// once.)
    pub fn run(&self, parts: usize, f: &(dyn Fn(usize) + Sync)) {
        let ThreadPool { shared, workers, .. } = self.pool;
        let helpers = self.threads - 1;
        if parts <= 1 || helpers == 0 || parts > MOST_PARTS || shared.busy.swap(true, SeqCst) {
            (0..parts).for_each(f);
            return;
        }
        // SAFETY: the job's borrow of `f` is extended to 'static. It is only used by threads that joined the job, and
        // `close` below returns when all of those have left, while `f` is still borrowed. No unwinding passes between
        // `open` and `close`, because `take_parts` catches the panics of `f`.
        let f = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(f) };
        let job = Job { f, parts, caller: thread::current() };
        shared.open(job.clone(), helpers);
        for (asleep, worker) in shared.asleep.iter().zip(workers).take(helpers.min(parts - 1)) {
            if asleep.swap(false, SeqCst) {
                worker.thread().unpark();
            }
        }
        shared.take_parts(&job, 0);
        shared.close();
        let panic = if shared.panicked.swap(false, SeqCst) { shared.first_panic().take() } else { None };
        shared.busy.store(false, SeqCst);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of parts; there is nothing to report here.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadPool").field("threads", &self.threads).field("home", &self.home).finish_non_exhaustive()
    }
}
