//! The functions of C: the same objects, told from handles, and the same rules as in Java. `include/babil.h` declares them,
//! and a test compares the two.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use babil_models::DeviceOptions;
use babil_models::tasks::chat::Think;
use babil_models::tasks::translate::LanguagePair;
use babil_runtime::kernels::Kernels;
use babil_runtime::sampling::SamplingOptions;

use crate::chat::{ChatOptions, Conversation};
use crate::engine::{Engine, Hearing, Options, Source};
use crate::failure::{Code, Failure, Result};
use crate::generation::{Generation, Piece};
use crate::handles::HANDLES;
use crate::subtitles::Form;

/// How a call ended. Below zero it failed, and `babil_last_error` says why.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilStatus {
    /// It did what it should.
    Ok = 0,
    /// There is nothing more: the generation is complete, or was cancelled.
    End = 1,
    /// The request does not suit the model, or is none.
    BadArgument = -1,
    /// There is no such file or model.
    NotFound = -2,
    /// The file is damaged, or not what it should be.
    BadModel = -3,
    /// The model, or this build of the library, cannot do it.
    Unsupported = -4,
    /// It needs more memory than it may have. Nothing was loaded.
    TooLarge = -5,
    /// Another answer is being made, which must end first.
    Busy = -6,
    /// The disk or the file system.
    Io = -7,
    /// The connection, or what answers at its other end.
    Network = -8,
    /// It was cancelled.
    Cancelled = -9,
    /// A mistake in babil. What it was found in can no longer be used, everything else can.
    Internal = -10,
    /// The object was closed, or is of another kind.
    Closed = -11,
}

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
}

/// How to open a model. All zero is the usual.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilOptions {
    /// Threads; 0 is one for each fast core.
    pub threads: u32,
    /// Most tokens of a conversation; 0 is what model and memory allow.
    pub context: u32,
    /// Bytes; a model that needs more is refused. 0 is no limit.
    pub memory_limit: u64,
    /// Where copies of weights are kept that are packed for this processor; NULL is the user's cache folder.
    pub packed_folder: *const c_char,
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Runs a function of C: what fails becomes a status and the thread's last error, a panic too.
fn enter(work: impl FnOnce() -> Result<BabilStatus>) -> BabilStatus {
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(Failure::panic(&*payload)));
    done.unwrap_or_else(|failure| {
        let (status, message) = match failure {
            Failure::Closed(message) => (BabilStatus::Closed, message.to_owned()),
            Failure::Error { code, message } => (status_of(code), message),
        };
        let message = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
        LAST_ERROR.with(|last| *last.borrow_mut() = message);
        status
    })
}

fn status_of(code: Code) -> BabilStatus {
    match code {
        Code::BadArgument => BabilStatus::BadArgument,
        Code::NotFound => BabilStatus::NotFound,
        Code::BadModel => BabilStatus::BadModel,
        Code::Unsupported => BabilStatus::Unsupported,
        Code::TooLarge => BabilStatus::TooLarge,
        Code::Busy => BabilStatus::Busy,
        Code::Io => BabilStatus::Io,
        Code::Network => BabilStatus::Network,
        Code::Cancelled => BabilStatus::Cancelled,
        // There are no meters in C.
        Code::Internal | Code::NotMeasured => BabilStatus::Internal,
    }
}

fn null(what: &str) -> Failure {
    Failure::new(Code::BadArgument, format!("{what} is null"))
}

/// A string that may be null.
///
/// # Safety
/// It is null, or ends with NUL, and stays as it is during the call.
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn optional(pointer: *const c_char, what: &str) -> Result<Option<String>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and the caller promises the rest.
    let text = unsafe { CStr::from_ptr(pointer) }.to_str();
    let bad = |error| Failure::new(Code::BadArgument, format!("{what} is no UTF-8: {error}"));
    text.map(|text| Some(text.to_owned())).map_err(bad)
}

/// A text of `length` bytes, which may hold NUL.
///
/// # Safety
/// It is null, or has so many bytes, which stay as they are during the call.
#[allow(unsafe_code, reason = "C's texts are pointers")]
unsafe fn text(pointer: *const c_char, length: usize, what: &str) -> Result<String> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: not null, and the caller promises the rest.
    let bytes = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) };
    let bad = |error| Failure::new(Code::BadArgument, format!("{what} is no UTF-8: {error}"));
    std::str::from_utf8(bytes).map(str::to_owned).map_err(bad)
}

