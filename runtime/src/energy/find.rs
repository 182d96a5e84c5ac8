//! Which meters there are, and what was looked at where there is none.

use std::fmt;
use std::path::Path;

use super::external::External;
use super::sources::{Assumed, Battery, CpuSeconds, Hwmon, Nvidia, Pmic, Rapl};
use super::{Choice, EnergyMeter, ReadError, Scope, Source};

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// A meter that can be read now, and what was passed over for it.
    Meter {
        /// The meter.
        meter: EnergyMeter,
        /// What was looked at before it.
        looked_at: Vec<Look>,
    },
    /// None that can be read: [`Found`] prints the plain truth.
    None {
        /// What was looked at.
        looked_at: Vec<Look>,
    },
    /// None was wanted.
    Off,
}

/// A place that was looked at, and why it is no meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The source, such as `rapl`.
    pub source: &'static str,
    /// Why it cannot be used.
    pub why: ReadError,
}

/// Looks for the meter that `choice` asks for below `root`, which is `/` but in tests.
pub fn find(root: &Path, choice: &Choice) -> Found {
    // Those that see most of the device come first; a graphics card is not what babil computes on.
    let all = [Choice::Hwmon(None), Choice::Pmic, Choice::Rapl(Scope::PackageDram), Choice::Battery];
    let choices = match choice {
        Choice::Off => return Found::Off,
        Choice::Auto => &all[..],
        one => std::slice::from_ref(one),
    };
    let mut looked_at = Vec::new();
    for one in choices {
        let (source, found) = match (choice, one) {
            (Choice::Auto, Choice::Rapl(_)) => ("rapl", meter(Rapl::widest(root))),
            _ => open(root, one),
        };
        match found {
            Ok(meter) => return Found::Meter { meter, looked_at },
            Err(why) => looked_at.push(Look { source, why }),
        }
    }
    Found::None { looked_at }
}

fn meter<S: Source + 'static>(source: Result<S, ReadError>) -> Result<EnergyMeter, ReadError> {
    EnergyMeter::new(Box::new(source?))
}

/// The meter of one kind, and the name of the kind.
fn open(root: &Path, choice: &Choice) -> (&'static str, Result<EnergyMeter, ReadError>) {
    match choice {
        Choice::Rapl(scope) => ("rapl", meter(Rapl::find(root, *scope))),
        Choice::Pmic => ("pmic", meter(Pmic::find(root))),
        Choice::Hwmon(named) => ("hwmon", meter(Hwmon::find(root, named.as_deref()))),
        Choice::Battery => ("battery", meter(Battery::find(root))),
        Choice::Nvml => ("nvml", meter(Nvidia::find(root))),
        Choice::Model(model) => ("model", meter(Ok(Assumed::new(*model)))),
        Choice::Csv { path, alignment, wall } => {
            let meter = meter(Ok(CpuSeconds::new(root))).map(|meter| EnergyMeter {
                external: Some(Box::new(External::new(path.clone(), *alignment, *wall))),
                ..meter
            });
            ("csv", meter)
        }
        // Neither is one kind.
        Choice::Auto | Choice::Off => ("auto", Err(ReadError::Absent("a meter".into()))),
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meter { meter, .. } => f.write_str(&meter.info().name),
            Self::Off => f.write_str("energy is not measured"),
            Self::None { looked_at } => {
                f.write_str("no energy meter found: looked at")?;
                looked_at.iter().try_for_each(|look| write!(f, "\n  {look}"))
            }
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.why)
    }
}
