//! Opus as a decoder of symphonia, which has containers for it but no decoder: `ruopus` behind symphonia's trait.

use ruopus::{MultistreamDecoder, OpusDecoder, PacketError};
use symphonia::core::audio::{Audio, AudioBuffer, AudioMut, AudioSpec, Channels, GenericAudioBufferRef};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, FinalizeResult};
use symphonia::core::errors::{Error, Result};
use symphonia::core::packet::PacketRef;

/// Opus is decoded at its own rate, whatever it was encoded from.
const RATE: u32 = 48_000;
/// The longest packet there is: 120 ms.
const LONGEST: usize = 5760;

/// Decodes the packets of one track.
pub(super) struct Opus {
    parameters: AudioCodecParameters,
    streams: Streams,
    /// What the header wants all samples multiplied with.
    gain: f32,
    /// Samples that the encoder put before the sound, and that are still to come.
    skip: usize,
    buffer: AudioBuffer<f32>,
}

/// How a packet holds its channels.
enum Streams {
    /// One stream of one or two channels.
    One(Box<OpusDecoder>),
    /// Surround: several streams in a packet.
    Many(MultistreamDecoder),
}

/// What the identification header says (RFC 7845, section 5.1), as far as a decoder wants it.
struct Header {
    channels: u8,
    /// Samples before the sound.
    skip: u16,
    gain: f32,
    /// Streams, how many of these are stereo, and the stream's channel of each channel.
    layout: Option<(u8, u8, Vec<u8>)>,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let fields = bytes.strip_prefix(b"OpusHead")?;
        let (&channels, family) = (fields.get(1)?, *fields.get(10)?);
        let skip = u16::from_le_bytes([*fields.get(2)?, *fields.get(3)?]);
        let gain = i16::from_le_bytes([*fields.get(8)?, *fields.get(9)?]);
        let layout = match family {
            0 => None,
            _ => {
                let (&streams, &coupled) = (fields.get(11)?, fields.get(12)?);
                let mapping = fields.get(13..13 + usize::from(channels))?.to_vec();
                let decoded = streams.checked_add(coupled)?;
                let valid = streams > 0 && coupled <= streams && mapping.iter().all(|&at| at == 255 || at < decoded);
                valid.then_some(())?;
                Some((streams, coupled, mapping))
            }
        };
        let valid = if layout.is_some() { channels > 0 } else { channels == 1 || channels == 2 };
        valid.then(|| Self { channels, skip, gain: 10f32.powf(f32::from(gain) / (20.0 * 256.0)), layout })
    }
}

impl Opus {
    /// For the track that `parameters` describe.
    pub(super) fn new(parameters: &AudioCodecParameters) -> Result<Self> {
        let channels = parameters.channels.as_ref().map_or(2, Channels::count).clamp(1, 2) as u8;
        let header = match &parameters.extra_data {
            Some(bytes) => Header::read(bytes).ok_or(Error::DecodeError("opus: a bad identification header"))?,
            None => Header { channels, skip: 0, gain: 1.0, layout: None },
        };
        let streams = match header.layout {
            None => Streams::One(Box::new(OpusDecoder::with_rate(RATE, usize::from(header.channels)))),
            Some((streams, coupled, mapping)) => {
                Streams::Many(MultistreamDecoder::with_rate(RATE, usize::from(streams), usize::from(coupled), &mapping))
            }
        };
        let spec = AudioSpec::new(RATE, Channels::Discrete(u16::from(header.channels)));
        let buffer = AudioBuffer::new(spec, LONGEST);
        Ok(Self { parameters: parameters.clone(), streams, gain: header.gain, skip: usize::from(header.skip), buffer })
    }
}

impl AudioDecoder for Opus {
    fn reset(&mut self) {
        if let Ok(fresh) = Self::new(&self.parameters) {
            *self = fresh;
        }
    }

    fn codec_info(&self) -> &CodecInfo {
        const INFO: CodecInfo = CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] };
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        debug_assert_eq!(self.parameters.codec, CODEC_ID_OPUS);
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        let decoded = match &mut self.streams {
            Streams::One(decoder) => decoder.decode_packet(packet.data),
            Streams::Many(decoder) => decoder.decode_packet(packet.data),
        };
        let samples = decoded.map_err(|error: PacketError| {
            tracing::debug!("an Opus packet of {} bytes: {error}", packet.data.len());
            Error::DecodeError("opus: a damaged packet")
        })?;
        let channels = self.buffer.spec().channels().count();
        let frames = (samples.len() / channels).min(LONGEST);
        self.buffer.resize_with_silence(frames);
        for (channel, plane) in self.buffer.iter_planes_mut().enumerate() {
            for (to, frame) in plane.iter_mut().zip(samples.chunks_exact(channels)) {
                *to = frame[channel] * self.gain;
            }
        }
        // Containers repeat how much is to be skipped, each in its way and some too coarsely.
        let skipped = self.skip.min(frames);
        self.skip -= skipped;
        self.buffer.trim(skipped, (packet.trim_end.get() as usize).min(frames - skipped));
        Ok(GenericAudioBufferRef::from(&self.buffer))
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        GenericAudioBufferRef::from(&self.buffer)
    }
}