/// Puts a result where the caller wants it.
///
/// # Safety
/// It is null, or there is room for one `T`.
#[allow(unsafe_code, reason = "C's results go through pointers")]
unsafe fn put<T>(place: *mut T, value: T) -> Result<BabilStatus> {
    if place.is_null() {
        return Err(null("the place of the result"));
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { place.write(value) };
    Ok(BabilStatus::Ok)
}

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version without NUL"),
};

/// The version of babil, such as `0.1.0`. It lives as long as the library.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The instruction set that this CPU's kernels are written for: `scalar`, `avx2`, `avxvnni`, `avx512`,
/// `amx`, `neon`, `dotprod` or `i8mm`. It lives as long as the library.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_instruction_set() -> *const c_char {
    static NAME: OnceLock<CString> = OnceLock::new();
    NAME.get_or_init(|| CString::new(Kernels::detect().isa.name()).unwrap_or_default()).as_ptr()
}

/// What was wrong with the last call of this thread that failed. It lives until the next one that fails.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.borrow().as_ptr())
}

/// Opens a model: a file, a folder, or the translator inside the library where `model` is null. `options` may be null.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_open(
    model: *const c_char,
    options: *const BabilOptions,
    engine: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        let (model, options) = unsafe { (optional(model, "the model")?, options.as_ref().copied()) };
        let options = match options {
            None => Options::default(),
            Some(BabilOptions { threads, context, memory_limit, packed_folder }) => Options {
                threads: (threads > 0).then_some(threads as usize),
                context: (context > 0).then_some(context as usize),
                memory_limit: (memory_limit > 0).then_some(memory_limit),
                // SAFETY: the caller's promises.
                packed_folder: unsafe { optional(packed_folder, "the folder of packed weights")? }.map(PathBuf::from),
                device: DeviceOptions::default(),
            },
        };
        let source = model.map_or(Source::Bundled, |path| Source::Path(path.into()));
        let handle = HANDLES.add(Arc::new(Engine::open(source, &options)?), None)?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(engine, handle) }
    })
}

/// Puts a handle where the caller wants it, or closes it where that is nowhere.
///
/// # Safety
/// As [`put`].
#[allow(unsafe_code, reason = "C's results go through pointers")]
unsafe fn put_handle(place: *mut u64, handle: u64) -> Result<BabilStatus> {
    // SAFETY: the caller's promises.
    unsafe { put(place, handle) }.inspect_err(|_| HANDLES.close(handle))
}

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
        let handle = HANDLES.add(Arc::new(begun), Some(engine))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(generation, handle) }
    })
}

/// Begins a conversation. `system` is what the model is told before it, or null. A `temperature` of 0 takes the most
/// probable token; `max_tokens` is the length of an answer, 0 is what fits.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_chat(
    engine: u64,
    system: *const c_char,
    temperature: f32,
    seed: u64,
    max_tokens: u32,
    chat: *mut u64,
) -> BabilStatus {
    enter(|| {
        let options = ChatOptions {
            // SAFETY: the caller's promises.
            system: unsafe { optional(system, "the system prompt")? },
            think: Think::Default,
            sampling: SamplingOptions { temperature, seed, ..SamplingOptions::default() },
            max_tokens: if max_tokens > 0 { max_tokens as usize } else { usize::MAX },
        };
        let conversation = Conversation::open(HANDLES.get::<Engine>(engine)?.language()?, options)?;
        let handle = HANDLES.add(Arc::new(conversation), Some(engine))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(chat, handle) }
    })
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
        let handle = HANDLES.add(HANDLES.get::<Conversation>(chat)?.say(message)?, Some(chat))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(generation, handle) }
    })
}

