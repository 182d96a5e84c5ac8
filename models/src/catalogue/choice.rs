//! Which files of a repository make a model: by fixed names ([`FileSet`]), or a GGUF file by what its name says of its
//! type ([`Gguf`]).
//!
//! The same rule chooses from the hub's listing when a model is pulled, and from the cache when it is used.

use serde::{Deserialize, Serialize};

use super::ModelKind;

/// Names of files that are no models, beside GGUF models in repositories: what a model sees with, and statistics for
/// quantising it.
const NO_MODELS: [&str; 2] = ["mmproj", "imatrix"];
/// The types that are taken of a repository when none is asked for, the first that there is.
const DEFAULT_TYPES: [&str; 2] = ["Q4_K_M", "Q8_0"];
const EXTENSION: &str = ".gguf";
/// The card, whose header names the licence.
const CARD: &str = "README.md";

/// Which files of a repository are needed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Files {
    /// Those of a family whose models are folders.
    Folder(FileSet),
    /// A GGUF file.
    Gguf(Gguf),
    /// A GGUF file of the default type if the repository has any, else a folder of the first family whose files it has.
    Any(Vec<FileSet>),
}

/// The files that a family needs of a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSet {
    /// What its models do.
    pub kind: ModelKind,
    /// All of these.
    pub required: Vec<String>,
    /// One of these: the first that there is.
    pub weights: Vec<String>,
    /// Those of these that there are.
    pub optional: Vec<String>,
}

/// Which GGUF file of a repository is meant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gguf {
    /// Of this type if there is one, else of the default types, else the only one.
    Default(Option<String>),
    /// Of this type.
    Type(String),
    /// This file, or its first part.
    File(String),
}

/// The files of a model, as chosen from a list of names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Chosen<'a> {
    /// The model is the folder that these are in.
    Folder(Vec<&'a str>),
    /// The model is the first of these, which is followed by its other parts.
    Gguf(Vec<&'a str>),
}

/// Why no model can be chosen from a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// These files are not there.
    Missing(String),
    /// No GGUF file is the wanted one.
    NoneOf {
        /// What was asked for.
        wanted: String,
        /// The GGUF files that there are.
        files: Vec<String>,
    },
    /// More than one GGUF file is the wanted one.
    Several {
        /// What was asked for; empty for nothing in particular.
        wanted: String,
        /// Those that fit.
        files: Vec<String>,
    },
}

impl Files {
    /// Chooses from `names`.
    pub(crate) fn choose<'a>(&'a self, names: &'a [String]) -> Result<Chosen<'a>, Unfit> {
        let gguf = |wanted: &Gguf| {
            let mut files = wanted.choose(names)?;
            files.extend(names.iter().map(String::as_str).filter(|name| *name == CARD));
            Ok(Chosen::Gguf(files))
        };
        match self {
            Self::Folder(set) => {
                set.choose(names).map(Chosen::Folder).map_err(|missing| Unfit::Missing(missing.join(", ")))
            }
            Self::Gguf(wanted) => gguf(wanted),
            Self::Any(_) if names.iter().any(|name| is_gguf(name)) => gguf(&Gguf::Default(None)),
            Self::Any(sets) => {
                let mut nearest: Option<Vec<String>> = None;
                for set in sets {
                    match set.choose(names) {
                        Ok(files) => return Ok(Chosen::Folder(files)),
                        Err(missing) if nearest.as_ref().is_none_or(|nearest| missing.len() < nearest.len()) => {
                            nearest = Some(missing);
                        }
                        Err(_) => {}
                    }
                }
                let missing = nearest.unwrap_or_default().join(", ");
                Err(Unfit::Missing(format!("GGUF file, and no {missing}")))
            }
        }
    }

    /// What the model does whose files have these `names`, and whether they are complete.
    pub(crate) fn describe(&self, names: &[String]) -> (Option<ModelKind>, bool) {
        let gguf = names.iter().any(|name| is_gguf(name));
        match self {
            // Whichever of them was pulled.
            Self::Gguf(_) => (Some(ModelKind::Language), !gguf_models(names).is_empty()),
            Self::Any(_) if gguf => (Some(ModelKind::Language), !gguf_models(names).is_empty()),
            Self::Folder(set) => (Some(set.kind), set.choose(names).is_ok()),
            Self::Any(sets) => {
                let set = sets.iter().find(|set| set.choose(names).is_ok());
                (set.map(|set| set.kind), set.is_some())
            }
        }
    }
}

