//! A document through a [`SentenceTranslator`], in bounded memory and in order.
//!
//! Bytes are [pushed](Document::push) as they arrive. They become lines, lines become [parts](super::segment), and
//! parts wait in a window until there are enough sentences to fill batches of similar length. What comes out goes to
//! a [`Sink`] in the order of the input: sentences translated, everything between them as it was, so that every input
//! line is one output line.

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::ops::{AddAssign, ControlFlow};
use std::time::{Duration, Instant};

use babil_runtime::Error;

use super::segment::{Part, Segmenter, is_line_break};
use super::translate::{LanguagePair, SentenceTranslator, TranslateOptions, Translation};

/// Bytes of one line that are held before its first sentences are translated without waiting for its end.
const LONGEST_WAIT: usize = 64 * 1024;
/// Bytes waiting in the window, at most.
const WINDOW_BYTES: usize = 256 * 1024;

/// Why a document could not be translated to its end. What was written before is valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The input is not text.
    #[error("the input is not UTF-8 text: {problem} at byte {offset}")]
    NotText {
        /// What was found.
        problem: String,
        /// Offset in the input, in bytes from 0.
        offset: u64,
    },
    /// The input could not be read.
    #[error("cannot read the input: {0}")]
    Read(#[source] io::Error),
    /// The sink could not write.
    #[error("cannot write the output: {0}")]
    Write(#[source] io::Error),
    /// The translator failed, or was cancelled.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// A result with a [`DocumentError`].
pub type Result<T> = std::result::Result<T, DocumentError>;

/// A translated sentence and its place in the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Line of the input, from 1.
    pub line: u64,
    /// Offset of the sentence in the input, in bytes.
    pub offset: u64,
    /// The sentence.
    pub source: String,
    /// What it became.
    pub translation: Translation,
}

/// Receives what a [`Document`] becomes, in order.
pub trait Sink {
    /// The next piece of the translated document.
    ///
    /// # Errors
    /// Any; it ends the document with [`DocumentError::Write`].
    fn write(&mut self, text: &str) -> io::Result<()>;

    /// A sentence is complete; its text has been [written](Self::write).
    ///
    /// # Errors
    /// As [`Self::write`].
    fn sentence(&mut self, record: &Record) -> io::Result<()> {
        let _ = record;
        Ok(())
    }

    /// Nothing more comes for now: what is buffered should become visible.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects the translated text.
impl Sink for String {
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.push_str(text);
        Ok(())
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn write(&mut self, text: &str) -> io::Result<()> {
        (**self).write(text)
    }
    fn sentence(&mut self, record: &Record) -> io::Result<()> {
        (**self).sentence(record)
    }
    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// What to do with a document, apart from its text.
#[derive(Clone, Copy)]
pub struct Job<'j> {
    /// Who translates.
    pub translator: &'j dyn SentenceTranslator,
    /// From and to which language.
    pub pair: &'j LanguagePair,
    /// How to search.
    pub options: &'j TranslateOptions,
    /// How to group sentences.
    pub pace: Pace,
    /// Asked between tokens: whether to stop.
    pub cancelled: &'j dyn Fn() -> bool,
}

/// How sentences are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For someone who is reading along: one sentence after the other, written word by word.
    Live,
    /// For throughput: sentences of similar length together, written when they are complete.
    Batched {
        /// Sentences per call of the translator.
        batch: usize,
        /// Sentences to choose from, at most. The first windows are smaller, so that the first output comes soon.
        window: usize,
    },
}

impl Default for Pace {
    fn default() -> Self {
        Self::Batched { batch: 32, window: 256 }
    }
}

/// What a document came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of input read.
    pub bytes: u64,
    /// Lines of input, an unfinished last one included.
    pub lines: u64,
    /// Sentences translated.
    pub sentences: u64,
    /// Tokens of these sentences, ends of sentences included.
    pub source_tokens: u64,
    /// Tokens of their best translations, ends of sentences excluded.
    pub tokens: u64,
    /// Time spent in the translator.
    pub elapsed: Duration,
}

impl AddAssign for Summary {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.sentences += other.sentences;
        self.source_tokens += other.source_tokens;
        self.tokens += other.tokens;
        self.elapsed += other.elapsed;
    }
}

