//! How a model runs when energy matters: what `babil bench --sweep` measured, and what `--power` makes of it.
//!
//! ```text
//! points of a sweep --PowerProfile::of--> a JSON file in the cache folder --load--> Setting of eco, balanced or fast
//! ```
//!
//! A profile belongs to one model on one kind of CPU, and has a file of its own, named after both.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use babil_runtime::energy::Class;
use babil_runtime::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache_folder;

/// The version of a profile's file.
const SCHEMA_VERSION: u32 = 1;

/// How many of a file's first bytes are part of its fingerprint: descriptions and tensor tables stand there.
const FINGERPRINT_BYTES: u64 = 1 << 20;

/// What a user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// The most tokens per joule.
    Eco,
    /// The least energy times time: the highest product of tokens per joule and tokens per second.
    Balanced,
    /// The most tokens per second.
    Fast,
}

/// How a model is run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Threads that generate.
    pub threads: usize,
    /// Threads for prompts; as many as generate where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_threads: Option<usize>,
    /// The CPUs to keep to; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Vec<usize>>,
    /// Seconds of rest after each second of computing.
    #[serde(default)]
    pub rest: f64,
}

/// A setting, and what was measured with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// How the model was run.
    pub setting: Setting,
    /// The CPUs' frequency in kHz, where the sweep chose it. It is for the reader: running a model sets no frequencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freq_khz: Option<u64>,
    /// Generated tokens per second.
    pub tokens_per_s: f64,
    /// Generated tokens per joule; none without a meter.
    pub tokens_per_j: Option<f64>,
}

/// What was measured of a model on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerProfile {
    /// The version of this format.
    pub schema_version: u32,
    /// [`fingerprint`] of the model's file.
    pub model: String,
    /// SHA-256 of the model's file, where the benchmark took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// Such as `llama 1B Q4_0`, for the reader.
    pub model_type: String,
    /// The CPU's name, see [`babil_runtime::energy::Platform::cpu`].
    pub cpu: String,
    /// The meter's name.
    pub source: String,
    /// The meter's class.
    pub class: Class,
    /// The most tokens per joule.
    pub eco: Setting,
    /// The highest product of tokens per joule and tokens per second.
    pub balanced: Setting,
    /// The most tokens per second.
    pub fast: Setting,
    /// All that was measured.
    pub points: Vec<Point>,
}

/// Whose profile it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The model's file, or the largest one of its folder.
    pub model: PathBuf,
    /// SHA-256 of that file, where it is known.
    pub model_sha256: Option<String>,
    /// Such as `llama 1B Q4_0`.
    pub model_type: String,
    /// The CPU's name.
    pub cpu: String,
    /// The meter's name.
    pub source: String,
    /// The meter's class.
    pub class: Class,
}

impl PowerProfile {
    /// What the points of a sweep come to. The frequency that the machine has when the model is run is not babil's:
    /// points of chosen frequencies should be left out, or stand for themselves.
    ///
    /// # Errors
    /// A model that cannot be read; no point whose tokens per joule were measured.
    pub fn of(subject: Subject, points: Vec<Point>) -> Result<Self> {
        let best = |value: &dyn Fn(&Point) -> Option<f64>| {
            let known = points.iter().filter_map(|point| Some((value(point).filter(|v| v.is_finite())?, point)));
            known.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, point)| point.setting.clone())
        };
        let nothing = || Error::NotMeasured("no point of the sweep has tokens per joule: there is no profile".into());
        let eco = best(&|point| point.tokens_per_j).ok_or_else(nothing)?;
        let balanced = best(&|point| Some(point.tokens_per_j? * point.tokens_per_s)).ok_or_else(nothing)?;
        let fast = best(&|point| Some(point.tokens_per_s)).ok_or_else(nothing)?;
        Ok(Self {
            schema_version: SCHEMA_VERSION,
            model: fingerprint(&subject.model)?,
            model_sha256: subject.model_sha256,
            model_type: subject.model_type,
            cpu: subject.cpu,
            source: subject.source,
            class: subject.class,
            eco,
            balanced,
            fast,
            points,
        })
    }

    /// The setting for what the user wants.
    pub fn setting(&self, power: Power) -> &Setting {
        match power {
            Power::Eco => &self.eco,
            Power::Balanced => &self.balanced,
            Power::Fast => &self.fast,
        }
    }

    /// Writes it into `folder` ([`profile_folder`] but in tests), in place of an older one, and returns its path.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(file_name(&self.model, &self.cpu));
        let io = |error| Error::io("write", &path, error);
        fs::create_dir_all(folder).map_err(io)?;
        let text = serde_json::to_string_pretty(self).map_err(|error| io(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.persist(&path).map_err(|error| io(error.error))?;
        Ok(path)
    }

    /// The profile of the model in the file `model` on the CPU called `cpu`, if `folder` has one.
    ///
    /// # Errors
    /// Files that cannot be read; a profile that is damaged, or of another version.
    pub fn load(folder: &Path, model: &Path, cpu: &str) -> Result<Option<Self>> {
        let fingerprint = fingerprint(model)?;
        let path = folder.join(file_name(&fingerprint, cpu));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let bad = |problem: String| {
            Error::bad_file(path.display().to_string(), format!("{problem}: delete it, and run `babil bench --sweep`"))
        };
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let Version { schema_version } = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if schema_version != SCHEMA_VERSION {
            return Err(bad(format!("a profile of version {schema_version}, not {SCHEMA_VERSION}")));
        }
        let profile: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        for setting in [&profile.eco, &profile.balanced, &profile.fast] {
            if setting.threads == 0 || !(0.0..=100.0).contains(&setting.rest) {
                return Err(bad("a setting without threads, or with a rest that is not 0 to 100 seconds".into()));
            }
        }
        Ok((profile.model == fingerprint && profile.cpu == cpu).then_some(profile))
    }
}

