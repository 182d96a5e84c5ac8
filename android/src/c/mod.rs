//! The functions of C: the same objects, told from handles, and the same rules as in Java. `include/babil.h` is made of these
//! files by cbindgen, and a test compares the two.
//!
//! - here: how calls end, how texts cross, what the library is, and closing;
//! - `open.rs`: models, and what they would need;
//! - `begin.rs`: what is begun on them;
//! - `live.rs`: captions of sound that is pushed;
//! - `pull.rs`: what comes of all that.

mod begin;
mod live;
mod open;
mod pull;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use babil_runtime::kernels::Kernels;

pub use self::begin::*;
pub use self::live::*;
pub use self::open::*;
pub use self::pull::*;
use crate::failure::{Code, Failure, Result};
use crate::handles::{HANDLES, Object};

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
    /// Another answer is being made, which must end first: the same call may succeed then.
    Busy = -6,
    /// The disk or the file system.
    Io = -7,
    /// The connection, or what answers at its other end: the same call may succeed later.
    Network = -8,
    /// It was cancelled.
    Cancelled = -9,
    /// A mistake in babil. What it was found in can no longer be used, everything else can.
    Internal = -10,
    /// The object was closed, or is of another kind.
    Closed = -11,
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

/// A string that must be there.
///
/// # Safety
/// As [`optional`].
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn required(pointer: *const c_char, what: &str) -> Result<String> {
    // SAFETY: the caller's promises.
    unsafe { optional(pointer, what)? }.ok_or_else(|| null(what))
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

/// Puts a handle of `object`, which is closed with `parent`, where the caller wants it; where that is nowhere, there is none.
///
/// # Safety
/// As [`put`].
#[allow(unsafe_code, reason = "C's results go through pointers")]
unsafe fn hand_out(place: *mut u64, object: Arc<dyn Object>, parent: Option<u64>) -> Result<BabilStatus> {
    let handle = HANDLES.add(object, parent)?;
    // SAFETY: the caller's promises.
    unsafe { put(place, handle) }.inspect_err(|_| HANDLES.close(handle))
}

/// A text that the caller frees with [`free`]: a NUL follows it.
fn given(text: String) -> *mut c_char {
    let mut bytes = text.into_bytes();
    bytes.push(0);
    Box::into_raw(bytes.into_boxed_slice()).cast()
}

/// The same of a text that ends at its first NUL: those within it are replaced. It is freed with [`free_string`].
fn given_string(text: &str) -> *mut c_char {
    given(text.replace('\0', "\u{fffd}"))
}

/// Frees a string, once: it is null then.
///
/// # Safety
/// It is null, or [`given_string`] has made it.
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn free_string(string: &mut *mut c_char) {
    // SAFETY: not null, and it ends with NUL, before which it has no other.
    let length = if string.is_null() { 0 } else { unsafe { CStr::from_ptr(*string) }.count_bytes() };
    // SAFETY: the caller's promises.
    unsafe { free(string, length) };
}

/// Bytes of a code of a language and the NUL that follows, such as `en`, `yue` or `zh_Hant`.
pub const BABIL_LANGUAGE: usize = 16;

/// A code of a language, in as many bytes; `None` where it is longer, which is none that is known.
fn code(language: &str) -> Option<[c_char; BABIL_LANGUAGE]> {
    let mut code = [0; BABIL_LANGUAGE];
    let room = language.len() < BABIL_LANGUAGE;
    code.iter_mut().zip(language.bytes()).for_each(|(place, byte)| *place = byte as c_char);
    room.then_some(code)
}

/// Frees a text of `length` bytes, once: it is null then.
///
/// # Safety
/// It is null, or [`given`] has made it, of so many bytes.
#[allow(unsafe_code, reason = "C's texts are pointers")]
unsafe fn free(text: &mut *mut c_char, length: usize) {
    let text = std::mem::replace(text, std::ptr::null_mut());
    if !text.is_null() {
        let bytes = std::ptr::slice_from_raw_parts_mut(text.cast::<u8>(), length + 1);
        // SAFETY: `given` has made it of a box of so many bytes, and nobody has freed it: it would be null.
        drop(unsafe { Box::from_raw(bytes) });
    }
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
