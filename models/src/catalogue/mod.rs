//! From a model's name to its files.
//!
//! [`Catalogue`] knows names (`models.toml`), [`resolve`] finds what a name means here and now, [`cache`] holds what
//! was pulled in the layout that the hub's other clients share, and the feature `pull` fetches what is missing; nothing
//! else opens a network connection.

pub mod cache;
mod choice;
mod error;
mod hash;
#[cfg(feature = "pull")]
pub mod pull;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use babil_runtime::weights::packed_copies_of;
use serde::{Deserialize, Serialize};

pub use cache::{Cache, CachedModel, CachedRepository, Condition, FileReport, Removed};
pub use choice::{FileSet, Files, Gguf, Unfit};
pub use error::{Error, Kind, Result};
pub use settings::Settings;

/// The name of the built-in model.
pub const BUNDLED: &str = "en-fr";

/// The speech model that is asked for when none is named.
pub const SPEECH: &str = "whisper-base";

/// What a model name means here and now.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// The model inside the library.
    Bundled,
    /// A folder that holds the model's files.
    Directory(PathBuf),
    /// A GGUF file, or the first part of one.
    Gguf(PathBuf),
    /// A known model whose files are not in the cache.
    NotPulled {
        /// The model.
        entry: Box<Entry>,
    },
}

/// What `name` means: a name of the catalogue, or else an existing path, or else `owner/repo` or `owner/repo@revision`
/// on the hub. Of models that are GGUF files, `:TYPE` after the name takes the file of that type (`:Q8_0`), and
/// `owner/repo/FILE.gguf` names the file itself. To name a folder that is called like a model, write `./name`.
///
/// Looks at the disk, never at the network.
///
/// # Errors
/// [`Error::Unknown`]; [`Error::ChooseFile`] when several files in the cache could be meant; [`Error::Setting`] when the
/// environment names no usable cache.
pub fn resolve(name: &str) -> Result<Resolved> {
    resolve_with(name, Settings::from_env)
}

/// As [`resolve`], with explicit settings.
///
/// # Errors
/// [`Error::Unknown`].
pub fn resolve_in(name: &str, settings: &Settings) -> Result<Resolved> {
    resolve_with(name, || Ok(settings.clone()))
}

/// The built-in model and paths need no settings.
fn resolve_with(name: &str, settings: impl FnOnce() -> Result<Settings>) -> Result<Resolved> {
    let catalogue = Catalogue::get();
    if catalogue.find(name).is_none() && Path::new(name).exists() {
        let path = Path::new(name);
        if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Ok(Resolved::Gguf(path.to_owned()));
        }
        // Any other file stands for the folder it is in.
        let folder = if path.is_file() { path.parent() } else { Some(path) };
        return Ok(Resolved::Directory(folder.filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new(".")).into()));
    }
    let entry = catalogue.entry(name)?;
    let Source::Hub { repository, files } = &entry.source else {
        return Ok(Resolved::Bundled);
    };
    let model = Cache::new(&settings()?).repository(repository).model(files)?;
    Ok(model.unwrap_or_else(|| Resolved::NotPulled { entry: Box::new(entry.clone()) }))
}

/// The speech model to run when none is named: [`SPEECH`], or else the first one of the catalogue that is in the cache.
///
/// # Errors
/// [`Error::NotPulled`] for [`SPEECH`] when there is none; otherwise as [`resolve`].
pub fn speech_model() -> Result<&'static Entry> {
    speech_model_in(&Settings::from_env()?)
}

/// As [`speech_model`], with explicit settings.
///
/// # Errors
/// As [`speech_model`].
pub fn speech_model_in(settings: &Settings) -> Result<&'static Entry> {
    let entries = Catalogue::get().entries().iter().filter(|entry| entry.kind == Some(ModelKind::Speech));
    let (default, others): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.name == SPEECH);
    for entry in default.into_iter().chain(others) {
        if !matches!(resolve_in(&entry.name, settings)?, Resolved::NotPulled { .. }) {
            return Ok(entry);
        }
    }
    Err(Error::NotPulled { name: SPEECH.to_owned() })
}