/// Where profiles are kept: beside the packed copies, see [`crate::packed_folder`].
pub fn profile_folder() -> PathBuf {
    cache_folder().join("power")
}

/// What a file is known by without reading all of it: the SHA-256 of its length and its first MiB, which has the
/// description and the tensor table. Of a folder it is that of its largest file.
///
/// # Errors
/// Files that cannot be read.
pub fn fingerprint(path: &Path) -> Result<String> {
    let file = if path.is_dir() { largest_file(path)? } else { path.to_owned() };
    let io = |error| Error::io("read", &file, error);
    let mut start = Vec::new();
    let open = File::open(&file).map_err(io)?;
    let length = open.metadata().map_err(io)?.len();
    open.take(FINGERPRINT_BYTES).read_to_end(&mut start).map_err(io)?;
    let hash = Sha256::new().chain_update(length.to_le_bytes()).chain_update(start).finalize();
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn largest_file(folder: &Path) -> Result<PathBuf> {
    let io = |error| Error::io("read", folder, error);
    let files = fs::read_dir(folder).map_err(io)?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let metadata = path.metadata().ok()?;
        metadata.is_file().then_some((metadata.len(), path))
    });
    let largest = files.max().ok_or_else(|| Error::bad_file(folder.display().to_string(), "has no files"))?;
    Ok(largest.1)
}

/// The file of the profile of a model on a CPU.
fn file_name(fingerprint: &str, cpu: &str) -> String {
    let cpu: String = Sha256::digest(cpu).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{cpu}.json", &fingerprint[..fingerprint.len().min(16)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(threads: usize, tokens_per_s: f64, tokens_per_j: Option<f64>) -> Point {
        Point { setting: Setting { threads, ..Setting::default() }, freq_khz: None, tokens_per_s, tokens_per_j }
    }

    fn subject(model: &Path) -> Subject {
        Subject {
            model: model.to_owned(),
            model_sha256: None,
            model_type: "llama 1B Q4_0".into(),
            cpu: "Cortex-A76".into(),
            source: "pmic".into(),
            class: Class::C,
        }
    }

    /// A folder with a model in it.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.gguf");
        fs::write(&model, vec![7; 3 << 20]).unwrap();
        (folder, model)
    }

    #[test]
    fn settings_are_the_best_points_of_their_kind() {
        let (_folder, model) = folder();
        let points = vec![
            point(1, 10.0, Some(3.0)),
            point(2, 18.0, Some(2.9)),
            point(3, 22.0, Some(2.0)),
            point(4, 23.0, Some(1.2)),
            point(8, 40.0, None),
            point(9, f64::NAN, Some(f64::NAN)),
        ];
        let profile = PowerProfile::of(subject(&model), points).unwrap();
        let threads = |power| profile.setting(power).threads;
        assert_eq!([threads(Power::Eco), threads(Power::Balanced), threads(Power::Fast)], [1, 2, 8]);
        let error = PowerProfile::of(subject(&model), vec![point(1, 10.0, None)]).unwrap_err();
        assert!(error.to_string().contains("tokens per joule"), "{error}");
    }

    #[test]
    fn a_profile_is_found_by_its_model_and_its_cpu() {
        let (folder, model) = folder();
        let profiles = folder.path().join("power");
        let load = |model: &Path, cpu: &str| PowerProfile::load(&profiles, model, cpu);
        assert_eq!(load(&model, "Cortex-A76").unwrap(), None);
        let profile = PowerProfile::of(subject(&model), vec![point(2, 10.0, Some(3.0))]).unwrap();
        let path = profile.save(&profiles).unwrap();
        assert_eq!(load(&model, "Cortex-A76").unwrap(), Some(profile.clone()));
        assert_eq!(load(&model, "Cortex-A55").unwrap(), None);
        // The same model elsewhere, its folder, and another model of the same length.
        let moved = folder.path().join("moved.gguf");
        fs::copy(&model, &moved).unwrap();
        assert!(load(&moved, "Cortex-A76").unwrap().is_some());
        assert!(load(folder.path(), "Cortex-A76").unwrap().is_some());
        fs::write(&moved, vec![8; 3 << 20]).unwrap();
        assert_eq!(load(&moved, "Cortex-A76").unwrap(), None);
        fs::write(&moved, vec![7; (3 << 20) + 1]).unwrap();
        assert_eq!(load(&moved, "Cortex-A76").unwrap(), None);

        let text = fs::read_to_string(&path).unwrap();
        for (from, to, part) in [
            ("\"schema_version\": 1", "\"schema_version\": 2", "version 2, not 1"),
            ("\"eco\"", "\"echo\"", "eco"),
            ("\"threads\": 2", "\"threads\": 0", "without threads"),
            ("\"rest\": 0.0", "\"rest\": -1.0", "rest"),
            ("{", "", "delete it"),
        ] {
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = load(&model, "Cortex-A76").unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("delete it"), "{to}: {error}");
        }
        assert!(load(&folder.path().join("none.gguf"), "Cortex-A76").is_err());
    }
}
