//! `portcullis account …`: edits and lists the tree of accounts.
//!
//! Called by [`super::run`]. What an edit may do is judged by `directory::edit`; here words are read and answers written.

pub(super) mod source;

use std::io::Write;

use serde_json::json;

use self::source::{Words, edit, read};
use super::args::{AccountVerb, FileArgs, Format};
use super::password::read_password;
use super::{Done, Exit, Stop};
use crate::directory::edit::{AccountRow, Change, NewAccount, Status};
use crate::identity::password::hash;

/// Runs the verb.
///
/// # Errors
/// An edit that the file does not allow, or a file that cannot be written.
pub fn run(verb: &AccountVerb, out: &mut dyn Write) -> Done {
    match verb {
        AccountVerb::Add { id, role, parent, email, password_stdin, file } => {
            let words = Words::read(file)?;
            words.check_role(role)?;
            let password = if *password_stdin {
                let password = hash(&read_password()?).map_err(Stop::failed)?;
                Some(password)
            } else {
                None
            };
            let (parent, email, password) = (parent.as_deref(), email.as_deref(), password.as_deref());
            edit(file, |accounts| {
                accounts.judge_roles_by(&words.ranks);
                accounts.add_account(&NewAccount { id, role, parent, email, password })
            })?;
            match parent {
                Some(parent) => writeln!(out, "added {id}, a {role} below {parent}")?,
                None => writeln!(out, "added {id}, a {role} without a parent")?,
            }
        }
        AccountVerb::Suspend { id, file } => status(id, true, file, out)?,
        AccountVerb::Resume { id, file } => status(id, false, file, out)?,
        AccountVerb::Move { id, parent, root: _, file } => {
            let words = Words::read(file)?;
            let change = edit(file, |accounts| {
                accounts.judge_roles_by(&words.ranks);
                accounts.move_account(id, parent.as_deref())
            })?;
            match change {
                Change::Changed => {
                    writeln!(out, "moved {id}; tokens of it and of what lies below end, credentials go on")?;
                }
                Change::Already => writeln!(out, "{id} was there already")?,
            }
        }
        AccountVerb::List { format, file } => {
            list(&read(file, |accounts| Ok(accounts.accounts()))?, *format, out)?;
        }
    }
    Ok(Exit::Ok)
}

fn status(id: &str, suspended: bool, file: &FileArgs, out: &mut dyn Write) -> Result<(), Stop> {
    let (change, effective) = edit(file, |accounts| {
        let change = accounts.set_status(id, suspended)?;
        let row = accounts.accounts().into_iter().find(|row| row.id == id);
        Ok((change, row.map(|row| row.effective)))
    })?;
    let word = if suspended { "suspended" } else { "active" };
    match change {
        Change::Changed => writeln!(out, "{id} is {word}")?,
        Change::Already => writeln!(out, "{id} was {word} already")?,
    }
    if !suspended && effective == Some(Status::Suspended) {
        writeln!(out, "It is refused all the same, since an account above it is suspended.")?;
    }
    Ok(())
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
