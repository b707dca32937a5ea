//! An edit of the file itself: one writer at a time, and readers see the old file or the new one, never half of it.
//!
//! Called by the CLI. It keeps mode, owner and a symlink, but not hard links or extended attributes, which cannot
//! survive a rename. The lock file stays behind: removing it would let two writers hold two locks.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::AccountFile;
use super::error::EditError;
use crate::config::plain_file::read_text;
use crate::directory::file::LONGEST_ACCOUNTS;

/// Reads the file at `path`. Takes no lock and needs no right to write: a file is only ever replaced whole.
///
/// # Errors
/// [`EditError::Missing`], [`EditError::Io`], and those of [`AccountFile::parse`].
pub fn read_file(path: &Path) -> Result<AccountFile, EditError> {
    match read(path)? {
        Some(text) => AccountFile::parse(&text),
        None => Err(EditError::Missing { path: path.to_owned() }),
    }
}

/// Applies `edit` to the file at `path`, or leaves it as it is when `edit` fails or changes nothing.
///
/// Waits for other writers on the lock file `.<name>.lock` beside the file. A file that is missing is made, with mode
/// 0600, by an edit that adds an account; any other one is [`EditError::Missing`].
///
/// # Errors
/// Those of `edit` and of [`AccountFile::parse`], [`EditError::Missing`], [`EditError::Owner`] and [`EditError::Io`].
pub fn edit_file<T>(path: &Path, edit: impl FnOnce(&mut AccountFile) -> Result<T, EditError>) -> Result<T, EditError> {
    let path = locate(path)?;
    let _lock = lock(&path)?;
    let old = read(&path)?;
    let mut accounts = AccountFile::parse(old.as_deref().unwrap_or(HEADER))?;
    let outcome = edit(&mut accounts);
    let text = accounts.text();
    match (&outcome, &old) {
        (Ok(_), Some(old)) if *old == text => {}
        (Ok(_), None) if text == HEADER => return Err(EditError::Missing { path }),
        (Ok(_), _) => replace(&path, &text)?,
        (Err(EditError::UnknownAccount { .. } | EditError::UnknownCredential { .. }), None) => {
            return Err(EditError::Missing { path });
        }
        (Err(_), _) => {}
    }
    outcome
}

/// Where the file really is, so that the rename replaces it and not a symlink, and all writers agree on one lock.
fn locate(path: &Path) -> Result<PathBuf, EditError> {
    let failure = match fs::canonicalize(path) {
        // Before a lock file is made for it.
        Ok(real) if real.is_dir() => io::ErrorKind::IsADirectory.into(),
        Ok(real) => return Ok(real),
        Err(failure) => failure,
    };
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if failure.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let directory = fs::canonicalize(parent).map_err(EditError::io("find the directory", parent))?;
            Ok(directory.join(name))
        }
        _ => Err(EditError::io("edit", path)(failure)),
    }
}

/// Held until the file returned is closed.
fn lock(path: &Path) -> Result<File, EditError> {
    let beside = beside(path, ".lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .open(&beside)
        .map_err(EditError::making("open the lock file", &beside))?;
    if let Ok(owner) = fs::metadata(path) {
        // A lock file that root made would keep the owner of the accounts out. Nobody else may give it away.
        let _ = give(&file, &owner);
    }
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
        .map_err(|errno| EditError::io("lock", &beside)(errno.into()))?;
    Ok(file)
}

/// `None` when there is no such file.
fn read(path: &Path) -> Result<Option<String>, EditError> {
    match read_text(path, LONGEST_ACCOUNTS) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(EditError::io("read", path)(e)),
    }
}

/// Puts a whole file in the place of `path`. The temporary name is fixed, as the lock lets only one writer here; what a
/// crash left under it is cleared.
fn replace(path: &Path, text: &str) -> Result<(), EditError> {
    let temporary = beside(path, ".new");
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(EditError::io("clear", &temporary)(e));
        }
        Ok(()) | Err(_) => {}
    }
    let swapped = write(&temporary, text, path)
        .and_then(|()| fs::rename(&temporary, path).map_err(EditError::io("replace", path)));
    if let Err(e) = swapped {
        // Best effort: the error to report is the first one.
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.map_err(EditError::io("make sure of the rename, which is done, in", directory))
}

/// Writes `text` down to the disk with the mode and owner of the file it is to replace.
fn write(temporary: &Path, text: &str, model: &Path) -> Result<(), EditError> {
    let failed = |e| EditError::io("write", temporary)(e);
    let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(temporary);
    let mut file = file.map_err(EditError::making("write", temporary))?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    match fs::metadata(model) {
        Ok(old) => {
            give(&file, &old).map_err(|_| EditError::Owner {
                path: model.to_owned(),
                uid: old.uid(),
                gid: old.gid(),
            })?;
            file.set_permissions(old.permissions()).map_err(failed)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(EditError::io("look at", model)(e)),
    }
    file.sync_all().map_err(failed)
}

/// Gives `file` the owner and group of `model`.
fn give(file: &File, model: &Metadata) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) == (model.uid(), model.gid()) {
        return Ok(());
    }
    fchown(file, Some(model.uid()), Some(model.gid()))
}

/// `dir/accounts.toml` → `dir/.accounts.toml<suffix>`
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

const PRIVATE: u32 = 0o600;

/// Of a file that did not exist.
const HEADER: &str = "\
# Accounts and credentials of this gateway. Edit it by hand or with `portcullis account` and `portcullis credential`,
# which keep comments, order and spelling. Keys are stored as digests, passwords as hashes.
";
