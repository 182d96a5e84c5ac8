//! Model families, tasks and catalogue of babil, and the translator that ships with it.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod tasks;
