//! The allocator of tests that measure memory: the system's, which counts. Tests of other crates include this file too.
#![allow(dead_code, reason = "each test asks for its own part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that the process holds, and the most since [`peak_of`] was called.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static HELD_HERE: Cell<isize> = const { Cell::new(0) };
}

fn allocated(layout: Layout) {
    let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
    PEAK.fetch_max(held, Relaxed);
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    HELD_HERE.set(HELD_HERE.get() + layout.size() as isize);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocated(layout);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        HELD_HERE.set(HELD_HERE.get() - layout.size() as isize);
        // SAFETY: as above; the pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that the process holds.
pub(crate) fn held() -> usize {
    HELD.load(Relaxed)
}

/// What `job` returns, and the bytes that this thread holds after it beyond what it held before.
pub(crate) fn held_after<T>(job: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD_HERE.get();
    let result = job();
    (result, usize::try_from(HELD_HERE.get() - before).expect("the job frees no more than it takes"))
}

/// What `job` returns, and the most bytes that the process held during it beyond what it held before. All threads count:
/// nothing else may run meanwhile.
pub(crate) fn peak_of<T>(job: impl FnOnce() -> T) -> (T, usize) {
    let before = held();
    PEAK.store(before, Relaxed);
    let result = job();
    (result, PEAK.load(Relaxed) - before)
}

/// How often this thread has allocated.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.get()
}
