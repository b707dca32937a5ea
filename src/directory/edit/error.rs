//! What can go wrong with an edit, told to the operator at the command line.
//!
//! Messages name the remedy. None holds a line of the file, an API KEY, a digest or a password hash: they end up in
//! terminals, tickets and CI logs. An unknown API ID is not repeated either, since it may be a key given by mistake.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::grammar::LABEL_LENGTH;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is not TOML, or not accounts and credentials as an edit can rely on them.
    #[error("line {line}, column {column}: {what}")]
    Unreadable {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The fault.
        what: String,
    },
    /// The id is taken.
    #[error("the account `{id}` exists already; choose another id, or `account move` it")]
    AccountExists {
        /// The id asked for.
        id: String,
    },
    /// No account has this id.
    #[error("no account `{id}`; {}", hint(.near.as_deref(), "account"))]
    UnknownAccount {
        /// The id asked for.
        id: String,
        /// An id that is there and looks much like it.
        near: Option<String>,
    },
    /// No account has the id given for the parent.
    #[error("no account `{id}` to be the parent; {}", hint(.near.as_deref(), "account"))]
    UnknownParent {
        /// The id asked for.
        id: String,
        /// An id that is there and looks much like it.
        near: Option<String>,
    },
    /// No credential has this API ID.
    #[error("no credential has that API ID; {}", hint(.near.as_deref(), "credential"))]
    UnknownCredential {
        /// An API ID that is there and looks much like it.
        near: Option<String>,
    },
    /// An id or name breaks the grammar.
    #[error("{name:?} cannot be the name of {what}; write 1 to 64 of the characters A-Z a-z 0-9 . _ ~ -")]
    BadName {
        /// What it was to name, with its article.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// An e-mail breaks the grammar.
    #[error("{email:?} cannot be an e-mail: {why}")]
    BadEmail {
        /// The e-mail asked for.
        email: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// Another account has the e-mail.
    #[error("the account `{account}` has the e-mail {email:?} already; e-mails are unique, letter case aside")]
    EmailTaken {
        /// The e-mail asked for.
        email: String,
        /// Who has it.
        account: String,
    },
    /// The password is not a hash.
    #[error("the password is not a PHC string; make one with `portcullis password`")]
    BadPassword,
    /// A label breaks the grammar.
    #[error("the label {why}; write 1 to {LABEL_LENGTH} printable characters, or leave it out")]
    BadLabel {
        /// The rule it breaks.
        why: &'static str,
    },
    /// A time is not RFC 3339.
    #[error("{text:?} is not a time ({why}); write one like {sample}")]
    BadTime {
        /// The time asked for.
        text: String,
        /// What is wrong with it.
        why: String,
        /// How it should look.
        sample: String,
    },
    /// The end of a credential is past.
    #[error("{text} is past, so the key would never be good; give a later time, or none for a key without an end")]
    Past {
        /// The time asked for.
        text: String,
    },
    /// The end of a credential is not after its begin.
    #[error("a key that begins at {from} and ends at {until} would never be good; give a later end")]
    NeverGood {
        /// The begin asked for.
        from: String,
        /// The end asked for.
        until: String,
    },
    /// A credential to rotate begins only after it would end.
    #[error(
        "that credential is not good before {from}; `credential revoke` it, and make another with `credential new`"
    )]
    NotGoodYet {
        /// Its begin.
        from: String,
    },
    /// The end of the overlap is a time that cannot be written.
    #[error("the overlap ends too far in the future; give a shorter one, like 24h")]
    FarOverlap,
    /// A pepper has no secret to work with.
    #[error("the secret of pepper `{id}` is empty; fill it with `openssl rand -hex 32`, or choose another pepper")]
    BadPepper {
        /// Its id.
        id: String,
    },
    /// A role stands where its realm does not allow it.
    #[error(
        "`{id}` is a {role} and cannot be below `{above}`, a {above_role}: in realm `{realm}` the role {role} is not below \
         {above_role}; choose a parent further up in `portcullis account list`, or a lower role"
    )]
    Rank {
        /// The account that does not fit: the one asked for, or one below it.
        id: String,
        /// Its role.
        role: String,
        /// The account it would be below.
        above: String,
        /// The role of that one.
        above_role: String,
        /// The realm whose ladder says so.
        realm: String,
    },
    /// The new parent is the account itself or lies below it.
    #[error("`{parent}` lies inside the subtree of `{id}`; move `{parent}` out of it first, or choose another parent")]
    Cycle {
        /// The account to move.
        id: String,
        /// The parent asked for.
        parent: String,
    },
    /// The tree would grow past its levels.
    #[error("with `{id}` there the tree would be more than {levels} levels deep; choose a parent further up")]
    TooDeep {
        /// The account to add or move.
        id: String,
        /// How many are allowed.
        levels: usize,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// Whoever was to be told a new key could not be.
    #[error("the key could not be written out ({0}), so nothing was changed")]
    Unshown(io::Error),
    /// There is no file to edit.
    #[error("{} does not exist; check the path, or begin the file with `portcullis account add`", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is somebody else's, and replacing it would take it away from them.
    #[error("{} belongs to user {uid}, group {gid}, which this user cannot keep; run this as its owner", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
    /// No file can be made beside the accounts.
    #[error(
        "cannot write in the directory {}: {source}; an edit puts a lock file and the new file there, so run it as a user \
         who may, or give this one the right to", .path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// A verb, as in "cannot read".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl EditError {
    /// A fault at the begin of `span`, or of the text where the parser knows no place.
    pub(super) fn unreadable(text: &str, span: Option<Range<usize>>, what: &str) -> Self {
        let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::Unreadable {
            line: before.matches('\n').count() + 1,
            column: before[line_begin..].trim_start_matches('\u{feff}').chars().count() + 1,
            what: what.to_owned(),
        }
    }

    /// For a file that could not be made: the directory is to blame where it takes none.
    pub(super) fn making(doing: &'static str, file: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match (source.kind(), file.parent()) {
            (io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem, Some(directory))
                if !file.exists() =>
            {
                Self::Directory { path: directory.to_owned(), source }
            }
            _ => Self::io(doing, file)(source),
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

fn hint(near: Option<&str>, kind: &str) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`portcullis {kind} list` shows those there are"),
    }
}
