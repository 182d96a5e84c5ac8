//! What comes of what was begun: pieces, and how they ended; what was said in a conversation.

use std::ffi::{CStr, c_char};
use std::time::Duration;

use super::{BabilStatus, enter, free, given, null, put};
use crate::chat::{Conversation, messages};
use crate::generation::{Finish, Generation, Piece};
use crate::handles::HANDLES;

/// What a piece is.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilKind {
    /// Text of the answer or translation.
    Answer = 0,
    /// Text that the model thinks before it answers.
    Thought = 1,
    /// Something that was said in a recording.
    Segment = 2,
    /// A cue, as it stands in a file of subtitles, with what stands before it there. All pieces are the file.
    Cue = 3,
}

/// A piece of what a generation makes.
#[repr(C)]
#[derive(Debug)]
pub struct BabilPiece {
    /// What it is.
    pub kind: BabilKind,
    /// When it was said, in seconds from the beginning of the sound; 0 of other pieces.
    pub start: f64,
    /// When that ended.
    pub end: f64,
    /// UTF-8, whole characters; a NUL follows, and there may be others before it. To be freed with `babil_piece_free`.
    pub text: *mut c_char,
    /// Bytes of the text, without the NUL that follows.
    pub length: usize,
    /// The code of the language that was spoken, of segments; empty where the model knows one only.
    pub language: [c_char; BABIL_LANGUAGE],
}

/// Bytes of a code of a language and the NUL that follows: ISO 639 has two or three letters.
pub const BABIL_LANGUAGE: usize = 8;

/// Why a generation ended.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilFinish {
    /// It came to its end.
    Complete = 0,
    /// A text came that was to end it.
    StopString = 1,
    /// There are as many tokens as were allowed.
    Length = 2,
    /// The context is full.
    Context = 3,
    /// It was cancelled.
    Cancelled = 4,
}

/// Why and how a generation ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilStatistics {
    /// Why it ended: a text that was cut is not complete.
    pub finish: BabilFinish,
    /// Tokens that were read, those included that were known before.
    pub read: u64,
    /// Tokens that were read and known before, from the same conversation.
    pub reused: u64,
    /// Tokens that were written.
    pub written: u64,
    /// Seconds of reading.
    pub reading: f64,
    /// Seconds until the first piece; below zero where none came.
    pub first: f64,
    /// Seconds of writing.
    pub writing: f64,
}

/// A message of a conversation.
#[repr(C)]
#[derive(Debug)]
pub struct BabilMessage {
    /// Who said it, such as `user` or `assistant`; it ends with NUL.
    pub role: *mut c_char,
    /// What was said, as in `BabilPiece`.
    pub text: *mut c_char,
    /// Bytes of the text, without the NUL that follows.
    pub length: usize,
    /// What the model thought before; empty of others.
    pub thoughts: *mut c_char,
    /// Bytes of the thoughts, without the NUL that follows.
    pub thoughts_length: usize,
}

/// Waits for the next piece of a generation: `BABIL_STATUS_OK` and a piece, which is to be freed, or `BABIL_STATUS_END`.
///
/// # Safety
/// The pointer is null or has room for a piece.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_next(generation: u64, piece: *mut BabilPiece) -> BabilStatus {
    enter(|| {
        if piece.is_null() {
            return Err(null("the place of the piece"));
        }
        let next = HANDLES.get::<Generation>(generation)?.next()?;
        let (kind, start, end, text, spoken) = match next {
            Some(Piece::Answer(text)) => (BabilKind::Answer, 0.0, 0.0, text, String::new()),
            Some(Piece::Thought(text)) => (BabilKind::Thought, 0.0, 0.0, text, String::new()),
            #[cfg(feature = "audio")]
            Some(Piece::Segment { start, end, language, text }) => (BabilKind::Segment, start, end, text, language),
            Some(Piece::Cue { shown, written }) => {
                let (start, end) = shown.map_or((0.0, 0.0), |(start, end, _)| (start, end));
                (BabilKind::Cue, start, end, written, String::new())
            }
            // Nothing else is begun from C.
            _ => return Ok(BabilStatus::End),
        };
        let mut language = [0; BABIL_LANGUAGE];
        // A code that is longer is none.
        if spoken.len() < BABIL_LANGUAGE {
            language.iter_mut().zip(spoken.bytes()).for_each(|(place, byte)| *place = byte as c_char);
        }
        let length = text.len();
        // SAFETY: the caller's promises.
        unsafe { put(piece, BabilPiece { kind, start, end, text: given(text), length, language }) }
    })
}

