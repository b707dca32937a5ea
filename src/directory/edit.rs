//! Edits of `policies/accounts.toml`: the library behind `portcullis account …` and `portcullis credential …`.
//!
//! The text is parsed for its meaning and its spans, and an edit replaces only the bytes it is about: comments, order,
//! line endings and spelling of everything else stay as they are. The result is parsed again before it is kept.
//! It deliberately does not judge what only the gateway can (whether a role or a realm exists, how strong a password
//! hash is): that is `portcullis check`.

mod disk;
mod error;
mod grammar;
mod layout;
mod list;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use toml_edit::{Array, Document, Item, Table, Value};

pub use self::disk::{edit_file, read_file};
pub use self::error::EditError;
pub use self::list::{AccountRow, CredentialRow, Status};

use self::grammar::{check_email, check_name, is_label, is_phc, parse_time};
use self::layout::Block;
use self::list::status_of;
use self::tree::{check_depth, nearest};

/// A parsed `accounts.toml` whose accounts form a tree; every edit keeps it one.
pub struct AccountFile {
    doc: Document<String>,
}

/// The account that `account add` writes.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// `[A-Za-z0-9._~-]{1,64}`, not yet taken.
    pub id: &'a str,
    /// Role name, in the grammar of ids; whether a realm knows it is for `check` to say.
    pub role: &'a str,
    /// An account of the file; `None` makes a root.
    pub parent: Option<&'a str>,
    /// Stored in lower case; unique in the file.
    pub email: Option<&'a str>,
    /// PHC string as `portcullis password` prints it, never the password itself.
    pub password: Option<&'a str>,
}

/// The credential that `credential new` writes.
#[derive(Clone, Copy, Debug)]
pub struct NewCredential<'a> {
    /// An account of the file.
    pub account: &'a str,
    /// Realms it is good for; empty writes no `realms`, which means all of them.
    pub realms: &'a [String],
    /// One line of text for the operator.
    pub label: Option<&'a str>,
    /// RFC 3339 date and time with an offset; the credential has expired from then on.
    pub not_after: Option<&'a str>,
}

/// A credential just made. The key exists nowhere else: the file holds only its digest.
pub struct Issued {
    /// API ID: 16 random bytes, in hex.
    pub id: String,
    /// API KEY: 32 random bytes, in base64url without padding.
    pub key: String,
}

/// Whether [`AccountFile::set_status`] had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The account has the status now.
    Changed,
    /// It had the status before; the text is untouched.
    Already,
}

