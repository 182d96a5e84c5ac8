//! The native methods of `dev.babil.Native`. Each is a name, its parameters, and safe code over the other modules:
//! [`enter`] is the only way in.
//!
//! Text crosses as UTF-8 in byte arrays, because JNI's own strings are of a UTF-8 of their own, and half a character in
//! one of them ends the JVM. Nothing is kept of Java but numbers: no references, so none can leak.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use babil_models::tasks::chat::Think;
use babil_models::tasks::translate::LanguagePair;
use babil_runtime::kernels::Kernels;
use babil_runtime::sampling::SamplingOptions;
use jni::errors::ErrorPolicy;
use jni::objects::{JByteArray, JClass, JFloatArray, JThrowable, JValue};
use jni::sys::{jboolean, jdouble, jfloat, jint, jlong};
use jni::{Env, EnvUnowned, jni_sig, jni_str};

use crate::bytes::Record;
use crate::chat::{ChatOptions, Conversation, history};
use crate::energy::{Described, Monitor, Window};
use crate::engine::{Engine, Hearing, Options, Source, generation};
use crate::failure::{Code, Failure, Result};
use crate::generation::Generation;
use crate::handles::HANDLES;
use crate::interpreter::Interpreter;
use crate::live::Listening;
use crate::needs::Needs;
use crate::store;
use crate::subtitles::Form;

impl From<jni::errors::Error> for Failure {
    fn from(error: jni::errors::Error) -> Self {
        match error {
            jni::errors::Error::NullPtr(_) => Self::new(Code::BadArgument, "null where a value is needed"),
            error => Self::new(Code::Internal, format!("the Java side cannot be reached: {error}")),
        }
    }
}

/// Runs a native method: what fails becomes an exception, a panic too.
fn enter<'e, T: Default>(mut env: EnvUnowned<'e>, method: impl FnOnce(&mut Env<'e>) -> Result<T>) -> T {
    env.with_env(method).resolve::<Throw>()
}

/// Throws what fails.
struct Throw;

impl<T: Default> ErrorPolicy<T, Failure> for Throw {
    type Captures<'e: 'm, 'm> = ();

    fn on_error<'e: 'm, 'm>(env: &mut Env<'e>, (): &mut (), failure: Failure) -> jni::errors::Result<T> {
        if !env.exception_check() {
            throw(env, &failure)?;
        }
        Ok(T::default())
    }

    fn on_panic<'e: 'm, 'm>(env: &mut Env<'e>, (): &mut (), payload: Box<dyn Any + Send>) -> jni::errors::Result<T> {
        Self::on_error(env, &mut (), Failure::panic(&*payload))
    }
}

/// Makes the exception of `failure` pending.
fn throw(env: &mut Env<'_>, failure: &Failure) -> jni::errors::Result<()> {
    let thrown = match failure {
        Failure::Closed(message) => {
            env.throw_new(jni_str!("java/lang/IllegalStateException"), jni::strings::JNIString::from(*message))
        }
        Failure::Error { code, message } => {
            let text = env.byte_array_from_slice(message.as_bytes())?;
            let arguments = [JValue::Int(*code as jint), JValue::Bool(failure.is_retryable()), JValue::Object(&text)];
            let exception = env.new_object(jni_str!("dev/babil/BabilException"), jni_sig!("(IZ[B)V"), &arguments)?;
            let exception = env.cast_local::<JThrowable>(exception)?;
            env.throw(exception)
        }
    };
    match thrown {
        // That is how success is told.
        Err(jni::errors::Error::JavaException) => Ok(()),
        other => other,
    }
}

/// A text that may be absent.
fn optional(env: &mut Env<'_>, bytes: &JByteArray<'_>) -> Result<Option<String>> {
    if bytes.is_null() { Ok(None) } else { text(env, bytes).map(Some) }
}

/// A text.
fn text(env: &mut Env<'_>, bytes: &JByteArray<'_>) -> Result<String> {
    let bytes = env.convert_byte_array(bytes)?;
    String::from_utf8(bytes).map_err(|error| Failure::new(Code::BadArgument, format!("text that is no UTF-8: {error}")))
}

