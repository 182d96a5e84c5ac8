//! What commands that translate share: opening a translator, its terms, its direction, and the way from speech.

pub(crate) mod direction;
#[cfg(feature = "audio")]
pub(crate) mod route;

use std::path::PathBuf;

use anyhow::Result;
use babil_models::tasks::glossary::{Glossary, WithGlossary};
use babil_models::tasks::translate::SentenceTranslator;
use babil_models::{OpenError, OpenOptions};
use babil_runtime::Error;
use clap::Args;

use crate::args::Context;
use crate::exit::UsageError;

/// Terms and their translations.
#[derive(Clone, Debug, Args)]
pub(crate) struct TermsArgs {
    /// A file of terms and their translations: `term = translation` on each line, or a term that is kept
    #[arg(long, value_name = "FILE")]
    glossary: Option<PathBuf>,
    /// A term that is not to be translated, such as a name; may be repeated
    #[arg(long, value_name = "TERM")]
    keep: Vec<String>,
}

impl TermsArgs {
    pub(crate) fn glossary(&self) -> Result<Glossary> {
        let mut glossary = Glossary::default();
        if let Some(path) = &self.glossary {
            let bad = |problem: String| Error::BadRequest(format!("{}: {problem}", path.display()));
            let file = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
            glossary = Glossary::parse(&file).map_err(|error| bad(error.to_string()))?;
        }
        for term in &self.keep {
            if !term.contains(char::is_alphanumeric) {
                return Err(UsageError::new("--keep needs a word").into());
            }
            glossary.insert(term.trim(), term.trim());
        }
        Ok(glossary)
    }
}

/// Opens a translator; errors keep the types that [`crate::exit`] knows.
pub(crate) fn open(options: OpenOptions) -> Result<Box<dyn SentenceTranslator>> {
    babil_models::open_translator(&options).map_err(|error| match error {
        OpenError::Catalogue(error) => error.into(),
        OpenError::Engine(error) => error.into(),
    })
}

/// Says which terms did not get into translations since this was last asked.
pub(crate) fn note_missed(translator: &WithGlossary, context: &Context) {
    for missed in translator.missed() {
        context.output.note(format_args!("no `{}` in the translation of: {}", missed.term, missed.sentence));
    }
}
