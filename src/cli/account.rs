//! `portcullis account …`: edits the accounts file, comments and order kept.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::args::{AccountVerb, FileArgs, Format};
use super::password::read_password;
use super::report::{load_or_stop, vocabulary};
use super::{Done, Exit, Stop};
use crate::config::diag::suggest;
use crate::config::load::{Disk, load};
use crate::directory::edit::{AccountRow, Change, EditError, NewAccount, Status, edit_file, read_file};
use crate::directory::records::Vocabulary;
use crate::identity::password::hash;

/// Runs the verb.
///
/// # Errors
/// An edit that the file does not allow, or a file that cannot be written.
pub fn run(verb: &AccountVerb, out: &mut dyn Write) -> Done {
    match verb {
        AccountVerb::Add { id, role, parent, email, password_stdin, file } => {
            known_word("role", role, &vocabulary_of(file).roles)?;
            let password = if *password_stdin {
                let password = hash(&read_password()?).map_err(Stop::failed)?;
                Some(password)
            } else {
                None
            };
            let (parent, email, password) = (parent.as_deref(), email.as_deref(), password.as_deref());
            edit(file, |accounts| accounts.add_account(&NewAccount { id, role, parent, email, password }))?;
            writeln!(out, "added {id}")?;
        }
        AccountVerb::Suspend { id, file } => status(id, true, file, out)?,
        AccountVerb::Resume { id, file } => status(id, false, file, out)?,
        AccountVerb::Move { id, parent, root: _, file } => {
            edit(file, |accounts| accounts.move_account(id, parent.as_deref()))?;
            writeln!(out, "moved {id}; its tokens end, its credentials go on")?;
        }
        AccountVerb::List { format, file } => {
            let rows = read_file(&path(file)?).map_err(|error| bad(file, &error))?.accounts();
            list(&rows, *format, out)?;
        }
    }
    Ok(Exit::Ok)
}

fn status(id: &str, suspended: bool, file: &FileArgs, out: &mut dyn Write) -> Result<(), Stop> {
    let change = edit(file, |accounts| accounts.set_status(id, suspended))?;
    let word = if suspended { "suspended" } else { "active" };
    match change {
        Change::Changed => writeln!(out, "{id} is {word}")?,
        Change::Already => writeln!(out, "{id} was {word} already")?,
    }
    Ok(())
}

/// The accounts file: `--file`, or the one that the settings name.
///
/// # Errors
/// Settings that cannot be read, or that name another directory than a file.
pub(super) fn path(file: &FileArgs) -> Result<PathBuf, Stop> {
    match &file.file {
        Some(path) => Ok(path.clone()),
        None => {
            let config = load_or_stop(&file.config.config)?;
            let path = config.settings.accounts_file().map(ToOwned::to_owned);
            let message = "the directory is not a file, so its own service keeps the accounts; --file names a file";
            path.ok_or_else(|| Stop { message: message.to_owned(), exit: Exit::BadFiles })
        }
    }
}

/// What the policies know; nothing when the settings cannot be read, and `check` says why.
pub(super) fn vocabulary_of(file: &FileArgs) -> Vocabulary {
    let loading = load(&file.config.config, &Disk { secrets: false });
    loading.config.as_ref().map(vocabulary).unwrap_or_default()
}

/// Refuses a name that no policy knows, so that a typing error does not end up in the file.
///
/// # Errors
/// What was perhaps meant.
pub(super) fn known_word(kind: &str, word: &str, known: &[Box<str>]) -> Result<(), Stop> {
    if known.is_empty() || known.iter().any(|name| **name == *word) {
        return Ok(());
    }
    let hint = suggest(word, known.iter().map(|name| &**name));
    Err(Stop::usage(format!("no policy has a {kind} `{word}`; {hint}")))
}

/// Edits the file.
///
/// # Errors
/// What the file does not allow, with its name in front.
pub(super) fn edit<T>(
    file: &FileArgs,
    change: impl FnOnce(&mut crate::directory::edit::AccountFile) -> Result<T, EditError>,
) -> Result<T, Stop> {
    edit_file(&path(file)?, change).map_err(|error| bad(file, &error))
}

pub(super) fn bad(file: &FileArgs, error: &EditError) -> Stop {
    let name = path(file).map(|path| format!("{}: ", path.display())).unwrap_or_default();
    Stop { message: format!("{name}{error}"), exit: Exit::BadFiles }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Active => "active",
        Status::Suspended => "suspended",
    }
}

fn list(rows: &[AccountRow], format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    if format == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "id": row.id, "role": row.role, "parent": row.parent, "status": word(row.status),
                    "effective_status": word(row.effective), "email": row.email, "credentials": row.credentials })
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    writeln!(out, "{:<34} {:<14} {:<10} {:>4}  e-mail", "account", "role", "status", "keys")?;
    for row in in_tree_order(rows) {
        let name = format!("{}{}", "  ".repeat(row.depth.saturating_sub(1)), row.id);
        let email = row.email.as_deref().unwrap_or("-");
        writeln!(out, "{name:<34} {:<14} {:<10} {:>4}  {email}", row.role, word(row.effective), row.credentials)?;
    }
    Ok(())
}

/// Each account right above what lies below it.
fn in_tree_order(rows: &[AccountRow]) -> Vec<&AccountRow> {
    let mut ordered = Vec::with_capacity(rows.len());
    let mut open: Vec<&AccountRow> = rows.iter().rev().filter(|row| row.parent.is_none()).collect();
    while let Some(row) = open.pop() {
        ordered.push(row);
        open.extend(rows.iter().rev().filter(|child| child.parent.as_deref() == Some(&row.id)));
    }
    ordered
}
