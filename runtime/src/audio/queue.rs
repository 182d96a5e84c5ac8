//! Sound between the thread that records and the one that listens: a queue of bounded length.
//!
//! ```text
//! recording thread --Recorder::push--> blocks, at most so much sound --Recording::next--> listening thread
//! ```
//!
//! A file or a pipe waits when the queue is full; a microphone cannot wait, so the oldest sound is lost, and the next
//! block says how much.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SAMPLE_RATE;
use crate::error::{Error, Result};

/// How often [`Recording::next`] asks whether to stop.
const ASK: Duration = Duration::from_millis(50);

/// What happens to sound for which the queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The recording thread waits.
    Wait,
    /// The oldest sound is dropped.
    Drop,
}

/// Sound as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Mono samples at 16 kHz.
    pub samples: Vec<f32>,
    /// Samples before these that were dropped.
    pub lost: u64,
    /// When the last of them came.
    pub at: Instant,
}

/// The end of a queue where sound comes in; dropping it ends the recording.
pub struct Recorder(Arc<Shared>);

/// The end of a queue where sound goes out.
pub struct Recording(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    most: usize,
    when_full: WhenFull,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Block>,
    /// Samples of `blocks`.
    samples: usize,
    /// Nothing more comes in.
    closed: bool,
    error: Option<Error>,
}

/// A queue of at most so many seconds of sound, or of one block if that is longer.
pub fn recording(seconds: f32, when_full: WhenFull) -> (Recorder, Recording) {
    let most = (seconds * SAMPLE_RATE as f32) as usize;
    let shared = Shared { queue: Mutex::default(), changed: Condvar::new(), most, when_full };
    let shared = Arc::new(shared);
    (Recorder(shared.clone()), Recording(shared))
}

impl Recorder {
    /// Adds sound that has just come; false when nobody listens any more.
    pub fn push(&self, samples: Vec<f32>) -> bool {
        let at = Instant::now();
        let mut queue = self.0.lock();
        let full = |queue: &Queue| !queue.blocks.is_empty() && queue.samples + samples.len() > self.0.most;
        let mut lost = 0;
        while full(&queue) && !queue.closed {
            match self.0.when_full {
                WhenFull::Wait => queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                WhenFull::Drop => {
                    let oldest = queue.pop();
                    lost += oldest.map_or(0, |oldest| oldest.lost + oldest.samples.len() as u64);
                }
            }
        }
        if queue.closed {
            return false;
        }
        queue.samples += samples.len();
        queue.blocks.push_back(Block { samples, lost: 0, at });
        if let Some(next) = queue.blocks.front_mut() {
            next.lost += lost;
        }
        self.0.changed.notify_all();
        true
    }

    /// Ends the recording with an error, which comes out behind the sound.
    pub fn fail(&self, error: Error) {
        self.0.close(Some(error));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

impl Recording {
    /// The next block, as soon as there is one; None after the last one. While it waits it asks `stop` now and then:
    /// then nothing more is recorded, and what waits already still comes.
    ///
    /// # Errors
    /// That of the recording, once.
    pub fn next(&self, stop: &dyn Fn() -> bool) -> Result<Option<Block>> {
        loop {
            if stop() {
                self.0.close(None);
            }
            let mut queue = self.0.lock();
            if queue.blocks.is_empty() && !queue.closed {
                queue = self.0.changed.wait_timeout(queue, ASK).unwrap_or_else(PoisonError::into_inner).0;
            }
            if let Some(block) = queue.pop() {
                self.0.changed.notify_all();
                return Ok(Some(block));
            }
            if queue.closed {
                return queue.error.take().map_or(Ok(None), Err);
            }
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, error: Option<Error>) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.error = queue.error.take().or(error);
        self.changed.notify_all();
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Block> {
        let block = self.blocks.pop_front()?;
        self.samples -= block.samples.len();
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    /// A tenth of a second.
    fn block(value: f32) -> Vec<f32> {
        vec![value; 1600]
    }

    #[test]
    fn sound_comes_out_in_order_and_then_the_error() {
        let (recorder, recording) = recording(1.0, WhenFull::Wait);
        assert!(recorder.push(block(0.1)) && recorder.push(block(0.2)));
        recorder.fail(Error::BadRequest("unplugged".into()));
        assert!(!recorder.push(block(0.3)));
        drop(recorder);
        for value in [0.1, 0.2] {
            assert_eq!(recording.next(NEVER).unwrap().unwrap().samples, block(value));
        }
        assert_eq!(recording.next(NEVER).unwrap_err().to_string(), "unplugged");
        assert_eq!(recording.next(NEVER).unwrap(), None);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_sound_and_counts_it() {
        let (recorder, recording) = recording(0.35, WhenFull::Drop);
        (0..9).for_each(|i| assert!(recorder.push(block(i as f32 / 10.0))));
        drop(recorder);
        let mut blocks = Vec::new();
        while let Some(block) = recording.next(NEVER).unwrap() {
            blocks.push((block.lost, block.samples[0]));
        }
        assert_eq!(blocks, [(6 * 1600, 0.6), (0, 0.7), (0, 0.8)]);
    }

    #[test]
    fn sound_that_was_lost_twice_is_counted_once() {
        let (recorder, recording) = recording(0.15, WhenFull::Drop);
        (0..3).for_each(|i| assert!(recorder.push(block(i as f32 / 10.0))));
        let first = recording.next(NEVER).unwrap().unwrap();
        assert_eq!((first.lost, first.samples[0]), (3200, 0.2));
        (3..5).for_each(|i| assert!(recorder.push(block(i as f32 / 10.0))));
        assert_eq!(recording.next(NEVER).unwrap().unwrap().lost, 1600);
    }

    #[test]
    fn a_full_queue_makes_the_recorder_wait_and_loses_nothing() {
        let (recorder, recording) = recording(0.35, WhenFull::Wait);
        let pushed = Arc::new(AtomicUsize::new(0));
        let count = pushed.clone();
        let thread = thread::spawn(move || {
            for i in 0..100 {
                assert!(recorder.push(block(i as f32 / 100.0)));
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        for taken in 0..100 {
            let block = recording.next(NEVER).unwrap().unwrap();
            assert_eq!((block.lost, block.samples[0]), (0, taken as f32 / 100.0));
            // Three blocks have room, and one more may have been counted late.
            assert!(pushed.load(Ordering::SeqCst) <= taken + 4);
        }
        assert_eq!(recording.next(NEVER).unwrap(), None);
        thread.join().unwrap();
    }

    #[test]
    fn stopping_keeps_what_waits_and_frees_the_recorder() {
        let (recorder, recording) = recording(0.1, WhenFull::Wait);
        assert!(recorder.push(block(0.5)));
        let thread = thread::spawn(move || recorder.push(block(0.6)));
        assert_eq!(recording.next(&|| true).unwrap().unwrap().samples, block(0.5));
        assert_eq!(recording.next(&|| true).unwrap(), None);
        // It was refused, and does not wait for ever.
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn a_recorder_without_a_listener_ends() {
        let (recorder, recording) = recording(0.1, WhenFull::Wait);
        assert!(recorder.push(block(0.5)));
        let thread = thread::spawn(move || recorder.push(block(0.6)));
        drop(recording);
        assert!(!thread.join().unwrap());
    }
}
