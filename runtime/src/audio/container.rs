//! Files through symphonia: container -> packets of one track -> samples, mixed down to mono, at the track's own rate and in the
//! places where the container's clock says they are.
//!
//! What is damaged is left out and counted; the clock makes silence of it.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as Symphonia;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_MKV;
use symphonia::core::formats::{FormatOptions, FormatReader, Track};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::Timestamp;

use super::opus::Opus;
use super::pcm::mix;
use super::source::{Source, TrackChoice};
use crate::error::{Error, Result};

/// The least gap in a track that becomes silence, in seconds: clocks of containers are coarse.
const GAP: f64 = 0.1;
/// How much silence the clock of a file may ask for in all, in seconds: a damaged clock asks for centuries.
const MOST_SILENCE: f64 = 600.0;
/// Samples of silence in one piece.
const SILENCE_PIECE: u64 = 1 << 14;
/// Errors of a container in a row after which nothing more is expected of it.
const PATIENCE: u32 = 64;
/// Channels of a track, at most: decoders have memory for as many as a header says.
const MOST_CHANNELS: usize = 64;
/// What is said of a decoder that panicked.
const PANICKED: &str = "the decoder does not know what to do with it";
/// Bytes that a title or a picture may take: nobody looks at them here.
const METADATA: usize = 1 << 16;

/// What became of opening a file.
pub(super) enum Opened {
    /// It is decoded here.
    Here(Box<Container>),
    /// It needs somebody else.
    Elsewhere {
        /// What it is encoded in.
        codec: String,
        /// How long it is, if that is known.
        duration: Option<Duration>,
    },
}

/// One track of a file.
pub(super) struct Container {
    file: String,
    path: std::path::PathBuf,
    choice: TrackChoice,
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: Track,
    clock: Clock,
    interleaved: Vec<f32>,
    /// What was decoded and waits behind silence, and its rate.
    held: Vec<f32>,
    rate: u32,
    damage: Damage,
    ended: bool,
}

/// Where in time the samples of a track are.
struct Clock {
    /// The time that is the beginning, in seconds; None until a track that is alone in its file has said when it begins.
    zero: Option<f64>,
    /// Seconds given out.
    position: f64,
    /// Samples of silence to be given out.
    silence: u64,
    /// Seconds of silence that may still be made.
    allowance: f64,
}

/// What could not be used.
#[derive(Default)]
struct Damage {
    packets: u64,
    last: String,
    /// What ended the file before its end.
    end: Option<String>,
}

