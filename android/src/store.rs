//! The folder of models that are known by name: what is in it, checked, deleted, and fetched where that is built in.

use std::path::PathBuf;

use babil_models::catalogue::{Cache, Catalogue, Condition, Entry, Error, Settings, Source, remove};
use babil_models::packed_folder;

use crate::bytes::Record;
use crate::failure::{Code, Failure, Result};
use crate::generation::{Counts, Finish, Generation, Piece, Work, begin};

/// The settings of a store: those of the environment, but for what is said here.
pub(crate) fn settings(folder: Option<PathBuf>, endpoint: Option<String>, token: Option<String>) -> Result<Settings> {
    let mut settings = match folder {
        Some(folder) => Settings::in_folder(folder)?,
        None => Settings::from_env()?,
    };
    if let Some(endpoint) = endpoint {
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Failure::new(Code::BadArgument, format!("`{endpoint}` is not an http or https address")));
        }
        settings.endpoint = endpoint.trim_end_matches('/').to_owned();
        // The environment's token is for the environment's endpoint.
        settings.token = None;
    }
    if token.is_some() {
        settings.token = token;
    }
    Ok(settings)
}

/// A model, as `dev.babil.ModelStore.list` tells of it.
struct Listed {
    name: String,
    description: String,
    kind: String,
    licence: String,
    /// Whether it can be opened.
    here: bool,
    /// On disk, unfinished transfers included.
    bytes: u64,
}

/// The record of `dev.babil.Native.models`: those of the catalogue, and others that were pulled.
pub(crate) fn list(settings: &Settings) -> Result<Vec<u8>> {
    let cache = Cache::new(settings);
    let cached = cache.models()?;
    let catalogue = Catalogue::get().entries();
    let mut models = Vec::new();
    for entry in catalogue {
        let (here, bytes) = match &entry.source {
            Source::Bundled => (cfg!(feature = "bundled"), 0),
            Source::Hub { repository, files } => {
                let cached = cache.repository(repository);
                // Of several files that could be meant, each can be opened by its own name.
                (cached.model(files).map_or(true, |model| model.is_some()), cached.bytes()?)
            }
        };
        models.push(Listed {
            name: entry.name.clone(),
            description: entry.description.clone(),
            kind: entry.kind.map_or(String::new(), |kind| kind.to_string()),
            licence: entry.licence.clone().unwrap_or_default(),
            here,
            bytes,
        });
    }
    let known =
        |repository: &str| catalogue.iter().any(|entry| entry.repository().is_some_and(|r| r.id() == repository));
    models.extend(cached.into_iter().filter(|model| !known(&model.repository)).map(|model| Listed {
        name: model.repository,
        description: String::new(),
        kind: model.kind.map_or(String::new(), |kind| kind.to_string()),
        licence: String::new(),
        here: model.complete,
        bytes: model.bytes,
    }));
    let record = Record::default().list(&models, |record, model| {
        let record = record.text(&model.name).text(&model.description).text(&model.kind).text(&model.licence);
        record.byte(model.here.into()).long(model.bytes)
    });
    Ok(record.into_bytes())
}

/// Reads all files of a model again, and compares them with what they were when they were pulled.
pub(crate) fn verify(name: &str, settings: &Settings) -> Result<Generation> {
    let entry = Catalogue::get().entry(name)?;
    let Source::Hub { repository, .. } = &entry.source else {
        return Err(Error::Bundled { name: entry.name, action: "verify" }.into());
    };
    let cached = Cache::new(settings).repository(repository);
    if cached.snapshot().is_none() {
        return Err(Error::NotPulled { name: entry.name }.into());
    }
    begin(Work::Transfer, move |feed| {
        let total = cached.files()?.iter().map(|file| file.bytes).sum();
        let reports = cached.verify(&mut |done| {
            let told = feed.replace(Piece::Progress { done, total, file: entry.name.clone() });
            if told.is_break() { told } else { feed.flow() }
        })?;
        let good = |condition: &Condition| matches!(condition, Condition::Good | Condition::Unknown);
        match reports.iter().filter(|report| !good(&report.condition)).count() {
            0 => Ok((Finish::Complete, Counts::default())),
            damaged => Err(Error::Damaged { name: entry.name, damaged }.into()),
        }
    })
}

/// Deletes a model and what was made of it; bytes that are free now.
pub(crate) fn delete(name: &str, settings: &Settings) -> Result<u64> {
    let entry: Entry = Catalogue::get().entry(name)?;
    Ok(remove(&entry, settings, &packed_folder())?.bytes)
}

/// Fetches what is missing of a model.
#[cfg(feature = "pull")]
pub(crate) fn pull(name: &str, settings: Settings) -> Result<Generation> {
    use babil_models::catalogue::pull::{Event, pull};

    let entry = Catalogue::get().entry(name)?;
    if entry.source == Source::Bundled {
        return Err(Error::Bundled { name: entry.name, action: "pull" }.into());
    }
    begin(Work::Transfer, move |feed| {
        pull(&entry, &settings, &mut |event| match event {
            Event::Progress { file, done, total } => {
                feed.replace(Piece::Progress { done, total, file: file.to_owned() })
            }
            _ => feed.flow(),
        })?;
        Ok((Finish::Complete, Counts::default()))
    })
}

#[cfg(not(feature = "pull"))]
pub(crate) fn pull(_: &str, _: Settings) -> Result<Generation> {
    Err(Failure::new(
        Code::Unsupported,
        "this library fetches nothing (feature `pull`): put the files where it finds them",
    ))
}
