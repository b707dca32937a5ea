//! `portcullis schema`: the JSON Schema of a file, from the types that parse it.
//!
//! What is shipped in deploy/schema is this output; a test of `cli` says when it has to be renewed.

use std::io::Write;

use super::args::{SchemaArgs, SchemaOf};
use super::{Done, Exit};
use crate::config::schema;
use crate::directory::reading;

/// Runs the verb.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &SchemaArgs, out: &mut dyn Write) -> Done {
    let schema = match args.of {
        SchemaOf::Gateway => schema::gateway(),
        SchemaOf::Policy => schema::policy(),
        SchemaOf::Accounts => reading::schema(),
    };
    serde_json::to_writer_pretty(&mut *out, &schema).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_the_types_say() {
        for (of, name) in
            [(SchemaOf::Gateway, "gateway"), (SchemaOf::Policy, "policy"), (SchemaOf::Accounts, "accounts")]
        {
            let path = format!("{}/deploy/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let mut printed = Vec::new();
            assert_eq!(run(&SchemaArgs { of }, &mut printed).unwrap(), Exit::Ok);
            let shipped = std::fs::read(&path).unwrap_or_default();
            assert!(shipped == printed, "{path} is not what the types say: renew it with `make schema`");
        }
    }
}
