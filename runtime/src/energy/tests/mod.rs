//! Simulated boards: a known power curve, meters that are wrong by what they state, and a late sampler, on a virtual
//! clock.
//!
//! ```text
//! Board (watts and joules at any time) --a meter's writer--> files --the source--> Sampler --> Recording --> Energy
//!   '---------------------------------- the truth, to compare with -----------------------------------------'
//! ```

mod board;
mod coverage;
mod external;
mod meters;
mod parts;
