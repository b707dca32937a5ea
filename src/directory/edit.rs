//! Edits of `policies/accounts.toml`: the library behind `portcullis account …` and `portcullis credential …`.
//!
//! The text is parsed for its meaning and its spans, and an edit replaces only the bytes it is about: comments, order,
//! line endings and spelling of everything else stay as they are. The result is parsed again before it is kept.
//! It deliberately does not judge what only the gateway can (whether a role or a realm exists, how strong a password
//! hash is): that is `portcullis check`.

mod disk;
mod error;
mod grammar;
mod keys;
mod layout;
mod list;
mod rank;
#[cfg(test)]
mod tests;
mod tree;

use std::fmt;

use toml_edit::{Document, Item, Table, Value};

pub use self::disk::{edit_file, read_file};
pub use self::error::EditError;
pub use self::grammar::format_time;
pub use self::keys::{Issued, NewCredential, OldKey, Pepper, Rotated, Rotation};
pub use self::list::{AccountRow, CredentialRow, Status};
pub use self::rank::Ranks;

use self::grammar::{check_email, check_name, is_phc};
use self::layout::Block;
use self::list::status_of;
use self::tree::check_depth;

/// A parsed `accounts.toml` whose accounts form a tree; every edit keeps it one.
pub struct AccountFile {
    doc: Document<String>,
    ranks: Ranks,
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

/// Whether an edit had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is as asked for now.
    Changed,
    /// It was so before; the text is untouched.
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
        let file = Self { doc, ranks: Ranks::default() };
        file.check_shape()?;
        file.check_tree()?;
        Ok(file)
    }

    /// Appends an account after the last one.
    ///
    /// # Errors
    /// An id, role, e-mail or password hash that breaks the grammar or is taken, an unknown parent, a seventeenth level, a
    /// role that is not below those above it.
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
            self.check_rank(new.id, new.role, parent)?;
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
        let status = Value::from(if suspended { SUSPENDED } else { ACTIVE });
        self.set_value((ACCOUNT, id), "status", &status, &["id", "role", "parent"])?;
        Ok(Change::Changed)
    }

    /// Puts an account and everything below it under another parent; `None` makes it a root.
    ///
    /// # Errors
    /// An unknown account or parent, a parent inside the account's own subtree, a seventeenth level, a role in the subtree
    /// that is not below those above it then.
    pub fn move_account(&mut self, id: &str, parent: Option<&str>) -> Result<Change, EditError> {
        let tree = self.tree();
        let account = tree.account(id)?;
        if string(account, "parent") == parent {
            return Ok(Change::Already);
        }
        let Some(parent) = parent else {
            self.remove_key(id, "parent")?;
            return Ok(Change::Changed);
        };
        tree.check_parent(parent)?;
        if tree.climb(parent).any(|above| string(above, "id") == Some(id)) {
            return Err(EditError::Cycle { id: id.to_owned(), parent: parent.to_owned() });
        }
        check_depth(id, tree.depth(parent) + tree.height(id))?;
        self.check_subtree_ranks(id, parent)?;
        self.set_value((ACCOUNT, id), "parent", &Value::from(parent), &["id", "role"])?;
        Ok(Change::Changed)
    }

    /// Refuses an id that no account has.
    ///
    /// # Errors
    /// [`EditError::UnknownAccount`].
    pub fn check_account(&self, id: &str) -> Result<(), EditError> {
        self.tree().account(id).map(drop)
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

fn string<'a>(block: &'a Table, key: &str) -> Option<&'a str> {
    block.get(key).and_then(Item::as_str)
}

const ACCOUNT: &str = "account";
const CREDENTIAL: &str = "credential";
const ACTIVE: &str = "active";
const SUSPENDED: &str = "suspended";
