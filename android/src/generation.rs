//! A computation that is pulled: it runs on a thread, fills a short queue of pieces, and ends exactly once.
//!
//! ```text
//! job --Feed::push--> queue --Generation::next--> caller
//!       waits where it is full      waits where it is empty
//! ```
//! Whoever is first decides the end: the job, which is done or has failed, or somebody who cancels. After a cancellation
//! nothing comes any more, although the job may still be computing a layer.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use babil_runtime::generate;
use babil_runtime::{Cancel, Error};

use crate::bytes::Record;
use crate::failure::{Code, Failure, Result};
use crate::handles::Object;

/// Pieces that wait for a caller, at most.
const QUEUE: usize = 64;

/// Generations that were begun, and terminal results that were decided: the same once all are closed.
pub(crate) static BEGUN: AtomicU64 = AtomicU64::new(0);
pub(crate) static ENDED: AtomicU64 = AtomicU64::new(0);

/// A part of what is computed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Text of the answer, whole characters.
    Answer(String),
    /// Text that the model thinks.
    Thought(String),
    /// Something that was said, in seconds from the beginning of the sound.
    #[cfg(feature = "audio")]
    Segment { start: f64, end: f64, language: String, text: String },
    /// What is being said, as far as it goes: `text` stays, `tail` may be something else next time; or, the `last` time,
    /// what was said. `translation` has the sentences that are complete now, and may be empty. `lost` are the seconds of
    /// sound that were lost since the caption before.
    #[cfg(feature = "audio")]
    Caption { last: bool, start: f64, end: f64, text: String, tail: String, translation: String, lost: f64 },
    /// A cue of subtitles, as it is `shown` in seconds, or what stands behind the last one; and what stands for it in the
    /// file.
    Cue { shown: Option<(f64, f64, String)>, written: String },
    /// How far a transfer is, in bytes.
    Progress { done: u64, total: u64, file: String },
}

impl Piece {
    /// The record of `dev.babil.Native.next`.
    pub(crate) fn record(&self) -> Vec<u8> {
        let record = match self {
            Self::Answer(text) => Record::default().byte(0).text(text),
            Self::Thought(text) => Record::default().byte(1).text(text),
            #[cfg(feature = "audio")]
            Self::Segment { start, end, language, text } => {
                Record::default().byte(2).double(*start).double(*end).text(language).text(text)
            }
            #[cfg(feature = "audio")]
            Self::Caption { last, start, end, text, tail, translation, lost } => {
                let times = Record::default().byte(4).byte((*last).into()).double(*start).double(*end);
                times.text(text).text(tail).text(translation).double(*lost)
            }
            Self::Cue { shown: Some((start, end, text)), written } => {
                Record::default().byte(5).double(*start).double(*end).text(text).text(written)
            }
            Self::Cue { shown: None, written } => {
                Record::default().byte(6).double(0.0).double(0.0).text("").text(written)
            }
            Self::Progress { done, total, file } => Record::default().byte(3).long(*done).long(*total).text(file),
        };
        record.into_bytes()
    }
}

/// Why a generation ended. The numbers are those of `dev.babil.Finish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Complete = 0,
    StopString = 1,
    Length = 2,
    Context = 3,
    Cancelled = 4,
}

impl From<generate::Finish> for Finish {
    fn from(finish: generate::Finish) -> Self {
        match finish {
            generate::Finish::EndOfText => Self::Complete,
            generate::Finish::StopString => Self::StopString,
            generate::Finish::Length => Self::Length,
            generate::Finish::Context => Self::Context,
            generate::Finish::Cancelled => Self::Cancelled,
        }
    }
}

/// What was done: tokens, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Tokens read, those included that were known before.
    pub(crate) read: u64,
    /// Tokens read that were known before.
    pub(crate) reused: u64,
    /// Tokens written.
    pub(crate) written: u64,
    /// Time of reading.
    pub(crate) reading: Duration,
    /// Time of writing.
    pub(crate) writing: Duration,
}

