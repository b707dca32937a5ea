//! `portcullis diff`: the decisions that differ between two sets of policies.

use std::io::Write;

use super::args::DiffArgs;
use super::{Done, Stop};

/// Runs the verb.
///
/// # Errors
/// Always, until it is built.
pub fn run(_args: &DiffArgs, _out: &mut dyn Write) -> Done {
    Err(Stop::failed("not built yet"))
}
