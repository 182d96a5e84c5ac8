//! Generation: beam search for translation ([`beam`]).

pub mod beam;

pub use beam::{Generated, Step, generate};
