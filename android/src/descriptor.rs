//! Files that another part of the program has opened, and that are numbers here.

use std::fs::File;

use crate::failure::{Code, Failure, Result};

/// The file that another part of the program has opened, under a descriptor of its own.
#[cfg(unix)]
pub(crate) fn opened(descriptor: i32) -> Result<File> {
    use std::os::fd::BorrowedFd;

    if descriptor < 0 {
        return Err(Failure::new(Code::BadArgument, format!("a file descriptor of {descriptor}")));
    }
    // SAFETY: it is not -1, and it is used for this one call, which duplicates it: one that is not open is an error of the
    // system, and whose file it is does not matter for reading.
    #[allow(unsafe_code, reason = "a number is all that other languages have of an open file")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let owned = borrowed.try_clone_to_owned();
    let owned =
        owned.map_err(|error| babil_runtime::Error::io("use", format!("file descriptor {descriptor}"), error))?;
    Ok(owned.into())
}

#[cfg(not(unix))]
pub(crate) fn opened(_: i32) -> Result<File> {
    Err(Failure::new(Code::Unsupported, "this system has no file descriptors: open the model by its path"))
}