/// The model to translate with when none is named: of those that know the languages, the first that is here.
///
/// # Errors
/// [`Error::NotPulled`] for the first of those that know the languages when none of them is here,
/// [`Error::NoTranslator`] when there are none; otherwise as [`resolve`].
pub fn translator(from: &str, to: &str) -> Result<&'static Entry> {
    translator_with(from, to, Settings::from_env)
}

/// As [`translator`], with explicit settings.
///
/// # Errors
/// As [`translator`].
pub fn translator_in(from: &str, to: &str, settings: &Settings) -> Result<&'static Entry> {
    translator_with(from, to, || Ok(settings.clone()))
}

fn translator_with(from: &str, to: &str, settings: impl Fn() -> Result<Settings>) -> Result<&'static Entry> {
    let known = Catalogue::get().for_pair(from, to);
    for entry in &known {
        let here = match resolve_with(&entry.name, &settings)? {
            Resolved::Bundled => cfg!(feature = "bundled"),
            Resolved::NotPulled { .. } => false,
            Resolved::Directory(_) | Resolved::Gguf(_) => true,
        };
        if here {
            return Ok(entry);
        }
    }
    match known.into_iter().find(|entry| entry.source != Source::Bundled) {
        Some(entry) => Err(Error::NotPulled { name: entry.name.clone() }),
        None => Err(Error::NoTranslator { from: from.to_owned(), to: to.to_owned() }),
    }
}

/// Deletes what was pulled of `entry` (see [`CachedRepository::remove`]), and the copies in `packed_folder` that were made
/// of it.
///
/// # Errors
/// As [`CachedRepository::remove`], or [`Error::Bundled`].
pub fn remove(entry: &Entry, settings: &Settings, packed_folder: &Path) -> Result<Removed> {
    let (repository, _) = entry.hub("remove")?;
    let cached = Cache::new(settings).repository(repository);
    let before: Vec<_> = match cached.snapshot() {
        Some(snapshot) => cached.files()?.into_iter().map(|file| snapshot.join(file.file)).collect(),
        None => Vec::new(),
    };
    let mut removed = cached.remove(entry)?;
    for path in before.iter().filter(|path| !path.exists()) {
        for copy in packed_copies_of(&path.display().to_string(), packed_folder) {
            removed.delete(&copy)?;
        }
    }
    Ok(removed)
}

/// All models known by name.
#[derive(Debug)]
pub struct Catalogue {
    families: BTreeMap<String, FileSet>,
    entries: Vec<Entry>,
}

/// One model of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The name to ask for.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// A line about it; may be empty.
    pub description: String,
    /// What it does; `None` of a repository that was named directly and may be either.
    pub kind: Option<ModelKind>,
    /// How it is built, such as `marian`, or the architecture that a GGUF file names, such as `qwen3`; `None` if the
    /// catalogue does not know.
    pub family: Option<String>,
    /// Source languages of a translator, ISO 639-1; `mul` stands for many.
    pub from: Vec<String>,
    /// Target languages of a translator, ISO 639-1; `mul` stands for many.
    pub to: Vec<String>,
    /// Whether the input has to begin with a token for the target language, such as `>>fr<<`.
    pub target_token: bool,
    /// The licence of the weights, as the model card names it; `None` if the catalogue does not know.
    pub licence: Option<String>,
    /// Approximate number of parameters.
    pub parameters: Option<u64>,
    /// Tokens that a language model was made for, prompt included.
    pub context: Option<u64>,
    /// Where its files are.
    pub source: Source,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Translates from one language into another.
    Translation,
    /// Continues text, and holds conversations.
    Language,
    /// Writes down what is said.
    Speech,
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Translation => "translation",
            Self::Language => "language",
            Self::Speech => "speech",
        })
    }
}

/// Where a model's files are.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Inside the library.
    Bundled,
    /// In a repository of the hub.
    Hub {
        /// Which one.
        #[serde(flatten)]
        repository: Repository,
        /// Which of its files.
        files: Files,
    },
}

/// A revision of a model repository of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// `owner/repo`.
    #[serde(rename = "repository")]
    id: String,
    /// Branch, tag or commit.
    revision: String,
}

