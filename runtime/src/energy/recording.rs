//! What a recorder saw, and its file.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Energy, Integration, ReadError, Reading, SourceInfo, budget};
use crate::{Error, Result};

/// Failures that are kept with their time and text; of more, the number is.
const KEPT_FAILURES: usize = 1000;

/// One reading and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds since the recording began: the middle of the time that reading took.
    pub time: f64,
    /// The reading was made within this many seconds before or after.
    pub within: f64,
    /// Joules or watts, as the source gives.
    pub value: f64,
}

/// A reading that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Seconds since the recording began.
    pub time: f64,
    /// Why.
    pub why: String,
}

/// What sampling itself cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SamplerCost {
    /// Processor time of the sampling thread in seconds, without that of commands that it calls; none where the system
    /// does not tell.
    pub cpu_s: Option<f64>,
    /// How long it sampled, in seconds.
    pub wall_s: f64,
    /// Readings that failed.
    pub failed: usize,
}

impl SamplerCost {
    /// The share of one core that sampling took.
    pub fn share(&self) -> Option<f64> {
        self.cpu_s.filter(|_| self.wall_s > 0.0).map(|cpu| cpu / self.wall_s)
    }
}

/// Samples of one meter over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The meter.
    pub info: SourceInfo,
    /// In the order of their times.
    pub samples: Vec<Sample>,
    /// When a counter began anew.
    pub restarts: Vec<f64>,
    /// Readings that failed; the first thousand.
    pub failures: Vec<Failure>,
    /// Standard deviation of an error that all times share, in seconds: of a log that had to be aligned.
    pub shift_s: f64,
    /// When it began, in seconds since 1970; 0 where that is not known.
    pub start_unix: f64,
    /// What sampling cost.
    pub cost: SamplerCost,
}

/// The first line of a recording's file.
const TITLE: &str = "# babil energy samples 1";

/// What the second line of the file holds, as JSON in a comment.
#[derive(Serialize, Deserialize)]
struct Header {
    info: SourceInfo,
    restarts: Vec<f64>,
    failures: Vec<Failure>,
    shift_s: f64,
    start_unix: f64,
    cost: SamplerCost,
}

impl Recording {
    /// An empty one.
    pub(super) fn new(info: SourceInfo) -> Self {
        Self {
            info,
            samples: Vec::new(),
            restarts: Vec::new(),
            failures: Vec::new(),
            shift_s: 0.0,
            start_unix: 0.0,
            cost: SamplerCost::default(),
        }
    }

    /// Adds what the meter said at `time`, give or take `within`, and returns whether that is a sample.
    pub(super) fn add(&mut self, time: f64, within: f64, reading: std::result::Result<Reading, ReadError>) -> bool {
        let why = match reading {
            Ok(Reading::Joules(value) | Reading::Watts(value)) if value.is_finite() => {
                let backwards = self.samples.last().is_some_and(|last| value < last.value);
                if matches!(reading, Ok(Reading::Joules(_))) && backwards {
                    self.restarts.push(time);
                }
                self.samples.push(Sample { time, within, value });
                return true;
            }
            Ok(_) => "a reading that is no finite number".to_owned(),
            Err(error) => {
                if matches!(error, ReadError::Restarted(_)) {
                    self.restarts.push(time);
                }
                error.to_string()
            }
        };
        self.cost.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(Failure { time, why });
        }
        false
    }

    /// What was used from one time of the recording to another, in its seconds.
    ///
    /// # Errors
    /// [`Error::NotMeasured`]: a window outside the recording or without samples, a counter that stood still, began
    /// anew or may have wrapped unseen, power with a hole in it.
    pub fn energy(&self, from: f64, to: f64) -> Result<Energy> {
        budget::of_window(self, from, to).map_err(Error::NotMeasured)
    }

    /// Whether the samples are joules rather than watts.
    pub fn counts_joules(&self) -> bool {
        self.info.integration == Integration::CounterDifference
    }

    /// Power over time: `(seconds, watts)`, for plots. Of a counter it is the slope between readings, at their middle;
    /// readings nearer to each other than 20 ms, two of its updates or ten of its steps are taken together.
    pub fn power(&self) -> Vec<(f64, f64)> {
        if !self.counts_joules() {
            return self.samples.iter().map(|sample| (sample.time, sample.value)).collect();
        }
        budget::slopes(&self.samples, &self.info)
    }

    /// Writes the samples as a CSV file, with the source's description in comments.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let io = |error| Error::io("write", path, error);
        let header = Header {
            info: self.info.clone(),
            restarts: self.restarts.clone(),
            failures: self.failures.clone(),
            shift_s: self.shift_s,
            start_unix: self.start_unix,
            cost: self.cost,
        };
        let header = serde_json::to_string(&header).map_err(|error| io(error.into()))?;
        let unit = if self.counts_joules() { "joules" } else { "watts" };
        let mut text = format!("{TITLE}\n# {header}\nseconds,within_s,{unit}\n");
        for Sample { time, within, value } in &self.samples {
            text += &format!("{time},{within},{value}\n");
        }
        fs::write(path, text).map_err(io)
    }

    /// Reads what [`Recording::write`] wrote.
    ///
    /// # Errors
    /// Files that cannot be read, or are something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        let bad =
            |line: usize, problem: &str| Error::bad_file(path.display().to_string(), format!("line {line}: {problem}"));
        let mut lines = text.lines().zip(1..);
        if lines.next().is_none_or(|(line, _)| line != TITLE) {
            return Err(bad(1, "no samples of babil's, which begin with `# babil energy samples 1`"));
        }
        let header = lines.next().and_then(|(line, _)| line.strip_prefix("# ")).unwrap_or_default();
        let header: Header = serde_json::from_str(header).map_err(|error| bad(2, &error.to_string()))?;
        let mut samples: Vec<Sample> = Vec::new();
        for (line, number) in lines.skip(1) {
            let fields: Option<Vec<f64>> = line.split(',').map(|field| field.parse().ok()).collect();
            let Some(&[time, within, value]) =
                fields.as_deref().and_then(|fields| fields.first_chunk().filter(|_| fields.len() == 3))
            else {
                return Err(bad(number, "not three numbers"));
            };
            if ![time, within, value].iter().all(|v: &f64| v.is_finite())
                || samples.last().is_some_and(|s| s.time > time)
            {
                return Err(bad(number, "a time before the one above, or no finite number"));
            }
            samples.push(Sample { time, within, value });
        }
        let Header { info, restarts, failures, shift_s, start_unix, cost } = header;
        Ok(Self { info, samples, restarts, failures, shift_s, start_unix, cost })
    }
}
