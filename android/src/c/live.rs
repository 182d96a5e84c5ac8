//! Captions of sound that is pushed while it is spoken.

use std::ffi::c_char;
use std::sync::Arc;

use super::begin::{hearing, interpreter};
use super::{BabilStatus, enter, hand_out, null};
use crate::engine::Engine;
use crate::failure::{Code, Failure};
use crate::handles::HANDLES;
use crate::live::Listening;

/// What happens to sound for which there is no room: half a minute of it may wait.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilWhenFull {
    /// `babil_push` waits: for files.
    Wait = 0,
    /// The oldest sound is lost, and the next caption says how much: for microphones.
    Drop = 1,
}

/// How captions are made. All zero finds out the language, with the fastest beam, and waits for room.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilListenOptions {
    /// The language that is spoken; NULL is found out, or is that which the translator reads.
    pub language: *const c_char,
    /// Texts that are followed at the same time; 0 and 1 are the fastest.
    pub beam: u32,
    /// What happens to sound for which there is no room: a `BabilWhenFull`.
    pub when_full: i32,
    /// The engine that translates what is said; 0 for none.
    pub translator: u64,
    /// From which language it translates; only where there is a translator.
    pub from: *const c_char,
    /// Into which.
    pub to: *const c_char,
}

/// Begins to write down what is said in sound that `babil_push` brings. `captions` is a generation, for `babil_next` and the
/// others, and is closed like one. `options` may be NULL.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_listen(
    engine: u64,
    options: *const BabilListenOptions,
    captions: *mut u64,
) -> BabilStatus {
    const NONE: BabilListenOptions = BabilListenOptions {
        language: std::ptr::null(),
        beam: 0,
        when_full: 0,
        translator: 0,
        from: std::ptr::null(),
        to: std::ptr::null(),
    };
    enter(|| {
        // SAFETY: the caller's promises.
        let BabilListenOptions { language, beam, when_full, translator, from, to } =
            *unsafe { options.as_ref() }.unwrap_or(&NONE);
        let waits = match when_full {
            0 => true,
            1 => false,
            other => return Err(Failure::new(Code::BadArgument, format!("{other} is no BABIL_WHEN_FULL: 0 or 1"))),
        };
        // SAFETY: the caller's promises.
        let (hearing, interpreter) = unsafe { (hearing(language, beam.max(1))?, interpreter(translator, from, to)?) };
        let listening = HANDLES.get::<Engine>(engine)?.listen(hearing, interpreter, waits)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(captions, Arc::new(listening), Some(engine)) }
    })
}

/// Adds `count` samples of sound to what is listened to: one channel, 16000 a second, from -1 to 1. `BABIL_STATUS_END` where
/// nobody listens any more, because the captions failed or were cancelled; `BABIL_STATUS_CLOSED` after `babil_end_of_sound`.
///
/// # Safety
/// The pointer is null or points to so many samples.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_push(captions: u64, samples: *const f32, count: usize) -> BabilStatus {
    enter(|| {
        if samples.is_null() {
            return Err(null("the sound"));
        }
        // SAFETY: not null, and the caller promises the rest.
        let samples = unsafe { std::slice::from_raw_parts(samples, count) };
        let heard = HANDLES.get::<Listening>(captions)?.push(samples.to_vec())?;
        Ok(if heard { BabilStatus::Ok } else { BabilStatus::End })
    })
}

/// Says that the sound is over: the rest of what was said comes, and then the end.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_end_of_sound(captions: u64) -> BabilStatus {
    enter(|| {
        HANDLES.get::<Listening>(captions)?.end_of_sound();
        Ok(BabilStatus::Ok)
    })
}