impl Container {
    /// Opens a track of a file.
    pub(super) fn open(path: &Path, choice: &TrackChoice) -> Result<Opened> {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|error| Error::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| Error::io("read", path, error))?;
        if metadata.is_dir() {
            return Err(Error::bad_file(name, "a folder, not a file"));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(Error::bad_file(name, "the file is empty"));
        }
        let mut hint = Hint::new();
        if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
            hint.with_extension(extension);
        }
        let limit = Limit::Maximum(METADATA);
        let options = MetadataOptions::default().limit_tag_bytes(limit).limit_visual_bytes(limit);
        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let probe = || symphonia::default::get_probe().probe(&hint, stream, FormatOptions::default(), options);
        let probed = guarded(probe);
        let format = match probed {
            Ok(format) => format,
            Err(Symphonia::IoError(error)) if error.raw_os_error().is_some() => {
                return Err(Error::io("read", path, error));
            }
            Err(error) => {
                tracing::debug!("{name}: {error}");
                return Ok(Opened::Elsewhere { codec: "this kind of file".to_owned(), duration: None });
            }
        };
        let Some(track) = choose(&name, format.tracks(), choice)? else {
            return Ok(Opened::Elsewhere { codec: "its sound".to_owned(), duration: None });
        };
        let duration = duration(&*format, &track);
        let Some(decoder) = decoder(&track) else {
            return Ok(Opened::Elsewhere { codec: codec_name(&track), duration });
        };
        let alone = format.tracks().len() == 1;
        let start = seconds(&track, format.media_info().start_ts);
        let zero = if alone { None } else { Some(start.min(0.0)) };
        let clock = Clock { zero, position: 0.0, silence: 0, allowance: MOST_SILENCE };
        Ok(Opened::Here(Box::new(Self {
            file: name,
            path: path.to_owned(),
            choice: choice.clone(),
            format,
            decoder,
            track,
            clock,
            interleaved: Vec::new(),
            held: Vec::new(),
            rate: 0,
            damage: Damage::default(),
            ended: false,
        })))
    }

    /// How long the track is, as far as the file says.
    pub(super) fn duration(&self) -> Option<Duration> {
        duration(&*self.format, &self.track)
    }

    /// Decodes the next packet into `held`; false at the end.
    fn decode(&mut self) -> Result<bool> {
        let mut errors = 0;
        loop {
            let packet = match guarded(|| self.format.next_packet()) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(false),
                Err(Symphonia::ResetRequired) => {
                    // Another recording follows in the same file.
                    let Some(track) = choose(&self.file, self.format.tracks(), &self.choice)? else { return Ok(false) };
                    let Some(decoder) = decoder(&track) else { return Ok(false) };
                    (self.track, self.decoder) = (track, decoder);
                    self.clock.zero = None;
                    continue;
                }
                Err(Symphonia::IoError(error)) if error.raw_os_error().is_some() => {
                    return Err(Error::io("read", &self.path, error));
                }
                Err(error) => {
                    errors += 1;
                    let cut = matches!(&error, Symphonia::IoError(_));
                    if cut || errors > PATIENCE || matches!(error, Symphonia::LimitError(PANICKED)) {
                        self.damage.end = Some(if cut { "it is cut off".to_owned() } else { error.to_string() });
                        return Ok(false);
                    }
                    continue;
                }
            };
            errors = 0;
            if packet.track_id != self.track.id {
                continue;
            }
            let decoded = guarded(|| {
                let decoded = self.decoder.decode(&packet)?;
                decoded.copy_to_vec_interleaved(&mut self.interleaved);
                Ok((decoded.spec().rate(), decoded.spec().channels().count()))
            });
            let (rate, channels) = match decoded {
                Ok(spec) => spec,
                Err(error) => {
                    if !matches!(error, Symphonia::ResetRequired) {
                        self.damage.packets += 1;
                        self.damage.last = error.to_string();
                    }
                    // A panic may have left anything behind.
                    match decoder(&self.track) {
                        Some(fresh) if matches!(error, Symphonia::LimitError(PANICKED)) => self.decoder = fresh,
                        _ => {}
                    }
                    continue;
                }
            };
            if self.interleaved.is_empty() || rate == 0 {
                continue;
            }
            self.held.clear();
            mix(&self.interleaved, channels, &mut self.held);
            self.rate = rate;
            let at = seconds(&self.track, packet.pts);
            // Packets before the beginning are whole only there: other containers have said how much to cut off, and Opus
            // knows it by itself.
            let whole = self.format.format_info().format == FORMAT_ID_MKV && !self.is_opus();
            self.clock.place(if whole { at } else { at.max(0.0) }, rate, &mut self.held);
            return Ok(true);
        }
    }

    fn is_opus(&self) -> bool {
        self.decoder.codec_params().codec == codecs::CODEC_ID_OPUS
    }

    /// Says at the end what was wrong.
    fn report(&self, warnings: &mut Vec<String>) {
        if self.damage.packets > 0 {
            let (count, last) = (self.damage.packets, &self.damage.last);
            warnings.push(format!("{count} damaged packets were left out, the last one because of: {last}"));
        }
        let promised = self.track.num_frames.and(self.duration()).unwrap_or_default().as_secs_f64();
        let position = self.clock.position;
        if let Some(end) = &self.damage.end {
            warnings.push(format!("the sound ends after {position:.1} s: {end}"));
        } else if promised - position > 0.1 + promised * 0.02 {
            warnings.push(format!("the sound ends after {position:.1} s of {promised:.1} s: it is cut off"));
        }
    }
}

impl Source for Container {
    fn next(&mut self, mono: &mut Vec<f32>, warnings: &mut Vec<String>) -> Result<Option<u32>> {
        if self.clock.silence == 0 && self.held.is_empty() {
            if self.ended {
                return Ok(None);
            }
            if !self.decode()? {
                self.ended = true;
                self.report(warnings);
                if self.clock.position == 0.0 && (self.damage.packets > 0 || self.damage.end.is_some()) {
                    let problem = self.damage.end.as_ref().unwrap_or(&self.damage.last);
                    return Err(Error::bad_file(&self.file, format!("no sound could be decoded: {problem}")));
                }
                return Ok(None);
            }
        }
        if self.clock.silence > 0 {
            let piece = self.clock.silence.min(SILENCE_PIECE);
            self.clock.silence -= piece;
            mono.resize(mono.len() + piece as usize, 0.0);
        } else {
            mono.append(&mut self.held);
        }
        Ok(Some(self.rate))
    }
}

impl Clock {
    /// Puts `samples` that begin at the time `at` (seconds) where they belong: behind silence if there is a gap, and without
    /// what is before the beginning.
    fn place(&mut self, at: f64, rate: u32, samples: &mut Vec<f32>) {
        let rate = f64::from(rate);
        let zero = *self.zero.get_or_insert(at.max(0.0) - self.position);
        let gap = at - zero - self.position;
        if self.position == 0.0 && gap < 0.0 {
            samples.drain(..((-gap * rate).round() as usize).min(samples.len()));
        }
        if gap > GAP {
            let gap = gap.min(self.allowance);
            self.allowance -= gap;
            self.silence = (gap * rate).round() as u64;
        }
        self.position += (self.silence + samples.len() as u64) as f64 / rate;
    }
}

/// What symphonia and the decoders do with a file: they are others' code on anybody's data, and one that panics has only failed.
fn guarded<T>(job: impl FnOnce() -> symphonia::core::errors::Result<T>) -> symphonia::core::errors::Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(Err(Symphonia::LimitError(PANICKED)))
}

