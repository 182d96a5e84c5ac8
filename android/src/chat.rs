//! A conversation: a thread that owns it, and does what it is asked to, one thing after the other.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use babil_models::language::{LanguageModel, Request};
use babil_models::tasks::chat::{Chat, ChatNews, Think};
use babil_runtime::Error;
use babil_runtime::generate::Overflow;
use babil_runtime::sampling::SamplingOptions;
use babil_runtime::text::Content;

use crate::bytes::Record;
use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Done, Feed, Generation, Piece, Work, generation};
use crate::handles::Object;

/// How a conversation is held.
pub(crate) struct ChatOptions {
    pub(crate) system: Option<String>,
    pub(crate) think: Think,
    pub(crate) sampling: SamplingOptions,
    /// Most tokens of an answer.
    pub(crate) max_tokens: usize,
}

/// What the thread is asked to do, with the conversation or why there is none any more; it says whether the conversation
/// can go on.
type Job = Box<dyn FnOnce(Result<&mut Chat<'_>>) -> bool + Send>;

/// A conversation.
pub(crate) struct Conversation {
    request: Request,
    /// `None` once it is closed.
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The last answer.
    answer: Mutex<Weak<Generation>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a conversation is that has panicked.
fn broken() -> Failure {
    Failure::new(Code::Internal, "a mistake in babil has ended this conversation: begin another one")
}

/// Does what it is asked to, until nobody can ask any more. After a panic, what was asked meanwhile and what is asked later
/// is told that the conversation is broken: it never ends as if it had been cancelled.
fn serve(chat: Chat<'_>, todo: &Receiver<Job>) {
    let mut chat: Result<Chat<'_>> = Ok(chat);
    while let Ok(job) = todo.recv() {
        if !job(chat.as_mut().map_err(|failure| failure.clone())) {
            chat = Err(broken());
        }
    }
}

impl Conversation {
    pub(crate) fn open(model: Arc<LanguageModel>, options: ChatOptions) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (told, opened) = mpsc::channel();
        let ChatOptions { system, think, sampling, max_tokens } = options;
        let hold = move || {
            let chat = match Chat::new(&model, system.as_deref(), think) {
                Ok(chat) => chat,
                Err(error) => return drop(told.send(Err(error))),
            };
            let _ = told.send(Ok(()));
            serve(chat, &todo);
        };
        let thread = std::thread::Builder::new().name("babil".to_owned()).spawn(hold);
        let thread = thread.map_err(|error| Error::io("start a thread for", "a conversation", error))?;
        opened.recv().unwrap_or_else(|_| Err(Error::BadRequest("the conversation could not begin".to_owned())))?;
        let overflow = Overflow::Shift { keep: 0 };
        let request = Request { sampling, max_tokens, overflow, ..Request::default() };
        let (jobs, thread) = (Mutex::new(Some(jobs)), Mutex::new(Some(thread)));
        Ok(Self { request, jobs, thread, answer: Mutex::default() })
    }

    /// Hands the thread a job, unless an answer is being made.
    fn ask(&self, answer: &mut Weak<Generation>, job: Job) -> Result<()> {
        if answer.upgrade().is_some_and(|answer| !answer.is_over()) {
            return Err(Failure::new(Code::Busy, "an answer is being made: read it to its end, or cancel it"));
        }
        let jobs = lock(&self.jobs);
        let jobs = jobs.as_ref().ok_or(Failure::Closed("closed"))?;
        jobs.send(job).map_err(|_| broken())
    }

    /// Says `text`; the answer comes piece by piece.
    pub(crate) fn say(&self, text: String) -> Result<Arc<Generation>> {
        let (generation, feed) = generation(Work::Compute);
        let generation = Arc::new(generation);
        let request = Request { cancel: feed.cancel(), ..self.request.clone() };
        let mut answer = lock(&self.answer);
        self.ask(&mut answer, Box::new(move |chat| !feed.run(|feed| say(chat?, &text, &request, feed))))?;
        *answer = Arc::downgrade(&generation);
        Ok(generation)
    }

    /// What `look` finds in the conversation, while nothing is being said.
    pub(crate) fn with<T: Send + 'static>(&self, look: impl FnOnce(&mut Chat<'_>) -> T + Send + 'static) -> Result<T> {
        let (told, found) = mpsc::channel();
        let look: Job = Box::new(move |chat| told.send(chat.map(look)).is_ok());
        self.ask(&mut lock(&self.answer), look)?;
        // All that was asked is answered, also of a conversation that is closed meanwhile, unless `look` itself panics.
        found.recv().unwrap_or_else(|_| Err(broken()))
    }
}

