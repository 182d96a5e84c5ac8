//! Ctrl-C and termination: the first asks long work to stop, the second ends the process.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use babil_runtime::Cancel;

use crate::exit::Exit;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Cancels the answer that is being made.
static CURRENT: Mutex<Option<Cancel>> = Mutex::new(None);

/// Installs the handler. Long work polls [`interrupted`]; work that cannot is ended by a second Ctrl-C, which is safe
/// at any moment.
pub(crate) fn install() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            process::exit(Exit::Interrupted as i32);
        }
        if let Some(cancel) = &*CURRENT.lock().unwrap_or_else(PoisonError::into_inner) {
            cancel.cancel();
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will end the program at once: {error}");
    }
}

/// What Ctrl-C cancels from now on, if it has not come already.
pub(crate) fn new_cancel() -> Cancel {
    let cancel = Cancel::default();
    *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel.clone());
    if interrupted() {
        cancel.cancel();
    }
    cancel
}

/// Forgets that the user asked to stop: what was to stop has stopped, and the program goes on.
pub(crate) fn clear() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
