//! One text of a language model: its tokens so far, what the model remembers of them, and how it goes on.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use babil_runtime::generate::{
    Context, Counts, Finish, Lookup, Overflow, Progress, StopStrings, StreamOptions, TextStream, TokenStream,
};
use babil_runtime::model::{Model, State};
#[cfg(feature = "grammar")]
use babil_runtime::sampling::{GrammarText, GrammarVocabulary};
use babil_runtime::sampling::{Sampler, SamplingOptions, breaker_sequences};
use babil_runtime::session::DecoderSession;
use babil_runtime::text::{Marks, PieceKind, Tokenizer};
use babil_runtime::weights::Weights;
use babil_runtime::{Cancel, Error, Result, Token};
use serde::Serialize;

use super::{CHUNK, saved};

/// How a text is to go on.
#[derive(Clone, Debug)]
pub struct Request {
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// Texts that end the generation; they are not part of it.
    pub stop: Vec<String>,
    /// What happens when the context is full.
    pub overflow: Overflow,
    /// Whether drafts are made from the text.
    pub lookup: Option<Lookup>,
    /// Generate on where the model would end, unless a grammar ends the text.
    pub ignore_end: bool,
    /// What the text must be.
    #[cfg(feature = "grammar")]
    pub grammar: Option<GrammarText>,
    /// Cancels from another thread, for good: the next request needs another one.
    pub cancel: Cancel,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            sampling: SamplingOptions::default(),
            max_tokens: usize::MAX,
            stop: Vec::new(),
            overflow: Overflow::Error,
            lookup: None,
            ignore_end: false,
            #[cfg(feature = "grammar")]
            grammar: None,
            cancel: Cancel::default(),
        }
    }
}

impl Request {
    /// Whether the model may end the text. Where a grammar has nothing more to come, there is nothing else.
    fn ends(&self) -> bool {
        #[cfg(feature = "grammar")]
        if self.grammar.is_some() {
            return true;
        }
        !self.ignore_end
    }
}

/// What happens while a text is made.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// The prompt is being computed.
    Prompt(Progress),
    /// Text that has become certain.
    Text(&'a str),
}

/// How long the parts took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// Computing the prompt.
    pub prompt: Duration,
    /// From the request to the first text.
    pub first_text: Option<Duration>,
    /// Generating, after the prompt.
    pub generation: Duration,
}

/// What came of a request.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What was done.
    pub counts: Counts,
    /// How long it took.
    pub times: Times,
}

/// One text that a model continues, whatever computes it.
pub trait TextGenerator: Send {
    /// Makes `prompt` the text (what it has in common with the text so far is not computed again), and continues it.
    /// `news` is called as text becomes certain; [`ControlFlow::Break`] ends the generation.
    ///
    /// # Errors
    /// A prompt that does not fit, bad options, or the model's own.
    fn generate(
        &mut self,
        prompt: &[Token],
        request: &Request,
        news: &mut dyn FnMut(News<'_>) -> ControlFlow<()>,
    ) -> Result<Answer>;

    /// The text so far.
    fn tokens(&self) -> &[Token];

    /// Stores the text, all that the model remembers of it, and the caller's own `notes`.
    ///
    /// # Errors
    /// The file cannot be written, or the backend cannot store its state.
    fn save(&self, path: &Path, notes: &str) -> Result<()>;

    /// Continues what [`TextGenerator::save`] stored of the same model, and returns the notes.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is of another model.
    fn restore(&mut self, path: &Path) -> Result<String>;
}

/// A model and one text of it.
pub struct Generator<M: Model> {
    model: M,
    context: Context<M::State>,
    tokenizer: Arc<Tokenizer>,
    /// Most tokens of a text.
    limit: usize,
    /// The model's own tensors, where sessions of it can be stored.
    weights: Option<Arc<Weights>>,
}

impl<M: Model> Generator<M> {
    /// A text of `model` at its beginning, with its `state`, of at most `limit` tokens.
    pub fn new(model: M, state: M::State, tokenizer: Arc<Tokenizer>, limit: usize) -> Self {
        Self { model, context: Context::new(state, Vec::new()), tokenizer, limit, weights: None }
    }

