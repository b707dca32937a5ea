//! Credentials in the accounts file: made, replaced, taken away.
//!
//! Called by `credential new`, `rotate` and `revoke`, and by `demo`. A key leaves this file once, in [`Issued`]; what is
//! written is its digest, under a pepper where one is given. Whether a realm exists is not judged here.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use toml_edit::{Array, Datetime, Item, Table, Value};

use super::error::EditError;
use super::grammar::{check_label, check_name, format_time, parse_time, unix_seconds};
use super::layout::Block;
use super::tree::nearest;
use super::{AccountFile, CREDENTIAL, string};
use crate::config::secret::Secret;

/// The credential that `credential new` writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewCredential<'a> {
    /// An account of the file.
    pub account: &'a str,
    /// Realms it is good for; empty writes no `realms`, which means all of them.
    pub realms: &'a [String],
    /// At most 200 printable characters for the operator.
    pub label: Option<&'a str>,
    /// RFC 3339 date and time with an offset; the credential is not good before.
    pub not_before: Option<&'a str>,
    /// RFC 3339 date and time with an offset; the credential has expired from then on.
    pub not_after: Option<&'a str>,
    /// What the digest is made with; `None` makes it a plain SHA-256.
    pub pepper: Option<Pepper<'a>>,
}

/// One of `directory.peppers`: a secret without which a digest cannot be tried against keys.
#[derive(Clone, Copy, Debug)]
pub struct Pepper<'a> {
    /// Written into the digest, so that the gateway knows which one to use.
    pub id: &'a str,
    /// The key of the HMAC; never empty.
    pub secret: &'a Secret,
}

/// How `credential rotate` replaces a credential.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rotation<'a> {
    /// How long the old key stays good; zero ends it at once.
    pub overlap: Duration,
    /// End of the new credential, as in [`NewCredential::not_after`].
    pub not_after: Option<&'a str>,
    /// For the digest of the new key.
    pub pepper: Option<Pepper<'a>>,
}

/// A credential just made. The key exists nowhere else: the file holds only its digest.
pub struct Issued {
    /// API ID: 16 random bytes, in hex.
    pub id: String,
    /// API KEY: 32 random bytes, in base64url without padding.
    pub key: String,
}

/// What a rotation did.
#[derive(Debug)]
pub struct Rotated {
    /// The new credential.
    pub issued: Issued,
    /// Whose both are.
    pub account: String,
    /// Until when the old key is good.
    pub old: OldKey,
}

/// The end of a rotated key, RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldKey {
    /// The rotation set it.
    EndsAt(String),
    /// It was to end earlier than the overlap, and still does.
    KeepsEnd(String),
    /// It had ended before.
    OverSince(String),
}

impl AccountFile {
    /// Makes a credential and appends its block, which holds the key's digest only, after the last credential.
    ///
    /// The digest is over the key as a caller sends it: the 43 bytes of its base64url text.
    ///
    /// # Errors
    /// An unknown account, a realm, label or time that breaks the grammar, an end that is past or not after the begin, a
    /// pepper without a secret, or no random bytes from the system.
    pub fn add_credential(&mut self, new: &NewCredential<'_>, now: SystemTime) -> Result<Issued, EditError> {
        self.tree().account(new.account)?;
        for realm in new.realms {
            check_name("a realm", realm)?;
        }
        if let Some(label) = new.label {
            check_label(label)?;
        }
        let not_before = new.not_before.map(parse_time).transpose()?;
        let not_after = new.not_after.map(|text| parse_end(text, now)).transpose()?;
        if let (Some(from), Some(until)) = (&not_before, &not_after)
            && unix_seconds(from) >= unix_seconds(until)
        {
            return Err(EditError::NeverGood { from: from.to_string(), until: until.to_string() });
        }
        let (issued, digest) = make(new.pepper)?;

        let mut block = Block::new(CREDENTIAL);
        block.string("id", Some(&issued.id));
        block.string("account", Some(new.account));
        block.string("key", Some(&digest));
        if !new.realms.is_empty() {
            block.value("realms", Value::from(Array::from_iter(new.realms)));
        }
        for (key, time) in [("not_before", not_before), ("not_after", not_after)] {
            if let Some(time) = time {
                block.value(key, Value::from(time));
            }
        }
        block.string("label", new.label);
        self.append(&block)?;
        Ok(issued)
    }

