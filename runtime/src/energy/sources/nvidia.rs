//! Nvidia's graphics cards, through the program that comes with their driver.

use std::path::{Path, PathBuf};

use super::pmic::output_of;
use crate::energy::{Class, Integration, ReadError, Reading, Scope, Source, SourceInfo};

const PLACE: &str = "usr/bin/nvidia-smi";

/// What is asked for, the best first. `power.draw` is the mean of the last second on Ampere (but for GA100) and later
/// (Nvidia, *NVML API Reference*, nvmlDeviceGetPowerUsage); old drivers know no other.
const QUESTIONS: [&str; 2] = ["--query-gpu=power.draw.instant", "--query-gpu=power.draw"];
const FORMAT: &str = "--format=csv,noheader,nounits";

/// Nvidia states 5 % of Fermi and Kepler (as above), and of later cards nothing: assumed of all. An A100 or H100 looks
/// at a quarter of the time only (Yang et al., *Part-time Power Measurements: nvidia-smi's Lack of Attention*, 2023),
/// and has something new about every 0.1 s.
const ERROR: f64 = 0.05;
const UPDATE_S: f64 = 0.1;

/// The sum of all cards.
#[derive(Debug)]
pub(in crate::energy) struct Nvidia {
    info: SourceInfo,
    program: PathBuf,
    question: &'static str,
}

impl Nvidia {
    pub(in crate::energy) fn find(root: &Path) -> Result<Self, ReadError> {
        let program = root.join(PLACE);
        if !program.exists() {
            return Err(ReadError::Absent(program.display().to_string()));
        }
        let ask = |question: &'static str| cards(&program, question).map(|_| question);
        let question = ask(QUESTIONS[0]).or_else(|_| ask(QUESTIONS[1]))?;
        let info = SourceInfo {
            name: "nvml".into(),
            class: Class::C,
            scope: Scope::Gpu,
            integration: Integration::Trapezoid,
            reads: vec![format!("{} {question} {FORMAT}", program.display())],
            remark: "graphics cards alone: babil computes on the processor, which is not in this figure".into(),
            resolution: 0.01,
            update_s: UPDATE_S,
            gain: ERROR / f64::sqrt(3.0),
            drift: 0.0,
            offset_w: 0.0,
            why:
                "5 % as a rectangular distribution, which Nvidia states of old cards only; the update of 0.1 s is what \
                others measured"
                    .into(),
            default_hz: 5.0,
            wraps_at_j: None,
        };
        Ok(Self { info, program, question })
    }
}

/// The watts of all cards.
fn cards(program: &Path, question: &str) -> Result<f64, ReadError> {
    let text = output_of(program, &[question, FORMAT], "the driver refuses: ask who administers it")?;
    let cards = text.lines().map(|line| line.trim().parse::<f64>().ok().filter(|watts| watts.is_finite()));
    let cards: Option<Vec<f64>> = cards.collect();
    cards.filter(|cards| !cards.is_empty()).map(|cards| cards.iter().sum()).ok_or_else(|| {
        let problem = format!("`{}` is no power", text.trim());
        ReadError::Senseless { path: program.display().to_string(), problem }
    })
}

impl Source for Nvidia {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Reading, ReadError> {
        cards(&self.program, self.question).map(Reading::Watts)
    }
}