/// A time of a track's clock in seconds.
fn seconds(track: &Track, at: Timestamp) -> f64 {
    let (numerator, denominator) = track.time_base.map_or((0, 1), |base| (base.numer.get(), base.denom.get()));
    at.get() as f64 * f64::from(numerator) / f64::from(denominator)
}

/// How long a track is.
fn duration(format: &dyn FormatReader, track: &Track) -> Option<Duration> {
    let in_track = track.time_base.and_then(|base| {
        let ticks = track.duration.map(|duration| duration.get()).or(track.num_frames)?;
        Some(ticks as f64 * f64::from(base.numer.get()) / f64::from(base.denom.get()))
    });
    let in_file = || {
        let info = format.media_info();
        let (base, duration) = (info.time_base?, info.duration?);
        Some(duration.get() as f64 * f64::from(base.numer.get()) / f64::from(base.denom.get()))
    };
    Duration::try_from_secs_f64(in_track.or_else(in_file)?).ok().filter(|duration| !duration.is_zero())
}

/// What a track says of its sound; None for pictures and the like.
fn sound(track: &Track) -> Option<&AudioCodecParameters> {
    track.codec_params.as_ref().and_then(CodecParameters::audio)
}

/// The track that was asked for. None if there may be one, but of what symphonia has no name for.
fn choose(file: &str, tracks: &[Track], choice: &TrackChoice) -> Result<Option<Track>> {
    let with_sound: Vec<&Track> = tracks.iter().filter(|track| sound(track).is_some()).collect();
    if with_sound.is_empty() {
        if tracks.iter().any(|track| track.codec_params.is_none()) {
            return Ok(None);
        }
        return Err(Error::NoSound { file: file.to_owned() });
    }
    let speaks = |track: &&&Track, wanted: &str| {
        track.language.as_ref().is_some_and(|language| language.eq_ignore_ascii_case(wanted))
    };
    let (chosen, wanted) = match choice {
        TrackChoice::First => (with_sound.first(), "at all".to_owned()),
        TrackChoice::Index(index) => (with_sound.get(*index), format!("number {index}")),
        TrackChoice::Language(language) => {
            (with_sound.iter().find(|track| speaks(track, language)), format!("in `{language}`"))
        }
    };
    if let Some(chosen) = chosen {
        return Ok(Some((*chosen).clone()));
    }
    let describe = |(index, track): (usize, &&Track)| {
        let language = track.language.as_deref().unwrap_or("no language");
        format!("{index} ({language}, {})", codec_name(track))
    };
    let there: Vec<String> = with_sound.iter().enumerate().map(describe).collect();
    Err(Error::BadRequest(format!("{file}: no sound track {wanted}; there are {}", there.join(", "))))
}

/// A decoder for a track; None if there is none here.
fn decoder(track: &Track) -> Option<Box<dyn AudioDecoder>> {
    let parameters = sound(track)?;
    if parameters.channels.as_ref().is_some_and(|channels| channels.count() > MOST_CHANNELS) {
        return None;
    }
    let made = if parameters.codec == codecs::CODEC_ID_OPUS {
        Opus::new(parameters).map(|opus| Box::new(opus) as Box<dyn AudioDecoder>)
    } else {
        symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())
    };
    made.inspect_err(|error| tracing::debug!("{}: {error}", codec_name(track))).ok()
}

/// A codec as people call it.
fn codec_name(track: &Track) -> String {
    const NAMES: [(AudioCodecId, &str); 17] = [
        (codecs::CODEC_ID_AAC, "AAC"),
        (codecs::CODEC_ID_AC3, "AC-3"),
        (codecs::CODEC_ID_EAC3, "E-AC-3"),
        (codecs::CODEC_ID_AC4, "AC-4"),
        (codecs::CODEC_ID_DCA, "DTS"),
        (codecs::CODEC_ID_TRUEHD, "TrueHD"),
        (codecs::CODEC_ID_WMA, "WMA"),
        (codecs::CODEC_ID_SPEEX, "Speex"),
        (codecs::CODEC_ID_MUSEPACK, "Musepack"),
        (codecs::CODEC_ID_WAVPACK, "WavPack"),
        (codecs::CODEC_ID_MONKEYS_AUDIO, "Monkey's Audio"),
        (codecs::CODEC_ID_OPUS, "Opus"),
        (codecs::CODEC_ID_VORBIS, "Vorbis"),
        (codecs::CODEC_ID_MP3, "MP3"),
        (codecs::CODEC_ID_FLAC, "FLAC"),
        (codecs::CODEC_ID_ALAC, "ALAC"),
        (codecs::CODEC_ID_TTA, "TTA"),
    ];
    let Some(parameters) = sound(track) else { return "an unknown codec".to_owned() };
    let name = NAMES.iter().find(|(id, _)| *id == parameters.codec).map(|(_, name)| *name);
    let info =
        || symphonia::default::get_codecs().get_audio_decoder(parameters.codec).map(|it| it.codec.info.long_name);
    name.or_else(info).unwrap_or("an unknown codec").to_owned()
}
