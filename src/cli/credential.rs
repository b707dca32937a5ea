//! `portcullis credential …`: API ids and keys. A key is shown once and stored only as a digest.

use std::io::Write;
use std::time::SystemTime;

use serde_json::json;

use super::account::{bad, edit, known_word, path, vocabulary_of};
use super::args::{CredentialVerb, Format};
use super::{Done, Exit};
use crate::directory::edit::{CredentialRow, NewCredential, read_file};

/// Runs the verb.
///
/// # Errors
/// An edit that the file does not allow, or a file that cannot be written.
pub fn run(verb: &CredentialVerb, out: &mut dyn Write) -> Done {
    match verb {
        CredentialVerb::New { account, realms, label, not_after, file } => {
            let known = vocabulary_of(file).realms;
            for realm in realms {
                known_word("realm", realm, &known)?;
            }
            let new = NewCredential { account, realms, label: label.as_deref(), not_after: not_after.as_deref() };
            let issued = edit(file, |accounts| accounts.add_credential(&new))?;
            writeln!(out, "API ID   {}\nAPI KEY  {}", issued.id, issued.key)?;
            writeln!(out, "\nThe key is not stored and cannot be shown again.")?;
            if realms.is_empty() {
                writeln!(out, "It is good in every realm; --realm narrows it.")?;
            }
        }
        CredentialVerb::List { format, file } => {
            let file_path = path(file)?;
            let accounts = read_file(&file_path).map_err(|error| bad(file, &error))?;
            list(&accounts.credentials(SystemTime::now()), *format, out)?;
        }
    }
    Ok(Exit::Ok)
}

fn list(rows: &[CredentialRow], format: Format, out: &mut dyn Write) -> std::io::Result<()> {
    if format == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({ "id": row.id, "account": row.account, "realms": row.realms, "not_before": row.not_before,
                    "not_after": row.not_after, "label": row.label, "expired": row.expired })
            })
            .collect();
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    writeln!(out, "{:<34} {:<20} {:<14} {:<22} label", "API ID", "account", "realms", "until")?;
    for row in rows {
        let realms = row.realms.as_ref().map_or_else(|| "all".to_owned(), |realms| realms.join(","));
        let until = row.not_after.as_deref().unwrap_or("-");
        let expired = if row.expired { " (over)" } else { "" };
        let label = row.label.as_deref().unwrap_or("-");
        writeln!(out, "{:<34} {:<20} {realms:<14} {:<22} {label}", row.id, row.account, format!("{until}{expired}"))?;
    }
    Ok(())
}
