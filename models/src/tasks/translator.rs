//! [`SentenceTranslator`] over any encoder-decoder backend: text in, tokens through the model, text out.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use babil_runtime::accelerator::Report;
use babil_runtime::generate::{Generated, Step, generate};
use babil_runtime::model::{EncoderDecoder, Model};
use babil_runtime::spec::GenerationSpec;
use babil_runtime::text::{DecodeState, Vocabulary};
use babil_runtime::threads::ThreadPool;
use babil_runtime::{Cancel, Error, Result, Token};

use super::translate::{Hypothesis, LanguagePair, Progress, SentenceTranslator, TranslateOptions, Translation};

/// Makes sessions of one model.
pub trait Backend: Send + Sync {
    /// What computes.
    type Session: EncoderDecoder + Send;

    /// A new session that computes on the threads of `pool`.
    ///
    /// # Errors
    /// The backend's own.
    fn session(&self, pool: &Arc<ThreadPool>) -> Result<Self::Session>;

    /// What ran where so far, unless everything is for the CPU.
    fn accelerator(&self) -> Option<Report> {
        None
    }
}

/// A direction that a model translates in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direction {
    /// From what to what.
    pub pair: LanguagePair,
    /// The token that asks for the target language, put before the source.
    pub prefix: Option<Token>,
}

/// Everything of a translation model but what computes it.
#[derive(Debug)]
pub struct TranslatorSpec {
    /// Text to tokens and back.
    pub vocabulary: Box<dyn Vocabulary>,
    /// The directions it knows, at least one.
    pub directions: Vec<Direction>,
    /// How it generates.
    pub generation: GenerationSpec,
    /// The most source tokens a sentence may have, prefix and end of sentence excluded.
    pub max_source_tokens: usize,
}

/// Rows that are decoded together: enough for a matrix product to run at full speed, few enough to stay in cache.
const ROWS: usize = 64;

/// Translates sentences with the sessions of a backend.
///
/// A batch is cut into groups of sentences of similar length. With several threads each group is computed by one
/// thread (the weights are shared, nothing waits for anything); a single group is computed by all threads together.
/// A sentence's result does not depend on its group.
pub struct Translator<B: Backend> {
    backend: B,
    spec: TranslatorSpec,
    pairs: Vec<LanguagePair>,
    pool: Arc<ThreadPool>,
    /// Sessions at rest: those that compute on all threads, and those that compute on their caller's thread.
    wide: Mutex<Vec<B::Session>>,
    narrow: Mutex<Vec<B::Session>>,
}

impl<B: Backend> Translator<B> {
    /// A translator that computes on the threads of `pool`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the model has no direction.
    pub fn new(backend: B, spec: TranslatorSpec, pool: ThreadPool) -> Result<Self> {
        if spec.directions.is_empty() {
            return Err(Error::Unsupported("a translation model that does not say its languages".to_owned()));
        }
        let pairs = spec.directions.iter().map(|direction| direction.pair.clone()).collect();
        Ok(Self { backend, spec, pairs, pool: Arc::new(pool), wide: Mutex::default(), narrow: Mutex::default() })
    }

    fn direction(&self, pair: &LanguagePair) -> Result<&Direction> {
        self.spec.directions.iter().find(|direction| direction.pair == *pair).ok_or_else(|| {
            let known: Vec<_> = self.pairs.iter().map(ToString::to_string).collect();
            Error::BadRequest(format!("this model does not translate {pair}; it knows {}", known.join(", ")))
        })
    }

    /// The tokens of a sentence: prefix, text, end of sentence.
    fn tokens(&self, text: &str, direction: &Direction) -> Result<Vec<Token>> {
        let mut tokens: Vec<_> = direction.prefix.into_iter().collect();
        let before = tokens.len();
        // A language token in the text itself would ask for another language.
        let asks = |token: &Token| self.spec.directions.iter().any(|direction| direction.prefix == Some(*token));
        tokens.extend(self.spec.vocabulary.encode(text)?.into_iter().filter(|token| !asks(token)));
        let count = tokens.len() - before;
        if count > self.spec.max_source_tokens {
            let limit = self.spec.max_source_tokens;
            return Err(Error::BadRequest(format!("a sentence of {count} tokens; this model takes at most {limit}")));
        }
        tokens.push(self.spec.generation.eos);
        Ok(tokens)
    }

