//! `portcullis replay`: the requests of an access log, judged by other policies.

use std::io::Write;

use super::args::ReplayArgs;
use super::{Done, Stop};

/// Runs the verb.
///
/// # Errors
/// Always, until it is built.
pub fn run(_args: &ReplayArgs, _out: &mut dyn Write) -> Done {
    Err(Stop::failed("not built yet"))
}
