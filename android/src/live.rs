//! Sound that is written down while it comes: a queue that the caller fills, and the generation that empties it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use babil_models::speech::{SAMPLE_RATE, SpeechModel};
use babil_models::tasks::document::Job;
use babil_models::tasks::live::{Event, Live, Partials};
use babil_models::tasks::subtitles::Layout;
use babil_models::tasks::subtitles::cascade::{Cascade, Heard};
use babil_models::tasks::transcribe::{TranscribeOptions, Transcription};
use babil_runtime::audio::{Recorder, Recording, WhenFull, recording};

use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Feed, Finish, Generation, Piece, Work, begin};
use crate::handles::Object;
use crate::interpreter::Interpreter;

/// Seconds of sound that wait, at most.
const QUEUE: f32 = 30.0;

/// Captions under way.
pub(crate) struct Listening {
    /// `None` once the sound is over. Shared with who is pushing, and may be waiting.
    recorder: Mutex<Option<Arc<Recorder>>>,
    captions: Arc<Generation>,
}

impl Listening {
    /// Begins to listen; with an `interpreter`, sentences are translated when they are complete.
    pub(crate) fn begin(
        model: Arc<SpeechModel>,
        options: TranscribeOptions,
        interpreter: Option<Interpreter>,
        when_full: WhenFull,
    ) -> Result<Self> {
        let (recorder, recording) = recording(QUEUE, when_full);
        let captions = begin(Work::Compute, move |feed| {
            let cancel = feed.cancel();
            let options = TranscribeOptions { cancel: cancel.clone(), ..options };
            match &interpreter {
                Some(interpreter) => {
                    interpreter.with(&cancel, |job| listen(&model, options, Some(job), &recording, feed))
                }
                None => listen(&model, options, None, &recording, feed),
            }?;
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
    pub(crate) fn end_of_sound(&self) {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn listen(
    model: &SpeechModel,
    options: TranscribeOptions,
    job: Option<Job<'_>>,
    recording: &Recording,
    feed: &Feed,
) -> Result<()> {
    let cancel = feed.cancel();
    let mut transcription = Transcription::new(model, options)?;
    let mut live = Live::new(&mut transcription, Partials::InTime)?;
    // What is laid out as cues is not asked for, only its sentences.
    let cascade = job.map(|job| Cascade::new(Layout::default(), Some(job)));
    let mut captions = Captions { feed, cascade, lost: 0 };
    while let Some(block) = recording.next(&|| cancel.is_cancelled())? {
        cancel.check()?;
        captions.lost += block.lost;
        live.push(&block)?.into_iter().try_for_each(|event| captions.event(event))?;
        captions.silence(Duration::from_secs_f64(live.settled()))?;
        cancel.check()?;
    }
    cancel.check()?;
    live.finish()?.0.into_iter().try_for_each(|event| captions.event(event))?;
    captions.silence(Duration::MAX)?;
    Ok(cancel.check()?)
}

/// Captions on their way to whoever pulls them.
struct Captions<'f> {
    feed: &'f Feed,
    cascade: Option<Cascade<'f>>,
    /// Samples that were lost since the last caption.
    lost: u64,
}

impl Captions<'_> {
    /// Seconds that were lost since this was asked.
    fn lost(&mut self) -> f64 {
        std::mem::take(&mut self.lost) as f64 / SAMPLE_RATE as f64
    }

    fn event(&mut self, event: Event) -> Result<()> {
        let caption = match event {
            Event::Partial(partial) => Piece::Caption {
                last: false,
                start: partial.start,
                end: partial.end,
                text: partial.stable,
                tail: partial.tail,
                translation: String::new(),
                lost: self.lost(),
            },
            Event::Final(said) => {
                let mut translation = String::new();
                if let Some(cascade) = &mut self.cascade {
                    said.segments.iter().try_for_each(|segment| cascade.push(&segment.into()).map(drop))?;
                    cascade.pause()?;
                    translation = translated(&cascade.heard());
                }
                let text: Vec<_> = said.segments.into_iter().map(|segment| segment.text).collect();
                let (text, tail) = (text.join(" "), String::new());
                let (start, end, lost) = (said.start, said.end, self.lost());
                Piece::Caption { last: true, start, end, text, tail, translation, lost }
            }
        };
        // Where nobody wants it, that is found out before the next block.
        let _ = self.feed.push(caption);
        Ok(())
    }

    /// Tells that everything before `until` was said: a pause that is long enough ends a sentence, of which the translation
    /// comes then.
    fn silence(&mut self, until: Duration) -> Result<()> {
        let Some(cascade) = &mut self.cascade else { return Ok(()) };
        cascade.silence(until)?;
        let heard = cascade.heard();
        if let (Some(first), Some(last)) = (heard.first(), heard.last()) {
            let lost = self.lost();
            let _ = self.feed.push(Piece::Caption {
                last: true,
                start: first.source.start.as_secs_f64(),
                end: last.source.end.as_secs_f64(),
                text: String::new(),
                tail: String::new(),
                translation: translated(&heard),
                lost,
            });
        }
        Ok(())
    }
}

fn translated(sentences: &[Heard]) -> String {
    let best = sentences.iter().filter_map(|heard| Some(&*heard.translation.as_ref()?.hypotheses.first()?.text));
    best.collect::<Vec<_>>().join(" ")
}

impl Object for Listening {
    fn stop(&self) {
        self.captions.stop();
        self.end_of_sound();
    }

    fn wait(&self) {
        self.captions.wait();
    }
}
