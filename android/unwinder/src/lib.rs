//! The functions `_Unwind_*`, which Rust's standard library calls when something panics, as a static library.
//!
//! With an NDK they come from its `libunwind.a`. GCC's own is no substitute: that of Debian's cross compiler was built for
//! glibc, and asks it for `_dl_find_object`, which bionic does not have.
#![no_std]

use core::panic::PanicInfo;

use unwinding as _;

unsafe extern "C" {
    fn abort() -> !;
}

/// Whoever unwinds cannot unwind because of a mistake in it.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: bionic's `abort` takes nothing and never returns.
    unsafe { abort() }
}
