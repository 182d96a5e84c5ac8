//! Models of whisper.cpp.

#![no_main]

#[path = "../../models/tests/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::whisper(data));
