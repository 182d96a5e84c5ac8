//! Work of a translator: sentences, all of them at once.

use std::ops::ControlFlow;

use babil_runtime::accelerator::Report;
use babil_runtime::{Cancel, Error, Result};

use super::work::{Work, Workload};
use crate::tasks::translate::{LanguagePair, SentenceTranslator, TranslateOptions};

/// Sentences of everyday length, for models that translate from English.
const ENGLISH: [&str; 12] = [
    "Where is the station?",
    "The museum opens at nine in the morning and closes at six in the evening.",
    "My sister has lived in a small village near the sea for more than ten years.",
    "Please leave your shoes at the door.",
    "When the rain stopped, the children ran into the garden to look for snails.",
    "The committee will decide next week whether the old bridge can be repaired.",
    "He forgot his umbrella on the train again.",
    "If you take the second road on the left, you will see the hospital behind the park.",
    "The price of bread has risen twice since the beginning of the year.",
    "She reads a chapter to her grandfather every night before he falls asleep.",
    "I would like a room with two beds, please.",
    "Engineers found that the new pump needs half as much electricity as the one that it replaced.",
];

/// The same for models that translate from French.
const FRENCH: [&str; 12] = [
    "Où est la gare ?",
    "Le musée ouvre à neuf heures du matin et ferme à six heures du soir.",
    "Ma sœur habite depuis plus de dix ans dans un petit village au bord de la mer.",
    "Laissez vos chaussures à la porte, s'il vous plaît.",
    "Quand la pluie a cessé, les enfants ont couru dans le jardin pour chercher des escargots.",
    "Le comité décidera la semaine prochaine si le vieux pont peut être réparé.",
    "Il a encore oublié son parapluie dans le train.",
    "Si vous prenez la deuxième rue à gauche, vous verrez l'hôpital derrière le parc.",
    "Le prix du pain a augmenté deux fois depuis le début de l'année.",
    "Elle lit chaque soir un chapitre à son grand-père avant qu'il ne s'endorme.",
    "Je voudrais une chambre avec deux lits, s'il vous plaît.",
    "Les ingénieurs ont constaté que la nouvelle pompe consomme deux fois moins d'électricité que l'ancienne.",
];

/// The sentences to translate from `language` where nobody brings others: there are some in English and in French.
pub fn sentences(language: &str) -> Option<Vec<String>> {
    let sentences = match language {
        "en" => ENGLISH,
        "fr" => FRENCH,
        _ => return None,
    };
    Some(sentences.map(str::to_owned).into())
}

/// A translator and what it translates.
pub struct TranslationWork {
    translator: Box<dyn SentenceTranslator>,
    sentences: Vec<String>,
    pair: LanguagePair,
    options: TranslateOptions,
}

impl TranslationWork {
    /// Work of `translator`: `sentences`, each without line breaks, in the direction `pair`.
    ///
    /// # Errors
    /// [`Error::BadRequest`] where there is nothing to translate, or a sentence that is too long for the model.
    pub fn new(
        translator: Box<dyn SentenceTranslator>,
        pair: LanguagePair,
        sentences: Vec<String>,
        beam: Option<usize>,
        cancel: &Cancel,
    ) -> Result<Self> {
        if sentences.is_empty() {
            return Err(Error::BadRequest("no sentence to translate".to_owned()));
        }
        let most = translator.max_source_tokens();
        if let Some(long) = sentences.iter().find(|sentence| translator.count_tokens(sentence, &pair) > most) {
            let start: String = long.chars().take(40).collect();
            return Err(Error::BadRequest(format!(
                "a sentence of more than {most} tokens, all that the model takes: {start}..."
            )));
        }
        let options = TranslateOptions { beam, cancel: cancel.clone(), ..TranslateOptions::default() };
        Ok(Self { translator, sentences, pair, options })
    }
}

impl Workload for TranslationWork {
    fn accelerator(&self) -> Option<Report> {
        self.translator.accelerator()
    }

    fn run(&mut self) -> Result<Work> {
        let batch: Vec<&str> = self.sentences.iter().map(String::as_str).collect();
        let mut go_on = |_: crate::tasks::translate::Progress<'_>| ControlFlow::Continue(());
        let done = self.translator.translate(&batch, &self.pair, &self.options, &mut go_on)?;
        Ok(Work {
            read: done.iter().map(|translation| translation.source_tokens as u64).sum(),
            generated: done.iter().map(|translation| translation.hypotheses[0].tokens.len() as u64).sum(),
            words: batch.iter().map(|sentence| sentence.split_whitespace().count() as u64).sum(),
            ..Work::default()
        })
    }
}

#[cfg(all(test, feature = "bundled"))]
mod tests {
    use super::*;
    use crate::{OpenOptions, open_translator};

    #[test]
    fn what_is_translated_is_counted() {
        let open = || open_translator(&OpenOptions { threads: Some(1), ..OpenOptions::default() }).unwrap();
        let pair = LanguagePair::new("fr", "en");
        let two: Vec<_> = sentences("fr").unwrap().into_iter().take(2).collect();
        let mut work = TranslationWork::new(open(), pair.clone(), two, Some(1), &Cancel::default()).unwrap();
        let (first, second) = (work.run().unwrap(), work.run().unwrap());
        assert_eq!(first, second);
        assert_eq!(first.words, 5 + 15);
        assert!(first.read > first.words && first.generated > 5 && first.audio.is_zero());

        let none = TranslationWork::new(open(), pair.clone(), Vec::new(), None, &Cancel::default());
        assert!(none.is_err());
        let long = vec!["mot ".repeat(2000)];
        assert!(TranslationWork::new(open(), pair.clone(), long, None, &Cancel::default()).is_err());
        let cancelled = Cancel::default();
        cancelled.cancel();
        let mut work = TranslationWork::new(open(), pair, sentences("fr").unwrap(), None, &cancelled).unwrap();
        assert!(matches!(work.run(), Err(Error::Cancelled)));
        assert_eq!(sentences("de"), None);
    }
}