/// What waits in the window.
enum Item {
    Between(String),
    Sentence { line: u64, offset: u64, tokens: usize, source: String },
}

/// A document on its way through a translator. See the [module](self).
pub struct Document<'j, S> {
    job: Job<'j>,
    sink: S,
    summary: Summary,
    /// Bytes not yet cut into parts: the unfinished line.
    pending: Vec<u8>,
    /// How many of `pending` are known to hold no line break.
    searched: usize,
    /// Whether `pending` starts where a line starts.
    at_line_start: bool,
    /// Offset of `pending` in the input.
    offset: u64,
    window: Vec<Item>,
    window_sentences: usize,
    window_bytes: usize,
    /// Sentences at which the window is translated; grows up to the pace's own.
    window_limit: usize,
    /// The last thing written was a translation that needs a space before another one.
    needs_space: bool,
}

impl<'j, S: Sink> Document<'j, S> {
    /// An empty document.
    pub fn new(job: Job<'j>, sink: S) -> Self {
        let window_limit = match job.pace {
            Pace::Live => 1,
            Pace::Batched { batch, window } => batch.min(window).max(1),
        };
        Self {
            job,
            sink,
            summary: Summary::default(),
            pending: Vec::new(),
            searched: 0,
            at_line_start: true,
            offset: 0,
            window: Vec::new(),
            window_sentences: 0,
            window_bytes: 0,
            window_limit,
            needs_space: false,
        }
    }