/// Why a generation ended, what was done, and how long the first piece took, if there was one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) finish: Finish,
    pub(crate) counts: Counts,
    pub(crate) first: Option<Duration>,
}

/// What a job comes to.
pub(crate) type Done = (Finish, Counts);

/// The terminal result of a generation. Whatever gives it one is counted, so that a test can see that nothing gives it two.
#[derive(Default)]
struct End(Option<Result<Finish>>);

impl End {
    fn is_decided(&self) -> bool {
        self.0.is_some()
    }

    fn decide(&mut self, end: Result<Finish>) {
        self.0 = Some(end);
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
}

struct State {
    pieces: VecDeque<Piece>,
    /// What the job came to, while pieces wait before it: nobody has seen it yet, and a cancellation may come first.
    last: Option<Result<Finish>>,
    end: End,
    counts: Counts,
    first: Option<Duration>,
    running: bool,
}

impl State {
    /// Takes what the job came to: the end, once all pieces are read, unless it has one.
    fn finish(&mut self, result: Result<Finish>) {
        if !self.is_over() {
            self.last = Some(result);
            self.settle();
        }
    }

    /// Decides the end where all that comes before it is read.
    fn settle(&mut self) {
        if self.pieces.is_empty()
            && let Some(result) = self.last.take()
        {
            self.end.decide(result);
        }
    }

    /// Ends it now, unless it has ended.
    fn cancel(&mut self) {
        self.pieces.clear();
        self.last = None;
        if !self.end.is_decided() {
            self.end.decide(Ok(Finish::Cancelled));
        }
    }

    /// Whether the job has come to its end, or it was cancelled; pieces that came before may still wait.
    fn is_over(&self) -> bool {
        self.last.is_some() || self.end.is_decided()
    }
}

/// What a generation does, and whether it hears of its cancellation soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Computes: it stops within a layer of a model.
    Compute,
    /// Waits for a server or a disk: nobody waits for that.
    Transfer,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    cancel: Cancel,
    work: Work,
    begun: Instant,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes who waits for a change.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }

    /// The state, once it is no longer such that one has to wait.
    fn when(&self, waits: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.state();
        self.changed.wait_while(state, |state| waits(state)).unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a caller holds of a computation.
pub(crate) struct Generation(Arc<Shared>);

/// What the computation holds of it.
pub(crate) struct Feed(Arc<Shared>);

/// A generation that has not begun, and its other end.
pub(crate) fn generation(work: Work) -> (Generation, Feed) {
    let state = State {
        pieces: VecDeque::new(),
        last: None,
        end: End::default(),
        counts: Counts::default(),
        first: None,
        running: true,
    };
    let shared = Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
        cancel: Cancel::default(),
        work,
        begun: Instant::now(),
    };
    let shared = Arc::new(shared);
    BEGUN.fetch_add(1, Ordering::Relaxed);
    (Generation(shared.clone()), Feed(shared))
}

/// Runs `job` on a thread of its own.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn begin(work: Work, job: impl FnOnce(&Feed) -> Result<Done> + Send + 'static) -> Result<Generation> {
    let (generation, feed) = generation(work);
    let thread = std::thread::Builder::new().name("babil".to_owned());
    // Where there is no thread, the feed is dropped, which ends the generation.
    thread.spawn(move || feed.run(job)).map_err(|error| Error::io("start a thread for", "a generation", error))?;
    Ok(generation)
}

impl Generation {
    /// The next piece; `None` at the end, again and again. Waits for it.
    ///
    /// # Errors
    /// What the computation failed with, after all pieces that came before; again and again.
    pub(crate) fn next(&self) -> Result<Option<Piece>> {
        let piece = {
            let mut state = self.0.when(|state| state.pieces.is_empty() && !state.end.is_decided());
            let piece = state.pieces.pop_front();
            match (&piece, &state.end.0) {
                (None, Some(Err(failure))) => return Err(failure.clone()),
                _ => state.settle(),
            }
            piece
        };
        self.0.changed.notify_all();
        Ok(piece)
    }