impl Repository {
    /// The repository `owner/repo`, at its branch `main`, or `owner/repo@revision`. `None` if that is not a valid
    /// name: names become folders and addresses, so only letters, digits, `-`, `_` and `.` may occur.
    pub fn parse(name: &str) -> Option<Self> {
        let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
        let (owner, repository) = id.split_once('/')?;
        let valid_id = [owner, repository].iter().all(|part| is_plain_name(part) && !part.contains("--"));
        let valid_revision = revision.split('/').all(is_plain_name);
        (valid_id && valid_revision).then(|| Self { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// `owner/repo`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Branch, tag or commit.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            "main" => f.write_str(&self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

fn is_plain_name(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !part.is_empty() && part.len() <= 128 && !part.starts_with('.') && !part.contains("..") && part.bytes().all(allowed)
}

impl Catalogue {
    /// The catalogue of this version.
    pub fn get() -> &'static Self {
        static CATALOGUE: LazyLock<Catalogue> =
            LazyLock::new(|| Catalogue::parse(include_str!("models.toml")).expect("models.toml is checked by a test"));
        &CATALOGUE
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let file: CatalogueFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let folder = |model: ModelTable| model.into_entry(&file.families);
        let translators = file.models.into_iter().map(folder);
        let language = file.language.into_iter().map(LanguageTable::into_entry);
        let speech = file.speech.into_iter().map(folder);
        let entries = translators.chain(language).chain(speech).collect::<std::result::Result<_, String>>()?;
        Ok(Self { families: file.families, entries })
    }

    /// All models, the built-in one first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The model of that name or alias.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name || entry.aliases.iter().any(|alias| alias == name))
    }

    /// The models that translate `from` -> `to`: the built-in one first, then those for few languages before those for
    /// many.
    pub fn for_pair(&self, from: &str, to: &str) -> Vec<&Entry> {
        let knows = |languages: &[String], language: &str| languages.iter().any(|l| l == language || l == "mul");
        let mut found: Vec<_> =
            self.entries.iter().filter(|e| from != to && knows(&e.from, from) && knows(&e.to, to)).collect();
        let many = |languages: &[String]| languages.iter().any(|l| l == "mul");
        found.sort_by_key(|e| (e.source != Source::Bundled, many(&e.from) || many(&e.to), e.from.len() * e.to.len()));
        found
    }

    /// The model of that name or alias, with `:TYPE` of that type; or a description of the repository `owner/repo`,
    /// `owner/repo:TYPE` or `owner/repo/FILE.gguf`.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn entry(&self, name: &str) -> Result<Entry> {
        if let Some(entry) = self.find(name) {
            return Ok(entry.clone());
        }
        let (base, wanted) = choice::split_name(name);
        let unknown = || Error::Unknown { name: name.to_owned(), suggestion: self.similar(base) };
        if let Some(mut entry) = self.find(base).cloned() {
            let Source::Hub { files, .. } = &mut entry.source else { return Err(unknown()) };
            *files = Files::Gguf(wanted.filter(|_| entry.kind == Some(ModelKind::Language)).ok_or_else(unknown)?);
            entry.name = name.to_owned();
            return Ok(entry);
        }
        let repository = Repository::parse(base).ok_or_else(unknown)?;
        let known = self.entries.iter().find(|entry| entry.repository().is_some_and(|r| r.id == repository.id));
        let (entry, files) = match known {
            Some(entry) => (entry.clone(), entry.files().cloned()),
            None => (Entry::default(), None),
        };
        let any = || Files::Any(self.families.values().cloned().collect());
        let files = wanted.map(Files::Gguf).or(files).unwrap_or_else(any);
        Ok(Entry { name: name.to_owned(), source: Source::Hub { repository, files }, ..entry })
    }

    /// The name of the catalogue that shares most letter pairs with `name`, if they are many.
    fn similar(&self, name: &str) -> Option<String> {
        let pairs = |text: &str| text.to_lowercase().as_bytes().windows(2).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let wanted = pairs(name);
        let score = |candidate: &str| {
            let found = pairs(candidate);
            let shared = found.iter().filter(|pair| wanted.contains(pair)).count();
            200 * shared / (wanted.len() + found.len()).max(1)
        };
        let names = self.entries.iter().flat_map(|entry| entry.aliases.iter().chain([&entry.name]));
        names
            .map(|name| (score(name), name))
            .filter(|(score, _)| *score >= 75)
            .max_by_key(|(score, _)| *score)
            .map(|(_, name)| name.clone())
    }
}

/// Nothing is known.
impl Default for Entry {
    fn default() -> Self {
        Self {
            name: String::new(),
            aliases: Vec::new(),
            description: String::new(),
            kind: None,
            family: None,
            from: Vec::new(),
            to: Vec::new(),
            target_token: false,
            licence: None,
            parameters: None,
            context: None,
            source: Source::Bundled,
        }
    }
}

impl Entry {
    /// Its repository, unless it is built in.
    pub fn repository(&self) -> Option<&Repository> {
        match &self.source {
            Source::Bundled => None,
            Source::Hub { repository, .. } => Some(repository),
        }
    }