    /// Lets texts be stored, marked as those of the model that has these `weights`.
    #[must_use]
    pub fn of_weights(self, weights: Arc<Weights>) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// What chooses the tokens for `request`.
    fn sampler(&self, request: &Request) -> Result<Sampler> {
        let vocab = self.model.vocab();
        // The text of a token; marks have none that may be generated as text.
        let bytes = |token: Token| match self.tokenizer.kind(token) {
            Some(PieceKind::Normal | PieceKind::UserDefined | PieceKind::Byte) => {
                self.tokenizer.token_bytes(token).unwrap_or_default()
            }
            _ => &[],
        };
        let mut sampler = Sampler::new(request.sampling.clone(), vocab)?;
        let breakers = &request.sampling.dry.breakers;
        if request.sampling.dry.multiplier > 0.0 && !breakers.is_empty() {
            let encode = |text: &str| self.tokenizer.encode(text, Marks::AsText).unwrap_or_default();
            sampler = sampler.with_breakers(breaker_sequences(breakers, vocab, bytes, encode));
        }
        #[cfg(feature = "grammar")]
        if let Some(grammar) = &request.grammar {
            let vocabulary = GrammarVocabulary::new(vocab, bytes, &self.tokenizer.special().eog)?;
            sampler = sampler.with_constraint(vocabulary.compile(grammar)?);
        }
        Ok(sampler)
    }
}

/// Bytes of a model's state, where it can be stored.
pub trait StoredState: Model {
    /// What [`StoredState::state_from_bytes`] needs; `None` where the backend cannot store its state.
    fn state_to_bytes(&self, state: &Self::State) -> Option<Vec<u8>>;

    /// The state again; `None` where the bytes are not one of this model.
    fn state_from_bytes(&self, bytes: &[u8]) -> Option<Self::State>;

    /// What the state depends on, besides the weights.
    fn description(&self) -> String;
}

impl StoredState for DecoderSession {
    fn state_to_bytes(&self, state: &Self::State) -> Option<Vec<u8>> {
        Some(self.save(state))
    }

    fn state_from_bytes(&self, bytes: &[u8]) -> Option<Self::State> {
        self.restore(bytes)
    }

    fn description(&self) -> String {
        format!("{:?}", self.plan().spec())
    }
}

/// The error that sessions of this backend stay in memory.
fn not_stored() -> Error {
    Error::BadRequest("sessions in files on this backend: only the native one has them".to_owned())
}

impl<M: StoredState> Generator<M> {
    /// What sessions of the model say of it.
    fn origin(&self) -> Result<saved::Origin> {
        let weights = self.weights.as_ref().ok_or_else(not_stored)?;
        Ok(saved::Origin::new(weights, &self.model.description(), self.limit))
    }
}

impl<M: StoredState + Send> TextGenerator for Generator<M> {
    fn generate(
        &mut self,
        prompt: &[Token],
        request: &Request,
        news: &mut dyn FnMut(News<'_>) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let start = Instant::now();
        let mut sampler = self.sampler(request)?;
        let end = if request.ends() { self.tokenizer.special().eog.clone() } else { Vec::new() };
        let mut options = StreamOptions::new(self.limit, end);
        options.max_tokens = request.max_tokens;
        options.overflow = match request.overflow {
            // A text goes on badly without its first token where that is the mark of the beginning.
            Overflow::Shift { keep: 0 } if prompt.first().copied() == self.tokenizer.special().bos => {
                Overflow::Shift { keep: 1 }
            }
            overflow => overflow,
        };
        options.chunk = CHUNK;
        options.lookup = request.lookup;
        options.cancel = request.cancel.clone();
        let stops = StopStrings::new(request.stop.clone())?;
        let tokens = TokenStream::new(&mut self.model, &mut self.context, &mut sampler, prompt, options)?;
        let mut stream = TextStream::new(tokens, &*self.tokenizer, stops);
        stream.tokens().prefill(|progress| news(News::Prompt(progress)))?;
        let mut times = Times { prompt: start.elapsed(), ..Times::default() };
        let mut text = String::new();
        while let Some(piece) = stream.next() {
            let piece = piece?;
            times.first_text.get_or_insert_with(|| start.elapsed());
            text += &piece;
            if news(News::Text(&piece)).is_break() {
                stream.cancel();
            }
        }
        times.generation = start.elapsed() - times.prompt;
        let finish = stream.finish().unwrap_or(Finish::Cancelled);
        Ok(Answer { text, finish, counts: stream.counts(), times })
    }

    fn tokens(&self) -> &[Token] {
        self.context.tokens()
    }

    fn save(&self, path: &Path, notes: &str) -> Result<()> {
        let state = self.context.state();
        let bytes = self.model.state_to_bytes(state).ok_or_else(not_stored)?;
        // Tokens that the state has not seen are computed when the session goes on.
        let (tokens, position) = (self.context.tokens(), state.position());
        saved::write(path, self.origin()?, &saved::Saved::new(tokens, position, bytes, notes))
    }

    fn restore(&mut self, path: &Path) -> Result<String> {
        let saved = saved::read(path, &self.origin()?)?;
        let state = self.model.state_from_bytes(&saved.state).filter(|state| state.position() == saved.position);
        let state = state.ok_or_else(|| {
            Error::bad_file(path.display().to_string(), "its state is damaged, or has keys and values of another type")
        })?;
        self.context = Context::new(state, saved.tokens);
        Ok(saved.notes)
    }
}
