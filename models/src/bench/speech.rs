//! Work of a speech model: a recording that is written down as `babil transcribe` does it, or else a window of noise
//! with a fixed number of tokens, which is the same amount of work for every model of a size.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use babil_runtime::accelerator::Report;
use babil_runtime::model::{FrameEncoder, Logits, Model, Row, Want};
use babil_runtime::session::{EncoderDecoderSession, Sequence};
use babil_runtime::{Cancel, Error, Result, Token};

use super::work::{Random, Work, Workload};
use crate::speech::{SAMPLE_RATE, SpeechModel, Task};
use crate::tasks::transcribe::{Speech, TranscribeOptions, Transcription};

/// The duration of so many samples.
fn seconds(samples: usize) -> Duration {
    Duration::from_secs_f64(samples as f64 / SAMPLE_RATE as f64)
}

/// A recording that is written down, silence left out.
pub struct TranscriptionWork {
    model: Arc<SpeechModel>,
    /// Mono, [`SAMPLE_RATE`] a second.
    sound: Vec<f32>,
    options: TranscribeOptions,
}

impl TranscriptionWork {
    /// Work of `model` on `sound`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where there is no sound, or options that the model does not have.
    pub fn new(model: Arc<SpeechModel>, sound: Vec<f32>, options: TranscribeOptions) -> Result<Self> {
        if sound.is_empty() {
            return Err(Error::BadRequest("a recording without sound".to_owned()));
        }
        Transcription::new(&model, options.clone())?;
        Ok(Self { model, sound, options })
    }
}

impl Workload for TranscriptionWork {
    fn accelerator(&self) -> Option<Report> {
        self.model.accelerator()
    }

    fn run(&mut self) -> Result<Work> {
        let mut transcription = Transcription::new(&self.model, self.options.clone())?;
        let mut generated = 0;
        let mut speech = Speech::new(&self.model)?;
        let mut write = |stretches: Vec<crate::tasks::transcribe::Stretch>| -> Result<()> {
            stretches.iter().try_for_each(|stretch| {
                transcription.stretch(stretch, &mut |segment| {
                    generated += segment.tokens.len() as u64;
                    ControlFlow::Continue(())
                })
            })
        };
        write(speech.push(&self.sound))?;
        write(speech.finish())?;
        Ok(Work { generated, audio: seconds(self.sound.len()), ..Work::default() })
    }
}

/// Greedy search that never ends a text.
pub struct Greedy<'s> {
    /// What computes.
    pub session: &'s mut EncoderDecoderSession,
    /// The token that ends texts.
    pub end: Token,
    /// Of the step before.
    pub logits: Logits,
}

impl Greedy<'_> {
    /// The most probable token after `tokens`, the end excepted.
    ///
    /// # Errors
    /// The model's own.
    pub fn step(&mut self, state: &mut Sequence, tokens: &[Token]) -> Result<Token> {
        self.session.step(&mut [Row { state, tokens, want: Want::Last }], &mut self.logits)?;
        let row = self.logits.row_mut(0);
        if let Some(end) = row.get_mut(self.end as usize) {
            *end = f32::NEG_INFINITY;
        }
        let max = (self.session.plan().kernels().max)(row);
        Ok(row.iter().position(|&logit| logit == max).unwrap_or(0) as Token)
    }

    /// Decodes until there are `count`.
    ///
    /// # Errors
    /// The model's own.
    pub fn extend(&mut self, state: &mut Sequence, tokens: &mut Vec<Token>, count: usize) -> Result<()> {
        while let (Some(&last), true) = (tokens.last(), tokens.len() < count) {
            tokens.push(self.step(state, &[last])?);
        }
        Ok(())
    }
}

/// A whole window is heard, and a fixed number of tokens decoded, greedily.
pub struct WindowWork {
    model: Arc<SpeechModel>,
    session: EncoderDecoderSession,
    /// `[features, frames]`, noise.
    frames: Vec<f32>,
    prompt: Vec<Token>,
    tokens: usize,
}

impl WindowWork {
    /// Work of `model`: `tokens` tokens of a window.
    ///
    /// # Errors
    /// [`Error::BadRequest`] of more tokens than a window can have, or none.
    pub fn new(model: Arc<SpeechModel>, tokens: usize, cancel: &Cancel) -> Result<Self> {
        let prompt = model.special().prompt(None, Task::Transcribe, false)?;
        let most = model.positions().saturating_sub(prompt.len());
        if tokens == 0 || tokens > most {
            return Err(Error::BadRequest(format!("{tokens} tokens of a window: this model has 1 to {most}")));
        }
        let mut session = model.session()?;
        session.set_cancel(cancel);
        let mut random = Random::default();
        let frames = (0..model.features() * model.window()).map(|_| random.sample()).collect();
        Ok(Self { model, session, frames, prompt, tokens })
    }
}

impl Workload for WindowWork {
    fn accelerator(&self) -> Option<Report> {
        self.model.accelerator()
    }

    fn run(&mut self) -> Result<Work> {
        let start = Instant::now();
        let mut state = self.session.encode_frames(&self.frames)?;
        let mut greedy =
            Greedy { session: &mut self.session, end: self.model.special().end, logits: Logits::default() };
        let mut tokens = vec![greedy.step(&mut state, &self.prompt)?];
        let first_token = Some(start.elapsed());
        greedy.extend(&mut state, &mut tokens, self.tokens)?;
        let audio = seconds(self.model.window() * babil_runtime::audio::HOP);
        Ok(Work { read: self.prompt.len() as u64, generated: tokens.len() as u64, audio, first_token, words: 0 })
    }
}
