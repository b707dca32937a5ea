//! What may be written into an accounts file, and what an edit relies on when it reads one.
//!
//! Called by the operations of [`AccountFile`]. It deliberately leaves alone what an edit cannot go wrong on, such as
//! unknown keys or the grammar of ids already there: the gateway's own reader judges those.

use std::collections::HashSet;

use toml_edit::{Datetime, Item, Table, Value};

use super::error::EditError;
use super::{ACCOUNT, ACTIVE, AccountFile, CREDENTIAL, SUSPENDED, string};

impl AccountFile {
    /// Refuses a file whose blocks an edit could mistake.
    pub(super) fn check_shape(&self) -> Result<(), EditError> {
        self.check_blocks(ACCOUNT, &["id", "role"], &["parent", "status", "email"])?;
        self.check_blocks(CREDENTIAL, &["id", "account"], &["label"])?;
        for account in self.blocks(ACCOUNT) {
            if string(account, "status").is_some_and(|status| status != ACTIVE && status != SUSPENDED) {
                return Err(self.fault(account.get("status"), "`status` is \"active\" or \"suspended\""));
            }
        }
        for credential in self.blocks(CREDENTIAL) {
            for key in ["not_before", "not_after"] {
                let time = credential.get(key);
                if time.is_some_and(|item| !item.as_datetime().is_some_and(is_instant)) {
                    return Err(self.fault(time, &format!("`{key}` is a date and time like {SAMPLE_TIME}, unquoted")));
                }
            }
            let realms = credential.get("realms");
            if realms.is_some_and(|item| !is_string_list(item)) {
                return Err(self.fault(realms, "`realms` is a list of names like [\"ucaas\"]"));
            }
        }
        Ok(())
    }

    fn check_blocks(&self, kind: &'static str, required: &[&str], optional: &[&str]) -> Result<(), EditError> {
        let all = self.doc.get(kind);
        if all.is_some_and(|item| !item.is_array_of_tables()) {
            return Err(self.fault(all, &format!("write every {kind} as a block of its own under `[[{kind}]]`")));
        }
        let mut ids = HashSet::new();
        for block in self.blocks(kind) {
            if let Some(missing) = required.iter().find(|key| !block.contains_key(key)) {
                return Err(self.fault_in(block, &format!("this {kind} has no `{missing}`")));
            }
            // A table below a block may lie anywhere in the file, so the block would have no end to append after.
            if let Some((key, nested)) = block.iter().find(|(_, item)| !item.is_value()) {
                return Err(self.fault(Some(nested), &format!("`{key}`: this {kind} holds plain keys only, no tables")));
            }
            for key in required.iter().chain(optional) {
                let item = block.get(key);
                if item.is_some_and(|item| !item.is_str()) {
                    return Err(self.fault(item, &format!("`{key}` is a string in quotes")));
                }
            }
            if let Some(id) = string(block, "id")
                && !ids.insert(id)
            {
                return Err(self.fault(block.get("id"), &format!("the {kind} id `{id}` is used twice; remove one")));
            }
        }
        Ok(())
    }

    pub(super) fn fault(&self, item: Option<&Item>, what: &str) -> EditError {
        EditError::unreadable(self.doc.raw(), item.and_then(Item::span), what)
    }

    fn fault_in(&self, block: &Table, what: &str) -> EditError {
        EditError::unreadable(self.doc.raw(), block.span(), what)
    }
}

/// Ids, and by the same rule names of roles and realms: `[A-Za-z0-9._~-]{1,64}`.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), EditError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(EditError::BadName { what, name: name.to_owned() })
}

/// Never trims: a blank that came along is the operator's to remove.
pub(super) fn check_email(email: &str) -> Result<(), &'static str> {
    if !email.is_ascii() {
        return Err("it may hold ASCII characters only");
    }
    if email.len() > 254 {
        return Err("it is longer than 254 characters");
    }
    if !email.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it holds a blank or a control character; remove it");
    }
    match email.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !domain.contains('@') => Ok(()),
        Some(_) | None => Err("write one `@` with something on either side"),
    }
}

/// Far enough to tell a hash from a password typed in its place: `$algorithm$…$…`, no blanks.
pub(super) fn is_phc(password: &str) -> bool {
    let mut fields = password.split('$');
    fields.next() == Some("")
        && fields.next().is_some_and(|algorithm| !algorithm.is_empty())
        && fields.count() >= 2
        && password.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn is_label(label: &str) -> bool {
    !label.is_empty() && !label.chars().any(char::is_control)
}

/// Reads an RFC 3339 time, seconds and offset included.
pub(super) fn parse_time(text: &str) -> Result<Datetime, EditError> {
    let bad = |why: String| EditError::BadTime { text: text.to_owned(), why };
    let time: Datetime = text.parse().map_err(|e: toml_edit::DatetimeParseError| bad(e.to_string()))?;
    if !is_instant(&time) || time.time.is_none_or(|clock| clock.second.is_none()) {
        return Err(bad("date, time with seconds and offset are needed".to_owned()));
    }
    Ok(time)
}

/// Seconds since 1970 of a time with date and offset; fractions are cut off.
pub(super) fn unix_seconds(time: &Datetime) -> Option<i64> {
    let (date, clock) = (time.date?, time.time?);
    let offset_minutes = match time.offset? {
        toml_edit::Offset::Z => 0,
        toml_edit::Offset::Custom { minutes } => i64::from(minutes),
    };
    // Days of the proleptic Gregorian calendar, counted in years that begin in March so that leap days come last.
    let year = i64::from(date.year) - i64::from(date.month <= 2);
    let month = (i64::from(date.month) + 9) % 12;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + i64::from(date.day);
    let days = 365 * year + leap_days + day_of_year - 719_469;
    let minutes = i64::from(clock.hour) * 60 + i64::from(clock.minute) - offset_minutes;
    Some(days * 86_400 + minutes * 60 + i64::from(clock.second.unwrap_or(0)))
}

fn is_instant(time: &Datetime) -> bool {
    time.date.is_some() && time.time.is_some() && time.offset.is_some()
}

fn is_string_list(item: &Item) -> bool {
    item.as_array().is_some_and(|list| list.iter().all(Value::is_str))
}

/// In messages.
pub(super) const SAMPLE_TIME: &str = "2027-01-01T00:00:00Z";