    /// Ends it: no piece comes after this. Waits for nothing.
    pub(crate) fn cancel(&self) {
        self.0.cancel.cancel();
        self.0.change(State::cancel);
    }

    /// Whether nothing computes for it any more, or it was cancelled; pieces may still wait.
    pub(crate) fn is_over(&self) -> bool {
        self.0.state().is_over()
    }

    /// Why it ended, and what was done. Waits for what still runs of it.
    ///
    /// # Errors
    /// It has not ended, or has failed.
    pub(crate) fn ended(&self) -> Result<Ended> {
        if !self.0.state().end.is_decided() {
            return Err(Failure::Closed("still running: statistics come after the last chunk"));
        }
        let state = self.0.when(|state| state.running && self.0.work == Work::Compute);
        let finish = state.end.0.clone().unwrap_or(Ok(Finish::Cancelled))?;
        Ok(Ended { finish, counts: state.counts, first: state.first })
    }

    /// The record of `dev.babil.Native.stats`.
    ///
    /// # Errors
    /// As [`Generation::ended`].
    pub(crate) fn stats(&self) -> Result<Vec<u8>> {
        let Ended { finish, counts: Counts { read, reused, written, reading, writing }, first } = self.ended()?;
        let record = Record::default().byte(finish as u8).long(read).long(reused).long(written);
        let first = first.map_or(-1.0, |first| first.as_secs_f64());
        Ok(record.double(reading.as_secs_f64()).double(first).double(writing.as_secs_f64()).into_bytes())
    }
}

impl Object for Generation {
    fn stop(&self) {
        self.cancel();
    }

    fn wait(&self) {
        drop(self.0.when(|state| state.running && self.0.work == Work::Compute));
    }
}

impl Feed {
    /// What cancels the generation.
    pub(crate) fn cancel(&self) -> Cancel {
        self.0.cancel.clone()
    }