impl AccountFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`EditError::Unreadable`], with line and column, for anything an edit could go wrong on: bad TOML, accounts or
    /// credentials that are not `[[…]]` blocks of plain keys, an id used twice, an unknown parent, a cycle.
    pub fn parse(text: &str) -> Result<Self, EditError> {
        let doc = Document::parse(text.to_owned()).map_err(|e| EditError::unreadable(text, e.span(), e.message()))?;
        let file = Self { doc };
        file.check_shape()?;
        file.check_tree()?;
        Ok(file)
    }

    /// Appends an account after the last one.
    ///
    /// # Errors
    /// An id, role, e-mail or password hash that breaks the grammar or is taken, an unknown parent, a seventeenth level.
    pub fn add_account(&mut self, new: &NewAccount<'_>) -> Result<(), EditError> {
        check_name("an account", new.id)?;
        check_name("a role", new.role)?;
        let tree = self.tree();
        if tree.contains(new.id) {
            return Err(EditError::AccountExists { id: new.id.to_owned() });
        }
        if let Some(parent) = new.parent {
            tree.check_parent(parent)?;
            check_depth(new.id, tree.depth(parent) + 1)?;
        }
        let email = new.email.map(|email| self.admit_email(email)).transpose()?;
        if !new.password.is_none_or(is_phc) {
            return Err(EditError::BadPassword);
        }

        let mut block = Block::new(ACCOUNT);
        block.string("id", Some(new.id));
        block.string("role", Some(new.role));
        block.string("parent", new.parent);
        block.string("email", email.as_deref());
        block.string("password", new.password);
        self.append(&block)
    }

    /// Suspends an account, or lifts its own suspension (one that an ancestor brings stays).
    ///
    /// # Errors
    /// [`EditError::UnknownAccount`].
    pub fn set_status(&mut self, id: &str, suspended: bool) -> Result<Change, EditError> {
        let wanted = if suspended { Status::Suspended } else { Status::Active };
        if status_of(self.tree().account(id)?) == wanted {
            return Ok(Change::Already);
        }
        self.set_key(id, "status", if suspended { SUSPENDED } else { ACTIVE })?;
        Ok(Change::Changed)
    }

    /// Puts an account and everything below it under another parent; `None` makes it a root.
    ///
    /// # Errors
    /// An unknown account or parent, a parent inside the account's own subtree, a seventeenth level.
    pub fn move_account(&mut self, id: &str, parent: Option<&str>) -> Result<(), EditError> {
        let tree = self.tree();
        let account = tree.account(id)?;
        if string(account, "parent") == parent {
            return Ok(());
        }
        let Some(parent) = parent else {
            return self.remove_key(id, "parent");
        };
        tree.check_parent(parent)?;
        if tree.climb(parent).any(|above| string(above, "id") == Some(id)) {
            return Err(EditError::Cycle { id: id.to_owned(), parent: parent.to_owned() });
        }
        check_depth(id, tree.depth(parent) + tree.height(id))?;
        self.set_key(id, "parent", parent)
    }

    /// Makes a credential and appends its block, which holds the key's SHA-256 only, after the last credential.
    ///
    /// The digest is over the key as a caller sends it: the 43 bytes of its base64url text.
    ///
    /// # Errors
    /// An unknown account, a realm, label or time that breaks the grammar, or no random bytes from the system.
    pub fn add_credential(&mut self, new: &NewCredential<'_>) -> Result<Issued, EditError> {
        self.tree().account(new.account)?;
        for realm in new.realms {
            check_name("a realm", realm)?;
        }
        if !new.label.is_none_or(is_label) {
            return Err(EditError::BadLabel);
        }
        let not_after = new.not_after.map(parse_time).transpose()?;
        let issued = Issued { id: hex(&random::<16>()?), key: URL_SAFE_NO_PAD.encode(random::<32>()?) };

        let mut block = Block::new(CREDENTIAL);
        block.string("id", Some(&issued.id));
        block.string("account", Some(new.account));
        block.string("key", Some(&format!("sha256:{}", hex(&Sha256::digest(&issued.key)))));
        if !new.realms.is_empty() {
            block.value("realms", Value::from(Array::from_iter(new.realms)));
        }
        if let Some(time) = not_after {
            block.value("not_after", Value::from(time));
        }
        block.string("label", new.label);
        self.append(&block)?;
        Ok(issued)
    }

    /// Removes a credential's block and the comments that touch it; the neighbours keep theirs.
    ///
    /// # Errors
    /// [`EditError::UnknownCredential`].
    pub fn revoke_credential(&mut self, id: &str) -> Result<(), EditError> {
        let found = self.blocks(CREDENTIAL).find(|block| string(block, "id") == Some(id));
        let Some(extent) = found.and_then(|block| self.extent(block)) else {
            let known = self.blocks(CREDENTIAL).filter_map(|block| string(block, "id"));
            return Err(EditError::UnknownCredential { near: nearest(id, known) });
        };
        self.remove(extent)
    }

    /// The file as it is to be written.
    pub fn text(&self) -> String {
        self.doc.raw().to_owned()
    }

    /// The e-mail in lower case, if an account may have it.
    fn admit_email(&self, email: &str) -> Result<String, EditError> {
        check_email(email).map_err(|why| EditError::BadEmail { email: email.to_owned(), why })?;
        let holder = self
            .blocks(ACCOUNT)
            .find(|account| string(account, "email").is_some_and(|taken| taken.eq_ignore_ascii_case(email)));
        match holder.and_then(|account| string(account, "id")) {
            Some(account) => Err(EditError::EmailTaken { email: email.to_owned(), account: account.to_owned() }),
            None => Ok(email.to_ascii_lowercase()),
        }
    }
}

/// Counts only: the text holds password hashes and digests.
impl fmt::Debug for AccountFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountFile")
            .field("accounts", &self.blocks(ACCOUNT).count())
            .field("credentials", &self.blocks(CREDENTIAL).count())
            .finish()
    }
}

/// Without the password hash.
impl fmt::Debug for NewAccount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("parent", &self.parent)
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

/// Without the key.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("id", &self.id).finish_non_exhaustive()
    }
}

fn string<'a>(block: &'a Table, key: &str) -> Option<&'a str> {
    block.get(key).and_then(Item::as_str)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> Result<[u8; N], EditError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(EditError::Random)?;
    Ok(bytes)
}

const ACCOUNT: &str = "account";
const CREDENTIAL: &str = "credential";
const ACTIVE: &str = "active";
const SUSPENDED: &str = "suspended";
