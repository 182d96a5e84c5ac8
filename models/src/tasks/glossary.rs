//! Terms that are to be translated in a certain way, or not at all, over any [`SentenceTranslator`].
//!
//! A model that was not trained for it takes no orders about words, so a glossary is a matter of asking and checking. A
//! sentence with terms is translated as it is; if its translation has the wanted terms, that is the best one. If
//! not, the terms are replaced by what models tend to copy, the wanted words themselves and then common names, until
//! everything arrives on the other side, where the names make room for the wanted words. This works well for names and
//! less well for common nouns, whose articles and endings the model cannot know. What cannot be had is
//! [reported](WithGlossary::missed), and the plain translation stays.

use std::ops::{ControlFlow, Range};
use std::sync::Mutex;

use babil_runtime::Result;
use babil_runtime::accelerator::Report;

use super::translate::{Hypothesis, LanguagePair, Progress, SentenceTranslator, TranslateOptions, Translation};

/// What terms are to become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glossary {
    terms: Vec<Term>,
}

/// A term and what it is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    source: String,
    target: String,
}

/// A line of a glossary file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl Glossary {
    /// Reads a glossary file: `term = translation` on each line, or a term alone, which stays as it is. Blank lines
    /// and those that start with `#` say nothing.
    ///
    /// # Errors
    /// A line without a term.
    pub fn parse(file: &str) -> std::result::Result<Self, BadLine> {
        let mut glossary = Self::default();
        for (i, line) in file.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (source, target) = line.split_once('=').unwrap_or((line, line));
            let (source, target) = (source.trim(), target.trim());
            if !source.contains(char::is_alphanumeric) {
                return Err(BadLine { line: i + 1, problem: "there is no term before `=`" });
            }
            if target.is_empty() {
                return Err(BadLine { line: i + 1, problem: "there is nothing behind `=`; a term alone is kept" });
            }
            glossary.insert(source, target);
        }
        Ok(glossary)
    }

    /// `source` is to become `target`; the same for a term that is kept. A term in small letters means capitals too.
    pub fn insert(&mut self, source: &str, target: &str) {
        self.terms.retain(|term| term.source != source);
        self.terms.push(Term { source: source.to_owned(), target: target.to_owned() });
        // Of terms that start at the same place, the longest is found.
        self.terms.sort_by_key(|term| std::cmp::Reverse(term.source.len()));
    }

    /// Whether there are no terms.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Where terms stand in `text`, whole words only.
    fn find(&self, text: &str) -> Vec<(Range<usize>, &Term)> {
        let mut found = Vec::new();
        let mut end = 0;
        for (at, _) in text.char_indices() {
            let inside_word = text[..at].ends_with(char::is_alphanumeric);
            if at < end || inside_word {
                continue;
            }
            let hit = self.terms.iter().find_map(|term| {
                let length = starts_with(&text[at..], &term.source)?;
                (!text[at + length..].starts_with(char::is_alphanumeric)).then_some((at..at + length, term))
            });
            if let Some((range, term)) = hit {
                end = range.end;
                found.push((range, term));
            }
        }
        found
    }
}

/// How many bytes of `text` are `term`: letter by letter, or in any case for a term in small letters.
fn starts_with(text: &str, term: &str) -> Option<usize> {
    let any_case = !term.contains(char::is_uppercase);
    let mut letters = text.char_indices();
    for wanted in term.chars() {
        let (_, letter) = letters.next()?;
        if letter != wanted && !(any_case && letter.to_lowercase().eq(wanted.to_lowercase())) {
            return None;
        }
    }
    Some(letters.next().map_or(text.len(), |(at, _)| at))
}

/// A translation that lacks a term of the glossary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The sentence.
    pub sentence: String,
    /// What its translation should have had in it.
    pub term: String,
}

/// A translator that keeps to a glossary as far as it can; with an empty one, it is that translator.
pub struct WithGlossary {
    translator: Box<dyn SentenceTranslator>,
    glossary: Glossary,
    missed: Mutex<Vec<Missed>>,
}

