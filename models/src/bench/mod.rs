//! How fast a model is, and what it takes: tokens per second and per joule, by one honest method.
//!
//! ```text
//! name --Subject--> model --> Workload --+
//! EnergyMeter --> Timeline --------------+--> Measured --> Row --> report (report.schema.json)
//! ```
//!
//! Warm-up is dropped, phases under a meter last ten seconds and fifty samples, idle power is measured before and after
//! with the model loaded, and what is doubtful is flagged. The command line, Java and `benches/` measure with this.

pub mod bandwidth;
pub mod compare;
pub mod language;
mod machine;
pub mod measure;
pub mod process;
pub mod report;
mod row;
#[cfg(feature = "audio")]
pub mod speech;
pub mod statistics;
pub mod subject;
pub mod sustain;
pub mod translation;
mod work;

pub use machine::root;
pub use row::{Machine, Setup, now};
pub use work::{Random, Task, Test, Work, Workload};
