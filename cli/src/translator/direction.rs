//! From and to which language: what the user said, what the model can do, and what the text looks like.

use anyhow::Result;
use babil_models::catalogue::Catalogue;
use babil_models::tasks::language::{LANGUAGES, code_of, english_name, guess};
use babil_models::tasks::translate::LanguagePair;
use babil_runtime::Error;

use crate::exit::UsageError;

/// A direction, and whether its source language is a guess.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) pair: LanguagePair,
    pub(crate) guessed: bool,
}

/// The one of `pairs` to translate a text that starts with `start` with.
pub(crate) fn resolve(pairs: &[LanguagePair], from: Option<&str>, to: Option<&str>, start: &str) -> Result<Direction> {
    let (from, to) = (from.map(code_of), to.map(code_of));
    let fits = |pair: &&LanguagePair| {
        from.as_ref().is_none_or(|from| is_source(from, &pair.from))
            && to.as_ref().is_none_or(|to| to.eq_ignore_ascii_case(&pair.to))
    };
    let possible: Vec<&LanguagePair> = pairs.iter().filter(fits).collect();
    if possible.is_empty() {
        let asked = match (&from, &to) {
            (Some(from), Some(to)) => format!("from {} into {}", name(from), name(to)),
            (Some(from), None) => format!("from {}", name(from)),
            (None, Some(to)) => format!("into {}", name(to)),
            (None, None) => "at all".into(),
        };
        let mut problem = format!("this model does not translate {asked}; it translates {}", list(pairs));
        if let (Some(from), Some(to)) = (&from, &to)
            && [from, to].iter().all(|code| LANGUAGES.iter().any(|known| known.code == **code))
            && let Some(other) = Catalogue::get().for_pair(from, to).first()
        {
            problem += &format!(" (--model {} does {from} -> {to})", other.name);
        }
        return Err(Error::BadRequest(problem).into());
    }

    let mut sources: Vec<&str> = possible.iter().map(|pair| pair.from.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let guessed = sources.len() > 1;
    let source = if guessed {
        // A text without letters is copied, from whatever language.
        let unlettered = (!start.contains(char::is_alphabetic)).then_some(sources[0]);
        guess(start, &sources).or(unlettered).ok_or_else(|| {
            UsageError::new(format!(
                "cannot tell the language of the text: say --from with one of {}",
                sources.join(", ")
            ))
        })?
    } else {
        sources[0]
    };

    let mut targets: Vec<&LanguagePair> = possible.into_iter().filter(|pair| pair.from == source).collect();
    targets.dedup();
    match targets[..] {
        [pair] => Ok(Direction { pair: pair.clone(), guessed }),
        _ => {
            let codes: Vec<&str> = targets.iter().map(|pair| pair.to.as_str()).collect();
            let problem = format!("into which language? Say --to with one of {}", codes.join(", "));
            Err(UsageError::new(problem).into())
        }
    }
}

/// Whether a model's source language `source` covers `language`: the same, or a group of languages (`mul`, `ROMANCE`,
/// which only the user can say to be the right one).
fn is_source(language: &str, source: &str) -> bool {
    let group = source == "mul" || (source.len() > 2 && source.chars().all(|c| c.is_ascii_uppercase()));
    group || language.eq_ignore_ascii_case(source)
}

fn name(code: &str) -> String {
    match english_name(code) {
        english if english == code => format!("`{code}`"),
        english => english.to_owned(),
    }
}

fn list(pairs: &[LanguagePair]) -> String {
    let mut pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
    pairs.sort_unstable();
    if pairs.is_empty() { "nothing".into() } else { pairs.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRENCH: &str = "Où se trouve la gare, s'il vous plaît ?";

    fn pairs() -> Vec<LanguagePair> {
        [("en", "fr"), ("fr", "en"), ("de", "en"), ("en", "de")].map(|(from, to)| LanguagePair::new(from, to)).into()
    }

    fn found(from: Option<&str>, to: Option<&str>, text: &str) -> (String, bool) {
        let direction = resolve(&pairs(), from, to, text).unwrap();
        (direction.pair.to_string(), direction.guessed)
    }

    fn message(from: Option<&str>, to: Option<&str>, text: &str) -> String {
        resolve(&pairs(), from, to, text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_said_is_taken() {
        assert_eq!(found(Some("english"), Some("français"), FRENCH), ("en -> fr".into(), false));
        assert_eq!(found(None, Some("fra"), "Hello"), ("en -> fr".into(), false));
        assert_eq!(found(Some("fr"), None, "Hello"), ("fr -> en".into(), false));
    }

    #[test]
    fn the_rest_is_guessed_among_what_is_possible() {
        assert_eq!(found(None, Some("en"), FRENCH), ("fr -> en".into(), true));
        assert_eq!(found(None, Some("en"), "Wo ist der Bahnhof, bitte?"), ("de -> en".into(), true));
        assert_eq!(found(None, None, FRENCH), ("fr -> en".into(), true));
        assert_eq!(found(None, Some("en"), "1234\n"), ("de -> en".into(), true));
        let one = [LanguagePair::new("en", "fr")];
        assert!(!resolve(&one, None, None, FRENCH).unwrap().guessed);
    }

    #[test]
    fn groups_of_languages_take_what_the_user_says() {
        let pairs = [LanguagePair::new("ROMANCE", "en"), LanguagePair::new("mul", "pt_BR")];
        let found = |from, to| resolve(&pairs, Some(from), Some(to), "").unwrap().pair.to_string();
        assert_eq!(found("fr", "en"), "ROMANCE -> en");
        assert_eq!(found("romance", "en"), "ROMANCE -> en");
        assert_eq!(found("ja", "pt_br"), "mul -> pt_BR");
    }

    #[test]
    fn what_is_impossible_is_said() {
        insta::assert_snapshot!(message(Some("fr"), Some("de"), ""), @"this model does not translate from French into German; it translates de -> en, en -> de, en -> fr, fr -> en (--model opus-mt-fr-de does fr -> de)");
        insta::assert_snapshot!(message(None, Some("elvish"), ""), @"this model does not translate into `elvish`; it translates de -> en, en -> de, en -> fr, fr -> en");
        insta::assert_snapshot!(message(Some("en"), None, ""), @"into which language? Say --to with one of fr, de");
    }
}
