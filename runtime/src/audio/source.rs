//! Sound of any kind -> mono float32 at 16 kHz, block after block.
//!
//! ```text
//! file --container--> samples --+
//! file --ffmpeg-----> samples --+--> mono --resampler--> blocks
//! bytes --pcm-------> samples --+
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::container::{Container, Opened};
use super::ffmpeg::{Ffmpeg, conversion};
use super::pcm::{Pcm, PcmSource};
use super::resample::Resampler;
use crate::error::{Error, Result};

/// How often a sound may change its sample rate.
const RATE_CHANGES: u32 = 64;

/// Which sound track of a film.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrackChoice {
    /// The first one.
    #[default]
    First,
    /// This one of the sound tracks, counted from 0.
    Index(usize),
    /// The first one in this language, as the file writes it: `eng`, `fre`, `pt-BR`.
    Language(String),
}

/// How to open a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioOptions {
    /// Which of its sound tracks.
    pub track: TrackChoice,
    /// The program that decodes what is not decoded here: `ffmpeg`, wherever that is.
    pub ffmpeg: PathBuf,
}

impl Default for AudioOptions {
    fn default() -> Self {
        Self { track: TrackChoice::default(), ffmpeg: PathBuf::from("ffmpeg") }
    }
}

/// Mono samples at some rate.
pub(super) trait Source: Send {
    /// Appends the next samples to `mono` and says their rate; None at the end, when `warnings` has got what the caller should
    /// know.
    fn next(&mut self, mono: &mut Vec<f32>, warnings: &mut Vec<String>) -> Result<Option<u32>>;
}

/// A sound that is being read: an iterator over blocks of mono samples at 16 kHz, from -1 to 1, of any length but zero. It takes
/// the memory of a few blocks, however long the sound is.
///
/// Damaged and truncated files give what can be decoded, and [warnings](Audio::warnings). After an error, and after the
/// end, there is nothing more.
pub struct Audio {
    source: Box<dyn Source>,
    duration: Option<Duration>,
    warnings: Vec<String>,
    resampler: Option<Resampler>,
    rate_changes: u32,
    mono: Vec<f32>,
    /// The first block, which was decoded to see whether there is one.
    first: Option<Vec<f32>>,
    ended: bool,
}

impl Audio {
    /// Opens a file of sound, or a film. What is there is found out by decoding the beginning.
    ///
    /// [`Error::Io`], [`Error::BadFile`] for what has no sound that can be decoded, [`Error::NoSound`] for films without a
    /// sound track and recordings of no length, [`Error::UndecodableSound`] where an `ffmpeg` would be needed,
    /// [`Error::BadRequest`] for tracks that are not there.
    pub fn open(path: impl AsRef<Path>, options: &AudioOptions) -> Result<Self> {
        let path = path.as_ref();
        let (source, duration): (Box<dyn Source>, _) = match Container::open(path, &options.track)? {
            Opened::Here(container) => {
                let duration = container.duration();
                (container, duration)
            }
            Opened::Elsewhere { codec, duration } => match Ffmpeg::start(&options.ffmpeg, path, &options.track)? {
                Some(ffmpeg) => (Box::new(ffmpeg), duration),
                None => {
                    let (file, command) = (path.display().to_string(), conversion(path));
                    return Err(Error::UndecodableSound { file, codec, command });
                }
            },
        };
        let mut audio = Self::new(source, duration);
        match audio.block()? {
            Some(block) => audio.first = Some(block),
            None => return Err(Error::NoSound { file: path.display().to_string() }),
        }
        Ok(audio)
    }

    /// Samples without a container, such as those of a microphone on standard input: blocks come as soon as their bytes do.
    /// `name` is what errors call the stream. [`Error::BadRequest`] for no channels.
    pub fn pcm(name: &str, reader: impl Read + Send + 'static, pcm: Pcm) -> Result<Self> {
        // So that rates that do not exist are refused now.
        let resampler = Resampler::new(pcm.rate)?;
        let mut audio = Self::new(Box::new(PcmSource::new(name, reader, pcm)?), None);
        audio.resampler = Some(resampler);
        Ok(audio)
    }

    fn new(source: Box<dyn Source>, duration: Option<Duration>) -> Self {
        let mono = Vec::new();
        Self {
            source,
            duration,
            warnings: Vec::new(),
            resampler: None,
            rate_changes: 0,
            mono,
            first: None,
            ended: false,
        }
    }

    /// How long the sound is, if the file says: for a progress bar, because files are wrong about it.
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// What was wrong with the sound: complete after the end. Each is a clause to put behind the name of the file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The next block.
    fn block(&mut self) -> Result<Option<Vec<f32>>> {
        let mut out = Vec::new();
        while !self.ended && out.is_empty() {
            self.mono.clear();
            let Some(rate) = self.source.next(&mut self.mono, &mut self.warnings)? else {
                self.ended = true;
                if let Some(resampler) = &mut self.resampler {
                    resampler.finish(&mut out)?;
                }
                break;
            };
            if self.resampler.as_ref().is_none_or(|resampler| resampler.rate() != rate) {
                let next = Resampler::new(rate)?;
                if let Some(mut last) = self.resampler.replace(next) {
                    last.finish(&mut out)?;
                    self.rate_changes += 1;
                }
                if self.rate_changes > RATE_CHANGES {
                    self.ended = true;
                    self.warnings.push("its sample rate changes again and again: the rest was left out".to_owned());
                    break;
                }
            }
            if let Some(resampler) = &mut self.resampler {
                resampler.push(&self.mono, &mut out)?;
            }
        }
        // The resampler's filter swings a little over the full scale of loud sound.
        out.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
        Ok((!out.is_empty()).then_some(out))
    }
}

impl Iterator for Audio {
    type Item = Result<Vec<f32>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.ended {
            return None;
        }
        let block = self.block();
        self.ended |= block.is_err();
        block.transpose()
    }
}