/// Names that translators into most languages copy.
const NAMES: [&str; 6] = ["Tom", "Mary", "Boston", "John", "Bob", "Alice"];
/// Where in the list of names each try with names starts.
const TRIES: [usize; 2] = [0, 2];
/// Translations that are looked at for each try.
const ALTERNATIVES: usize = 4;

impl WithGlossary {
    /// `translator` with `glossary`.
    pub fn new(translator: Box<dyn SentenceTranslator>, glossary: Glossary) -> Self {
        Self { translator, glossary, missed: Mutex::default() }
    }

    /// The terms that could not be had since this was last asked.
    pub fn missed(&self) -> Vec<Missed> {
        self.missed.lock().map(|mut missed| std::mem::take(&mut *missed)).unwrap_or_default()
    }
}

/// A sentence with terms, on its way.
struct Asked<'g> {
    sentence: usize,
    terms: Vec<(Range<usize>, &'g Term)>,
}

impl Asked<'_> {
    /// `text` with a word in the place of each term.
    fn with<'w>(&self, text: &str, mut word: impl FnMut(usize) -> &'w str) -> String {
        spliced(text, self.terms.iter().enumerate().map(|(i, (range, _))| (range.clone(), word(i))))
    }

    /// Whether `translation` has all wanted terms, as often as they are wanted.
    fn is_in(&self, translation: &str) -> bool {
        self.terms.iter().all(|(_, term)| {
            let wanted = self.terms.iter().filter(|(_, other)| other.target == term.target).count();
            occurrences(translation, &term.target).count() >= wanted
        })
    }
}

/// Where `word` stands in `text` as whole words; in any case, if it is in small letters.
fn occurrences<'w>(text: &'w str, word: &'w str) -> impl Iterator<Item = Range<usize>> {
    text.char_indices().filter_map(move |(at, _)| {
        let length = starts_with(&text[at..], word)?;
        let whole =
            !text[..at].ends_with(char::is_alphanumeric) && !text[at + length..].starts_with(char::is_alphanumeric);
        whole.then_some(at..at + length)
    })
}

/// `translation` with `targets` in the place of `names`, if each of these is in it once.
fn replaced(translation: &str, names: &[&str], targets: &[&str]) -> Option<String> {
    let mut places = Vec::new();
    for (name, target) in names.iter().zip(targets) {
        let mut found = occurrences(translation, name);
        places.push((found.next()?, *target));
        if found.next().is_some() {
            return None;
        }
    }
    places.sort_by_key(|(range, _)| range.start);
    Some(spliced(translation, places))
}

/// `text` with words in the place of some ranges, which are in order.
fn spliced<'w>(text: &str, words: impl IntoIterator<Item = (Range<usize>, &'w str)>) -> String {
    let (mut spliced, mut end) = (String::new(), 0);
    for (range, word) in words {
        spliced += &text[end..range.start];
        spliced += word;
        end = range.end;
    }
    spliced + &text[end..]
}

/// `text` with a capital at its start, if `like` has one.
fn capitalised(text: String, like: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if like.starts_with(char::is_uppercase) => first.to_uppercase().chain(letters).collect(),
        _ => text,
    }
}

impl SentenceTranslator for WithGlossary {
    fn accelerator(&self) -> Option<Report> {
        self.translator.accelerator()
    }

    fn pairs(&self) -> &[LanguagePair] {
        self.translator.pairs()
    }

    fn max_source_tokens(&self) -> usize {
        self.translator.max_source_tokens()
    }

    fn count_tokens(&self, text: &str, pair: &LanguagePair) -> usize {
        self.translator.count_tokens(text, pair)
    }