    /// What was done so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Appends `bytes`, the next ones of the document, and translates what has become ready.
    ///
    /// # Errors
    /// The first byte that is not UTF-8 text, once everything before it is written; the sink's and the translator's
    /// errors. After an error the document takes no more input.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        for bytes in bytes.chunks(LONGEST_WAIT) {
            self.summary.bytes += bytes.len() as u64;
            self.pending.extend_from_slice(bytes);
            let last_break =
                self.pending[self.searched..].iter().rposition(|b| *b == b'\n').map(|i| self.searched + i + 1);
            self.searched = self.pending.len();
            if let Some(end) = last_break {
                self.take(end, true)?;
            }
            if self.pending.len() >= LONGEST_WAIT {
                self.take(self.pending.len(), false)?;
            }
        }
        Ok(())
    }

    /// Translates every complete line that was pushed, without waiting for more.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> Result<()> {
        self.translate_window()?;
        self.sink.flush().map_err(DocumentError::Write)
    }

    /// Ends the document: translates all that is left.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<Summary> {
        self.take(self.pending.len(), true)?;
        self.flush()?;
        if !self.at_line_start {
            self.summary.lines += 1;
        }
        Ok(self.summary)
    }

    /// Cuts the first `end` pending bytes into parts. Unless they are `complete` (they end with a line or with the
    /// document), their last sentence, which may go on, stays pending.
    fn take(&mut self, end: usize, complete: bool) -> Result<()> {
        let mut bytes = std::mem::take(&mut self.pending);
        let rest = bytes.split_off(end);
        let (text, problem) = text_of(&bytes, complete);
        let used = self.cut(text, complete || problem.is_some())?;
        if let Some(problem) = problem {
            let offset = self.offset; // everything before the bad byte is used
            self.flush()?;
            return Err(DocumentError::NotText { problem, offset });
        }
        bytes.drain(..used);
        bytes.extend_from_slice(&rest);
        self.searched = bytes.len();
        self.pending = bytes;
        Ok(())
    }

    /// Cuts `text`, the start of what is pending, into parts and puts them into the window; returns how many bytes.
    fn cut(&mut self, text: &str, complete: bool) -> Result<usize> {
        let Job { translator, pair, .. } = self.job;
        let count = |sentence: &str| translator.count_tokens(sentence, pair);
        let segmenter = Segmenter::new(translator.max_source_tokens(), &count);
        let mut used = 0;
        for line in text.split_inclusive('\n') {
            let parts = if self.at_line_start { segmenter.split(line) } else { segmenter.split_continued(line) };
            let is_sentence = |part: &Part<'_>| matches!(part, Part::Sentence { .. });
            let ends = if complete || line.ends_with('\n') {
                parts.len()
            } else {
                parts.iter().rposition(is_sentence).filter(|last| *last > 0).unwrap_or(parts.len())
            };
            for part in &parts[..ends] {
                let text = part.text().to_owned();
                let (offset, length) = (self.offset, text.len());
                match part {
                    Part::Sentence { tokens, .. } => {
                        let line = self.summary.lines + 1;
                        self.window.push(Item::Sentence { line, offset, tokens: *tokens, source: text });
                        self.window_sentences += 1;
                    }
                    Part::Between(_) => self.window.push(Item::Between(text)),
                }
                self.offset += length as u64;
                self.window_bytes += length;
                self.at_line_start = false;
                used += length;
                if self.window_sentences >= self.window_limit || self.window_bytes >= WINDOW_BYTES {
                    self.translate_window()?;
                }
            }
            if line.ends_with('\n') {
                self.summary.lines += 1;
                self.at_line_start = true;
            }
        }
        Ok(used)
    }

    /// Translates and writes the window.
    fn translate_window(&mut self) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        (self.window_sentences, self.window_bytes) = (0, 0);
        let mut order: Vec<usize> = (0..window.len()).filter(|&i| matches!(window[i], Item::Sentence { .. })).collect();
        let batch = match self.job.pace {
            Pace::Live => 1,
            Pace::Batched { batch, window: most } => {
                if !order.is_empty() {
                    self.window_limit = (self.window_limit * 2).min(most.max(1));
                }
                order.sort_by_key(|&i| match &window[i] {
                    Item::Sentence { tokens, .. } => *tokens,
                    Item::Between(_) => 0,
                });
                batch.max(1)
            }
        };
        let mut done: Vec<Option<Translation>> = window.iter().map(|_| None).collect();
        let mut next = self.write_ready(&window, &mut done, 0)?;
        for indices in order.chunks(batch) {
            if (self.job.cancelled)() {
                return Err(Error::Cancelled.into());
            }
            let sources: Vec<&str> = indices
                .iter()
                .filter_map(|&i| match &window[i] {
                    Item::Sentence { source, .. } => Some(source.as_str()),
                    Item::Between(_) => None,
                })
                .collect();
            let translations = match self.job.pace {
                Pace::Live => self.translate_live(sources[0])?,
                Pace::Batched { .. } => call(&self.job, &sources, &mut self.summary.elapsed, &mut |_| Ok(()))?,
            };
            for (&i, translation) in indices.iter().zip(translations) {
                done[i] = Some(translation);
            }
            next = self.write_ready(&window, &mut done, next)?;
        }
        if !order.is_empty() {
            self.sink.flush().map_err(DocumentError::Write)?;
        }
        Ok(())
    }

    /// Writes the parts of `window` from `next` on that are ready, and returns the first one that is not.
    fn write_ready(&mut self, window: &[Item], done: &mut [Option<Translation>], mut next: usize) -> Result<usize> {
        for (item, done) in window[next..].iter().zip(&mut done[next..]) {
            match item {
                Item::Between(text) => {
                    self.needs_space = false;
                    self.sink.write(text).map_err(DocumentError::Write)?;
                }
                Item::Sentence { line, offset, source, .. } => {
                    let Some(translation) = done.take() else { break };
                    let record = Record { line: *line, offset: *offset, source: source.clone(), translation };
                    self.write_sentence(&record).map_err(DocumentError::Write)?;
                }
            }
            next += 1;
        }
        Ok(next)
    }

    fn write_sentence(&mut self, record: &Record) -> io::Result<()> {
        let best = &record.translation.hypotheses[0];
        if self.job.pace != Pace::Live {
            self.separate()?;
            self.sink.write(&on_one_line(&best.text))?;
        }
        self.needs_space = is_spaced(&self.job.pair.to) && !record.source.ends_with(char::is_alphanumeric);
        self.summary.sentences += 1;
        self.summary.source_tokens += record.translation.source_tokens as u64;
        self.summary.tokens += best.tokens.len() as u64;
        self.sink.sentence(record)
    }

    /// Writes the space between two translations whose sources had none between them, as in Chinese.
    fn separate(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.needs_space) { self.sink.write(" ") } else { Ok(()) }
    }

    /// Translates one sentence and writes it while it grows.
    fn translate_live(&mut self, source: &str) -> Result<Vec<Translation>> {
        self.separate().map_err(DocumentError::Write)?;
        let sink = &mut self.sink;
        call(&self.job, &[source], &mut self.summary.elapsed, &mut |piece| {
            sink.write(&on_one_line(piece))?;
            sink.flush()
        })
    }
}

