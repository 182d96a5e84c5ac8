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
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::topology::{Kept, Topology, keep_to};

/// How long a thread looks for work, or for the end of a job, before it sleeps.
const SPIN: Duration = Duration::from_micros(40);

/// Parts that [`Team::columns`] and [`Team::rows`] make per thread: more than one, so that a fast core
/// takes work from a slow one.
const PARTS_PER_THREAD: usize = 8;

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
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            shares: (0..=workers).map(|_| Share::default()).collect(),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            // With more threads than cores, a spinning thread keeps the core from one that has work.
            spin: if threads.most() > cores { Duration::ZERO } else { SPIN },
        });
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

    /// Splits the columns of row-major matrices `[rows, stride]` into ranges that start at multiples of `granularity` and
    /// runs `f(which matrix, some of its columns)` on each of them, in parallel. A part of the job may be columns of several
    /// matrices, so that one job serves matrices of any sizes.
    ///
    /// # Panics
    /// If a `stride` or `granularity` is 0, or a matrix is not whole rows; or as [`Team::run`] does.
    pub fn columns<const N: usize>(
        &self,
        matrices: [(&mut [f32], usize); N],
        granularity: usize,
        f: &(dyn Fn(usize, ColumnsMut<'_>) + Sync),
    ) {
        let matrices = matrices.map(|(matrix, stride)| {
            let ColumnsMut { data, rows, stride, .. } = ColumnsMut::whole(matrix, stride);
            (Base(data), rows, stride)
        });
        assert!(granularity > 0, "a granularity of 0");
        let grains = |stride: usize| stride.div_ceil(granularity);
        let split = Split::new(matrices.iter().map(|(_, _, stride)| grains(*stride)).sum(), self.threads());
        self.run(split.parts, &|part| {
            let Range { mut start, mut end } = split.range(part);
            for (index, (base, rows, stride)) in matrices.iter().enumerate() {
                let columns = (start * granularity).min(*stride)..(end * granularity).min(*stride);
                (start, end) = (start.saturating_sub(grains(*stride)), end.saturating_sub(grains(*stride)));
                if !columns.is_empty() {
                    // SAFETY: `split` gives every part other columns, all of them inside the matrix, whose borrow lasts
                    // until `run` has returned.
                    f(
                        index,
                        ColumnsMut { data: base.get(), rows: *rows, stride: *stride, columns, _matrix: PhantomData },
                    );
                }
            }
        });
    }

    /// [`Team::columns`] of two matrices of the same shape, which are split at the same columns.
    ///
    /// # Panics
    /// As there, or if the shapes differ.
    pub fn columns_of_both(
        &self,
        [a, b]: [&mut [f32]; 2],
        stride: usize,
        granularity: usize,
        f: &(dyn Fn(ColumnsMut<'_>, ColumnsMut<'_>) + Sync),
    ) {
        assert_eq!(a.len(), b.len(), "matrices of different shapes");
        let rows = a.len() / stride;
        let base = Base(ColumnsMut::whole(b, stride).data);
        self.columns([(a, stride)], granularity, &|_, a| {
            // SAFETY: `columns` gives every call other columns of `a`, so these are others of `b`, whose borrow lasts until
            // it has returned; and a and b are different matrices.
            let b = ColumnsMut { data: base.get(), rows, stride, columns: a.columns(), _matrix: PhantomData };
            f(a, b);
        });
    }

    /// Splits a row-major matrix `[rows, stride]` into ranges of whole rows and runs `f(rows, their values)` on each of
    /// them, in parallel.
    ///
    /// # Panics
    /// If `stride` is 0 or the matrix is not whole rows; or as [`Team::run`] does.
    pub fn rows(&self, matrix: &mut [f32], stride: usize, f: &(dyn Fn(Range<usize>, &mut [f32]) + Sync)) {
        let whole = ColumnsMut::whole(matrix, stride);
        let (split, base) = (Split::new(whole.rows, self.threads()), Base(whole.data));
        self.run(split.parts, &|part| {
            let rows = split.range(part);
            // SAFETY: `split` gives every part other rows, all of them inside `whole`, whose borrow of `matrix` lasts
            // until `run` has returned.
            let values =
                unsafe { std::slice::from_raw_parts_mut(base.get().add(rows.start * stride), rows.len() * stride) };
            f(rows, values);
        });
    }

    /// [`Team::rows`] of three matrices of any types, with as many rows, that are split at the same rows.
    ///
    /// # Panics
    /// If there are no rows or a matrix is not `rows` whole rows; or as [`Team::run`] does.
    pub fn rows_of_three<A: Send, B: Send, C: Send>(
        &self,
        rows: usize,
        (a, b, c): (&mut [A], &mut [B], &mut [C]),
        f: &(impl Fn(Range<usize>, &mut [A], &mut [B], &mut [C]) + Sync),
    ) {
        /// # Safety
        /// Calls must be for different rows, and end before the matrix's borrow does.
        unsafe fn part<'a, T>(base: Base<T>, stride: usize, rows: &Range<usize>) -> &'a mut [T] {
            // SAFETY: the matrix has these rows; the caller's duty.
            unsafe { std::slice::from_raw_parts_mut(base.get().add(rows.start * stride), rows.len() * stride) }
        }
        let whole = [a.len(), b.len(), c.len()].iter().all(|len| rows > 0 && len.is_multiple_of(rows));
        assert!(whole, "matrices that are not {rows} rows");
        let strides = [a.len() / rows, b.len() / rows, c.len() / rows];
        let bases = (Base(a.as_mut_ptr()), Base(b.as_mut_ptr()), Base(c.as_mut_ptr()));
        let split = Split::new(rows, self.threads());
        self.run(split.parts, &|number| {
            let rows = split.range(number);
            // SAFETY: `split` gives every part other rows; the borrows last until `run` has returned.
            let (a, b, c) = unsafe {
                (part(bases.0, strides[0], &rows), part(bases.1, strides[1], &rows), part(bases.2, strides[2], &rows))
            };
            f(rows, a, b, c);
        });
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

/// One call of [`Team::run`].
#[derive(Clone)]
struct Job {
    f: &'static (dyn Fn(usize) + Sync),
    parts: usize,
    /// Who to wake when the last worker leaves.
    caller: Thread,
}

/// What the caller and the workers share.
struct Shared {
    /// `epoch << 32 | OPEN | helpers << 16 | workers inside`. The epoch counts jobs, and the workers 0 to helpers - 1
    /// may enter. One enters by adding 1 while OPEN is set and leaves by subtracting 1; when OPEN is clear and nobody
    /// is inside, the job is over.
    state: AtomicU64,
    /// Written by the caller while no job is open and nobody is inside; read by those inside.
    job: UnsafeCell<Option<Job>>,
    /// What is left to each thread: to the caller, and to worker i at i + 1. Of a job, those of its team are filled.
    shares: Box<[Share]>,
    /// Whether a job exists: the right to write `job`.
    busy: AtomicBool,
    /// Set once, when the pool is dropped.
    stop: AtomicBool,
    /// For each worker, whether it sleeps and must be woken.
    asleep: Box<[AtomicBool]>,
    /// Whether a part of this job panicked.
    panicked: AtomicBool,
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
const MOST_PARTS: usize = u32::MAX as usize;

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
const OPEN: u64 = 1 << 31;
/// The part of [`Shared::state`] that counts the workers inside.
const INSIDE: u64 = (1 << HELPERS_AT) - 1;
/// Where the number of helpers stands in [`Shared::state`].
const HELPERS_AT: u32 = 16;
/// Workers that [`Shared::state`] has room for, and more than a device has CPUs.
const MOST_WORKERS: usize = (1 << (31 - HELPERS_AT)) - 1;

fn epoch(state: u64) -> u64 {
    state >> 32
}

/// Whether a job other than number `seen` is open to worker `index`.
fn is_open_to(index: usize, state: u64, seen: u64) -> bool {
    let helpers = (state & (OPEN - 1)) >> HELPERS_AT;
    state & OPEN != 0 && epoch(state) != seen && (index as u64) < helpers
}

impl Shared {
    /// Lets the first `helpers` workers in. The caller holds `busy`.
    fn open(&self, job: Job, helpers: usize) {
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
    fn close(&self) {
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
    fn take_parts(&self, job: &Job, own: usize) {
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

    fn first_panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life.
    fn work(&self, index: usize) {
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

/// `len` items cut into ranges of about equal size.
struct Split {
    len: usize,
    parts: usize,
}

impl Split {
    fn new(len: usize, threads: usize) -> Self {
        let wanted = if threads == 1 { 1 } else { threads * PARTS_PER_THREAD };
        Self { len, parts: wanted.min(len) }
    }

    fn range(&self, part: usize) -> Range<usize> {
        part * self.len / self.parts..(part + 1) * self.len / self.parts
    }
}

/// The first value of a matrix whose parts several threads write.
struct Base<T>(*mut T);

impl<T> Clone for Base<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Base<T> {}

// SAFETY: a pointer is only a number; those who make slices of T, which is Send, from it see to it that they are disjoint.
unsafe impl<T: Send> Sync for Base<T> {}

impl<T> Base<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// A view of a contiguous range of columns of a row-major `[rows, stride]` matrix, writable by one thread.
pub struct ColumnsMut<'a> {
    data: *mut f32,
    rows: usize,
    stride: usize,
    columns: Range<usize>,
    _matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut` to its part of the matrix, disjoint from every other view of it, and f32 is Send.
unsafe impl Send for ColumnsMut<'_> {}

impl<'a> ColumnsMut<'a> {
    /// The whole matrix `[rows, stride]` as one view.
    ///
    /// # Panics
    /// If `stride` is 0 or the matrix is not whole rows.
    pub fn whole(matrix: &'a mut [f32], stride: usize) -> Self {
        assert!(stride > 0 && matrix.len().is_multiple_of(stride), "not a matrix of rows of {stride}");
        let rows = matrix.len() / stride;
        Self { data: matrix.as_mut_ptr(), rows, stride, columns: 0..stride, _matrix: PhantomData }
    }

    /// This view narrowed to some of its columns, in the whole matrix's numbering.
    ///
    /// # Panics
    /// If `columns` are not all among this view's.
    pub fn narrow(&mut self, columns: Range<usize>) -> ColumnsMut<'_> {
        let (start, end) = (self.columns.start, self.columns.end);
        assert!(start <= columns.start && columns.start <= columns.end && columns.end <= end);
        ColumnsMut { data: self.data, rows: self.rows, stride: self.stride, columns, _matrix: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns this view may write, in the whole matrix's numbering.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// This view's part of row `row`: `columns().len()` values.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: row < rows and columns.end <= stride, so the range lies inside the matrix, which this view borrows
        // mutably for 'a; views of one matrix that exist together have disjoint columns (see `Team`).
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(row * self.stride + self.columns.start), self.columns.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Alone, a worker, as many as cores or more, and far too many.
    const POOLS: [usize; 5] = [0, 1, 2, 3, 9];

    #[test]
    fn every_part_runs_once() {
        for threads in POOLS {
            let pool = ThreadPool::new(threads);
            assert_eq!(pool.threads(), threads.max(1));
            for round in 0..200 {
                let parts = round % 17;
                let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.all().run(parts, &|part| {
                    counts[part].fetch_add(1, SeqCst);
                });
                assert!(counts.iter().all(|c| c.load(SeqCst) == 1), "{threads} threads, {parts} parts");
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = ThreadPool::new(3);
        let both = std::sync::Barrier::new(2);
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(5));
            // Neither part can end before the other has begun: a second thread must have come.
            pool.all().run(2, &|_| {
                both.wait();
            });
        }
    }

    #[test]
    fn shares_are_taken_in_order_and_then_from_the_ends_of_others() {
        let pool = ThreadPool::new(2);
        for _ in 0..20 {
            let done = Mutex::new(Vec::new());
            let others_are_done = || done.lock().unwrap().len() == 7;
            pool.all().run(8, &|part| {
                // The first of the caller's share ends when all others have: the worker must do them.
                while part == 0 && !others_are_done() {
                    thread::yield_now();
                }
                done.lock().unwrap().push(part);
            });
            assert_eq!(done.into_inner().unwrap(), [4, 5, 6, 7, 3, 2, 1, 0]);
        }
    }

    #[test]
    fn a_forward_pass_has_the_threads_for_its_rows() {
        let ids = |team: &Team<'_>, parts| {
            let ids = Mutex::new(HashSet::new());
            team.run(parts, &|_| {
                ids.lock().unwrap().insert(thread::current().id());
            });
            ids.into_inner().unwrap()
        };
        let here = thread::current().id();
        for (decode, prefill) in [(1, 3), (2, 4), (3, 2)] {
            let pool = ThreadPool::new(Threads { decode, prefill });
            assert_eq!(pool.threads(), decode.max(prefill));
            let (few, many) = (pool.team(PREFILL_ROWS - 1), pool.team(PREFILL_ROWS));
            assert_eq!((few.threads(), many.threads(), pool.all().threads()), (decode, prefill, pool.threads()));
            for (team, threads) in [(&few, decode), (&many, prefill)] {
                // So many threads do come: no part ends before all have begun. Later jobs have no others, although all
                // workers of the pool look for jobs.
                let all = std::sync::Barrier::new(threads);
                let members = Mutex::new(HashSet::from([here]));
                team.run(threads, &|_| {
                    members.lock().unwrap().insert(thread::current().id());
                    all.wait();
                });
                let members = members.into_inner().unwrap();
                assert_eq!(members.len(), threads);
                for _ in 0..100 {
                    ids(&pool.all(), 20);
                    assert!(ids(team, 20).is_subset(&members), "{threads} of {} threads", pool.threads());
                }
            }
        }
    }

    #[test]
    fn a_job_is_open_once_to_the_workers_of_its_team() {
        let job = 7 << 32 | OPEN | 2 << HELPERS_AT;
        for inside in [0, 1, 2] {
            let open = |index, seen| is_open_to(index, job + inside, seen);
            assert!(open(0, 6) && open(1, 6) && !open(2, 6) && !open(MOST_WORKERS, 6));
            assert!(!open(0, 7), "a job that it has seen");
            assert!(!is_open_to(0, (job + inside) & !OPEN, 6), "a job that is closed");
        }
        let most = 7 << 32 | OPEN | (MOST_WORKERS as u64) << HELPERS_AT;
        assert!(is_open_to(MOST_WORKERS - 1, most, 6) && epoch(most) == 7);
    }

    #[test]
    fn nested_and_concurrent_jobs_do_not_deadlock() {
        let pool = ThreadPool::new(3);
        let count = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.all().run(5, &|_| {
                            pool.all().run(3, &|_| {
                                count.fetch_add(1, SeqCst);
                            })
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 4 * 50 * 5 * 3);
    }

    #[test]
    fn a_panic_arrives_after_the_other_parts() {
        for threads in POOLS.into_iter().filter(|&threads| threads > 1) {
            let pool = ThreadPool::new(threads);
            let done = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.all().run(20, &|part| {
                    assert!(part != 3, "part three");
                    done.fetch_add(1, SeqCst);
                });
            }));
            let payload = result.expect_err("part 3 panicked");
            assert_eq!(payload.downcast_ref::<&str>(), Some(&"part three"));
            assert_eq!(done.load(SeqCst), 19);
            pool.all().run(4, &|_| {
                done.fetch_add(1, SeqCst);
            });
            assert_eq!(done.load(SeqCst), 23, "the pool works on");
        }
    }

    #[test]
    fn columns_cover_each_matrix_once() {
        for threads in POOLS {
            let pool = ThreadPool::new(threads);
            for (rows, strides) in [(1, [1, 40]), (3, [15, 1]), (2, [16, 16]), (5, [17, 100]), (4, [1000, 7])] {
                let mut matrices = strides.map(|stride| vec![0.0; rows * stride]);
                let [a, b] = &mut matrices;
                pool.all().columns([(a, strides[0]), (b, strides[1])], 16, &|index, mut view| {
                    let (columns, stride) = (view.columns(), strides[index]);
                    assert!(columns.start % 16 == 0 && (columns.end % 16 == 0 || columns.end == stride));
                    for row in 0..view.rows() {
                        for (column, value) in columns.clone().zip(view.row_mut(row)) {
                            *value += (row * stride + column) as f32 + 1.0;
                        }
                    }
                });
                for matrix in &matrices {
                    assert!(matrix.iter().enumerate().all(|(i, &v)| v == i as f32 + 1.0));
                }
                let [a, _] = &mut matrices;
                let mut other = a.clone();
                pool.all().columns_of_both([a, &mut other], strides[0], 16, &|mut a, mut b| {
                    assert_eq!(a.columns(), b.columns());
                    for row in 0..rows {
                        a.row_mut(row).iter_mut().zip(b.row_mut(row)).for_each(|(a, b)| (*a, *b) = (*a + *b, 0.0));
                    }
                });
                assert!(a.iter().enumerate().all(|(i, &v)| v == 2.0 * (i as f32 + 1.0)));
                assert!(other.iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    fn rows_of_three_matrices_are_split_together() {
        for threads in POOLS {
            let pool = ThreadPool::new(threads);
            for rows in [1, 3, 100] {
                let (mut a, mut b, mut c) = (vec![0i8; rows * 7], vec![0.0; rows], vec![0; rows * 2]);
                pool.all().rows_of_three(rows, (&mut a, &mut b, &mut c), &|range, a, b, c| {
                    assert_eq!((a.len(), b.len(), c.len()), (range.len() * 7, range.len(), range.len() * 2));
                    a.iter_mut().for_each(|v| *v += 1);
                    b.iter_mut().for_each(|v| *v += 1.0);
                    c.iter_mut().for_each(|v| *v += 1);
                });
                assert!(a.iter().all(|&v| v == 1) && b.iter().all(|&v| v == 1.0) && c.iter().all(|&v| v == 1));
            }
        }
    }

    #[test]
    fn rows_cover_the_matrix_once() {
        for threads in POOLS {
            let pool = ThreadPool::new(threads);
            for (rows, stride) in [(0, 3), (1, 1), (3, 15), (100, 7)] {
                let mut matrix = vec![0.0; rows * stride];
                pool.all().rows(&mut matrix, stride, &|range, values| {
                    assert_eq!(values.len(), range.len() * stride);
                    for (i, value) in (range.start * stride..).zip(values) {
                        *value += i as f32 + 1.0;
                    }
                });
                assert!(matrix.iter().enumerate().all(|(i, &v)| v == i as f32 + 1.0));
            }
        }
    }
}
