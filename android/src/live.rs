//! Sound that is written down while it comes: a queue that the caller fills, and the generation that empties it.

use std::sync::{Arc, Mutex, PoisonError};

use babil_models::speech::SpeechModel;
use babil_models::tasks::live::{Event, Live, Partials};
use babil_models::tasks::transcribe::{TranscribeOptions, Transcription};
use babil_runtime::audio::{Recorder, WhenFull, recording};

use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Finish, Generation, Piece, Work, begin};
use crate::handles::Object;

/// Seconds of sound that wait, at most.
const QUEUE: f32 = 30.0;

/// Captions under way.
pub(crate) struct Listening {
    /// `None` once the sound is over. Shared with who is pushing, and may be waiting.
    recorder: Mutex<Option<Arc<Recorder>>>,
    captions: Arc<Generation>,
}

impl Listening {
    pub(crate) fn begin(model: Arc<SpeechModel>, options: TranscribeOptions, when_full: WhenFull) -> Result<Self> {
        let (recorder, recording) = recording(QUEUE, when_full);
        let captions = begin(Work::Compute, move |feed| {
            let cancel = feed.cancel();
            let options = TranscribeOptions { cancel: cancel.clone(), ..options };
            let mut transcription = Transcription::new(&model, options)?;
            let mut live = Live::new(&mut transcription, Partials::InTime)?;
            let tell = |events: Vec<Event>| {
                let _ = events.into_iter().map(caption).try_for_each(|piece| feed.push(piece));
                cancel.check()
            };
            while let Some(block) = recording.next(&|| cancel.is_cancelled())? {
                cancel.check()?;
                tell(live.push(&block)?)?;
            }
            cancel.check()?;
            tell(live.finish()?.0)?;
            Ok((Finish::Complete, Counts::default()))
        })?;
        Ok(Self { recorder: Mutex::new(Some(Arc::new(recorder))), captions: Arc::new(captions) })
    }

    /// What is said.
    pub(crate) fn captions(&self) -> Arc<Generation> {
        self.captions.clone()
    }

    /// Adds mono samples at 16 kHz; false where nobody listens any more.
    ///
    /// # Errors
    /// The sound is over.
    pub(crate) fn push(&self, samples: Vec<f32>) -> Result<bool> {
        if let Some(bad) = samples.iter().find(|sample| !sample.is_finite()) {
            return Err(Failure::new(Code::BadArgument, format!("a sample of {bad}: from -1 to 1")));
        }
        let recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(recorder.ok_or(Failure::Closed("the sound is over"))?.push(samples))
    }

    /// Says that the sound is over: the rest of what is said comes, and the end.
    pub(crate) fn finish(&self) {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn caption(event: Event) -> Piece {
    match event {
        Event::Partial(partial) => Piece::Caption {
            last: false,
            start: partial.start,
            end: partial.end,
            text: partial.stable,
            tail: partial.tail,
        },
        Event::Final(said) => {
            let text: Vec<_> = said.segments.into_iter().map(|segment| segment.text).collect();
            let (text, tail) = (text.join(" "), String::new());
            Piece::Caption { last: true, start: said.start, end: said.end, text, tail }
        }
    }
}

impl Object for Listening {
    fn stop(&self) {
        self.captions.stop();
        self.finish();
    }

    fn wait(&self) {
        self.captions.wait();
    }
}
