//! `portcullis credential …`: API ids and keys. A key is shown once and stored only as a digest.
//!
//! Called by [`super::run`]. It writes what was done in words, and leaves the doing to `directory::edit`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::SystemTime;

use rustix::fs::{FileType, fstat, stat};
use serde_json::json;

use super::account::source::{PepperChoice, Words, edit, last_used, pepper, read};
use super::args::{CredentialVerb, FileArgs, Format, PepperArgs};
use super::{Done, Exit, Stop};
use crate::config::secret::Secret;
use crate::directory::edit::{
    AccountFile, CredentialRow, EditError, Issued, NewCredential, OldKey, Pepper, Rotated, Rotation, format_time,
};

/// Runs the verb.
///
/// # Errors
/// An edit that the file does not allow, a file that cannot be written, or a key that cannot be shown.
pub fn run(verb: &CredentialVerb, out: &mut dyn Write) -> Done {
    let now = SystemTime::now();
    match verb {
        CredentialVerb::New { account, realms, label, not_before, not_after, pepper: choice, file } => {
            if !realms.is_empty() {
                let words = Words::read(file)?;
                realms.iter().try_for_each(|realm| words.check_realm(realm))?;
            }
            let pepper = pepper(file, choose(choice))?;
            let new = NewCredential {
                account,
                realms,
                label: label.as_deref(),
                not_before: not_before.as_deref(),
                not_after: not_after.as_deref(),
                pepper: pepper.as_ref().map(borrow),
            };
            issue(file, out, |accounts, out| {
                show(&accounts.add_credential(&new, now)?, out)?;
                if realms.is_empty() {
                    writeln!(out, "It is good in every realm; --realm narrows it.")?;
                }
                Ok(())
            })?;
        }
        CredentialVerb::Rotate { id, overlap, not_after, pepper: choice, file } => {
            let pepper = pepper(file, choose(choice))?;
            let not_after = not_after.as_deref();
            let rotation = Rotation { overlap: overlap.0, not_after, pepper: pepper.as_ref().map(borrow) };
            issue(file, out, |accounts, out| {
                let rotated = accounts.rotate_credential(id, &rotation, now)?;
                Ok(tell(id, &rotated, not_after, out)?)
            })?;
        }
        CredentialVerb::Revoke { id, file } => {
            let account = edit(file, |accounts| accounts.revoke_credential(id))?;
            writeln!(out, "revoked {id} of {account}; a running gateway refuses it within a second")?;
        }
        CredentialVerb::List { account, format, file } => {
            let rows = read(file, |accounts| {
                // An account that is not there would look like one without credentials.
                account.as_ref().map_or(Ok(()), |account| accounts.check_account(account))?;
                Ok(accounts.credentials(now))
            })?;
            let asked = |row: &CredentialRow| account.as_ref().is_none_or(|account| *account == row.account);
            let rows: Vec<_> = rows.into_iter().filter(asked).collect();
            list(&rows, &last_used(file).unwrap_or_default(), *format, out)?;
        }
    }
    Ok(Exit::Ok)
}

fn choose(args: &PepperArgs) -> PepperChoice<'_> {
    match &args.pepper {
        _ if args.no_pepper => PepperChoice::Plain,
        Some(id) => PepperChoice::Named(id),
        None => PepperChoice::First,
    }
}

fn borrow((id, secret): &(String, Secret)) -> Pepper<'_> {
    Pepper { id, secret }
}

/// Why no key was issued.
enum Unissued {
    Edit(EditError),
    Output(io::Error),
}

impl From<EditError> for Unissued {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl From<io::Error> for Unissued {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// An edit that makes a key. The key is written out before the file is replaced: a gateway must not take one that nobody
/// saw.
fn issue(
    file: &FileArgs,
    out: &mut dyn Write,
    make: impl FnOnce(&mut AccountFile, &mut dyn Write) -> Result<(), Unissued>,
) -> Result<(), Stop> {
    if leads_nowhere(io::stdout()) {
        return Err(Stop::failed("standard output is closed or /dev/null; nobody would see the key, so none was made"));
    }
    let mut shown = false;
    let edited = edit(file, |accounts| {
        let told = make(accounts, out).and_then(|()| Ok(out.flush()?));
        shown = told.is_ok();
        told.map_err(|why| match why {
            Unissued::Edit(error) => error,
            Unissued::Output(error) => EditError::Unshown(error),
        })
    });
    edited.map_err(|stop| match shown {
        true => Stop { message: format!("{}; the key above is void", stop.message), ..stop },
        false => stop,
    })
}

/// Whether what is written there is seen by nobody. One that was closed has become the null device before `main`.
fn leads_nowhere(out: impl AsFd) -> bool {
    let (Ok(out), Ok(null)) = (fstat(out), stat("/dev/null")) else { return false };
    FileType::from_raw_mode(out.st_mode) == FileType::CharacterDevice && out.st_rdev == null.st_rdev
}

fn show(issued: &Issued, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "API ID   {}\nAPI KEY  {}", issued.id, issued.key)?;
    writeln!(out, "\nThe key is not stored and cannot be shown again.")
}

fn tell(id: &str, rotated: &Rotated, not_after: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    show(&rotated.issued, out)?;
    writeln!(out, "It belongs to {}, with the realms and the label of {id}.", rotated.account)?;
    match not_after {
        Some(until) => writeln!(out, "It is good until {until}.")?,
        None => writeln!(out, "It has no end; --not-after sets one.")?,
    }
    match &rotated.old {
        OldKey::EndsAt(until) => writeln!(out, "The old key, {id}, is good until {until}."),
        OldKey::KeepsEnd(until) => writeln!(out, "The old key, {id}, is good until {until}, as it was before."),
        OldKey::OverSince(until) => writeln!(out, "The old key, {id}, was over already, since {until}."),
    }
}

fn list(rows: &[CredentialRow], used: &HashMap<String, u64>, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let last_use = |row: &CredentialRow| {
        let seconds = used.get(&row.id).and_then(|seconds| i64::try_from(*seconds).ok());
        seconds.and_then(format_time).map(|time| time.to_string())
    };
    if format == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "id": row.id, "account": row.account, "realms": row.realms, "not_before": row.not_before,
                    "not_after": row.not_after, "pepper": row.pepper, "label": row.label, "expired": row.expired,
                    "last_used": last_use(row) })
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    for row in rows {
        let or_dash = |text: Option<&str>| printable(text.unwrap_or("-"));
        let until = or_dash(row.not_after.as_deref()) + if row.expired { " (over)" } else { "" };
        lines.push([
            printable(&row.id),
            printable(&row.account),
            row.realms.as_ref().map_or_else(|| "all".to_owned(), |realms| printable(&realms_text(realms))),
            or_dash(row.not_before.as_deref()),
            until,
            or_dash(row.pepper.as_deref()),
            or_dash(row.label.as_deref()),
            or_dash(last_use(row).as_deref()),
        ]);
    }
    write_columns(&lines, out)
}

fn realms_text(realms: &[String]) -> String {
    if realms.is_empty() { "none".to_owned() } else { realms.join(",") }
}

/// The file may have been written by hand, and a terminal obeys what it is sent.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// Each column as wide as its widest text.
fn write_columns(lines: &[[String; HEADINGS.len()]], out: &mut dyn Write) -> io::Result<()> {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
    for line in lines {
        let padded: Vec<String> = line.iter().zip(widths).map(|(text, width)| format!("{text:<width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

const HEADINGS: [&str; 8] = ["API ID", "account", "realms", "from", "until", "pepper", "label", "last used"];
