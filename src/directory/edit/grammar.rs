//! What may be written into an accounts file, and what a file must be before it is edited.
//!
//! Called by the operations of [`AccountFile`]. A file that the gateway would refuse is refused here too: an edit of it
//! would be reported as done and never come into force. Warnings, unknown roles and realms, and the costs of a password
//! hash are left to `check`.

use std::collections::HashSet;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use toml_edit::{Datetime, Item, Table, Value};

use super::error::EditError;
use super::keys::read_digest;
use super::{ACCOUNT, ACTIVE, AccountFile, CREDENTIAL, SUSPENDED, string};

impl AccountFile {
    /// Refuses a file whose blocks an edit could mistake, or the gateway would not take.
    pub(super) fn check_shape(&self) -> Result<(), EditError> {
        if let Some((key, item)) = self.doc.iter().find(|(key, _)| *key != ACCOUNT && *key != CREDENTIAL) {
            let what = format!("`{key}` has no meaning here; the file holds [[account]] and [[credential]] only");
            return Err(self.fault(Some(item), &what));
        }
        self.check_blocks(ACCOUNT, &["id", "role"], &["parent", "status", "email", "password"], &[])?;
        self.check_blocks(CREDENTIAL, &["id", "account", "key"], &["label"], &["realms", "not_before", "not_after"])?;
        let mut ids = HashSet::new();
        let mut emails = HashSet::new();
        for account in self.blocks(ACCOUNT) {
            ids.extend(string(account, "id"));
            self.check_account_values(account)?;
            if let Some(email) = string(account, "email") {
                check_email(email).map_err(|why| self.fault(account.get("email"), &format!("not an e-mail: {why}")))?;
                if !emails.insert(email.to_ascii_lowercase()) {
                    return Err(self.fault(account.get("email"), "this e-mail stands twice; e-mails are unique"));
                }
            }
        }
        for credential in self.blocks(CREDENTIAL) {
            self.check_credential_values(credential)?;
            if let Some(owner) = string(credential, "account").filter(|owner| !ids.contains(owner)) {
                return Err(self.fault(credential.get("account"), &format!("there is no account `{owner}`")));
            }
        }
        Ok(())
    }

    fn check_account_values(&self, account: &Table) -> Result<(), EditError> {
        for (key, what) in [("id", "an account"), ("role", "a role")] {
            if let Some(name) = string(account, key) {
                check_name(what, name).map_err(|error| self.fault(account.get(key), &error.to_string()))?;
            }
        }
        if string(account, "status").is_some_and(|status| status != ACTIVE && status != SUSPENDED) {
            return Err(self.fault(account.get("status"), "`status` is \"active\" or \"suspended\""));
        }
        if string(account, "password").is_some_and(|password| !is_phc(password)) {
            let what = "`password` is not a PHC string; make one with `portcullis password`";
            return Err(self.fault(account.get("password"), what));
        }
        Ok(())
    }

    fn check_credential_values(&self, credential: &Table) -> Result<(), EditError> {
        if let Some(id) = string(credential, "id") {
            check_name("a credential", id).map_err(|_| self.fault(credential.get("id"), BAD_API_ID))?;
        }
        // The value is not repeated: it may be a key pasted by mistake.
        if string(credential, "key").is_some_and(|key| read_digest(key).is_err()) {
            let what = "`key` is no digest of an API KEY; `portcullis credential new` writes one";
            return Err(self.fault(credential.get("key"), what));
        }
        let time = |key| credential.get(key).map(|item| (item, item.as_datetime().filter(|time| is_instant(time))));
        for key in ["not_before", "not_after"] {
            if let Some((item, None)) = time(key) {
                let what = format!("`{key}` is a date and time like {SAMPLE_TIME}, unquoted");
                return Err(self.fault(Some(item), &what));
            }
        }
        if let (Some((_, Some(from))), Some((item, Some(until)))) = (time("not_before"), time("not_after"))
            && unix_seconds(from) >= unix_seconds(until)
        {
            return Err(self.fault(Some(item), "`not_after` is not later than `not_before`"));
        }
        let realms = credential.get("realms");
        if realms.is_some_and(|item| !is_string_list(item)) {
            return Err(self.fault(realms, "`realms` is a list of names like [\"ucaas\"]"));
        }
        Ok(())
    }

    /// `required` and `optional` are strings, `others` are not.
    fn check_blocks(
        &self,
        kind: &'static str,
        required: &[&str],
        optional: &[&str],
        others: &[&str],
    ) -> Result<(), EditError> {
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
            let known = |key: &str| [required, optional, others].concat().contains(&key);
            if let Some((key, item)) = block.iter().find(|(key, _)| !known(key)) {
                return Err(self.fault(Some(item), &format!("`{key}` is no key of [[{kind}]]")));
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

/// Printable means: it takes a place on the line and does not change the order of what is around it.
pub(super) fn check_label(label: &str) -> Result<(), EditError> {
    let unprintable = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let bad = |why| Err(EditError::BadLabel { why });
    if label.trim().is_empty() {
        return bad("is empty");
    }
    if label.chars().any(unprintable) {
        return bad("holds a character that cannot be printed");
    }
    if label.chars().count() > LABEL_LENGTH {
        return bad("is too long");
    }
    Ok(())
}

/// Reads an RFC 3339 time, seconds and offset included.
pub(super) fn parse_time(text: &str) -> Result<Datetime, EditError> {
    let bad = |why: &str, sample: String| EditError::BadTime { text: text.to_owned(), why: why.to_owned(), sample };
    let time: Datetime =
        text.parse().map_err(|e: toml_edit::DatetimeParseError| bad(&e.to_string(), SAMPLE_TIME.to_owned()))?;
    let Some((_, clock)) = time.date.zip(time.time) else {
        return Err(bad("date and time of day are needed", SAMPLE_TIME.to_owned()));
    };
    if clock.second.is_none() {
        return Err(bad("it has no seconds", SAMPLE_TIME.to_owned()));
    }
    if time.offset.is_none() {
        return Err(bad("it has no offset, and servers do not agree on a local time", format!("{time}Z for UTC")));
    }
    // The gateway reads the file with this parser, which knows for one that few minutes have a second 60.
    if let Err(error) = OffsetDateTime::parse(&time.to_string(), &Rfc3339) {
        return Err(bad(&error.to_string(), SAMPLE_TIME.to_owned()));
    }
    Ok(time)
}

/// RFC 3339 in UTC of seconds since 1970; `None` outside of the years 0 to 9999.
#[must_use]
pub fn format_time(seconds: i64) -> Option<Datetime> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()?.parse().ok()
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

/// Not repeated either: an API KEY may stand in its place.
const BAD_API_ID: &str = "an API ID is 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -";

/// The most characters of a label.
pub(super) const LABEL_LENGTH: usize = 200;

/// In messages.
pub(super) const SAMPLE_TIME: &str = "2027-01-01T00:00:00Z";