    fn generation(&self, options: &TranslateOptions) -> Result<GenerationSpec> {
        let mut spec = self.spec.generation.clone();
        spec.beam = options.beam.unwrap_or(spec.beam.max(options.alternatives));
        spec.max_tokens = options.max_tokens.unwrap_or(spec.max_tokens).min(spec.max_tokens);
        if !(1..=GenerationSpec::MOST_BEAMS).contains(&spec.beam) || spec.max_tokens == 0 {
            let (beam, most, tokens) = (spec.beam, GenerationSpec::MOST_BEAMS, spec.max_tokens);
            let problem = format!("a beam of {beam} (1 to {most}) over {tokens} tokens (at least 1)");
            return Err(Error::BadRequest(problem));
        }
        if options.alternatives > spec.beam {
            let (n, beam) = (options.alternatives, spec.beam);
            return Err(Error::BadRequest(format!("{n} alternatives need a beam of at least {n}, not {beam}")));
        }
        Ok(spec)
    }

    /// Translates the sentences `group` with one session; `observe` hears of every step.
    fn run_group(
        &self,
        session: &mut B::Session,
        group: &[&[Token]],
        spec: &GenerationSpec,
        observe: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Generated>>> {
        let states = session.encode(group)?;
        // No translation needs more room than this; it stops a model that has gone in circles.
        let longest = group.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
        let spec = GenerationSpec { max_tokens: spec.max_tokens.min(3 * longest + 32), ..spec.clone() };
        generate(session, states, &spec, observe)
    }

    fn with_session<R>(
        &self,
        resting: &Mutex<Vec<B::Session>>,
        pool: &Arc<ThreadPool>,
        cancel: &Cancel,
        work: impl FnOnce(&mut B::Session) -> Result<R>,
    ) -> Result<R> {
        let rested = resting.lock().expect("no panic while resting").pop();
        let mut session = match rested {
            Some(session) => session,
            None => self.backend.session(pool)?,
        };
        session.set_cancel(cancel);
        let result = work(&mut session);
        resting.lock().expect("no panic while resting").push(session);
        result
    }

    fn hypotheses(&self, generated: Vec<Generated>, alternatives: usize) -> Vec<Hypothesis> {
        generated
            .into_iter()
            .take(alternatives.max(1))
            .map(|Generated { tokens, score }| Hypothesis { text: self.spec.vocabulary.decode(&tokens), tokens, score })
            .collect()
    }
}

/// Turns what has become certain of a sentence into text, piece by piece.
#[derive(Default)]
struct Reporter {
    state: DecodeState,
    reported: usize,
}

impl Reporter {
    fn text(&mut self, vocabulary: &dyn Vocabulary, certain: &[Token], finished: bool) -> String {
        let mut text = String::new();
        for &token in certain.get(self.reported..).unwrap_or_default() {
            vocabulary.push(&mut self.state, token, &mut text);
        }
        self.reported = self.reported.max(certain.len());
        if finished {
            vocabulary.finish(&mut self.state, &mut text);
        }
        text
    }
}

/// A worker's news for the calling thread.
enum News {
    Text { sentence: usize, text: String },
    Done { group: Range<usize>, results: Vec<Vec<Generated>>, elapsed: Duration },
    Failed(Error),
}

impl<B: Backend> SentenceTranslator for Translator<B> {
    fn accelerator(&self) -> Option<Report> {
        self.backend.accelerator()
    }

    fn pairs(&self) -> &[LanguagePair] {
        &self.pairs
    }

    fn max_source_tokens(&self) -> usize {
        self.spec.max_source_tokens
    }

    fn count_tokens(&self, text: &str, _: &LanguagePair) -> usize {
        // What cannot be encoded is an error where it is translated.
        self.spec.vocabulary.encode(text).map_or(0, |tokens| tokens.len())
    }

