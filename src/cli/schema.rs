//! `portcullis schema`: the JSON Schema of a file, from the types that parse it.

use std::io::Write;

use super::args::SchemaArgs;
use super::{Done, Stop};

/// Runs the verb.
///
/// # Errors
/// Always, until it is built.
pub fn run(_args: &SchemaArgs, _out: &mut dyn Write) -> Done {
    Err(Stop::failed("not built yet"))
}
