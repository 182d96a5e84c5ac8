//! What ONNX Runtime's C API says and the crate `ort` has no safe function for: what is known of a device, and which
//! operation runs where.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::device::Device;
use ort::session::Session;
use ort::sys::OrtKeyValuePairs;

/// A string of the library's; nothing where there is none.
///
/// # Safety
/// `text` is null, or a string that ends with a zero and lives while this runs.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Copies of all pairs.
///
/// # Safety
/// `pairs` is null, or was given by the library for something that lives while this runs.
unsafe fn pairs(pairs: *const OrtKeyValuePairs) -> BTreeMap<String, String> {
    if pairs.is_null() {
        return BTreeMap::new();
    }
    let (mut keys, mut values, mut count) = (ptr::null(), ptr::null(), 0);
    // SAFETY: the caller's pairs are alive; the library fills in two arrays of `count` strings that belong to them.
    unsafe { (ort::api().GetKeyValuePairs)(pairs, &mut keys, &mut values, &mut count) };
    if keys.is_null() || values.is_null() {
        return BTreeMap::new();
    }
    // SAFETY: `i` is below the `count` that the library said of both arrays; their strings end with a zero.
    (0..count).map(|i| unsafe { (text(*keys.add(i)), text(*values.add(i))) }).collect()
}

/// What provider and system say of a device, such as the version of its driver.
pub(super) fn metadata(device: &Device<'_>) -> BTreeMap<String, String> {
    let api = ort::api();
    // SAFETY: `device` is one of the environment's, which lives to the end of the program (`library.rs`); both kinds of pairs
    // belong to it and are only read.
    let (of_hardware, of_provider) = unsafe {
        let hardware = (api.EpDevice_Device)(device.ptr());
        let of_hardware = if hardware.is_null() { ptr::null() } else { (api.HardwareDevice_Metadata)(hardware) };
        (pairs(of_hardware), pairs((api.EpDevice_EpMetadata)(device.ptr())))
    };
    of_hardware.into_iter().chain(of_provider).collect()
}

/// How many operations of a session each provider has, where the session recorded it.
///
/// # Errors
/// The library's own.
pub(super) fn assignment(session: &Session) -> ort::Result<BTreeMap<String, usize>> {
    let api = ort::api();
    let inner = session.inner();
    let (mut subgraphs, mut count) = (ptr::null(), 0);
    // SAFETY: the session is alive (`inner` holds it); the library fills in an array that belongs to it.
    unsafe {
        let status = (api.Session_GetEpGraphAssignmentInfo)(inner.ptr(), &mut subgraphs, &mut count);
        ort::Error::result_from_status(status)?;
    }
    let mut found = BTreeMap::new();
    for i in 0..if subgraphs.is_null() { 0 } else { count } {
        let (mut name, mut nodes, mut node_count) = (ptr::null(), ptr::null(), 0);
        // SAFETY: `i` is below the number of entries that the library said; entries, names and lists of nodes belong to the
        // session, which is alive. The nodes are counted and not looked at.
        let provider = unsafe {
            let subgraph = *subgraphs.add(i);
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetEpName)(subgraph, &mut name))?;
            ort::Error::result_from_status((api.EpAssignedSubgraph_GetNodes)(subgraph, &mut nodes, &mut node_count))?;
            text(name)
        };
        *found.entry(provider).or_insert(0) += node_count;
    }
    Ok(found)
}
