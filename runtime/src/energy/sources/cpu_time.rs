//! Processor time in place of energy.

use std::path::{Path, PathBuf};

use crate::cpu_time;
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

/// A "meter" that counts busy processor time in place of joules: what a log of another meter is aligned with. That of
/// the whole machine where the system tells it, else this process's.
#[derive(Debug)]
pub(in crate::energy) struct CpuSeconds {
    info: SourceInfo,
    root: PathBuf,
}

impl CpuSeconds {
    pub(in crate::energy) fn new(root: &Path) -> Self {
        let info = SourceInfo {
            name: "cpu-seconds".into(),
            class: Class::E,
            scope: Scope::Core,
            integration: Integration::CounterDifference,
            reads: Vec::new(),
            remark: "seconds of processor time, no energy".into(),
            resolution: 0.0,
            update_s: 0.0,
            gain: 0.0,
            drift: 0.0,
            offset_w: 0.0,
            why: String::new(),
            default_hz: 20.0,
            wraps_at_j: None,
        };
        Self { info, root: root.to_owned() }
    }
}

impl Source for CpuSeconds {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let seconds = cpu_time::of_machine(&self.root).or_else(cpu_time::of_process);
        seconds.map(Reading::Joules).ok_or_else(|| ReadError::Absent("processor time".into()))
    }
}