/// Frees the text of a piece, once. The piece is empty then; one that is NULL or empty stays so.
///
/// # Safety
/// The pointer is null, or points to a piece of `babil_next` that was not changed.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_piece_free(piece: *mut BabilPiece) {
    // SAFETY: the caller's promise.
    let Some(piece) = (unsafe { piece.as_mut() }) else { return };
    // SAFETY: `babil_next` has made it, and nobody has changed it.
    unsafe { free(&mut piece.text, piece.length) };
    piece.length = 0;
}

/// Why and how a generation ended, once `babil_next` has said that it did. Of one that was just cancelled it waits for the
/// layer that is being computed. `BABIL_STATUS_CLOSED` where the last piece has not been read.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_stats(generation: u64, result: *mut BabilStatistics) -> BabilStatus {
    enter(|| {
        let ended = HANDLES.get::<Generation>(generation)?.ended()?;
        let finish = match ended.finish {
            Finish::Complete => BabilFinish::Complete,
            Finish::StopString => BabilFinish::StopString,
            Finish::Length => BabilFinish::Length,
            Finish::Context => BabilFinish::Context,
            Finish::Cancelled => BabilFinish::Cancelled,
        };
        let statistics = BabilStatistics {
            finish,
            read: ended.counts.read,
            reused: ended.counts.reused,
            written: ended.counts.written,
            reading: ended.counts.reading.as_secs_f64(),
            first: ended.first.map_or(-1.0, |first: Duration| first.as_secs_f64()),
            writing: ended.counts.writing.as_secs_f64(),
        };
        // SAFETY: the caller's promises.
        unsafe { put(result, statistics) }
    })
}

/// What was said in a conversation, while nothing is being said: `BABIL_STATUS_OK` and message number `index`, which is to be
/// freed, or `BABIL_STATUS_END` where there are not so many.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_history(chat: u64, index: usize, message: *mut BabilMessage) -> BabilStatus {
    enter(|| {
        if message.is_null() {
            return Err(null("the place of the message"));
        }
        let found = HANDLES.get::<Conversation>(chat)?.with(move |chat| messages(chat).nth(index))?;
        let Some([role, text, thoughts]) = found else { return Ok(BabilStatus::End) };
        // It is freed by its first NUL.
        let role = role.replace('\0', "\u{fffd}");
        let (length, thoughts_length) = (text.len(), thoughts.len());
        let found =
            BabilMessage { role: given(role), text: given(text), length, thoughts: given(thoughts), thoughts_length };
        // SAFETY: the caller's promises.
        unsafe { put(message, found) }
    })
}

/// Frees the texts of a message, once. The message is empty then; one that is NULL or empty stays so.
///
/// # Safety
/// The pointer is null, or points to a message of `babil_history` that was not changed.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_message_free(message: *mut BabilMessage) {
    // SAFETY: the caller's promise.
    let Some(message) = (unsafe { message.as_mut() }) else { return };
    // SAFETY: `babil_history` has made it, and nobody has changed it; a role has no other NUL than its last.
    unsafe {
        let role = if message.role.is_null() { 0 } else { CStr::from_ptr(message.role).count_bytes() };
        free(&mut message.role, role);
        free(&mut message.text, message.length);
        free(&mut message.thoughts, message.thoughts_length);
    }
    (message.length, message.thoughts_length) = (0, 0);
}

/// Forgets what was said in a conversation, but for its system prompt.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_clear(chat: u64) -> BabilStatus {
    enter(|| {
        HANDLES.get::<Conversation>(chat)?.with(|chat| chat.clear())?;
        Ok(BabilStatus::Ok)
    })
}

/// Ends a generation: `babil_next` says that there is nothing more. Waits for nothing, from any thread.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_cancel(generation: u64) -> BabilStatus {
    enter(|| {
        HANDLES.get::<Generation>(generation)?.cancel();
        Ok(BabilStatus::Ok)
    })
}
