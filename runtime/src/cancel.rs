//! A wish to stop, told from any thread and heard by what computes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Error, Result};

/// Cancels what computes, from any thread and for good; clones cancel together. A forward pass of the native backend asks
/// before each layer, so that after [`Cancel::cancel`] one layer of one chunk is computed at most.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<AtomicUsize>);

/// Questions that are answered with no; [`NEVER`] is not counted down.
const NEVER: usize = usize::MAX;

impl Default for Cancel {
    fn default() -> Self {
        Self::after(NEVER)
    }
}

/// The same one, or a clone of it.
impl PartialEq for Cancel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Cancel {
    /// One that cancels when it has been asked `questions` times: for tests that count what still runs.
    pub fn after(questions: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(questions)))
    }

    /// Ends what has this or a clone of it. Waits for nothing.
    pub fn cancel(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        let answer = |left: usize| match left {
            0 | NEVER => None,
            _ => Some(left - 1),
        };
        match self.0.load(Ordering::Relaxed) {
            NEVER => false,
            _ => self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, answer) == Err(0),
        }
    }

    /// [`Error::Cancelled`], once [`Cancel::cancel`] was called.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_cancel_together_and_for_good() {
        let (cancel, other) = (Cancel::default(), Cancel::default());
        let clone = cancel.clone();
        assert!(!clone.is_cancelled());
        cancel.cancel();
        assert!(clone.is_cancelled() && clone.is_cancelled() && clone.check().is_err());
        assert!(!other.is_cancelled());
        assert!(clone == cancel && cancel != other);
    }

    #[test]
    fn questions_are_counted() {
        let cancel = Cancel::after(2);
        let answers: Vec<_> = (0..4).map(|_| cancel.is_cancelled()).collect();
        assert_eq!(answers, [false, false, true, true]);
    }
}