    /// Which files of its repository it needs, unless it is built in.
    pub fn files(&self) -> Option<&Files> {
        match &self.source {
            Source::Bundled => None,
            Source::Hub { files, .. } => Some(files),
        }
    }

    /// Its repository and files, for an action that the built-in model does not know.
    pub(crate) fn hub(&self, action: &'static str) -> Result<(&Repository, &Files)> {
        match &self.source {
            Source::Bundled => Err(Error::Bundled { name: self.name.clone(), action }),
            Source::Hub { repository, files } => Ok((repository, files)),
        }
    }
}

/// `models.toml` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    families: BTreeMap<String, FileSet>,
    models: Vec<ModelTable>,
    language: Vec<LanguageTable>,
    speech: Vec<ModelTable>,
}

/// A language model: a GGUF file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageTable {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    description: String,
    repository: String,
    family: String,
    /// The type to take when none is asked for.
    quant: String,
    licence: Option<String>,
    parameters: u64,
    context: u64,
}

impl LanguageTable {
    fn into_entry(self) -> std::result::Result<Entry, String> {
        let repository = Repository::parse(&self.repository).ok_or_else(|| format!("{}: bad repository", self.name))?;
        Ok(Entry {
            name: self.name,
            aliases: self.aliases,
            description: self.description,
            kind: Some(ModelKind::Language),
            family: Some(self.family),
            licence: self.licence,
            parameters: Some(self.parameters),
            context: Some(self.context),
            source: Source::Hub { repository, files: Files::Gguf(Gguf::Default(Some(self.quant))) },
            ..Entry::default()
        })
    }
}

/// A translator or a speech model: a folder of its family's files, or the built-in one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    description: String,
    family: String,
    /// Of translators only.
    #[serde(default)]
    from: Vec<String>,
    #[serde(default)]
    to: Vec<String>,
    #[serde(default)]
    target_token: bool,
    licence: Option<String>,
    parameters: Option<u64>,
    #[serde(default)]
    bundled: bool,
    repository: Option<String>,
}

