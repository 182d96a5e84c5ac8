//! What is begun on models: translations, conversations, transcripts, subtitles.

use std::ffi::c_char;
use std::sync::Arc;

use babil_models::tasks::chat::Think;
use babil_models::tasks::translate::LanguagePair;
use babil_runtime::sampling::SamplingOptions;

use super::{BabilStatus, enter, hand_out, optional, required, text};
use crate::chat::{ChatOptions, Conversation};
use crate::engine::{Engine, Hearing};
use crate::failure::{Code, Failure, Result};
use crate::handles::HANDLES;
use crate::interpreter::Interpreter;
use crate::subtitles::Form;

/// Begins to translate `length` bytes of UTF-8 from one language into another (ISO 639-1, as in `en`), of any length.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_translate(
    engine: u64,
    from: *const c_char,
    to: *const c_char,
    source: *const c_char,
    length: usize,
    generation: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let (pair, source) = unsafe { (pair(from, to)?, text(source, length, "the text")?) };
        let begun = HANDLES.get::<Engine>(engine)?.translate(pair, source, true)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(generation, Arc::new(begun), Some(engine)) }
    })
}

/// Whether the model thinks before it answers.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilThink {
    /// As it is used to.
    Default = 0,
    /// It does.
    Yes = 1,
    /// It does not.
    No = 2,
}

/// How a conversation is held. All zero always takes the most probable token, and lets the model write what fits.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilChatOptions {
    /// What the model is told before the conversation, or NULL.
    pub system: *const c_char,
    /// Logits are divided by it; 0 takes the most probable token.
    pub temperature: f32,
    /// Only the most probable tokens that together make up this much; 0 and 1 are off.
    pub top_p: f32,
    /// Only so many most probable tokens; 0 is off.
    pub top_k: u32,
    /// Most tokens of an answer; 0 is what fits.
    pub max_tokens: u32,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Whether the model thinks before it answers: a `BabilThink`.
    pub think: i32,
}

/// Begins a conversation. `options` may be NULL.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_chat(engine: u64, options: *const BabilChatOptions, chat: *mut u64) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let options = unsafe { chat_options(options)? };
        let conversation = Conversation::open(HANDLES.get::<Engine>(engine)?.language()?, options)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(chat, Arc::new(conversation), Some(engine)) }
    })
}

/// The options of C.
///
/// # Safety
/// They are null, or what they point to is what they say.
#[allow(unsafe_code, reason = "C's options are behind pointers")]
unsafe fn chat_options(options: *const BabilChatOptions) -> Result<ChatOptions> {
    const NONE: BabilChatOptions = BabilChatOptions {
        system: std::ptr::null(),
        temperature: 0.0,
        top_p: 0.0,
        top_k: 0,
        max_tokens: 0,
        seed: 0,
        think: 0,
    };
    // SAFETY: the caller's promises.
    let BabilChatOptions { system, temperature, top_p, top_k, max_tokens, seed, think } =
        *unsafe { options.as_ref() }.unwrap_or(&NONE);
    let think = match think {
        0 => Think::Default,
        1 => Think::Yes,
        2 => Think::No,
        other => return Err(Failure::new(Code::BadArgument, format!("{other} says nothing of thinking: 0 to 2"))),
    };
    let sampling = SamplingOptions {
        temperature,
        top_k: top_k as usize,
        top_p: if top_p == 0.0 { 1.0 } else { top_p },
        seed,
        ..SamplingOptions::default()
    };
    // SAFETY: the caller's promises.
    let system = unsafe { optional(system, "the system prompt")? };
    let max_tokens = if max_tokens > 0 { max_tokens as usize } else { usize::MAX };
    Ok(ChatOptions { system, think, sampling, max_tokens })
}

/// Says `length` bytes of UTF-8; the answer comes as a generation.
///
/// # Safety
/// Pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_say(
    chat: u64,
    message: *const c_char,
    length: usize,
    generation: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let message = unsafe { text(message, length, "the message")? };
        let answer = HANDLES.get::<Conversation>(chat)?.say(message)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(generation, answer, Some(chat)) }
    })
}

/// Begins to write down what is said in a file. `language` may be NULL, it is found out then; a `beam` of 1 is the fastest.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_transcribe(
    engine: u64,
    file: *const c_char,
    language: *const c_char,
    beam: u32,
    generation: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let (file, hearing) = unsafe { (required(file, "the file")?.into(), hearing(language, beam)?) };
        let begun = HANDLES.get::<Engine>(engine)?.transcribe(file, hearing)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(generation, Arc::new(begun), Some(engine)) }
    })
}

/// Begins to translate a file of subtitles, SRT or WebVTT. `format` is 0 for that of the file, 1 for SRT, 2 for WebVTT.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_translate_subtitles(
    engine: u64,
    from: *const c_char,
    to: *const c_char,
    file: *const c_char,
    format: u32,
    generation: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let (pair, file) = unsafe { (pair(from, to)?, required(file, "the file")?.into()) };
        let begun = HANDLES.get::<Engine>(engine)?.translate_subtitles(pair, file, form(format)?)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(generation, Arc::new(begun), Some(engine)) }
    })
}

/// Begins to write subtitles of a recording; arguments are those of `babil_transcribe`. Where `translator` is not 0, this
/// engine translates them from one language into another. `format` is 0 or 1 for SRT, 2 for WebVTT.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_subtitles(
    engine: u64,
    file: *const c_char,
    language: *const c_char,
    beam: u32,
    translator: u64,
    from: *const c_char,
    to: *const c_char,
    format: u32,
    generation: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let (file, hearing) = unsafe { (required(file, "the file")?.into(), hearing(language, beam)?) };
        // SAFETY: the caller's promises.
        let interpreter = unsafe { interpreter(translator, from, to)? };
        let begun = HANDLES.get::<Engine>(engine)?.subtitles(file, hearing, interpreter, form(format)?)?;
        // SAFETY: the caller's promises.
        unsafe { hand_out(generation, Arc::new(begun), Some(engine)) }
    })
}

/// How speech is written down.
///
/// # Safety
/// As [`optional`].
#[allow(unsafe_code, reason = "C's strings are pointers")]
pub(super) unsafe fn hearing(language: *const c_char, beam: u32) -> Result<Hearing> {
    // SAFETY: the caller's promises.
    let language = unsafe { optional(language, "the language")? };
    Ok(Hearing { language, english: false, beam: i32::try_from(beam).unwrap_or(i32::MAX) })
}

/// What translates what is heard, where `translator` is not 0.
///
/// # Safety
/// As [`pair`].
#[allow(unsafe_code, reason = "C's strings are pointers")]
pub(super) unsafe fn interpreter(
    translator: u64,
    from: *const c_char,
    to: *const c_char,
) -> Result<Option<Interpreter>> {
    if translator == 0 {
        return Ok(None);
    }
    // SAFETY: the caller's promises.
    let pair = unsafe { pair(from, to)? };
    HANDLES.get::<Engine>(translator)?.interpreter(pair).map(Some)
}

fn form(format: u32) -> Result<Form> {
    Form::new(i32::try_from(format).unwrap_or(i32::MAX), 0, 0)
}

/// Two languages.
///
/// # Safety
/// They are null, or end with NUL, and stay as they are during the call.
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn pair(from: *const c_char, to: *const c_char) -> Result<LanguagePair> {
    // SAFETY: the caller's promises.
    let (from, to) = unsafe { (required(from, "the source language")?, required(to, "the target language")?) };
    Ok(LanguagePair::new(from, to))
}
