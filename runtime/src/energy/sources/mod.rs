//! The meters that are read here, a file each. All of them read below a root folder, which is `/` but in tests.

mod battery;
mod chips;
mod cpu_time;
mod files;
mod hwmon;
mod model;
mod nvidia;
mod pmic;
mod rapl;

pub(super) use self::battery::{Battery, info as battery_info};
pub(super) use self::cpu_time::CpuSeconds;
pub(super) use self::files::{entries, number, text};
pub(super) use self::hwmon::Hwmon;
pub(super) use self::model::Assumed;
pub(super) use self::nvidia::Nvidia;
pub(super) use self::pmic::{Pmic, Vcgencmd};
pub(super) use self::rapl::Rapl;
