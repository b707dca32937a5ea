//! Which files a configuration is read from, and what tells one content of a file from another.
//!
//! [`Noted`] stands before the source of files while `load` reads, and notes each file before it is read, so that a change
//! during the reading is seen afterwards. Compared with the disk by the reload and by whoever follows files. Nothing is
//! read here.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::load::{Files, Unread};

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Option<(SystemTime, (i64, i64), u64, u64)>);

impl Version {
    /// Modification and change time, length and inode of what the path leads to; `None` for a file that is not there.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).ok();
        Self(
            meta.and_then(|meta| {
                Some((meta.modified().ok()?, (meta.ctime(), meta.ctime_nsec()), meta.len(), meta.ino()))
            }),
        )
    }

    /// Whether there is nothing to read: the file is not there, or has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none_or(|(_, _, length, _)| length == 0)
    }
}

/// A file as it was when it was about to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it is.
    pub path: PathBuf,
    /// What stood there.
    pub version: Version,
}

impl Watched {
    /// A file as it is now.
    #[must_use]
    pub fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), version: Version::of(path) }
    }

    /// Whether it is still the same.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        Version::of(&self.path) == self.version
    }
}

/// A source of files that notes what is read from it.
pub struct Noted<'f> {
    files: &'f dyn Files,
    seen: RefCell<Vec<Watched>>,
}

impl<'f> Noted<'f> {
    /// Before this source.
    #[must_use]
    pub fn new(files: &'f dyn Files) -> Self {
        Self { files, seen: RefCell::default() }
    }

    /// All files, each once, in the order of their first reading. Those that could not be read are among them.
    #[must_use]
    pub fn into_seen(self) -> Vec<Watched> {
        self.seen.into_inner()
    }
}

impl Files for Noted<'_> {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        self.about_to_read(path);
        self.files.read(path)
    }

    fn about_to_read(&self, path: &Path) {
        let mut seen = self.seen.borrow_mut();
        // The earliest look counts: what changed since then may or may not have been read.
        if !seen.iter().any(|known| known.path == path) {
            seen.push(Watched::now(path));
        }
    }

    fn reads_secrets(&self) -> bool {
        self.files.reads_secrets()
    }
}
