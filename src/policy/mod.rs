//! The pure core: what a request is, whose it is, and whether it may pass.
//!
//! Live traffic, `explain`, policy tests and everything else that judges call [`ladder::decide`] or
//! [`ladder::explain`]. Nothing here does I/O, reads a clock, logs, or knows a status code: where an
//! answer is needed from outside, the ladder asks and is called again.

pub mod access;
pub mod credential;
pub mod decision;
pub mod difference;
pub mod facts;
pub mod ladder;
pub mod left_behind;
pub mod method;
pub mod mutants;
pub mod outcome;
pub mod pattern;
pub mod principal;
pub mod quota;
pub mod reach;
pub mod rehearsal;
pub mod route;
pub mod second_opinion;
pub mod snapshot;
pub mod space;
pub mod table;
pub mod target;
pub mod told;
pub mod uri;
pub mod witness;

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod mutants_noticed;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod quota_decisions;