/// Begins to write down what is said in a file. `language` may be null, it is found out then; a `beam` of 1 is the fastest.
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
        let (file, language) = unsafe { (optional(file, "the file")?, optional(language, "the language")?) };
        let file = PathBuf::from(file.ok_or_else(|| null("the file"))?);
        let hearing = Hearing { language, english: false, beam: i32::try_from(beam).unwrap_or(i32::MAX) };
        let begun = HANDLES.get::<Engine>(engine)?.transcribe(file, hearing)?;
        let handle = HANDLES.add(Arc::new(begun), Some(engine))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(generation, handle) }
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
        let (pair, file) = unsafe { (pair(from, to)?, optional(file, "the file")?) };
        let file = PathBuf::from(file.ok_or_else(|| null("the file"))?);
        let begun = HANDLES.get::<Engine>(engine)?.translate_subtitles(pair, file, form(format)?)?;
        let handle = HANDLES.add(Arc::new(begun), Some(engine))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(generation, handle) }
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
        let (file, language) = unsafe { (optional(file, "the file")?, optional(language, "the language")?) };
        let file = PathBuf::from(file.ok_or_else(|| null("the file"))?);
        let hearing = Hearing { language, english: false, beam: i32::try_from(beam).unwrap_or(i32::MAX) };
        let interpreter = match translator {
            0 => None,
            // SAFETY: the caller's promises.
            handle => Some(HANDLES.get::<Engine>(handle)?.interpreter(unsafe { pair(from, to)? })?),
        };
        let begun = HANDLES.get::<Engine>(engine)?.subtitles(file, hearing, interpreter, form(format)?)?;
        let handle = HANDLES.add(Arc::new(begun), Some(engine))?;
        // SAFETY: the caller's promises.
        unsafe { put_handle(generation, handle) }
    })
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
    let (from, to) = unsafe { (optional(from, "the source language")?, optional(to, "the target language")?) };
    let from = from.ok_or_else(|| null("the source language"))?;
    Ok(LanguagePair::new(from, to.ok_or_else(|| null("the target language"))?))
}

/// Waits for the next piece of a generation: `BABIL_STATUS_OK` and a piece, which is to be freed, or
/// `BABIL_STATUS_END`.
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
        let (kind, start, end, text) = match next {
            Some(Piece::Answer(text)) => (BabilKind::Answer, 0.0, 0.0, text),
            Some(Piece::Thought(text)) => (BabilKind::Thought, 0.0, 0.0, text),
            #[cfg(feature = "audio")]
            Some(Piece::Segment { start, end, text, .. }) => (BabilKind::Segment, start, end, text),
            Some(Piece::Cue { shown, written }) => {
                let (start, end) = shown.map_or((0.0, 0.0), |(start, end, _)| (start, end));
                (BabilKind::Cue, start, end, written)
            }
            // Nothing else is begun from C.
            _ => return Ok(BabilStatus::End),
        };
        let length = text.len();
        let mut bytes = text.into_bytes();
        bytes.push(0);
        let text = Box::into_raw(bytes.into_boxed_slice()).cast::<c_char>();
        // SAFETY: the caller's promises.
        unsafe { put(piece, BabilPiece { kind, start, end, text, length }) }
    })
}

/// Frees the text of a piece, once. The piece is empty then; one that is null or empty stays so.
///
/// # Safety
/// The pointer is null, or points to a piece of `babil_next` that was not changed.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_piece_free(piece: *mut BabilPiece) {
    // SAFETY: the caller's promise.
    let Some(piece) = (unsafe { piece.as_mut() }) else { return };
    let text = std::mem::replace(&mut piece.text, std::ptr::null_mut());
    if !text.is_null() {
        let bytes = std::ptr::slice_from_raw_parts_mut(text.cast::<u8>(), piece.length + 1);
        // SAFETY: `babil_next` has made it of a box of so many bytes, and nobody has freed it: it would be null.
        drop(unsafe { Box::from_raw(bytes) });
    }
    piece.length = 0;
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

/// Closes an object, and all that was begun on it. Waits for the layer of the model that is being computed. From any thread,
/// any number of times; what is no object is left alone.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_close(object: u64) {
    enter(|| {
        HANDLES.close(object);
        Ok(BabilStatus::Ok)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(unsafe_code)]
    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: both functions return strings that end with NUL and live as long as the program.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    }

    #[test]
    fn strings_are_whole_and_stay() {
        assert_eq!(text(babil_version()), env!("CARGO_PKG_VERSION"));
        assert_eq!(text(babil_instruction_set()), Kernels::detect().isa.name());
        assert_eq!(babil_instruction_set(), babil_instruction_set(), "made once");
    }
}