    /// A sentence with terms is reported when it is complete.
    fn translate(
        &self,
        batch: &[&str],
        pair: &LanguagePair,
        options: &TranslateOptions,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Translation>> {
        let all = batch.iter().enumerate().map(|(i, text)| Asked { sentence: i, terms: self.glossary.find(text) });
        let asked: Vec<Asked<'_>> = all.filter(|asked| !asked.terms.is_empty()).collect();
        let has_terms = |sentence: usize| asked.iter().any(|asked| asked.sentence == sentence);
        let mut translations = self.translator.translate(batch, pair, options, &mut |news| {
            let text = if has_terms(news.sentence) { "" } else { news.text };
            progress(Progress { sentence: news.sentence, text })
        })?;

        let best = |translations: &[Translation], sentence: usize| {
            translations
                .get(sentence)
                .and_then(|translation| translation.hypotheses.first())
                .map(|best| best.text.clone())
        };
        let mut open: Vec<&Asked<'_>> = asked
            .iter()
            .filter(|asked| best(&translations, asked.sentence).is_some_and(|text| !asked.is_in(&text)))
            .collect();
        let beam = options.beam.unwrap_or(ALTERNATIVES).max(ALTERNATIVES);
        let more = TranslateOptions { beam: Some(beam), alternatives: ALTERNATIVES, ..options.clone() };
        // First with the wanted words themselves, then with names.
        for first_name in [None].into_iter().chain(TRIES.map(Some)) {
            let mut questions = Vec::new();
            for &asked in &open {
                let text = batch[asked.sentence];
                let names: Vec<&str> = match first_name {
                    None => asked.terms.iter().map(|(_, term)| term.target.as_str()).collect(),
                    Some(first) => {
                        let fresh = |name: &&&str| occurrences(text, name).next().is_none();
                        NAMES.iter().cycle().skip(first).take(NAMES.len()).filter(fresh).copied().collect()
                    }
                };
                if names.len() < asked.terms.len() {
                    continue;
                }
                let question = asked.with(text, |i| names[i]);
                if self.count_tokens(&question, pair) <= self.max_source_tokens() {
                    questions.push((asked, names, question));
                }
            }
            if questions.is_empty() {
                continue;
            }
            let texts: Vec<&str> = questions.iter().map(|(.., question)| question.as_str()).collect();
            let answers = self.translator.translate(&texts, pair, &more, &mut |news| {
                progress(Progress { sentence: questions[news.sentence].0.sentence, text: "" })
            })?;
            for ((asked, names, _), answer) in questions.iter().zip(answers) {
                let targets: Vec<&str> = asked.terms.iter().map(|(_, term)| term.target.as_str()).collect();
                let good = |hypothesis: Hypothesis| {
                    let text = match first_name {
                        None => asked.is_in(&hypothesis.text).then(|| hypothesis.text.clone()),
                        Some(_) => replaced(&hypothesis.text, &names[..targets.len()], &targets),
                    }?;
                    Some(Hypothesis { text: capitalised(text, batch[asked.sentence]), ..hypothesis })
                };
                let hypotheses: Vec<_> =
                    answer.hypotheses.into_iter().filter_map(good).take(options.alternatives.max(1)).collect();
                if !hypotheses.is_empty() {
                    let translation = &mut translations[asked.sentence];
                    translation.elapsed += answer.elapsed;
                    translation.hypotheses = hypotheses;
                    open.retain(|other| other.sentence != asked.sentence);
                }
            }
        }

        let missing = open.iter().flat_map(|asked| {
            let text = best(&translations, asked.sentence).unwrap_or_default();
            let lost = asked.terms.iter().filter(move |(_, term)| occurrences(&text, &term.target).next().is_none());
            lost.map(|(_, term)| Missed { sentence: batch[asked.sentence].to_owned(), term: term.target.clone() })
        });
        if let Ok(mut missed) = self.missed.lock() {
            missed.extend(missing);
        }
        for asked in &asked {
            let text = best(&translations, asked.sentence).unwrap_or_default();
            if progress(Progress { sentence: asked.sentence, text: &text }).is_break() {
                return Err(babil_runtime::Error::Cancelled);
            }
        }
        Ok(translations)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::Shouter;
    use super::*;

    fn glossary(file: &str) -> Glossary {
        Glossary::parse(file).unwrap()
    }

    #[test]
    fn files_have_a_term_on_each_line() {
        let parsed = glossary("\u{feff}# names\nEmo\n\nhead-snarler = grognard \nBabel = Tour de Babel\n");
        let terms: Vec<_> = parsed.terms.iter().map(|term| (&term.source[..], &term.target[..])).collect();
        assert_eq!(terms, [("head-snarler", "grognard"), ("Babel", "Tour de Babel"), ("Emo", "Emo")]);
        assert_eq!(Glossary::parse("a = b\n = c\n").unwrap_err().to_string(), "line 2: there is no term before `=`");
        assert_eq!(Glossary::parse("a =").unwrap_err().line, 1);
    }

    #[test]
    fn terms_are_whole_words() {
        let glossary = glossary("the sea = la mer\nsea = mer\nEmo");
        let found = |text: &str| {
            let found = glossary.find(text).into_iter().map(|(range, term)| format!("{range:?} {}", term.target));
            found.collect::<Vec<_>>()
        };
        assert_eq!(found("The sea, Emo: a sea."), ["0..7 la mer", "9..12 Emo", "16..19 mer"]);
        assert_eq!(found("emo, Emos, season, overseas"), [""; 0]);
    }

    /// Writes in capitals, but for the words that it copies.
    struct Copier(Shouter, &'static [&'static str]);

    impl SentenceTranslator for Copier {
        fn accelerator(&self) -> Option<babil_runtime::accelerator::Report> {
            None
        }

        fn pairs(&self) -> &[LanguagePair] {
            self.0.pairs()
        }
        fn max_source_tokens(&self) -> usize {
            self.0.max_source_tokens()
        }
        fn count_tokens(&self, text: &str, pair: &LanguagePair) -> usize {
            self.0.count_tokens(text, pair)
        }
        fn translate(
            &self,
            batch: &[&str],
            pair: &LanguagePair,
            options: &TranslateOptions,
            progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
        ) -> Result<Vec<Translation>> {
            let mut translations = self.0.translate(batch, pair, options, progress)?;
            for (translation, source) in translations.iter_mut().zip(batch) {
                let translated = |word: &str| match self.1.contains(&word.trim_end_matches('.')) {
                    true => word.to_owned(),
                    false => word.chars().rev().collect(),
                };
                let text = source.split(' ').map(translated).collect::<Vec<_>>().join(" ");
                translation.hypotheses = vec![Hypothesis { text, tokens: Vec::new(), score: 0.0 }];
                translation.elapsed = Duration::ZERO;
            }
            Ok(translations)
        }
    }

    #[test]
    fn what_is_copied_arrives_and_the_rest_is_reported() {
        let translator = Copier(Shouter::default(), &["Zug", "Boston", "John", "aha."]);
        let glossary = glossary("train = Zug\nEmo\nProog = Progue\ncar = Auto");
        let with = WithGlossary::new(Box::new(translator), glossary);
        let pair = LanguagePair::new("en", "fr");
        let batch =
            ["no terms", "a train", "see Emo and Proog", "John, Mary, Bob, Tom, Alice, Boston: Emo car", "level aha."];
        let mut reported = vec![String::new(); batch.len()];
        let translations = with
            .translate(&batch, &pair, &TranslateOptions::default(), &mut |news| {
                reported[news.sentence] += news.text;
                ControlFlow::Continue(())
            })
            .unwrap();
        let texts: Vec<&str> = translations.iter().map(|translation| &translation.hypotheses[0].text[..]).collect();
        assert_eq!(texts[..3], ["on smret", "a Zug", "ees Emo dna Progue"]);
        assert_eq!(reported[1..3], texts[1..3]);
        assert_eq!(reported[0], "NO TERMS");
        let missed: Vec<String> = with.missed().into_iter().map(|missed| missed.term).collect();
        assert_eq!(missed, ["Emo", "Auto"]);
        assert!(with.missed().is_empty());
    }

    #[test]
    fn names_are_replaced_wherever_they_arrive() {
        assert_eq!(replaced("Mary et Tom.", &["Tom", "Mary"], &["a", "b"]).as_deref(), Some("b et a."));
        assert_eq!(replaced("Tom et Tom.", &["Tom"], &["a"]), None);
        assert_eq!(replaced("Tomate.", &["Tom"], &["a"]), None);
    }
}
