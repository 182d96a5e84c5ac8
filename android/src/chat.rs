//! A conversation: a thread that owns it, and does what it is asked to, one thing after the other.

use std::sync::mpsc::{self, Sender};
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

/// What the thread is asked to do; it says whether the conversation can go on.
type Job = Box<dyn FnOnce(&mut Chat<'_>) -> bool + Send>;

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

impl Conversation {
    pub(crate) fn open(model: Arc<LanguageModel>, options: ChatOptions) -> Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (told, opened) = mpsc::channel();
        let ChatOptions { system, think, sampling, max_tokens } = options;
        let hold = move || {
            let mut chat = match Chat::new(&model, system.as_deref(), think) {
                Ok(chat) => chat,
                Err(error) => return drop(told.send(Err(error))),
            };
            let _ = told.send(Ok(()));
            while let Ok(job) = todo.recv() {
                if !job(&mut chat) {
                    break;
                }
            }
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
        let broken = "a mistake in babil has ended this conversation: begin another one";
        jobs.send(job).map_err(|_| Failure::new(Code::Internal, broken))
    }

    /// Says `text`; the answer comes piece by piece.
    pub(crate) fn say(&self, text: String) -> Result<Arc<Generation>> {
        let (generation, feed) = generation(Work::Compute);
        let generation = Arc::new(generation);
        let request = Request { cancel: feed.cancel(), ..self.request.clone() };
        let mut answer = lock(&self.answer);
        self.ask(&mut answer, Box::new(move |chat| !feed.run(|feed| say(chat, &text, &request, feed))))?;
        *answer = Arc::downgrade(&generation);
        Ok(generation)
    }

    /// What `look` finds in the conversation, while nothing is being said.
    pub(crate) fn with<T: Send + 'static>(&self, look: impl FnOnce(&mut Chat<'_>) -> T + Send + 'static) -> Result<T> {
        let (told, found) = mpsc::channel();
        let look: Job = Box::new(move |chat| told.send(look(chat)).is_ok());
        self.ask(&mut lock(&self.answer), look)?;
        found.recv().map_err(|_| Failure::Closed("closed meanwhile"))
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

/// The record of `dev.babil.Native.history`: role, text and thoughts of each message.
pub(crate) fn history(chat: &mut Chat<'_>) -> Vec<u8> {
    let messages = chat.messages();
    let record = Record::default().list(messages, |record, message| {
        let text = match &message.content {
            Content::Text(text) => text.as_str(),
            _ => "",
        };
        record.text(&message.role).text(text).text(message.reasoning_content.as_deref().unwrap_or_default())
    });
    record.into_bytes()
}