/// What is computed belongs to generations, which are closed with the conversation.
impl Object for Conversation {
    fn stop(&self) {
        lock(&self.jobs).take();
    }

    fn wait(&self) {
        let thread = lock(&self.thread).take();
        // A thread that panicked has told so where it did.
        let _ = thread.map(JoinHandle::join);
    }
}

fn say(chat: &mut Chat<'_>, text: &str, request: &Request, feed: &Feed) -> Result<Done> {
    #[cfg(feature = "testing")]
    crate::testing::point();
    let answer = chat.say(text, request, &mut |news| match news {
        ChatNews::Prompt(_) => feed.flow(),
        ChatNews::Thought(text) => feed.push(Piece::Thought(text.to_owned())),
        ChatNews::Answer(text) => feed.push(Piece::Answer(text.to_owned())),
    })?;
    let (counts, times) = (answer.generated.counts, answer.generated.times);
    let counts = Counts {
        read: counts.prompt as u64,
        reused: counts.reused as u64,
        written: counts.generated as u64,
        reading: times.prompt,
        writing: times.generation,
    };
    Ok((answer.generated.finish.into(), counts))
}

/// Role, text and thoughts of each message.
pub(crate) fn messages(chat: &mut Chat<'_>) -> impl ExactSizeIterator<Item = [String; 3]> {
    chat.messages().iter().map(|message| {
        let text = match &message.content {
            Content::Text(text) => text.clone(),
            _ => String::new(),
        };
        [message.role.clone(), text, message.reasoning_content.clone().unwrap_or_default()]
    })
}

/// The record of `dev.babil.Native.history`.
pub(crate) fn history(chat: &mut Chat<'_>) -> Vec<u8> {
    let messages: Vec<_> = messages(chat).collect();
    let record =
        Record::default().list(&messages, |record, [role, text, thoughts]| record.text(role).text(text).text(thoughts));
    record.into_bytes()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use babil_models::language::LanguageOptions;

    use super::*;

    /// The small random Llama with a chat template: one more key before the others of its GGUF file, of a length that
    /// leaves the tensors where they were aligned.
    fn model(folder: &Path) -> Arc<LanguageModel> {
        let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/lm/llama/model.gguf");
        let plain = std::fs::read(plain).unwrap();
        let key = b"tokenizer.chat_template";
        let mut template = b"{% for m in messages %}{{ m.content }}{% endfor %}".to_vec();
        while !(8 + key.len() + 4 + 8 + template.len()).is_multiple_of(32) {
            template.push(b' ');
        }
        let keys = u64::from_le_bytes(plain[16..24].try_into().unwrap()) + 1;
        let length = |text: &[u8]| (text.len() as u64).to_le_bytes();
        let file = [
            &plain[..16],
            &keys.to_le_bytes(),
            &length(key),
            key,
            // The type of a string.
            &8u32.to_le_bytes(),
            &length(&template),
            &template,
            &plain[24..],
        ];
        let path = folder.join("chat.gguf");
        std::fs::write(&path, file.concat()).unwrap();
        let options = LanguageOptions {
            threads: Some(1),
            context: Some(64),
            packed_folder: folder.to_owned(),
            ..LanguageOptions::default()
        };
        Arc::new(LanguageModel::open(&path, &options).unwrap())
    }

    /// Whatever was asked before it was known, and in whatever order.
    #[test]
    fn what_is_asked_of_a_conversation_that_panics_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let sampling = SamplingOptions { temperature: 0.0, ..SamplingOptions::default() };
        let options = ChatOptions { system: None, think: Think::Default, sampling, max_tokens: 4 };
        let conversation = Conversation::open(model(folder.path()), options).unwrap();
        let (go, held) = mpsc::channel::<()>();
        let (panicking, feed) = generation(Work::Compute);
        let panics = move |_: &Feed| {
            let _ = held.recv();
            panic!("on purpose")
        };
        conversation.ask(&mut Weak::new(), Box::new(move |_| !feed.run(panics))).unwrap();
        // Asked while the job that will panic holds the conversation.
        let answer = conversation.say("Hello.".to_owned()).unwrap();
        go.send(()).unwrap();
        assert_eq!(answer.next(), Err(broken()));
        assert!(matches!(panicking.next(), Err(Failure::Error { code: Code::Internal, .. })));
        assert_eq!(conversation.with(history), Err(broken()));
        assert_eq!(conversation.say("Hello.".to_owned()).unwrap().next(), Err(broken()));
        conversation.stop();
        conversation.wait();
        assert_eq!(conversation.with(history), Err(Failure::Closed("closed")));
    }
}
