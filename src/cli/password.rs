//! `portcullis password`: standard input → argon2id PHC string.

use std::io::{IsTerminal as _, Read as _, Write};

use super::{Done, Exit, Stop};
use crate::identity::password::hash;

/// Runs the verb.
///
/// # Errors
/// An empty password, or one that cannot be read.
pub fn run(out: &mut dyn Write) -> Done {
    writeln!(out, "{}", hash(&read_password()?).map_err(Stop::failed)?)?;
    Ok(Exit::Ok)
}

/// Reads standard input to its end; one newline at the end is dropped, nothing else.
///
/// # Errors
/// An empty password, or one that cannot be read.
pub fn read_password() -> Result<Vec<u8>, Stop> {
    let mut input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("Type the password (it is shown), then Enter and Ctrl-D:");
    }
    let mut password = Vec::new();
    input.read_to_end(&mut password)?;
    if password.last() == Some(&b'\n') {
        password.pop();
    }
    if password.is_empty() {
        return Err(Stop::usage("the password is empty; give it on standard input"));
    }
    Ok(password)
}