/// Calls the translator and adds its time to `elapsed`; `piece` gets the text of the first sentence as it grows.
pub(super) fn call(
    job: &Job<'_>,
    sources: &[&str],
    elapsed: &mut Duration,
    piece: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<Vec<Translation>> {
    let mut failed = None;
    let started = Instant::now();
    let result = job.translator.translate(sources, job.pair, job.options, &mut |progress| {
        if progress.sentence == 0 && !progress.text.is_empty() {
            failed = piece(progress.text).err();
        }
        if failed.is_some() || (job.cancelled)() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    *elapsed += started.elapsed();
    if let Some(error) = failed {
        return Err(DocumentError::Write(error));
    }
    let translations = result?;
    let complete = translations.iter().filter(|translation| !translation.hypotheses.is_empty()).count();
    if complete != sources.len() {
        let problem = format!("the translator answered {complete} of {} sentences", sources.len());
        return Err(Error::BadRequest(problem).into());
    }
    Ok(translations)
}

/// Translates everything that `reader` gives.
///
/// # Errors
/// As [`Document::push`], and what reading fails with.
pub fn translate_reader(mut reader: impl BufRead, job: Job<'_>, sink: impl Sink) -> Result<Summary> {
    let mut document = Document::new(job, sink);
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                document.flush()?;
                return Err(DocumentError::Read(error));
            }
        };
        if bytes.is_empty() {
            return document.finish();
        }
        document.push(bytes)?;
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Translates a text of any length and number of lines; its shape stays.
///
/// # Errors
/// An unknown pair, or the translator's own failure.
pub fn translate_text(
    translator: &dyn SentenceTranslator,
    text: &str,
    pair: &LanguagePair,
    options: &TranslateOptions,
) -> babil_runtime::Result<String> {
    let mut output = String::with_capacity(text.len());
    let job = Job { translator, pair, options, pace: Pace::default(), cancelled: &|| false };
    match translate_reader(text.as_bytes(), job, &mut output) {
        Ok(_) => Ok(output),
        Err(DocumentError::Engine(error)) => Err(error),
        Err(other) => Err(Error::BadRequest(other.to_string())),
    }
}

/// The text that `bytes` start with, and what is wrong with the byte after it. A character that is cut at the end of
/// `bytes` is wrong only if they are `complete`.
fn text_of(bytes: &[u8], complete: bool) -> (&str, Option<String>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    if let Some(nul) = text.find('\0') {
        return (&text[..nul], Some("a NUL byte, as in binary files or UTF-16,".into()));
    }
    let problem = match &bytes[text.len()..] {
        [] => None,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if text.is_empty() => Some("a UTF-16 byte order mark".into()),
        rest if std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none()) => {
            complete.then(|| format!("unfinished character (0x{:02X})", rest[0]))
        }
        rest => Some(format!("invalid byte 0x{:02X}", rest[0])),
    };
    (text, problem)
}

/// Whether sentences are separated by spaces in the language.
fn is_spaced(language: &str) -> bool {
    !matches!(language, "zh" | "ja" | "th" | "lo" | "km" | "my")
}

/// A translation is one line, whatever the model says: its line breaks become spaces.
pub(super) fn on_one_line(text: &str) -> Cow<'_, str> {
    if text.contains(is_line_break) { text.replace(is_line_break, " ").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::super::testing::Shouter;
    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;

    /// Remembers everything; can fail, and can be told when to cancel.
    #[derive(Default)]
    struct Log {
        text: String,
        writes: Vec<String>,
        records: Vec<Record>,
        room: Option<usize>,
    }

    impl Sink for Log {
        fn write(&mut self, text: &str) -> io::Result<()> {
            if self.room.is_some_and(|room| self.text.len() + text.len() > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.push_str(text);
            self.writes.push(text.to_owned());
            Ok(())
        }
        fn sentence(&mut self, record: &Record) -> io::Result<()> {
            self.records.push(record.clone());
            Ok(())
        }
    }

    struct Setup {
        translator: Shouter,
        pair: LanguagePair,
        options: TranslateOptions,
        pace: Pace,
    }

    impl Default for Setup {
        fn default() -> Self {
            let translator = Shouter::default();
            Self {
                translator,
                pair: LanguagePair::new("en", "fr"),
                options: TranslateOptions::default(),
                pace: Pace::default(),
            }
        }
    }

    impl Setup {
        fn run(&self, input: &[u8], cancelled: &dyn Fn() -> bool) -> (Log, Result<Summary>) {
            let mut log = Log::default();
            let result = self.run_into(&mut log, input, cancelled);
            (log, result)
        }

        fn run_into(&self, log: &mut Log, input: &[u8], cancelled: &dyn Fn() -> bool) -> Result<Summary> {
            let Self { translator, pair, options, pace } = self;
            translate_reader(input, Job { translator, pair, options, pace: *pace, cancelled }, log)
        }
    }

    #[test]
    fn structure_is_kept() {
        let text = "# Title\r\n\r\n  - one thing. Another one!  \n\n\t42\nlast line";
        let (log, summary) = Setup::default().run(text.as_bytes(), NEVER);
        assert_eq!(log.text, "# TITLE\r\n\r\n  - ONE THING. ANOTHER ONE!  \n\n\t42\nLAST LINE");
        let summary = summary.unwrap();
        assert_eq!((summary.lines, summary.sentences, summary.bytes), (6, 4, text.len() as u64));
        assert_eq!((summary.source_tokens, summary.tokens), (1 + 2 + 2 + 2 + 4, 7));
    }

    #[test]
    fn nothing_becomes_nothing() {
        let (log, summary) = Setup::default().run(b"", NEVER);
        assert_eq!(log.text, "");
        assert_eq!(summary.unwrap(), Summary::default());
        assert_eq!(Setup::default().run(b"\n\n", NEVER).0.text, "\n\n");
    }

    #[test]
    fn order_is_kept_although_batches_are_sorted() {
        let lines: String = (0..1000).map(|i| format!("{}end {i}.\n", "word ".repeat(i * 7 % 13))).collect();
        let setup = Setup::default();
        let (log, _) = setup.run(lines.as_bytes(), NEVER);
        assert_eq!(log.text, lines.to_uppercase());
        assert_eq!(setup.translator.batches().iter().sum::<usize>(), 1000);
        assert!(setup.translator.batches().len() <= 1000 / 32 + 4);
        for (i, record) in log.records.iter().enumerate() {
            assert_eq!(record.line, i as u64 + 1);
            assert!(lines[record.offset as usize..].starts_with(&record.source));
        }
    }

    #[test]
    fn live_text_comes_word_by_word() {
        let setup = Setup { pace: Pace::Live, ..Setup::default() };
        let (log, _) = setup.run("where is it? There.\n".as_bytes(), NEVER);
        assert_eq!(log.writes, ["WHERE ", "IS ", "IT?", " ", "THERE.", "\n"]);
        assert_eq!(log.records.len(), 2);
    }

    #[test]
    fn bad_bytes_are_named_after_everything_before_them_is_written() {
        let cases: [(&[u8], &str, &str); 7] = [
            (b"one.\ntwo \xff three", "ONE.\nTWO ", "invalid byte 0xFF at byte 9"),
            (b"one.\ntwo\0three\n", "ONE.\nTWO", "a NUL byte, as in binary files or UTF-16, at byte 8"),
            (b"caf\xc3", "CAF", "unfinished character (0xC3) at byte 3"),
            (b"caf\xc3\n", "CAF", "invalid byte 0xC3 at byte 3"),
            (b"\xff\xfeh\0i\0", "", "a UTF-16 byte order mark at byte 0"),
            (b"\x80", "", "invalid byte 0x80 at byte 0"),
            (b"\xed\xa0\x80", "", "invalid byte 0xED at byte 0"),
        ];
        for (input, output, message) in cases {
            let (log, result) = Setup::default().run(input, NEVER);
            assert_eq!(log.text, output);
            assert_eq!(result.unwrap_err().to_string(), format!("the input is not UTF-8 text: {message}"));
        }
    }

    #[test]
    fn a_bad_byte_deep_in_a_long_line_is_found() {
        let mut input = "some words. ".repeat(20_000).into_bytes();
        let at = 200_003;
        input[at] = 0xff;
        let (log, result) = Setup::default().run(&input, NEVER);
        assert!(matches!(result, Err(DocumentError::NotText { offset, .. }) if offset == at as u64), "{result:?}");
        assert_eq!(log.text, String::from_utf8(input[..at].to_vec()).unwrap().to_uppercase());
    }

    #[test]
    fn a_long_line_is_translated_before_it_ends() {
        let setup = Setup::default();
        let job = Job {
            translator: &setup.translator,
            pair: &setup.pair,
            options: &setup.options,
            pace: setup.pace,
            cancelled: NEVER,
        };
        let mut log = Log::default();
        let mut document = Document::new(job, &mut log);
        let text = "é some words here, and more. ".repeat(40_000);
        let (mut longest, mut pushed) = (0, 0);
        for bytes in text.as_bytes().chunks(1021) {
            document.push(bytes).unwrap();
            pushed += bytes.len();
            longest = longest.max(pushed - document.sink.text.len());
        }
        document.finish().unwrap();
        assert!(longest < LONGEST_WAIT + WINDOW_BYTES, "{longest}");
        assert!(log.text == text.to_uppercase());
        assert!(log.records.iter().all(|record| record.line == 1));
    }

    #[test]
    fn cancelling_keeps_what_is_done() {
        for pace in [Pace::default(), Pace::Live] {
            let setup = Setup { pace, ..Setup::default() };
            let lines = "one two three.\n".repeat(100);
            let left = Cell::new(200);
            let cancelled = || {
                left.set(left.get() - 1);
                left.get() < 0
            };
            let (log, result) = setup.run(lines.as_bytes(), &cancelled);
            assert!(matches!(result, Err(DocumentError::Engine(Error::Cancelled))));
            assert!(log.text.len() > 100 && log.text.len() < lines.len());
            assert!(lines.to_uppercase().starts_with(&log.text));
        }
    }

    #[test]
    fn a_sink_that_fails_ends_the_document() {
        for pace in [Pace::default(), Pace::Live] {
            let setup = Setup { pace, ..Setup::default() };
            let mut log = Log { room: Some(20), ..Log::default() };
            let result = setup.run_into(&mut log, "some words.\n".repeat(100).as_bytes(), NEVER);
            assert!(matches!(result, Err(DocumentError::Write(error)) if error.kind() == io::ErrorKind::StorageFull));
            assert!("SOME WORDS.\nSOME WORDS.\n".starts_with(&log.text));
        }
    }

    #[test]
    fn sentences_without_spaces_get_one_where_the_target_has_them() {
        let translator = Shouter::new(&[("zh", "en"), ("zh", "ja")], 64);
        let options = TranslateOptions::default();
        let translate =
            |to| translate_text(&translator, "你好。再见。\n", &LanguagePair::new("zh", to), &options).unwrap();
        assert_eq!(translate("en"), "你好。 再见。\n");
        assert_eq!(translate("ja"), "你好。再见。\n");
    }

    #[test]
    fn a_long_sentence_is_translated_in_pieces() {
        let translator = Shouter::new(&[("en", "fr")], 4);
        let text = "one two three four, five six seven eight; nine ten.";
        let french = translate_text(&translator, text, &LanguagePair::new("en", "fr"), &TranslateOptions::default());
        assert_eq!(french.unwrap(), text.to_uppercase());
    }

    proptest! {
        #[test]
        fn any_text_in_any_chunks_keeps_its_lines(text in "([a-z]{1,5}|[ .?\\r\\n]|Mr\\. |é|\\PC){0,80}", size in 1_usize..9, live: bool) {
            let pace = if live { Pace::Live } else { Pace::Batched { batch: 2, window: 4 } };
            let setup = Setup { pace, ..Setup::default() };
            let job = Job { translator: &setup.translator, pair: &setup.pair, options: &setup.options, pace, cancelled: NEVER };
            let mut output = String::new();
            let mut document = Document::new(job, &mut output);
            for bytes in text.as_bytes().chunks(size) {
                document.push(bytes).unwrap();
            }
            let summary = document.finish().unwrap();
            prop_assert_eq!(summary.bytes, text.len() as u64);
            prop_assert_eq!(summary.lines, text.lines().count() as u64);
            prop_assert_eq!(output.matches('\n').count(), text.matches('\n').count());
            let translated = translate_text(&setup.translator, &text, &setup.pair, &setup.options).unwrap();
            prop_assert_eq!(output, translated);
        }
    }
}
