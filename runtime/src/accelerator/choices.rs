//! Which subgraphs pay on which device, as short tests on this machine found: a small file in the cache folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Cost;

/// What a test found, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    device: f64,
    cpu: f64,
    use_device: bool,
}

/// Answers that are remembered from one start to the next. A file that is missing, damaged or cannot be written costs
/// another test and nothing else.
#[derive(Clone, Debug)]
pub struct Choices {
    path: PathBuf,
}

impl Choices {
    /// Those in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { path: folder.join("choices.json") }
    }

    fn read(&self) -> BTreeMap<String, Found> {
        fs::read(&self.path).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    /// Whether `what` is to run on the device, if that was found out.
    pub(super) fn get(&self, what: &str) -> Option<bool> {
        self.read().get(what).map(|found| found.use_device)
    }

    /// Remembers what a test of `what` took on the device and on the CPU; says whether the device is to be used.
    pub(super) fn judge(&self, what: &str, device: Cost, cpu: Cost) -> bool {
        let use_device = device.is_better_than(cpu);
        let found = Found { device: device.wall.as_secs_f64(), cpu: cpu.wall.as_secs_f64(), use_device };
        let mut all = self.read();
        all.insert(what.to_owned(), found);
        if let Err(error) = self.write(&all) {
            tracing::debug!("cannot remember in {} which device is faster: {error}", self.path.display());
        }
        use_device
    }

    fn write(&self, all: &BTreeMap<String, Found>) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&temporary, all)?;
        temporary.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn cost(wall: u64, cpu: u64) -> Cost {
        Cost { wall: Duration::from_millis(wall), cpu: Some(Duration::from_millis(cpu)) }
    }

    #[test]
    fn what_was_found_is_remembered_and_damage_forgets_it() {
        let folder = tempfile::tempdir().unwrap();
        let choices = Choices::in_folder(&folder.path().join("new"));
        assert_eq!(choices.get("a"), None);
        assert!(choices.judge("a", cost(10, 0), cost(20, 20)));
        assert!(!choices.judge("b", cost(30, 30), cost(20, 20)));
        let again = Choices::in_folder(&folder.path().join("new"));
        assert_eq!((again.get("a"), again.get("b"), again.get("c")), (Some(true), Some(false), None));
        fs::write(&again.path, "{").unwrap();
        assert_eq!(again.get("a"), None);
        assert!(again.judge("a", cost(1, 1), cost(2, 2)) && again.get("a") == Some(true));
    }

    #[test]
    fn a_little_slower_is_better_where_the_cpus_are_free() {
        assert!(cost(10, 10).is_better_than(cost(11, 11)));
        assert!(cost(20, 2).is_better_than(cost(15, 15)));
        assert!(!cost(20, 14).is_better_than(cost(15, 15)), "busy all the same");
        assert!(!cost(40, 0).is_better_than(cost(15, 15)), "more than twice as slow");
        assert!(!cost(15, 15).is_better_than(cost(15, 15)));
    }
}
