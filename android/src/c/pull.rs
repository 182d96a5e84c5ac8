//! What comes of what was begun: pieces, and how they ended; what was said in a conversation.

use std::ffi::c_char;
use std::time::Duration;

#[cfg(feature = "audio")]
use super::code;
use super::{BABIL_LANGUAGE, BabilStatus, enter, free, free_string, given, given_string, null, put};
use crate::chat::{Conversation, messages};
use crate::engine::generation as generation_of;
use crate::generation::{Finish, Piece};
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
    /// What is being said: the text will stay until the caption and only grows, and the tail may be something else next time.
    Partial = 4,
    /// What was said; it replaces the partial pieces since the caption before. The text is empty where it was no speech after
    /// all, or where only a translation was missing.
    Caption = 5,
}

/// A piece of what a generation makes. What a kind of piece does not have is zero.
#[repr(C)]
#[derive(Debug)]
pub struct BabilPiece {
    /// What it is.
    pub kind: BabilKind,
    /// When it was said, in seconds from the beginning of the sound.
    pub start: f64,
    /// When that ended.
    pub end: f64,
    /// UTF-8, whole characters; a NUL follows, and there may be others before it. To be freed with `babil_piece_free`.
    pub text: *mut c_char,
    /// Bytes of the text, without the NUL that follows.
    pub length: usize,
    /// The code of the language that was spoken, of segments; empty where the model knows one only.
    pub language: [c_char; BABIL_LANGUAGE],
    /// Of what is being said, what to put behind the text as it is; it ends with NUL.
    pub tail: *mut c_char,
    /// Of captions, the translation of the sentences that this one completes, where there is a translator; it ends with NUL, and
    /// is empty where none is complete.
    pub translation: *mut c_char,
    /// Of captions, the seconds of sound that were lost since the one before, because there was no room for it.
    pub lost: f64,
}

impl BabilPiece {
    /// What all pieces have.
    fn new(kind: BabilKind, text: String) -> Self {
        Self {
            kind,
            start: 0.0,
            end: 0.0,
            length: text.len(),
            text: given(text),
            language: [0; BABIL_LANGUAGE],
            tail: std::ptr::null_mut(),
            translation: std::ptr::null_mut(),
            lost: 0.0,
        }
    }

    /// A piece for C; `None` of those that nothing makes that is begun from C.
    fn of(piece: Piece) -> Option<Self> {
        Some(match piece {
            Piece::Answer(text) => Self::new(BabilKind::Answer, text),
            Piece::Thought(text) => Self::new(BabilKind::Thought, text),
            #[cfg(feature = "audio")]
            Piece::Segment { start, end, language, text } => {
                let language = code(&language).unwrap_or_default();
                Self { start, end, language, ..Self::new(BabilKind::Segment, text) }
            }
            Piece::Cue { shown, written } => {
                let (start, end) = shown.map_or((0.0, 0.0), |(start, end, _)| (start, end));
                Self { start, end, ..Self::new(BabilKind::Cue, written) }
            }
            #[cfg(feature = "audio")]
            Piece::Caption { last, start, end, text, tail, translation, lost } => {
                let kind = if last { BabilKind::Caption } else { BabilKind::Partial };
                let (tail, translation) = (given_string(&tail), given_string(&translation));
                Self { start, end, tail, translation, lost, ..Self::new(kind, text) }
            }
            Piece::Progress { .. } => return None,
        })
    }
}

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
        let next = generation_of(generation)?.next()?;
        // SAFETY: the caller's promises.
        next.and_then(BabilPiece::of).map_or(Ok(BabilStatus::End), |next| unsafe { put(piece, next) })
    })
}

/// Frees the texts of a piece, once. The piece is empty then; one that is NULL or empty stays so.
///
/// # Safety
/// The pointer is null, or points to a piece of `babil_next` that was not changed.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_piece_free(piece: *mut BabilPiece) {
    // SAFETY: the caller's promise.
    let Some(piece) = (unsafe { piece.as_mut() }) else { return };
    // SAFETY: `babil_next` has made it, and nobody has changed it.
    unsafe {
        free(&mut piece.text, piece.length);
        free_string(&mut piece.tail);
        free_string(&mut piece.translation);
    }
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
        let ended = generation_of(generation)?.ended()?;
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
        let (length, thoughts_length) = (text.len(), thoughts.len());
        let found = BabilMessage {
            role: given_string(&role),
            text: given(text),
            length,
            thoughts: given(thoughts),
            thoughts_length,
        };
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
    // SAFETY: `babil_history` has made it, and nobody has changed it.
    unsafe {
        free_string(&mut message.role);
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
        generation_of(generation)?.cancel();
        Ok(BabilStatus::Ok)
    })
}
