//! Input that is read ahead, so that the translator can tell "nothing has arrived yet" from "there is more".

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

const CHUNK: usize = 64 * 1024;
/// Chunks read ahead.
const AHEAD: usize = 4;

/// A chunk of the input; an empty one is its end.
type Chunk = io::Result<Vec<u8>>;

/// The chunks of an input, read by a thread of its own.
pub(super) struct Feed {
    chunks: Receiver<Chunk>,
    /// The first chunk, while it has only been looked at.
    first: Option<Chunk>,
}

impl Feed {
    pub(super) fn new(mut reader: Box<dyn Read + Send>) -> Self {
        let (sender, chunks) = sync_channel(AHEAD);
        // The thread ends with the input, with the receiver, or with the process.
        thread::spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let result = match reader.read(&mut chunk) {
                    Ok(length) => {
                        chunk.truncate(length);
                        Ok(chunk)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let ended = result.as_ref().map_or(true, Vec::is_empty);
                if sender.send(result).is_err() || ended {
                    break;
                }
            }
        });
        Self { chunks, first: None }
    }

    pub(super) fn of_text(text: &str) -> Self {
        let (sender, chunks) = sync_channel(1);
        let _ = sender.send(Ok(text.as_bytes().to_vec()));
        Self { chunks, first: None }
    }

    /// The start of the input, as far as it is text; waits for it. It stays part of the input.
    pub(super) fn peek(&mut self, stop: impl Fn() -> bool) -> io::Result<String> {
        match self.wait(stop) {
            None => Ok(String::new()),
            Some(Ok(bytes)) => {
                let text = match std::str::from_utf8(&bytes) {
                    Ok(text) => text.to_owned(),
                    Err(error) => String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned(),
                };
                self.first = Some(Ok(bytes));
                Ok(text)
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// The next chunk, if it is here.
    pub(super) fn arrived(&mut self) -> Option<Chunk> {
        match self.first.take() {
            Some(first) => Some(first),
            None => match self.chunks.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Ok(Vec::new())),
            },
        }
    }

    /// Waits for the next chunk; `None` once `stop` says so.
    pub(super) fn wait(&mut self, stop: impl Fn() -> bool) -> Option<Chunk> {
        loop {
            match self.chunks.recv_timeout(Duration::from_millis(50)) {
                Ok(chunk) => return Some(chunk),
                Err(RecvTimeoutError::Disconnected) => return Some(Ok(Vec::new())),
                Err(RecvTimeoutError::Timeout) if stop() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