    fn translate(
        &self,
        batch: &[&str],
        pair: &LanguagePair,
        options: &TranslateOptions,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Translation>> {
        let direction = self.direction(pair)?;
        let spec = self.generation(options)?;
        let tokens: Vec<_> = batch.iter().map(|text| self.tokens(text, direction)).collect::<Result<_>>()?;
        let empty = |sentence: usize| batch[sentence].trim().is_empty();
        // Long sentences first: groups of similar length, and the last group to finish is a short one.
        let mut order: Vec<_> = (0..batch.len()).filter(|&sentence| !empty(sentence)).collect();
        order.sort_by_key(|&sentence| std::cmp::Reverse(tokens[sentence].len()));
        let groups = groups(order.len(), (ROWS / spec.beam).max(1), self.pool.threads());

        let mut translations: Vec<Option<Translation>> = vec![None; batch.len()];
        let mut finish = |group: Range<usize>, results: Vec<Vec<Generated>>, elapsed: Duration| {
            let each = elapsed / group.len().max(1) as u32;
            for (&sentence, generated) in order[group].iter().zip(results) {
                translations[sentence] = Some(Translation {
                    hypotheses: self.hypotheses(generated, options.alternatives),
                    source_tokens: tokens[sentence].len(),
                    elapsed: each,
                });
            }
        };
        // Runs one group; `report` hears of each sentence (and whether a new step begins) and returns Break to cancel.
        let run = |session: &mut B::Session,
                   group: &Range<usize>,
                   report: &mut dyn FnMut(usize, String, bool) -> ControlFlow<()>| {
            let sentences = &order[group.clone()];
            let sources: Vec<_> = sentences.iter().map(|&sentence| tokens[sentence].as_slice()).collect();
            let mut reporters: Vec<_> = sentences.iter().map(|_| Reporter::default()).collect();
            let start = Instant::now();
            let mut last = usize::MAX;
            let results = self.run_group(session, &sources, &spec, |step| {
                let text = reporters[step.sequence].text(&*self.spec.vocabulary, step.certain, step.finished);
                let new_step = step.sequence <= last;
                last = step.sequence;
                report(sentences[step.sequence], text, new_step)
            })?;
            Ok((results, start.elapsed()))
        };

        if groups.len() == 1 || self.pool.threads() == 1 {
            self.with_session(&self.wide, &self.pool, &options.cancel, |session| {
                for group in &groups {
                    let (results, elapsed) =
                        run(session, group, &mut |sentence, text, _| progress(Progress { sentence, text: &text }))?;
                    finish(group.clone(), results, elapsed);
                }
                Ok(())
            })?;
        } else {
            let next = AtomicUsize::new(0);
            let (sender, receiver) = mpsc::channel();
            std::thread::scope(|scope| {
                for worker_index in 0..self.pool.threads().min(groups.len()) {
                    let (sender, next, run, groups) = (sender.clone(), &next, &run, &groups);
                    let worker = move || {
                        let alone = Arc::new(self.pool.alone());
                        let worked = self.with_session(&self.narrow, &alone, &options.cancel, |session| {
                            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                                let (results, elapsed) = run(session, group, &mut |sentence, text, new_step| {
                                    // Silence is worth a message once per step: the caller may want to cancel.
                                    if text.is_empty() && !new_step {
                                        return ControlFlow::Continue(());
                                    }
                                    // The receiver is dropped when the caller has cancelled.
                                    match sender.send(News::Text { sentence, text }) {
                                        Ok(()) => ControlFlow::Continue(()),
                                        Err(_) => ControlFlow::Break(()),
                                    }
                                })?;
                                let _ = sender.send(News::Done { group: group.clone(), results, elapsed });
                            }
                            Ok(())
                        });
                        if let Err(error) = worked {
                            let _ = sender.send(News::Failed(error));
                        }
                    };
                    // Fewer workers than asked for are enough, none are not.
                    if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, worker)
                        && worker_index == 0
                    {
                        return Err(Error::io("start a thread for", "the translation", error));
                    }
                }
                drop(sender);
                let outcome = receiver.iter().try_for_each(|news| match news {
                    News::Text { sentence, text } => match progress(Progress { sentence, text: &text }) {
                        ControlFlow::Continue(()) => Ok(()),
                        ControlFlow::Break(()) => Err(Error::Cancelled),
                    },
                    News::Done { group, results, elapsed } => {
                        finish(group, results, elapsed);
                        Ok(())
                    }
                    News::Failed(error) => Err(error),
                });
                drop(receiver);
                outcome
            })?;
        }
        let nothing = |sentence: usize| Translation {
            hypotheses: vec![Hypothesis { text: String::new(), tokens: Vec::new(), score: 0.0 }],
            source_tokens: tokens[sentence].len(),
            elapsed: Duration::ZERO,
        };
        Ok(translations.into_iter().enumerate().map(|(i, t)| t.unwrap_or_else(|| nothing(i))).collect())
    }
}

/// Cuts `count` sentences into groups of at most `most`; where there is more than one thread and more than one
/// sentence, into at least as many groups as threads.
fn groups(count: usize, most: usize, threads: usize) -> Vec<Range<usize>> {
    let size = most.min(count.div_ceil(threads)).max(1);
    (0..count).step_by(size).map(|start| start..(start + size).min(count)).collect()
}

#[cfg(test)]
mod tests {
    use super::groups;

    #[test]
    fn groups_cover_everything_once() {
        for count in 0..70 {
            for most in 1..20 {
                for threads in 1..5 {
                    let groups = groups(count, most, threads);
                    assert!(groups.iter().cloned().flatten().eq(0..count));
                    assert!(groups.iter().all(|group| group.len() <= most));
                    assert!(groups.len() >= count.min(threads.min(2)) || count <= 1 || threads == 1);
                }
            }
        }
    }
}
