//! Models: opening them, and what they would need.

use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::Arc;

use super::{BABIL_LANGUAGE, BabilStatus, code, enter, hand_out, optional, put, required};
use crate::engine::{Engine, Options, Source, device};
use crate::failure::{Code, Failure, Result};
use crate::handles::HANDLES;
use crate::needs::{Needs, available};

/// What computes.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilDevice {
    /// The processor.
    Cpu = 0,
    /// The NPU; a model is refused that cannot be computed there.
    Npu = 1,
    /// The NPU where there is one that can, or else the processor.
    Auto = 2,
}

/// What a model does.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BabilTask {
    /// It translates text and subtitles: `babil_pair_of` has its directions.
    Translate = 0,
    /// It holds conversations.
    Chat = 1,
    /// It writes down what is said.
    Transcribe = 2,
}

/// A direction of a translator: codes of languages, which end with NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilPair {
    /// What it reads.
    pub from: [c_char; BABIL_LANGUAGE],
    /// What it writes.
    pub to: [c_char; BABIL_LANGUAGE],
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
    /// What computes encoders and prompts: a `BabilDevice`.
    pub device: i32,
}

/// What a model would need.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BabilNeeds {
    /// Bytes that are mapped from a file, which the system may drop and read again when memory is short.
    pub weights: u64,
    /// Bytes of the program's own: of a language model with one conversation of the full context, of a translator with the
    /// longest sentence, of a speech model with one window of sound.
    pub working: u64,
    /// Bytes of copies on disk that have to be made: packed for this processor, and of a file of torch as safetensors.
    pub disk: u64,
    /// Bytes that programs can still take now; 0 where the system does not say. `memory_limit` is compared with the sum of
    /// `weights` and `working`.
    pub available: u64,
    /// The tokens that a conversation can have; 0 of other models.
    pub context: u64,
}

/// The options of C.
///
/// # Safety
/// They are null, or what they point to is what they say.
#[allow(unsafe_code, reason = "C's options are behind pointers")]
unsafe fn options_of(options: *const BabilOptions) -> Result<Options> {
    // SAFETY: the caller's promises.
    let Some(&BabilOptions { threads, context, memory_limit, packed_folder, device: number }) =
        (unsafe { options.as_ref() })
    else {
        return Ok(Options::default());
    };
    // SAFETY: the caller's promises.
    let packed_folder = unsafe { optional(packed_folder, "the folder of packed weights")? };
    Ok(Options {
        threads: (threads > 0).then_some(threads as usize),
        context: (context > 0).then_some(context as usize),
        memory_limit: (memory_limit > 0).then_some(memory_limit),
        packed_folder: packed_folder.map(PathBuf::from),
        device: device(number)?,
    })
}

/// A model at a path, or the one inside the library.
///
/// # Safety
/// As [`optional`].
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn at(model: *const c_char) -> Result<Source> {
    // SAFETY: the caller's promises.
    let path = unsafe { optional(model, "the model")? };
    Ok(path.map_or(Source::Bundled, |path| Source::Path(path.into())))
}

/// A model in a part of an open file.
///
/// # Safety
/// As [`required`].
#[allow(unsafe_code, reason = "C's strings are pointers")]
unsafe fn within(descriptor: i32, offset: u64, length: u64, name: *const c_char) -> Result<Source> {
    // SAFETY: the caller's promises.
    Source::part(descriptor, offset, length, unsafe { required(name, "the name of the model")? })
}

/// Opens a model: a file, a folder, or the translator inside the library where `model` is NULL. `options` may be NULL.
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
        unsafe { hand_out(engine, Arc::new(Engine::open(at(model)?, &options_of(options)?)?), None) }
    })
}

/// Opens a model that is a part of an open file, `length` bytes from `offset` on: it is mapped, and the descriptor may be closed
/// afterwards. Errors call the model `name`, by which its packed copies are found again. `options` may be NULL.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_open_descriptor(
    descriptor: i32,
    offset: u64,
    length: u64,
    name: *const c_char,
    options: *const BabilOptions,
    engine: *mut u64,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        unsafe {
            let source = within(descriptor, offset, length, name)?;
            hand_out(engine, Arc::new(Engine::open(source, &options_of(options)?)?), None)
        }
    })
}

/// What the model of an engine does.
///
/// # Safety
/// The pointer is null or has room for a task.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_task_of(engine: u64, task: *mut BabilTask) -> BabilStatus {
    enter(|| {
        let found = match &*HANDLES.get::<Engine>(engine)? {
            Engine::Translator(_) => BabilTask::Translate,
            Engine::Language(_) => BabilTask::Chat,
            #[cfg(feature = "audio")]
            Engine::Speech(_) => BabilTask::Transcribe,
        };
        // SAFETY: the caller's promises.
        unsafe { put(task, found) }
    })
}

/// Direction number `index` of a translator: `BABIL_STATUS_OK`, or `BABIL_STATUS_END` where it has not so many. Other models
/// have none.
///
/// # Safety
/// The pointer is null or has room for a pair.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_pair_of(engine: u64, index: usize, pair: *mut BabilPair) -> BabilStatus {
    enter(|| {
        let engine = HANDLES.get::<Engine>(engine)?;
        let Some(found) = engine.pairs().get(index) else { return Ok(BabilStatus::End) };
        let (Some(from), Some(to)) = (code(&found.from), code(&found.to)) else {
            let problem = format!("{found}: codes of languages of {BABIL_LANGUAGE} bytes and more");
            return Err(Failure::new(Code::Unsupported, problem));
        };
        // SAFETY: the caller's promises.
        unsafe { put(pair, BabilPair { from, to }) }
    })
}

fn needs(source: Source, options: &Options) -> Result<BabilNeeds> {
    let Needs { weights, working, disk, context } = Needs::of(source, options)?;
    Ok(BabilNeeds { weights, working, disk, available: available(), context })
}

/// What the model that `babil_open` would open needs. Nothing is loaded, and nothing is made of its files.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_plan(
    model: *const c_char,
    options: *const BabilOptions,
    result: *mut BabilNeeds,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        unsafe { put(result, needs(at(model)?, &options_of(options)?)?) }
    })
}

/// What the model that `babil_open_descriptor` would open needs. Nothing is loaded.
///
/// # Safety
/// Strings end with NUL, pointers are null or point to what they say.
#[allow(unsafe_code, reason = "an exported name, and pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn babil_plan_descriptor(
    descriptor: i32,
    offset: u64,
    length: u64,
    name: *const c_char,
    options: *const BabilOptions,
    result: *mut BabilNeeds,
) -> BabilStatus {
    enter(|| {
        // SAFETY: the caller's promises.
        unsafe { put(result, needs(within(descriptor, offset, length, name)?, &options_of(options)?)?) }
    })
}
