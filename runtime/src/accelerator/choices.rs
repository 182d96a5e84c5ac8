//! Which subgraphs pay on which device, as short tests on this machine found.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cost, Remembered};

/// What a test found, in seconds; nothing where the device failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    device: Option<f64>,
    cpu: Option<f64>,
    use_device: bool,
}

/// Answers that are kept from one start to the next, `choices.json` of the cache folder.
#[derive(Clone, Debug)]
pub struct Choices {
    found: Remembered<Found>,
    /// Whether the first is better than the second.
    is_better: fn(Cost, Cost) -> bool,
}

impl Choices {
    /// Those in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { found: Remembered::at(folder.join("choices.json")), is_better: Cost::is_better_than }
    }

    /// The same, with another way to choose.
    #[cfg(test)]
    pub(super) fn with_judge(self, is_better: fn(Cost, Cost) -> bool) -> Self {
        Self { is_better, ..self }
    }

    /// Whether `what` is to run on the device, if that was found out.
    pub(super) fn get(&self, what: &str) -> Option<bool> {
        self.found.get(what).map(|found| found.use_device)
    }

    /// Remembers what a test of `what` took on the device and on the CPU; says whether the device is to be used.
    pub(super) fn judge(&self, what: String, device: Cost, cpu: Cost) -> bool {
        let use_device = (self.is_better)(device, cpu);
        let [device, cpu] = [device, cpu].map(|cost| Some(cost.wall.as_secs_f64()));
        self.found.put(what, Found { device, cpu, use_device });
        use_device
    }

    /// Remembers that the device cannot do `what`.
    pub(super) fn refuse(&self, what: String) {
        self.found.put(what, Found { device: None, cpu: None, use_device: false });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cost(wall: u64, cpu: u64) -> Cost {
        Cost { wall: Duration::from_millis(wall), cpu: Some(Duration::from_millis(cpu)) }
    }

    #[test]
    fn what_was_found_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let choices = Choices::in_folder(folder.path());
        assert!(choices.judge("a".to_owned(), cost(10, 0), cost(20, 20)));
        assert!(!choices.judge("b".to_owned(), cost(30, 30), cost(20, 20)));
        choices.refuse("c".to_owned());
        let again = Choices::in_folder(folder.path());
        assert_eq!(["a", "b", "c", "d"].map(|what| again.get(what)), [Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn a_little_slower_is_better_where_the_cpus_are_free() {
        assert!(cost(10, 10).is_better_than(cost(11, 11)));
        assert!(cost(20, 2).is_better_than(cost(15, 15)));
        assert!(!cost(20, 14).is_better_than(cost(15, 15)), "busy all the same");
        assert!(!cost(40, 0).is_better_than(cost(15, 15)), "more than twice as slow");
        assert!(!cost(15, 15).is_better_than(cost(15, 15)));
    }

    #[test]
    fn a_share_is_by_tokens() {
        assert_eq!(cost(300, 600).share(100, 300), cost(100, 200));
        assert_eq!(cost(300, 600).share(7, 7), cost(300, 600));
    }
}
