//! The native library that Java, Kotlin and C programs load: a thin layer over [`babil_models`].
//!
//! What crosses this boundary is made here and nowhere else, so that the crates below stay free of it. Today that is the
//! library's version and the instruction set it would compute with, enough for an app to see that the library loads
//! on a device and suits its processor; `README.md` beside this crate says what follows.
//!
//! Returned strings are UTF-8, end with NUL, live as long as the library and are never freed by the caller.
#![deny(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use babil_runtime::kernels::Kernels;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version without NUL"),
};

/// The version of babil, such as `0.1.0`.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The instruction set that this CPU's kernels are written for: `scalar`, `avx2`, `avxvnni`, `avx512`,
/// `amx`, `neon`, `dotprod` or `i8mm`.
// SAFETY: no other function of this name is linked; the prefix `babil_` is ours.
#[allow(unsafe_code, reason = "an exported name")]
#[unsafe(no_mangle)]
pub extern "C" fn babil_instruction_set() -> *const c_char {
    static NAME: OnceLock<CString> = OnceLock::new();
    NAME.get_or_init(|| CString::new(Kernels::detect().isa.name()).unwrap_or_default()).as_ptr()
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