    /// Makes a credential like an old one (same account, realms and label), and lets the old one end after the overlap;
    /// an end that it has already is only ever brought forward.
    ///
    /// # Errors
    /// [`EditError::UnknownCredential`], [`EditError::NotGoodYet`] where the old one would end before it begins, and those
    /// of [`AccountFile::add_credential`].
    pub fn rotate_credential(
        &mut self,
        id: &str,
        rotation: &Rotation<'_>,
        now: SystemTime,
    ) -> Result<Rotated, EditError> {
        let old = self.credential(id)?;
        let end = seconds(now).saturating_add(i64::try_from(rotation.overlap.as_secs()).unwrap_or(i64::MAX));
        let end_time = format_time(end).ok_or(EditError::FarOverlap)?;
        if let Some(from) = time(old, "not_before")
            && unix_seconds(from) >= Some(end)
        {
            return Err(EditError::NotGoodYet { from: from.to_string() });
        }
        let fate = match time(old, "not_after").map(|until| (until.to_string(), unix_seconds(until))) {
            Some((text, until)) if until <= Some(seconds(now)) => OldKey::OverSince(text),
            Some((text, until)) if until <= Some(end) => OldKey::KeepsEnd(text),
            Some(_) | None => OldKey::EndsAt(end_time.to_string()),
        };
        let not_after = rotation.not_after.map(|text| parse_end(text, now)).transpose()?;
        let account = string(old, "account").unwrap_or_default().to_owned();
        let (issued, digest) = make(rotation.pepper)?;

        let mut block = Block::new(CREDENTIAL);
        block.string("id", Some(&issued.id));
        block.string("account", Some(&account));
        block.string("key", Some(&digest));
        // An empty list means "nowhere" and none at all "everywhere", so the copy has to keep them apart.
        if let Some(realms) = old.get("realms").and_then(Item::as_array) {
            block.value("realms", Value::from(Array::from_iter(realms.iter().filter_map(Value::as_str))));
        }
        if let Some(until) = not_after {
            block.value("not_after", Value::from(until));
        }
        block.string("label", string(old, "label"));
        if matches!(fate, OldKey::EndsAt(_)) {
            let earlier = ["id", "account", "key", "realms", "not_before"];
            self.set_value((CREDENTIAL, id), "not_after", &Value::from(end_time), &earlier)?;
        }
        self.append(&block)?;
        Ok(Rotated { issued, account, old: fate })
    }

    /// Removes a credential's block and the comments that touch it; the neighbours keep theirs. Gives its account.
    ///
    /// # Errors
    /// [`EditError::UnknownCredential`].
    pub fn revoke_credential(&mut self, id: &str) -> Result<String, EditError> {
        let block = self.credential(id)?;
        let account = string(block, "account").unwrap_or_default().to_owned();
        if let Some(extent) = self.extent(block) {
            self.remove(extent)?;
        }
        Ok(account)
    }

    fn credential(&self, id: &str) -> Result<&Table, EditError> {
        let found = self.blocks(CREDENTIAL).find(|block| string(block, "id") == Some(id));
        let known = || self.blocks(CREDENTIAL).filter_map(|block| string(block, "id"));
        found.ok_or_else(|| EditError::UnknownCredential { near: nearest(id, known()) })
    }
}

/// Without the key.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("id", &self.id).finish_non_exhaustive()
    }
}

fn make(pepper: Option<Pepper<'_>>) -> Result<(Issued, String), EditError> {
    let issued = Issued { id: hex(&random::<16>()?), key: URL_SAFE_NO_PAD.encode(random::<32>()?) };
    let digest = digest(issued.key.as_bytes(), pepper)?;
    Ok((issued, digest))
}

/// As the file holds it.
pub(super) fn digest(key: &[u8], pepper: Option<Pepper<'_>>) -> Result<String, EditError> {
    let Some(Pepper { id, secret }) = pepper else {
        return Ok(format!("{PLAIN}{}", hex(&Sha256::digest(key))));
    };
    check_name("a pepper", id)?;
    let unusable = || EditError::BadPepper { id: id.to_owned() };
    if secret.reveal().is_empty() {
        return Err(unusable());
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal()).map_err(|_| unusable())?;
    mac.update(key);
    Ok(format!("{PEPPERED}{id}:{}", hex(&mac.finalize().into_bytes())))
}

/// The pepper's id in a stored digest, `None` for a plain one; an error for anything that is no digest.
pub(super) fn read_digest(text: &str) -> Result<Option<&str>, ()> {
    let is_digest = |hex: &str| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(hex) = text.strip_prefix(PLAIN) {
        return if is_digest(hex) { Ok(None) } else { Err(()) };
    }
    match text.strip_prefix(PEPPERED).and_then(|rest| rest.split_once(':')) {
        Some((id, hex)) if is_digest(hex) && check_name("a pepper", id).is_ok() => Ok(Some(id)),
        Some(_) | None => Err(()),
    }
}

/// An end that is not reached yet.
fn parse_end(text: &str, now: SystemTime) -> Result<Datetime, EditError> {
    let until = parse_time(text)?;
    if unix_seconds(&until) <= Some(seconds(now)) {
        return Err(EditError::Past { text: text.to_owned() });
    }
    Ok(until)
}

fn time<'a>(block: &'a Table, key: &str) -> Option<&'a Datetime> {
    block.get(key).and_then(Item::as_datetime)
}

/// Since 1970; a clock before that counts as then.
pub(super) fn seconds(now: SystemTime) -> i64 {
    i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> Result<[u8; N], EditError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(EditError::Random)?;
    Ok(bytes)
}

const PLAIN: &str = "sha256:";
const PEPPERED: &str = "hmac-sha256:";
