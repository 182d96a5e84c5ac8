//! Sound in, from the outside: spectrograms against transformers', files against what ffmpeg made them from, speech found
//! in recordings.
#![cfg(feature = "audio")]

#[path = "audio/files.rs"]
mod audio_files;
#[path = "audio/mel.rs"]
mod audio_mel;
