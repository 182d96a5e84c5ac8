//! Work of a language model: prompts and generation at depths of the context, on random tokens, without choosing them.

use std::time::Instant;

use babil_runtime::accelerator::Report;
use babil_runtime::model::{Logits, Model, Row, State, Want};
use babil_runtime::{Cancel, Error, Result, Token};

use super::work::{Random, Test, Work, Workload};

/// A model and one test of it.
pub struct LanguageWork<M: Model> {
    model: M,
    /// A text of `filled` tokens, and an empty one.
    base: M::State,
    empty: M::State,
    filled: usize,
    test: Test,
    batch: usize,
    random: Random,
    logits: Logits,
}

impl<M: Model> LanguageWork<M> {
    /// Work of `model`, whose empty state is `empty`; prompts are read `batch` tokens at a time. Ends with
    /// [`Error::Cancelled`] after `cancel` is called.
    ///
    /// # Errors
    /// [`Error::BadRequest`] of a batch of nothing.
    pub fn new(mut model: M, empty: M::State, batch: usize, cancel: &Cancel) -> Result<Self> {
        if batch == 0 {
            return Err(Error::BadRequest("a batch of 0 tokens: it must be at least 1".to_owned()));
        }
        model.set_cancel(cancel);
        Ok(Self {
            base: empty.fork(),
            empty,
            model,
            filled: 0,
            test: Test::default(),
            batch,
            random: Random::default(),
            logits: Logits::default(),
        })
    }

    /// From now on the work is `test`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] of a test of no tokens.
    pub fn set_test(&mut self, test: Test) -> Result<()> {
        if test.prompt + test.generate == 0 {
            return Err(Error::BadRequest("a test of no tokens: it needs a prompt or tokens to generate".to_owned()));
        }
        self.test = test;
        Ok(())
    }
}

/// Appends `count` random tokens to `state`, `batch` at a time, with logits after the last.
fn feed<M: Model>(
    model: &mut M,
    state: &mut M::State,
    random: &mut Random,
    logits: &mut Logits,
    count: usize,
    batch: usize,
) -> Result<()> {
    let vocab = model.vocab();
    let tokens: Vec<Token> = (0..count).map(|_| random.below(vocab) as Token).collect();
    let steps = tokens.len().div_ceil(batch);
    for (step, tokens) in tokens.chunks(batch).enumerate() {
        let want = if step + 1 == steps { Want::Last } else { Want::Nothing };
        model.step(&mut [Row { state, tokens, want }], logits)?;
    }
    Ok(())
}

impl<M: Model> Workload for LanguageWork<M> {
    fn accelerator(&self) -> Option<Report> {
        self.model.accelerator()
    }

    fn prepare(&mut self) -> Result<()> {
        if self.filled != self.test.depth {
            let mut base = self.empty.fork();
            let Self { model, random, logits, .. } = self;
            feed(model, &mut base, random, logits, self.test.depth, self.batch)?;
            (self.base, self.filled) = (base, self.test.depth);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Work> {
        let Test { prompt, generate, .. } = self.test;
        let start = Instant::now();
        // What has been read before stays as it is, whatever the model would forget of it.
        let mut state = self.base.fork();
        let Self { model, random, logits, .. } = self;
        feed(model, &mut state, random, logits, prompt, self.batch)?;
        let first_token = (prompt > 0).then(|| start.elapsed());
        for _ in 0..generate {
            feed(model, &mut state, random, logits, 1, 1)?;
        }
        Ok(Work { read: prompt as u64, generated: generate as u64, first_token, ..Work::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts what it is fed.
    #[derive(Default)]
    struct Fake {
        /// Position and tokens of each step.
        steps: Vec<(usize, usize)>,
        wanted: usize,
    }

    #[derive(Clone)]
    struct Length(usize);

    impl State for Length {
        fn fork(&self) -> Self {
            self.clone()
        }
        fn position(&self) -> usize {
            self.0
        }
        fn truncate(&mut self, position: usize) -> usize {
            self.0 = self.0.min(position);
            self.0
        }
    }

    impl Model for Fake {
        type State = Length;
        fn vocab(&self) -> usize {
            7
        }
        fn step(&mut self, rows: &mut [Row<'_, Length>], _: &mut Logits) -> Result<()> {
            for row in rows {
                assert!(row.tokens.iter().all(|&token| token < 7));
                self.steps.push((row.state.0, row.tokens.len()));
                self.wanted += usize::from(row.want == Want::Last);
                row.state.0 += row.tokens.len();
            }
            Ok(())
        }
    }

    #[test]
    fn every_run_begins_at_the_depth() {
        let mut work = LanguageWork::new(Fake::default(), Length(0), 4, &Cancel::default()).unwrap();
        work.set_test(Test { prompt: 6, generate: 2, depth: 5 }).unwrap();
        for _ in 0..2 {
            work.prepare().unwrap();
            let done = work.run().unwrap();
            assert_eq!((done.read, done.generated, done.tokens()), (6, 2, 8));
            assert!(done.first_token.is_some());
        }
        let run = [(5, 4), (9, 2), (11, 1), (12, 1)];
        assert_eq!(work.model.steps, [&[(0, 4), (4, 1)][..], &run, &run].concat());
        // Logits are wanted after the prompt and after each token that follows.
        assert_eq!(work.model.wanted, 1 + 2 * 3);

        work.set_test(Test { prompt: 0, generate: 1, depth: 0 }).unwrap();
        work.prepare().unwrap();
        assert_eq!(work.run().unwrap().first_token, None);
        assert_eq!(work.model.steps.last(), Some(&(0, 1)));
        assert!(work.set_test(Test { depth: 9, ..Test::default() }).is_err());
    }
}
