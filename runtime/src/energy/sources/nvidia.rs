//! Nvidia's graphics cards, through the program that comes with their driver.

use std::path::{Path, PathBuf};

use super::pmic::output_of;
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

const PLACE: &str = "usr/bin/nvidia-smi";
const QUESTION: [&str; 2] = ["--query-gpu=power.draw", "--format=csv,noheader,nounits"];

/// The sum of all cards.
#[derive(Debug)]
pub(in crate::energy) struct Nvidia {
    info: SourceInfo,
    program: PathBuf,
}

impl Nvidia {
    pub(in crate::energy) fn find(root: &Path) -> Result<Self, ReadError> {
        let program = root.join(PLACE);
        if !program.exists() {
            return Err(ReadError::Absent(program.display().to_string()));
        }
        let info = SourceInfo {
            name: "nvml".into(),
            class: Class::C,
            scope: Scope::Gpu,
            integration: Integration::Trapezoid,
            reads: vec![format!("{} {}", program.display(), QUESTION.join(" "))],
            remark: "graphics cards alone: babil computes on the processor, which is not in this figure".into(),
            resolution: 0.01,
            update_s: 0.1,
            gain: 0.025,
            drift: 0.0,
            offset_w: 0.0,
            why: "+-5 % as two standard deviations, and the update of 0.1 s, are assumptions".into(),
            default_hz: 5.0,
            wraps_at_j: None,
        };
        Ok(Self { info, program })
    }
}

impl Source for Nvidia {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        let text = output_of(&self.program, &QUESTION, "the driver refuses: ask who administers it")?;
        let senseless = || {
            let problem = format!("`{}` is no power", text.trim());
            ReadError::Senseless { path: self.program.display().to_string(), problem }
        };
        let cards = text.lines().map(|line| line.trim().parse::<f64>().ok().filter(|watts| watts.is_finite()));
        let cards: Vec<f64> =
            cards.collect::<Option<_>>().filter(|cards: &Vec<_>| !cards.is_empty()).ok_or_else(senseless)?;
        Ok(Reading::Watts(cards.iter().sum()))
    }
}
