//! Mistakes on demand, and what is open: for the tests of the Java side. Not part of a library that is shipped.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::generation::{BEGUN, ENDED};
use crate::handles::HANDLES;

static PANIC: AtomicBool = AtomicBool::new(false);

/// Makes the next [`point`] panic.
pub(crate) fn panic_next() {
    PANIC.store(true, Ordering::SeqCst);
}

/// Where a computation panics if that was asked for.
pub(crate) fn point() {
    assert!(!PANIC.swap(false, Ordering::SeqCst), "on purpose, in a computation: 😀");
}

/// Open objects, generations that were begun, and those that have ended.
pub(crate) fn counts() -> [i64; 3] {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    [HANDLES.open() as i64, count(BEGUN.load(Ordering::SeqCst)), count(ENDED.load(Ordering::SeqCst))]
}

/// The samples of a file of sound at 16 kHz, float32, big-endian.
#[cfg(feature = "audio")]
pub(crate) fn samples(file: &Path) -> crate::failure::Result<Vec<u8>> {
    use babil_runtime::audio::{Audio, AudioOptions};

    let blocks = Audio::open(file, &AudioOptions::default())?.collect::<Result<Vec<_>, _>>()?;
    Ok(blocks.concat().into_iter().flat_map(f32::to_be_bytes).collect())
}

#[cfg(not(feature = "audio"))]
pub(crate) fn samples(file: &Path) -> crate::failure::Result<Vec<u8>> {
    Err(crate::engine::without_sound(&file.display().to_string()))
}
