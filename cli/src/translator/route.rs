//! From what is said to another language: by the speech model itself, or by a translator of what it writes.

use anyhow::Result;
use babil_models::speech::SpeechModel;
use babil_models::tasks::document::{Job, Pace};
use babil_models::tasks::glossary::{Glossary, WithGlossary};
use babil_models::tasks::language::code_of;
use babil_models::tasks::translate::{LanguagePair, TranslateOptions};
use babil_models::{OpenOptions, catalogue};
use clap::{Args, ValueEnum};

use super::{TermsArgs, direction, note_missed, open};
use crate::args::Context;
use crate::exit::UsageError;

/// How another language is reached, and with which terms.
#[derive(Clone, Debug, Args)]
pub(crate) struct RouteArgs {
    /// What translates: a name of `babil list` or a path [default: what is here for the two languages]
    #[arg(long, value_name = "NAME|PATH")]
    translator: Option<String>,
    /// How another language is reached
    #[arg(long, value_enum, default_value_t)]
    via: Via,
    #[command(flatten)]
    terms: TermsArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Via {
    /// Text, where a translator is here, else whisper
    #[default]
    Auto,
    /// The speech model writes English itself
    Whisper,
    /// A translator translates what the speech model writes
    Text,
}

/// How a language is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// It is the one that is spoken.
    Spoken,
    /// The speech model writes it.
    Whisper,
    /// This translator translates into it.
    Text(String),
}

impl Route {
    /// As `--via` has it.
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Spoken => None,
            Self::Whisper => Some("whisper"),
            Self::Text(_) => Some("text"),
        }
    }
}

/// The language that somebody wants, how they want it reached, and their terms.
pub(crate) struct Wish {
    pub(crate) target: String,
    pub(crate) glossary: Glossary,
    translator: Option<String>,
    via: Via,
}

impl RouteArgs {
    /// The wish for the language `target`, which `option` names; `None` without one.
    ///
    /// # Errors
    /// Options that contradict each other, or are for a translation that nobody wants; a bad glossary.
    pub(crate) fn wish(&self, target: Option<&str>, option: &str) -> Result<Option<Wish>> {
        let usage = |problem: String| Err(UsageError::new(problem).into());
        let glossary = self.terms.glossary()?;
        let translates = self.translator.is_some() || !glossary.is_empty();
        let Some(target) = target.map(code_of) else {
            if translates || self.via != Via::Auto {
                return usage(format!(
                    "--translator, --glossary, --keep and --via are for another language: say which with {option}"
                ));
            }
            return Ok(None);
        };
        if self.via == Via::Whisper && target != "en" {
            return usage(format!("--via whisper writes English: say {option} en, or --via text"));
        }
        if self.via == Via::Whisper && translates {
            return usage("--translator, --glossary and --keep need --via text".to_owned());
        }
        Ok(Some(Wish { target, glossary, translator: self.translator.clone(), via: self.via }))
    }
}

impl Wish {
    /// How to get there from the language `spoken`, with what is here.
    ///
    /// # Errors
    /// No translator is here for these languages, and `model` cannot do it.
    pub(crate) fn route(&self, spoken: &str, model: &SpeechModel) -> Result<Route> {
        // Speech models have their own code for some languages, such as Norwegian.
        if code_of(spoken) == self.target {
            return Ok(Route::Spoken);
        }
        match (self.via, self.translator(spoken)) {
            (Via::Whisper, _) => Ok(Route::Whisper),
            (_, Ok(name)) => Ok(Route::Text(name)),
            (Via::Auto, Err(_)) if self.suits_speech(model) => Ok(Route::Whisper),
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// How to get there before anybody has said in which language they speak; `None` where it depends on that.
    pub(crate) fn route_from_anything(&self, model: &SpeechModel) -> Option<Route> {
        let whisper = match self.via {
            Via::Whisper => true,
            Via::Auto => self.translator.is_none() && self.suits_speech(model),
            Via::Text => false,
        };
        whisper.then_some(Route::Whisper)
    }

    /// Whether the speech model can write this language without help.
    fn suits_speech(&self, model: &SpeechModel) -> bool {
        self.target == "en" && model.special().multilingual.is_some() && self.glossary.is_empty()
    }

    /// The name of what translates what is spoken: the one that was named, or the first translator that is here.
    fn translator(&self, spoken: &str) -> Result<String, catalogue::Error> {
        match &self.translator {
            Some(name) => Ok(name.clone()),
            None => catalogue::translator(&code_of(spoken), &self.target).map(|entry| entry.name.clone()),
        }
    }

    /// Says that the speech model translates, where nobody asked for that.
    pub(crate) fn note_whisper(&self, context: &Context) {
        if self.via == Via::Auto {
            context.output.note(
                "no translator is here for these languages: the speech model writes English itself, which turbo and \
                 distil models have not learnt",
            );
        }
    }
}

/// A translator that is open, and how it is used.
pub(crate) struct Translation {
    translator: WithGlossary,
    pair: LanguagePair,
    options: TranslateOptions,
}

impl Translation {
    /// Opens `name` to translate what is spoken.
    pub(crate) fn open(
        name: &str,
        threads: Option<usize>,
        spoken: &str,
        target: &str,
        glossary: &Glossary,
    ) -> Result<Self> {
        // Translating never needs the network.
        let options = OpenOptions { model: Some(name.to_owned()), threads, offline: true, ..OpenOptions::default() };
        let translator = open(options)?;
        let pair = direction::resolve(translator.pairs(), Some(&code_of(spoken)), Some(target), "")?.pair;
        let translator = WithGlossary::new(translator, glossary.clone());
        Ok(Self { translator, pair, options: TranslateOptions::default() })
    }

    /// What a cascade needs to know.
    pub(crate) fn job<'j>(&'j self, cancelled: &'j dyn Fn() -> bool) -> Job<'j> {
        let Self { translator, pair, options } = self;
        Job { translator, pair, options, pace: Pace::default(), cancelled }
    }

    /// Says which terms did not get into translations since this was last asked.
    pub(crate) fn note_missed(&self, context: &Context) {
        note_missed(&self.translator, context);
    }
}
