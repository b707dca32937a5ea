//! The text of the announcements that gateways make on the store's channels. Written by the Redis backend, partly by
//! its scripts, and read by its subscription; memory needs none.
//!
//! On `{prefix}invalidations` one message is one of
//! `session <jti>`, `account <id> <ms>`, `subtree <id> <ms>`, `lock <failures> <until> <key>`, `beat <gateway>`;
//! on `{prefix}directory` it is the full name of a key of the directory. It does not know what they lead to.

use super::feed::News;
use super::{Lock, is_id};

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// For the listeners.
    News(News<'a>),
    /// A gateway shows that it can be heard; its id.
    Beat(&'a str),
}

/// Reads a message of the channel for invalidations; `None` for anything that is not exactly one.
pub(super) fn read(payload: &[u8]) -> Option<Message<'_>> {
    let (word, rest) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
    match word {
        "session" => id(rest).map(|jti| Message::News(News::Session(jti))),
        "account" | "subtree" => {
            let (account, mark) = rest.split_once(' ')?;
            let (account, mark) = (id(account)?, number(mark.as_bytes())?);
            let of_account = word == "account";
            Some(Message::News(if of_account { News::Account(account, mark) } else { News::Subtree(account, mark) }))
        }
        "lock" => {
            let (failures, rest) = rest.split_once(' ')?;
            let (until, key) = rest.split_once(' ')?;
            let failures = u32::try_from(number(failures.as_bytes())?).ok()?;
            let until = number(until.as_bytes())?;
            Some(Message::News(News::Lock(key, Lock { failures, until })))
        }
        "beat" => id(rest).map(Message::Beat),
        _ => None,
    }
}

/// Reads a message of the directory's channel: the kind and the id of the record that changed.
pub(super) fn read_directory<'a>(prefix: &str, payload: &'a [u8]) -> Option<News<'a>> {
    let key = std::str::from_utf8(payload).ok()?.strip_prefix(prefix)?;
    let (kind, record) = key.split_once(':')?;
    let well_formed = match kind {
        "account" | "credential" => is_id(record),
        "email" => (1..=EMAIL_LENGTH).contains(&record.len()) && record.bytes().all(|byte| byte.is_ascii_graphic()),
        _ => false,
    };
    well_formed.then_some(News::Record(kind, record))
}

/// A number as this crate and its scripts write it: decimal digits, nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

fn id(text: &str) -> Option<&str> {
    is_id(text).then_some(text)
}

/// The longest e-mail address of the directory, in bytes.
const EMAIL_LENGTH: usize = 254;