impl FileSet {
    /// Chooses from `names`, or says what is missing.
    fn choose<'a>(&'a self, names: &[String]) -> Result<Vec<&'a str>, Vec<String>> {
        let has = |file: &&String| names.contains(file);
        let weights = self.weights.iter().find(has);
        let mut missing: Vec<_> = self.required.iter().filter(|file| !has(file)).cloned().collect();
        if weights.is_none() {
            missing.push(self.weights.join(" or "));
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let optional = self.optional.iter().filter(has);
        Ok(self.required.iter().chain(weights).chain(optional).map(String::as_str).collect())
    }
}

impl Gguf {
    /// Whether one file is meant, not whichever there is.
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Self::Default(_))
    }

    /// Chooses from `names`: a file, or all parts of one.
    pub(crate) fn choose<'a>(&self, names: &'a [String]) -> Result<Vec<&'a str>, Unfit> {
        let models = gguf_models(names);
        let of_type = |wanted: &str| models.iter().filter(|parts| names_type(parts[0], wanted)).collect::<Vec<_>>();
        let first = |models: &[&Vec<&str>]| models.iter().map(|parts| parts[0].to_owned()).collect();
        let (wanted, fitting) = match self {
            Self::File(file) => {
                // Named in full, any file is taken at its word.
                if !is_part(file) && names.contains(file) {
                    return Ok(names.iter().filter(|name| *name == file).map(String::as_str).collect());
                }
                (file.clone(), models.iter().filter(|parts| parts[0] == file).collect())
            }
            Self::Type(wanted) => (wanted.clone(), of_type(wanted)),
            Self::Default(preferred) => {
                let types = preferred.iter().map(String::as_str).chain(DEFAULT_TYPES);
                let found = types.map(|wanted| (wanted.to_owned(), of_type(wanted))).find(|(_, fit)| !fit.is_empty());
                found.unwrap_or_else(|| (String::new(), models.iter().collect()))
            }
        };
        match fitting[..] {
            [parts] => Ok(parts.clone()),
            [] => Err(Unfit::NoneOf { wanted, files: first(&models.iter().collect::<Vec<_>>()) }),
            _ => Err(Unfit::Several { wanted, files: first(&fitting) }),
        }
    }
}

fn is_gguf(name: &str) -> bool {
    name.len() > EXTENSION.len() && name.is_char_boundary(name.len() - EXTENSION.len()) && {
        let (stem, extension) = name.split_at(name.len() - EXTENSION.len());
        let file = stem.rsplit('/').next().unwrap_or(stem).to_ascii_lowercase();
        extension.eq_ignore_ascii_case(EXTENSION) && !NO_MODELS.iter().any(|other| file.contains(other))
    }
}

/// What stands before the number of a part, the number, and how many parts there are: `NAME-00001-of-00003.gguf`.
fn part(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(EXTENSION)?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let number_of = |text: &str| if text.len() == 5 { text.parse().ok() } else { None };
    Some((stem, number_of(number)?, number_of(count)?))
}

fn is_part(name: &str) -> bool {
    part(name).is_some()
}

/// The GGUF models among `names`: each a file, or all parts of one in order. One of which parts are missing is none.
pub(crate) fn gguf_models(names: &[String]) -> Vec<Vec<&str>> {
    let mut models = Vec::new();
    for name in names.iter().map(String::as_str).filter(|name| is_gguf(name)) {
        match part(name) {
            None => models.push(vec![name]),
            Some((stem, 1, count @ 1..)) => {
                let find = |number| {
                    let of_this = |other: &&String| part(other) == Some((stem, number, count));
                    names.iter().find(of_this).map(String::as_str)
                };
                models.extend((1..=count).map(find).collect::<Option<Vec<_>>>());
            }
            Some(_) => {}
        }
    }
    models
}

/// Whether `file` names the type `wanted`, whatever the case, and not only as a part of another type's name.
fn names_type(file: &str, wanted: &str) -> bool {
    let (file, wanted) = (file.to_ascii_lowercase(), wanted.to_ascii_lowercase());
    let in_name = |character: Option<char>| character.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    !wanted.is_empty()
        && file.match_indices(&wanted).any(|(at, _)| {
            !in_name(file[..at].chars().next_back()) && !in_name(file[at + wanted.len()..].chars().next())
        })
}

