//! `portcullis why`: a decision of an access log, explained.

use std::io::Write;

use super::args::WhyArgs;
use super::{Done, Stop};

/// Runs the verb.
///
/// # Errors
/// Always, until it is built.
pub fn run(_args: &WhyArgs, _out: &mut dyn Write) -> Done {
    Err(Stop::failed("not built yet"))
}