fn bytes<'e>(env: &mut Env<'e>, bytes: &[u8]) -> Result<JByteArray<'e>> {
    Ok(env.byte_array_from_slice(bytes)?)
}

/// What a number of Java asks for; zero and less ask for nothing.
fn positive<T: TryFrom<jlong>>(number: impl Into<jlong>) -> Option<T> {
    let number = number.into();
    if number > 0 { T::try_from(number).ok() } else { None }
}

/// The store that three texts describe: folder, endpoint and token.
fn settings(
    env: &mut Env<'_>,
    [folder, endpoint, token]: [&JByteArray<'_>; 3],
) -> Result<babil_models::catalogue::Settings> {
    let folder = optional(env, folder)?.map(PathBuf::from);
    store::settings(folder, optional(env, endpoint)?, optional(env, token)?)
}

/// The model that `Native.open` and `Native.plan` are about: inside the library (0), at a path (1), a name of a store (2),
/// or a part of a file that is open (3).
fn source(
    env: &mut Env<'_>,
    kind: jint,
    name: &JByteArray<'_>,
    folder: &JByteArray<'_>,
    (descriptor, offset, length): (jint, jlong, jlong),
) -> Result<Source> {
    let bytes = |number: jlong, what: &str| {
        u64::try_from(number).map_err(|_| Failure::new(Code::BadArgument, format!("{what} of {number} bytes")))
    };
    Ok(match kind {
        0 => Source::Bundled,
        1 => Source::Path(text(env, name)?.into()),
        2 => {
            let none = JByteArray::default();
            Source::Named(text(env, name)?, settings(env, [folder, &none, &none])?)
        }
        _ => Source::part(descriptor, bytes(offset, "an offset")?, bytes(length, "a length")?, text(env, name)?)?,
    })
}

fn options(
    env: &mut Env<'_>,
    threads: jint,
    memory_limit: jlong,
    context: jint,
    packed_folder: &JByteArray<'_>,
    device: jint,
) -> Result<Options> {
    Ok(Options {
        threads: positive(threads),
        memory_limit: positive(memory_limit),
        context: positive(context),
        packed_folder: optional(env, packed_folder)?.map(PathBuf::from),
        device: crate::engine::device(device)?,
    })
}

fn engine(handle: jlong) -> Result<Arc<Engine>> {
    HANDLES.get(handle as u64)
}

/// What translates, of the engine `handle`; none where that is 0.
fn interpreter(
    env: &mut Env<'_>,
    handle: jlong,
    from: &JByteArray<'_>,
    to: &JByteArray<'_>,
) -> Result<Option<Interpreter>> {
    if handle == 0 {
        return Ok(None);
    }
    engine(handle)?.interpreter(LanguagePair::new(text(env, from)?, text(env, to)?)).map(Some)
}

/// A handle of a new generation, which is closed with `parent`.
fn begun(generation: impl Into<Arc<Generation>>, parent: Option<jlong>) -> Result<jlong> {
    HANDLES.add(generation.into(), parent.map(|parent| parent as u64)).map(|handle| handle as jlong)
}

/// Defines native methods.
macro_rules! natives {
    ($($(#[$about:meta])* fn $name:ident($env:ident $(, $argument:ident: $type:ty)*) -> $result:ty $body:block)*) => {$(
        $(#[$about])*
        // SAFETY: the name is that of a native method of a class of ours, and nothing else is called so. The JVM passes
        // arguments of the types that the class declares, which a test compares with those here; `EnvUnowned` and the
        // references are those of this call, and do not outlive it.
        #[allow(unsafe_code, reason = "an exported name")]
        #[allow(clippy::too_many_arguments, reason = "plain numbers cross most simply")]
        #[unsafe(no_mangle)]
        pub(crate) extern "system" fn $name<'e>(
            env: EnvUnowned<'e>, _: JClass<'e> $(, $argument: $type)*
        ) -> $result {
            enter(env, |$env| $body)
        }
    )*};
}

natives! {
    fn Java_dev_babil_Native_version(env) -> JByteArray<'e> {
        bytes(env, env!("CARGO_PKG_VERSION").as_bytes())
    }

    fn Java_dev_babil_Native_instructionSet(env) -> JByteArray<'e> {
        bytes(env, Kernels::detect().isa.name().as_bytes())
    }

    fn Java_dev_babil_Native_open(
        env, kind: jint, name: JByteArray<'e>, folder: JByteArray<'e>, descriptor: jint, offset: jlong, length: jlong,
        threads: jint, memory_limit: jlong, context: jint, packed_folder: JByteArray<'e>,
        device: jint
    ) -> jlong {
        let source = source(env, kind, &name, &folder, (descriptor, offset, length))?;
        let options = options(env, threads, memory_limit, context, &packed_folder, device)?;
        Ok(HANDLES.add(Arc::new(Engine::open(source, &options)?), None)? as jlong)
    }

    fn Java_dev_babil_Native_plan(
        env, kind: jint, name: JByteArray<'e>, folder: JByteArray<'e>, descriptor: jint, offset: jlong, length: jlong,
        context: jint, packed_folder: JByteArray<'e>
    ) -> JByteArray<'e> {
        let source = source(env, kind, &name, &folder, (descriptor, offset, length))?;
        let packed_folder = optional(env, &packed_folder)?.map(PathBuf::from);
        let options = Options { context: positive(context), packed_folder, ..Options::default() };
        bytes(env, &Needs::of(source, &options)?.record())
    }

    fn Java_dev_babil_Native_kind(_env, handle: jlong) -> jint {
        Ok(engine(handle)?.kind())
    }

    fn Java_dev_babil_Native_pairs(env, handle: jlong) -> JByteArray<'e> {
        let record = Record::default();
        bytes(env, &record.list(engine(handle)?.pairs(), |record, pair| record.text(&pair.from).text(&pair.to)).into_bytes())
    }

    /// Closes whatever `handle` stands for, and all that was begun on it.
    fn Java_dev_babil_Native_close(_env, handle: jlong) -> () {
        HANDLES.close(handle as u64);
        Ok(())
    }

    fn Java_dev_babil_Native_checkPair(env, handle: jlong, from: JByteArray<'e>, to: JByteArray<'e>) -> () {
        engine(handle)?.check_pair(&LanguagePair::new(text(env, &from)?, text(env, &to)?))
    }

    fn Java_dev_babil_Native_translate(
        env, handle: jlong, from: JByteArray<'e>, to: JByteArray<'e>, source: JByteArray<'e>, live: jboolean
    ) -> jlong {
        let pair = LanguagePair::new(text(env, &from)?, text(env, &to)?);
        begun(engine(handle)?.translate(pair, text(env, &source)?, live)?, Some(handle))
    }

    /// `think` is -1 for no, 1 for yes, 0 for the model's own habit.
    fn Java_dev_babil_Native_chat(
        env, handle: jlong, system: JByteArray<'e>, max_tokens: jint, temperature: jfloat, top_k: jint, top_p: jfloat,
        seed: jlong, think: jint
    ) -> jlong {
        let think = match think {
            0 => Think::Default,
            ..0 => Think::No,
            _ => Think::Yes,
        };
        let sampling = SamplingOptions {
            temperature,
            top_k: positive(top_k).unwrap_or(0),
            top_p,
            seed: seed as u64,
            ..SamplingOptions::default()
        };
        let options = ChatOptions {
            system: optional(env, &system)?,
            think,
            sampling,
            max_tokens: positive(max_tokens).unwrap_or(usize::MAX),
        };
        let conversation = Conversation::open(engine(handle)?.language()?, options)?;
        Ok(HANDLES.add(Arc::new(conversation), Some(handle as u64))? as jlong)
    }

    fn Java_dev_babil_Native_say(env, handle: jlong, message: JByteArray<'e>) -> jlong {
        let conversation: Arc<Conversation> = HANDLES.get(handle as u64)?;
        begun(conversation.say(text(env, &message)?)?, Some(handle))
    }

    fn Java_dev_babil_Native_history(env, handle: jlong) -> JByteArray<'e> {
        let conversation: Arc<Conversation> = HANDLES.get(handle as u64)?;
        bytes(env, &conversation.with(history)?)
    }

    fn Java_dev_babil_Native_clear(_env, handle: jlong) -> () {
        let conversation: Arc<Conversation> = HANDLES.get(handle as u64)?;
        conversation.with(|chat| chat.clear())
    }

    /// `null` at the end.
    fn Java_dev_babil_Native_next(env, handle: jlong) -> JByteArray<'e> {
        match generation(handle as u64)?.next()? {
            Some(piece) => bytes(env, &piece.record()),
            None => Ok(JByteArray::default()),
        }
    }

    fn Java_dev_babil_Native_cancel(_env, handle: jlong) -> () {
        generation(handle as u64)?.cancel();
        Ok(())
    }

    fn Java_dev_babil_Native_stats(env, handle: jlong) -> JByteArray<'e> {
        bytes(env, &generation(handle as u64)?.stats()?)
    }

    fn Java_dev_babil_Native_transcribe(
        env, handle: jlong, file: JByteArray<'e>, language: JByteArray<'e>, english: jboolean, beam: jint
    ) -> jlong {
        let hearing = Hearing { language: optional(env, &language)?, english, beam };
        begun(engine(handle)?.transcribe(PathBuf::from(text(env, &file)?), hearing)?, Some(handle))
    }

    /// Live captions of sound that is pushed, which `translator` translates where it is not 0.
    fn Java_dev_babil_Native_listen(
        env, handle: jlong, language: JByteArray<'e>, english: jboolean, beam: jint, waits: jboolean, translator: jlong,
        from: JByteArray<'e>, to: JByteArray<'e>
    ) -> jlong {
        let hearing = Hearing { language: optional(env, &language)?, english, beam };
        let interpreter = interpreter(env, translator, &from, &to)?;
        Ok(HANDLES.add(Arc::new(engine(handle)?.listen(hearing, interpreter, waits)?), Some(handle as u64))? as jlong)
    }

    /// A file of subtitles in another language.
    fn Java_dev_babil_Native_translateSubtitles(
        env, handle: jlong, from: JByteArray<'e>, to: JByteArray<'e>, file: JByteArray<'e>, format: jint, columns: jint,
        lines: jint
    ) -> jlong {
        let pair = LanguagePair::new(text(env, &from)?, text(env, &to)?);
        let (file, form) = (PathBuf::from(text(env, &file)?), Form::new(format, columns, lines)?);
        begun(engine(handle)?.translate_subtitles(pair, file, form)?, Some(handle))
    }

    /// Subtitles of a recording, which `translator` translates where it is not 0.
    fn Java_dev_babil_Native_subtitles(
        env, handle: jlong, file: JByteArray<'e>, language: JByteArray<'e>, english: jboolean, beam: jint,
        translator: jlong, from: JByteArray<'e>, to: JByteArray<'e>, format: jint, columns: jint, lines: jint
    ) -> jlong {
        let hearing = Hearing { language: optional(env, &language)?, english, beam };
        let interpreter = interpreter(env, translator, &from, &to)?;
        let (file, form) = (PathBuf::from(text(env, &file)?), Form::new(format, columns, lines)?);
        begun(engine(handle)?.subtitles(file, hearing, interpreter, form)?, Some(handle))
    }

    fn Java_dev_babil_Native_push(env, handle: jlong, samples: JFloatArray<'e>, start: jint, count: jint) -> jboolean {
        let length = usize::try_from(count);
        let length = length.map_err(|_| Failure::new(Code::BadArgument, format!("{count} samples")))?;
        // Before there is memory for them: the array has so many.
        let has = samples.len(env)?;
        if usize::try_from(start).ok().and_then(|start| start.checked_add(length)).is_none_or(|end| end > has) {
            let problem = format!("samples {start} to {start} + {count} of an array of {has}");
            return Err(Failure::new(Code::BadArgument, problem));
        }
        let mut sound = vec![0.0; length];
        samples.get_region(env, start, &mut sound)?;
        HANDLES.get::<Listening>(handle as u64)?.push(sound)
    }

    /// The sound is over.
    fn Java_dev_babil_Native_endOfSound(_env, handle: jlong) -> () {
        HANDLES.get::<Listening>(handle as u64).map(|listening| listening.end_of_sound())
    }

    fn Java_dev_babil_Native_models(
        env, folder: JByteArray<'e>, endpoint: JByteArray<'e>, token: JByteArray<'e>
    ) -> JByteArray<'e> {
        let settings = settings(env, [&folder, &endpoint, &token])?;
        bytes(env, &store::list(&settings)?)
    }

    fn Java_dev_babil_Native_verify(env, name: JByteArray<'e>, folder: JByteArray<'e>) -> jlong {
        let none = JByteArray::default();
        let settings = settings(env, [&folder, &none, &none])?;
        begun(store::verify(&text(env, &name)?, &settings)?, None)
    }

    fn Java_dev_babil_Native_delete(env, name: JByteArray<'e>, folder: JByteArray<'e>) -> jlong {
        let none = JByteArray::default();
        let settings = settings(env, [&folder, &none, &none])?;
        Ok(store::delete(&text(env, &name)?, &settings)? as jlong)
    }

    fn Java_dev_babil_Native_pull(
        env, name: JByteArray<'e>, folder: JByteArray<'e>, endpoint: JByteArray<'e>, token: JByteArray<'e>
    ) -> jlong {
        let settings = settings(env, [&folder, &endpoint, &token])?;
        begun(store::pull(&text(env, &name)?, settings)?, None)
    }

    /// A meter that Java reads; what is not finite is as usual for its kind.
    fn Java_dev_babil_Native_energyOpen(
        env, kind: jint, name: JByteArray<'e>, count: jint, resolution: jdouble, update: jdouble, gain: jdouble,
        offset: jdouble
    ) -> jlong {
        let name = text(env, &name)?;
        let meter = Described { kind, name, count, resolution, update_s: update, gain, offset_w: offset };
        Ok(HANDLES.add(Arc::new(Monitor::open(meter)?), None)? as jlong)
    }

    fn Java_dev_babil_Native_energyPush(_env, handle: jlong, value: jdouble, age: jdouble) -> jboolean {
        HANDLES.get::<Monitor>(handle as u64)?.push(value, age)
    }

    fn Java_dev_babil_Native_energyFailed(env, handle: jlong, why: JByteArray<'e>) -> () {
        HANDLES.get::<Monitor>(handle as u64)?.failed(&text(env, &why)?);
        Ok(())
    }

    fn Java_dev_babil_Native_energyBegin(_env, handle: jlong) -> jlong {
        let monitor = HANDLES.get::<Monitor>(handle as u64)?;
        Ok(HANDLES.add(Arc::new(monitor.begin()), Some(handle as u64))? as jlong)
    }

    /// The window is over, also where nothing can be said of it.
    fn Java_dev_babil_Native_energyEnd(env, handle: jlong, nothing: jboolean) -> JByteArray<'e> {
        let report = HANDLES.get::<Window>(handle as u64)?.end(nothing);
        HANDLES.close(handle as u64);
        bytes(env, &report?)
    }
}

#[cfg(feature = "testing")]
natives! {
    /// Panics in this very call.
    fn Java_dev_babil_Testing_panic(_env) -> () {
        panic!("on purpose: 😀");
    }

    /// Lets the next computation panic.
    fn Java_dev_babil_Testing_panicNext(_env) -> () {
        crate::testing::panic_next();
        Ok(())
    }

    /// The sound of a file, as float32.
    fn Java_dev_babil_Testing_samples(env, file: JByteArray<'e>) -> JByteArray<'e> {
        let samples = crate::testing::samples(text(env, &file)?.as_ref())?;
        bytes(env, &samples)
    }

    fn Java_dev_babil_Testing_openHandles(_env) -> jlong {
        Ok(crate::testing::counts()[0])
    }

    fn Java_dev_babil_Testing_begun(_env) -> jlong {
        Ok(crate::testing::counts()[1])
    }

    fn Java_dev_babil_Testing_ended(_env) -> jlong {
        Ok(crate::testing::counts()[2])
    }
}