/// The type that the name of a GGUF file says it has, such as `Q4_K_M`.
pub(crate) fn type_in_name(file: &str) -> Option<String> {
    let stem = part(file).map(|(stem, ..)| stem).or_else(|| file.strip_suffix(EXTENSION))?;
    let words = stem.rsplit('/').next()?.rsplit(['-', '.']);
    let is_type = |word: &&str| {
        let lower = word.to_ascii_lowercase();
        let digit_after = |prefix: &str| {
            lower.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        matches!(lower.as_str(), "f16" | "bf16" | "f32" | "fp16" | "fp32" | "i2_s" | "mxfp4")
            || ["q", "iq", "tq"].iter().any(|prefix| digit_after(prefix))
    };
    words.into_iter().find(is_type).map(str::to_ascii_uppercase)
}

/// Cuts what is asked of a repository from its name: `owner/repo:TYPE` and `owner/repo/FILE.gguf`.
pub(crate) fn split_name(name: &str) -> (&str, Option<Gguf>) {
    if let Some((base, wanted)) =
        name.rsplit_once(':').filter(|(_, wanted)| !wanted.is_empty() && !wanted.contains('/'))
    {
        return (base, Some(Gguf::Type(wanted.to_owned())));
    }
    let file_at = name.match_indices('/').nth(1).map(|(at, _)| at);
    match file_at {
        Some(at) if name.to_ascii_lowercase().ends_with(EXTENSION) => {
            (&name[..at], Some(Gguf::File(name[at + 1..].to_owned())))
        }
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The chosen files, or the problem.
    fn choose(wanted: &Gguf, listing: &[&str]) -> String {
        match wanted.choose(&names(listing)) {
            Ok(files) => files.join(" "),
            Err(Unfit::NoneOf { wanted, files }) => format!("no {wanted} in {}", files.join(" ")),
            Err(Unfit::Several { wanted, files }) => format!("several {wanted}: {}", files.join(" ")),
            Err(Unfit::Missing(missing)) => format!("no {missing}"),
        }
    }

    fn of_type(wanted: &str) -> Gguf {
        Gguf::Type(wanted.to_owned())
    }

    #[test]
    fn types_are_found_in_names_as_publishers_write_them() {
        let listing = [
            "Model-2B-Q4_0.gguf",
            "Model-2B-Q4_0_4_4.gguf",
            "Model-2B-IQ4_NL.gguf",
            "Model-2B.Q4_K_M.gguf",
            "model-2b-instruct-q8_0.gguf",
            "Model-2B-UD-Q4_K_XL.gguf",
            "ggml-model-i2_s.gguf",
            "mmproj-Model-2B-f16.gguf",
            "Model-2B-imatrix.gguf",
            "config.json",
        ];
        for (wanted, file) in [
            ("Q4_0", "Model-2B-Q4_0.gguf"),
            ("q4_0_4_4", "Model-2B-Q4_0_4_4.gguf"),
            ("Q4_K_M", "Model-2B.Q4_K_M.gguf"),
            ("Q8_0", "model-2b-instruct-q8_0.gguf"),
            ("UD-Q4_K_XL", "Model-2B-UD-Q4_K_XL.gguf"),
            ("Q4_K_XL", "Model-2B-UD-Q4_K_XL.gguf"),
            ("I2_S", "ggml-model-i2_s.gguf"),
        ] {
            assert_eq!(choose(&of_type(wanted), &listing), file, "{wanted}");
        }
        for absent in ["Q4_K", "Q4", "NL", "f16", "", "K_M"] {
            assert!(choose(&of_type(absent), &listing).starts_with("no "), "{absent}");
        }
    }

    #[test]
    fn without_a_type_the_usual_ones_are_taken_or_the_only_file() {
        let default = Gguf::Default(None);
        assert_eq!(choose(&default, &["a-Q8_0.gguf", "a-Q4_K_M.gguf", "a-Q5_K_M.gguf"]), "a-Q4_K_M.gguf");
        assert_eq!(choose(&default, &["a-Q8_0.gguf", "a-Q5_K_M.gguf"]), "a-Q8_0.gguf");
        assert_eq!(choose(&default, &["model.gguf", "mmproj.gguf", "README.md"]), "model.gguf");
        assert_eq!(choose(&default, &["a-q4.gguf", "a-fp16.gguf"]), "several : a-q4.gguf a-fp16.gguf");
        assert_eq!(choose(&default, &["mmproj.gguf"]), "no  in ");
        let preferred = Gguf::Default(Some("Q5_K_M".to_owned()));
        assert_eq!(choose(&preferred, &["a-Q8_0.gguf", "a-Q4_K_M.gguf", "a-Q5_K_M.gguf"]), "a-Q5_K_M.gguf");
        assert_eq!(choose(&preferred, &["a-Q8_0.gguf", "a-Q4_K_M.gguf"]), "a-Q4_K_M.gguf");
    }

    #[test]
    fn several_files_of_a_type_are_not_guessed_between() {
        let listing = ["base-Q8_0.gguf", "tuned-Q8_0.gguf", "tuned-Q4_0.gguf"];
        assert_eq!(choose(&of_type("q8_0"), &listing), "several q8_0: base-Q8_0.gguf tuned-Q8_0.gguf");
        assert_eq!(choose(&Gguf::File("tuned-Q8_0.gguf".into()), &listing), "tuned-Q8_0.gguf");
        assert_eq!(
            choose(&Gguf::File("other.gguf".into()), &listing),
            "no other.gguf in base-Q8_0.gguf tuned-Q8_0.gguf tuned-Q4_0.gguf"
        );
    }

    #[test]
    fn all_parts_of_a_model_are_one() {
        let parts =
            ["Q8_0/a-Q8_0-00002-of-00003.gguf", "Q8_0/a-Q8_0-00001-of-00003.gguf", "Q8_0/a-Q8_0-00003-of-00003.gguf"];
        let all = "Q8_0/a-Q8_0-00001-of-00003.gguf Q8_0/a-Q8_0-00002-of-00003.gguf Q8_0/a-Q8_0-00003-of-00003.gguf";
        for wanted in [Gguf::Default(None), of_type("Q8_0"), Gguf::File(parts[1].to_owned())] {
            assert_eq!(choose(&wanted, &parts), all, "{wanted:?}");
            assert_eq!(choose(&wanted, &parts[1..]).split(' ').next(), Some("no"), "{wanted:?}: a part is missing");
        }
        assert!(choose(&Gguf::File(parts[0].to_owned()), &parts).starts_with("no "), "begins in the middle");
        assert!(choose(&Gguf::Default(None), &["a-00001-of-00000.gguf"]).starts_with("no "), "no parts at all");
    }

    #[test]
    fn folders_need_their_files_and_anything_may_be_gguf() {
        let set = FileSet {
            kind: ModelKind::Translation,
            required: names(&["config.json"]),
            weights: names(&["model.safetensors", "pytorch_model.bin"]),
            optional: names(&[CARD]),
        };
        let folder = ["pytorch_model.bin", "model.safetensors", "config.json", CARD];
        let chosen = ["config.json", "model.safetensors", CARD];
        let other = FileSet { kind: ModelKind::Speech, required: names(&["a.json", "b.json"]), ..set.clone() };
        let any = Files::Any(vec![other, set.clone()]);
        for files in [&Files::Folder(set.clone()), &any] {
            assert_eq!(files.choose(&names(&folder)), Ok(Chosen::Folder(chosen.to_vec())));
            assert_eq!(files.describe(&names(&folder)), (Some(ModelKind::Translation), true));
        }
        let speech = ["a.json", "b.json", "config.json", "model.safetensors"];
        assert_eq!(any.describe(&names(&speech)), (Some(ModelKind::Speech), true));
        let both = [&folder[..], &["a-Q4_K_M.gguf"]].concat();
        assert_eq!(any.choose(&names(&both)), Ok(Chosen::Gguf(vec!["a-Q4_K_M.gguf", CARD])));
        assert_eq!(any.describe(&names(&both)), (Some(ModelKind::Language), true));
        let missing = |files: &Files| files.choose(&names(&["config.json"])).unwrap_err();
        assert_eq!(missing(&any), Unfit::Missing("GGUF file, and no model.safetensors or pytorch_model.bin".into()));
        assert_eq!(missing(&Files::Folder(set)), Unfit::Missing("model.safetensors or pytorch_model.bin".into()));
    }

    #[test]
    fn names_are_cut_at_the_type_or_the_file() {
        assert_eq!(split_name("a/b"), ("a/b", None));
        assert_eq!(split_name("a/b@refs/pr/1"), ("a/b@refs/pr/1", None));
        assert_eq!(split_name("a/b:Q8_0"), ("a/b", Some(of_type("Q8_0"))));
        assert_eq!(split_name("name:q8_0"), ("name", Some(of_type("q8_0"))));
        assert_eq!(split_name("a/b@v1/c/d.GGUF"), ("a/b@v1", Some(Gguf::File("c/d.GGUF".to_owned()))));
        for plain in ["a/b:", "https://127.0.0.1/a/b", "a/b/c", "model.gguf", "a/model.gguf"] {
            assert_eq!(split_name(plain), (plain, None));
        }
    }

    #[test]
    fn types_are_read_from_names() {
        for (file, expected) in [
            ("a/SmolLM2-135M-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("qwen2.5-0.5b-instruct-q8_0-00001-of-00002.gguf", Some("Q8_0")),
            ("tinyllama-1.1b-chat-v1.0.Q4_0.gguf", Some("Q4_0")),
            ("ggml-model-i2_s.gguf", Some("I2_S")),
            ("gemma-3-1b-it-f16.gguf", Some("F16")),
            ("model.gguf", None),
        ] {
            assert_eq!(type_in_name(file).as_deref(), expected, "{file}");
        }
    }
}