impl ModelTable {
    fn into_entry(self, families: &BTreeMap<String, FileSet>) -> std::result::Result<Entry, String> {
        let files = families.get(&self.family).ok_or_else(|| format!("{}: unknown family", self.name))?;
        let translates = files.kind == ModelKind::Translation;
        if [&self.from, &self.to].iter().any(|languages| languages.is_empty() == translates) {
            return Err(format!("{}: `from` and `to` are what translators have", self.name));
        }
        let source = match (self.bundled, &self.repository) {
            (true, None) => Source::Bundled,
            (false, Some(name)) => {
                let repository = Repository::parse(name).ok_or_else(|| format!("{}: bad repository", self.name))?;
                Source::Hub { repository, files: Files::Folder(files.clone()) }
            }
            _ => return Err(format!("{}: either bundled or a repository", self.name)),
        };
        Ok(Entry {
            name: self.name,
            aliases: self.aliases,
            description: self.description,
            kind: Some(files.kind),
            family: Some(self.family),
            from: self.from,
            to: self.to,
            target_token: self.target_token,
            licence: self.licence,
            parameters: self.parameters,
            context: None,
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn settings(cache: &Path) -> Settings {
        Settings { cache: cache.to_owned(), endpoint: "http://127.0.0.1:9".to_owned(), token: None, offline: true }
    }

    #[test]
    fn the_catalogue_is_consistent() {
        let catalogue = Catalogue::parse(include_str!("models.toml")).unwrap();
        let mut names = HashSet::new();
        for entry in catalogue.entries() {
            for name in entry.aliases.iter().chain([&entry.name]) {
                assert!(names.insert(name.clone()), "{name} means two models");
                assert!(!name.contains('/'), "{name} looks like a repository");
            }
            let name = &entry.name;
            match entry.kind.unwrap() {
                ModelKind::Translation => assert!(!entry.from.is_empty() && !entry.to.is_empty(), "{name}"),
                ModelKind::Language => {
                    assert!(!entry.description.is_empty() && entry.family.is_some(), "{name}");
                    assert!(entry.parameters.is_some_and(|n| (10_000_000..10_000_000_000).contains(&n)), "{name}");
                    assert!(entry.context.is_some_and(|n| (1024..2_000_000).contains(&n)), "{name}");
                    let Some(Files::Gguf(Gguf::Default(Some(quant)))) = entry.files() else { panic!("{name}") };
                    assert_eq!(choice::type_in_name(&format!("a-{quant}.gguf")).as_ref(), Some(quant), "{name}");
                    assert!(!name.contains(':'), "{name} looks like a type of a model");
                }
                ModelKind::Speech => {
                    assert!(!entry.description.is_empty() && entry.family.as_deref() == Some("whisper"), "{name}");
                    assert!(entry.parameters.is_some_and(|n| (10_000_000..2_000_000_000).contains(&n)), "{name}");
                    assert!(matches!(entry.files(), Some(Files::Folder(_))), "{name}");
                }
            }
        }
        let bundled: Vec<_> = catalogue.entries().iter().filter(|e| e.source == Source::Bundled).collect();
        assert!(matches!(&bundled[..], [only] if only.name == BUNDLED));
        for files in catalogue.families.values() {
            let all = files.required.iter().chain(&files.weights).chain(&files.optional);
            assert!(all.into_iter().all(|file| cache::is_safe_file_name(file)));
        }
    }

    #[test]
    fn names_that_could_leave_the_cache_are_no_repositories() {
        let good = ["Helsinki-NLP/opus-mt-en-de", "a/b@main", "a/b@refs/pr/1", "a/b.c_d"];
        assert!(good.iter().all(|name| Repository::parse(name).is_some()));
        for bad in [
            "", "a", "/b", "a/", "a/b/c", "../b", "a/..", "a/b@", "a/b@../x", "a/b@/etc", "a\\b/c", "a/b%2f", "a/b--c",
            "a/b@x y",
        ] {
            assert_eq!(Repository::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_resolve_to_the_bundled_model_a_path_or_a_repository() {
        let cache = tempfile::tempdir().unwrap();
        let resolve = |name: &str| resolve_in(name, &settings(cache.path()));
        assert_eq!(resolve("en-fr").unwrap(), Resolved::Bundled);
        assert_eq!(resolve("fr-en").unwrap(), Resolved::Bundled);
        let path = cache.path().to_str().unwrap();
        assert_eq!(resolve(path).unwrap(), Resolved::Directory(path.into()));
        let gguf = cache.path().join("model.GGUF");
        std::fs::write(&gguf, "").unwrap();
        assert_eq!(resolve(gguf.to_str().unwrap()).unwrap(), Resolved::Gguf(gguf));
        for name in [
            "en-de",
            "opus-mt-en-de",
            "Helsinki-NLP/opus-mt-en-de",
            "someone/else",
            "smollm2-135m",
            "smollm2-135m:q4_0",
            "someone/else:Q8_0",
            "someone/else@v1/below/model.gguf",
        ] {
            assert!(matches!(resolve(name).unwrap(), Resolved::NotPulled { .. }), "{name}");
        }
    }

    #[test]
    fn unknown_names_suggest_a_similar_one() {
        let message = |name: &str| Catalogue::get().entry(name).unwrap_err().to_string();
        insta::assert_snapshot!(message("opus-mt-en-dee"), @"unknown model `opus-mt-en-dee`: not in the catalogue (`babil list`), not a path, and not of the form owner/repo; did you mean `opus-mt-en-de`?");
        assert!(!message("../../etc/passwd").contains("did you mean"));
    }

    #[test]
    fn models_for_a_pair_come_specific_first() {
        let names = |from, to| Catalogue::get().for_pair(from, to).iter().map(|e| e.name.as_str()).collect::<Vec<_>>();
        insta::assert_debug_snapshot!(names("en", "fr"), @r#"
        [
            "en-fr",
            "opus-mt-en-fr",
            "opus-mt-en-ROMANCE",
            "opus-mt-en-mul",
        ]
        "#);
        assert!(names("en", "en").is_empty());
    }

    #[test]
    fn the_default_speech_model_is_the_one_that_is_here() {
        let cache = tempfile::tempdir().unwrap();
        let settings = settings(cache.path());
        let message = |result: Result<&Entry>| match result {
            Ok(entry) => entry.name.clone(),
            Err(error) => error.to_string(),
        };
        let pull = |name: &str| {
            let entry = Catalogue::get().entry(name).unwrap();
            let folder = cache.path().join(format!("models--{}", entry.repository().unwrap().id().replace('/', "--")));
            let commit = "0".repeat(40);
            std::fs::create_dir_all(folder.join("refs")).unwrap();
            std::fs::write(folder.join("refs/main"), &commit).unwrap();
            std::fs::create_dir_all(folder.join("snapshots").join(&commit)).unwrap();
            let Some(Files::Folder(files)) = entry.files() else { panic!("{name}") };
            for file in files.required.iter().chain(&files.weights[..1]) {
                std::fs::write(folder.join("snapshots").join(&commit).join(file), "").unwrap();
            }
        };
        assert_eq!(
            message(speech_model_in(&settings)),
            "`whisper-base` is not in the cache; get it with `babil pull whisper-base`"
        );
        pull("distil-small.en");
        assert_eq!(message(speech_model_in(&settings)), "distil-small.en");
        pull("whisper-small");
        assert_eq!(message(speech_model_in(&settings)), "whisper-small");
        pull("whisper-base");
        assert_eq!(message(speech_model_in(&settings)), "whisper-base");

        #[cfg(feature = "bundled")]
        assert_eq!(message(translator_in("fr", "en", &settings)), "en-fr");
        assert_eq!(
            message(translator_in("de", "en", &settings)),
            "`opus-mt-de-en` is not in the cache; get it with `babil pull opus-mt-de-en`"
        );
        pull("opus-mt-mul-en");
        assert_eq!(message(translator_in("de", "en", &settings)), "opus-mt-mul-en");
        assert_eq!(
            message(translator_in("aa", "bb", &settings)),
            "no model of the catalogue translates from `aa` into `bb` (`babil list` shows what they do)"
        );
    }

    #[test]
    fn types_and_files_are_asked_for_by_name() {
        let catalogue = Catalogue::get();
        let files = |name: &str| catalogue.entry(name).unwrap().files().cloned().unwrap();
        let of_type = |wanted: &str| Files::Gguf(Gguf::Type(wanted.to_owned()));
        assert_eq!(files("smollm2-135m:F16"), of_type("F16"));
        assert_eq!(files("someone/else:Q5_K_M"), of_type("Q5_K_M"));
        assert_eq!(files("someone/else/a.gguf"), Files::Gguf(Gguf::File("a.gguf".to_owned())));
        assert!(matches!(files("someone/else"), Files::Any(_)));
        let known = catalogue.find("smollm2-135m").unwrap();
        let repository = known.repository().unwrap().id();
        assert_eq!(Some(&files(repository)), known.files(), "the catalogue knows the repository");
        assert_eq!(files(&format!("{repository}:F16")), of_type("F16"));
        for unknown in ["en-de:Q8_0", "en-fr:Q8_0", "nothing:Q8_0", "../x:Q8_0", "a/../b.gguf"] {
            assert!(matches!(catalogue.entry(unknown), Err(Error::Unknown { .. })), "{unknown}");
        }
        let message = catalogue.entry("smollm2-135n:Q8_0").unwrap_err().to_string();
        assert!(message.ends_with("did you mean `smollm2-135m`?"), "{message}");
    }
}
