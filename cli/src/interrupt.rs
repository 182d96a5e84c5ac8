//! Ctrl-C and termination: the first asks long work to stop, the second ends the process.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Exit;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Long work polls [`interrupted`]; work that cannot is ended by a second Ctrl-C, which is safe
/// at any moment.
pub(crate) fn install() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            process::exit(Exit::Interrupted as i32);
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will end the program at once: {error}");
    }
}

/// Forgets that the user asked to stop: what was to stop has stopped, and the program goes on.
pub(crate) fn clear() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