    /// Whether there is nobody to compute for any more.
    pub(crate) fn flow(&self) -> ControlFlow<()> {
        if self.0.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Hands on a piece, once there is room for it; [`ControlFlow::Break`] where nobody wants it.
    pub(crate) fn push(&self, piece: Piece) -> ControlFlow<()> {
        let mut state = self.0.when(|state| state.pieces.len() >= QUEUE && !state.end.is_decided());
        if state.end.is_decided() {
            return ControlFlow::Break(());
        }
        state.first.get_or_insert_with(|| self.0.begun.elapsed());
        state.pieces.push_back(piece);
        drop(state);
        self.0.changed.notify_all();
        ControlFlow::Continue(())
    }

    /// Hands on news that replace what came before them; waits for nothing.
    pub(crate) fn replace(&self, piece: Piece) -> ControlFlow<()> {
        self.0.change(|state| {
            if state.end.is_decided() {
                return ControlFlow::Break(());
            }
            state.pieces.clear();
            state.pieces.push_back(piece);
            ControlFlow::Continue(())
        })
    }

    /// Runs `job`, and ends the generation with what it comes to, a panic included. Says whether it panicked.
    pub(crate) fn run(self, job: impl FnOnce(&Self) -> Result<Done>) -> bool {
        let done = catch_unwind(AssertUnwindSafe(|| job(&self)));
        let panicked = done.is_err();
        let done = done.unwrap_or_else(|payload| Err(Failure::panic(&*payload)));
        self.0.change(|state| match done {
            Ok((finish, counts)) => {
                state.counts = counts;
                state.finish(Ok(finish));
            }
            Err(Failure::Error { code: Code::Cancelled, .. }) => state.finish(Ok(Finish::Cancelled)),
            Err(failure) => state.finish(Err(failure)),
        });
        panicked
    }
}

/// A job that never ran is a generation that was cancelled.
impl Drop for Feed {
    fn drop(&mut self) {
        self.0.change(|state| {
            state.finish(Ok(Finish::Cancelled));
            state.running = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn answer(text: &str) -> Piece {
        Piece::Answer(text.to_owned())
    }

    const DONE: Done =
        (Finish::Complete, Counts { read: 1, reused: 2, written: 3, reading: Duration::ZERO, writing: Duration::ZERO });

    /// What comes until the end.
    fn all(generation: &Generation) -> Vec<Piece> {
        std::iter::from_fn(|| generation.next().unwrap()).collect()
    }

    #[test]
    fn pieces_come_in_order_and_the_end_stays() {
        let count = 3 * QUEUE;
        let generation = begin(Work::Compute, move |feed| {
            (0..count).for_each(|i| assert!(feed.push(answer(&i.to_string())).is_continue()));
            Ok(DONE)
        });
        let generation = generation.unwrap();
        assert_eq!(all(&generation), (0..count).map(|i| answer(&i.to_string())).collect::<Vec<_>>());
        assert_eq!(generation.next(), Ok(None));
        assert_eq!(generation.stats().unwrap()[..9], [0, 0, 0, 0, 0, 0, 0, 0, 1]);
        generation.cancel();
        assert_eq!(generation.stats().unwrap()[0], Finish::Complete as u8, "it had ended before");
    }

    #[test]
    fn nothing_comes_after_a_cancellation_and_the_job_hears_of_it() {
        let (told, heard) = mpsc::channel();
        let generation = begin(Work::Compute, move |feed| {
            while feed.push(answer("x")).is_continue() {}
            told.send(feed.flow().is_break()).unwrap();
            Ok(DONE)
        });
        let generation = generation.unwrap();
        assert_eq!(generation.next(), Ok(Some(answer("x"))));
        assert!(matches!(generation.stats(), Err(Failure::Closed(_))), "it has not ended");
        generation.cancel();
        assert_eq!(generation.next(), Ok(None));
        assert!(heard.recv().unwrap());
        let stats = generation.stats().unwrap();
        assert_eq!((stats[0], stats[8]), (Finish::Cancelled as u8, 1), "cancelled, with the counts of the job");
    }

    #[test]
    fn an_end_that_nobody_saw_is_a_cancellation() {
        let generation = begin(Work::Compute, |feed| {
            let _ = feed.push(answer("x"));
            Ok(DONE)
        });
        let generation = generation.unwrap();
        generation.wait();
        generation.cancel();
        assert_eq!(generation.next(), Ok(None));
        assert_eq!(generation.stats().unwrap()[0], Finish::Cancelled as u8);
    }

    #[test]
    fn failures_and_panics_come_last_and_stay() {
        let failed = begin(Work::Compute, |feed| {
            let _ = feed.push(answer("x"));
            Err(Failure::new(Code::Io, "no"))
        });
        let panicked = begin(Work::Compute, |_| panic!("on purpose"));
        for (generation, before, code) in [(failed, 1, Code::Io), (panicked, 0, Code::Internal)] {
            let generation = generation.unwrap();
            (0..before).for_each(|_| assert!(generation.next().unwrap().is_some()));
            for _ in 0..2 {
                let Err(Failure::Error { code: found, .. }) = generation.next() else { panic!("no failure") };
                assert_eq!(found, code);
            }
        }
    }

    #[test]
    fn a_transfer_is_not_waited_for() {
        let (let_go, held) = mpsc::channel::<()>();
        let transfer = begin(Work::Transfer, move |_| {
            let _ = held.recv();
            Ok(DONE)
        });
        let transfer = transfer.unwrap();
        transfer.stop();
        transfer.wait();
        assert_eq!(transfer.stats().unwrap()[0], Finish::Cancelled as u8);
        drop(let_go);
    }

    #[test]
    fn a_job_that_never_runs_is_cancelled() {
        let (generation, feed) = generation(Work::Compute);
        drop(feed);
        assert_eq!(generation.next(), Ok(None));
        generation.wait();
    }
}
