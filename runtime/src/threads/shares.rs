//! What the caller of a job and the workers share: the job, what is left of it to each thread, and who sleeps.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// One call of [`Team::run`](super::Team::run).
#[derive(Clone)]
pub(super) struct Job {
    pub(super) f: &'static (dyn Fn(usize) + Sync),
    pub(super) parts: usize,
    /// Who to wake when the last worker leaves.
    pub(super) caller: Thread,
}

/// What the caller and the workers share.
pub(super) struct Shared {
    /// `epoch << 32 | OPEN | helpers << 16 | workers inside`. The epoch counts jobs, and the workers 0 to helpers - 1
    /// may enter. One enters by adding 1 while OPEN is set and leaves by subtracting 1; when OPEN is clear and nobody
    /// is inside, the job is over.
    state: AtomicU64,
    /// Written by the caller while no job is open and nobody is inside; read by those inside.
    job: UnsafeCell<Option<Job>>,
    /// What is left to each thread: to the caller, and to worker i at i + 1. Of a job, those of its team are filled.
    shares: Box<[Share]>,
    /// Whether a job exists: the right to write `job`.
    pub(super) busy: AtomicBool,
    /// Set once, when the pool is dropped.
    pub(super) stop: AtomicBool,
    /// For each worker, whether it sleeps and must be woken.
    pub(super) asleep: Box<[AtomicBool]>,
    /// Whether a part of this job panicked.
    pub(super) panicked: AtomicBool,
    /// The first panic of this job's parts.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// How long to spin before sleeping.
    spin: Duration,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written by `open` alone, which needs `busy` (one
// caller) and a state that is closed and empty (no reader); it is read by `work` alone, between entering and leaving.
// Both sides order these accesses through `state`.
unsafe impl Sync for Shared {}

/// Parts of a job that a thread has left: the first and the end, in the lower and the upper 32 bits. Each has a cache line of
/// its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Share(AtomicU64);

/// So many parts fit.
pub(super) const MOST_PARTS: usize = u32::MAX as usize;

impl Share {
    /// `parts` are at most [`MOST_PARTS`].
    fn fill(&self, parts: Range<usize>) {
        self.0.store(parts.start as u64 | (parts.end as u64) << 32, SeqCst);
    }

    fn take_first(&self) -> Option<usize> {
        self.take(|first, end| (first, first + 1, end))
    }

    fn take_last(&self) -> Option<usize> {
        self.take(|first, end| (end - 1, first, end - 1))
    }

    /// Takes a part, if any is left: `choose` tells which, and what is left then.
    fn take(&self, choose: impl Fn(u64, u64) -> (u64, u64, u64)) -> Option<usize> {
        let mut left = self.0.load(SeqCst);
        loop {
            let (first, end) = (left & u64::from(u32::MAX), left >> 32);
            if first >= end {
                return None;
            }
            let (part, first, end) = choose(first, end);
            match self.0.compare_exchange_weak(left, first | end << 32, SeqCst, SeqCst) {
                Ok(_) => return Some(part as usize),
                Err(now) => left = now,
            }
        }
    }
}

/// Set in [`Shared::state`] while workers may enter the job.
pub(super) const OPEN: u64 = 1 << 31;
/// The part of [`Shared::state`] that counts the workers inside.
const INSIDE: u64 = (1 << HELPERS_AT) - 1;
/// Where the number of helpers stands in [`Shared::state`].
pub(super) const HELPERS_AT: u32 = 16;
/// Workers that [`Shared::state`] has room for, and more than a device has CPUs.
pub(super) const MOST_WORKERS: usize = (1 << (31 - HELPERS_AT)) - 1;

pub(super) fn epoch(state: u64) -> u64 {
    state >> 32
}

/// Whether a job other than number `seen` is open to worker `index`.
pub(super) fn is_open_to(index: usize, state: u64, seen: u64) -> bool {
    let helpers = (state & (OPEN - 1)) >> HELPERS_AT;
    state & OPEN != 0 && epoch(state) != seen && (index as u64) < helpers
}

impl Shared {
    /// For so many workers, which spin for so long before they sleep.
    pub(super) fn new(workers: usize, spin: Duration) -> Self {
        Self {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            shares: (0..=workers).map(|_| Share::default()).collect(),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            spin,
        }
    }

    /// Lets the first `helpers` workers in. The caller holds `busy`.
    pub(super) fn open(&self, job: Job, helpers: usize) {
        let team = helpers + 1;
        for (i, share) in self.shares[..team].iter().enumerate() {
            share.fill(i * job.parts / team..(i + 1) * job.parts / team);
        }
        // SAFETY: the caller holds `busy`, and the job before was closed and left by all: nobody reads or writes `job`.
        unsafe { *self.job.get() = Some(job) };
        let state = self.state.load(SeqCst);
        self.state.store((epoch(state) + 1) << 32 | OPEN | (helpers as u64) << HELPERS_AT, SeqCst);
    }

    /// Lets no more workers in, and waits until those inside have left.
    pub(super) fn close(&self) {
        self.state.fetch_and(!OPEN, SeqCst);
        let left = || self.state.load(SeqCst) & INSIDE == 0;
        if !self.spin_until(left) {
            while !left() {
                thread::park();
            }
        }
    }

    /// Runs parts of `job` until none is left: those of share `own` in order, then the last ones of others. Panics of parts
    /// are kept in `self.panic`.
    pub(super) fn take_parts(&self, job: &Job, own: usize) {
        // Shares of threads that are not in the team are empty: every job takes all that it filled.
        let steal = || self.shares.iter().find_map(Share::take_last);
        while let Some(part) = self.shares[own].take_first().or_else(steal) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (job.f)(part))) {
                let mut first = self.first_panic();
                match *first {
                    None => *first = Some(panic),
                    // Dropping it could panic again, here where nobody catches it.
                    Some(_) => std::mem::forget(panic),
                }
                drop(first);
                self.panicked.store(true, SeqCst);
            }
        }
    }

    pub(super) fn first_panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    pub(super) fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            let state = self.state.load(SeqCst);
            if self.stop.load(SeqCst) {
                return;
            }
            if !is_open_to(index, state, seen) {
                self.wait_for_job(index, seen);
                continue;
            }
            if self.state.compare_exchange(state, state + 1, SeqCst, SeqCst).is_err() {
                continue; // Another worker entered or left first, or the job was closed: look again.
            }
            seen = epoch(state);
            // SAFETY: this thread is inside, so the caller does not write `job` until it has left.
            let job = unsafe { (*self.job.get()).clone() };
            if let Some(job) = job {
                self.take_parts(&job, index + 1);
                let before = self.state.fetch_sub(1, SeqCst);
                if before & (OPEN | INSIDE) == 1 {
                    job.caller.unpark();
                }
            }
        }
    }

    /// Waits until a job other than number `seen` has been open to this worker, or the pool is being dropped.
    fn wait_for_job(&self, index: usize, seen: u64) {
        let ready = || is_open_to(index, self.state.load(SeqCst), seen) || self.stop.load(SeqCst);
        while !self.spin_until(ready) {
            // The caller opens the job and then looks at `asleep`; this thread sets `asleep` and then looks for a job.
            // One of the two sees the other, so no wake-up is lost.
            self.asleep[index].store(true, SeqCst);
            while self.asleep[index].load(SeqCst) && !ready() {
                thread::park();
            }
            self.asleep[index].store(false, SeqCst);
        }
    }

    /// Spins for a moment until `ready` holds, and says whether it does.
    fn spin_until(&self, ready: impl Fn() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.spin.is_zero() {
            return false;
        }
        let start = Instant::now();
        while start.elapsed() < self.spin {
            for _ in 0..32 {
                if ready() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }
}
