//! The `file:` source: read at start, and again whenever its content changes.
//!
//! It is polled rather than watched: two looks a second cost nothing, and see editors' renames, symlink
//! swaps and network file systems alike. A file with a fault changes nothing; the faults are logged once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Directory;
use super::records::Records;
use crate::config::diag::{Faults, Source};

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_millis(500);

/// Reads the file once.
#[must_use]
pub fn read(path: &Path) -> (Option<Records>, Faults) {
    let mut faults = Faults::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            faults.without_place(
                format!("cannot read the accounts in `{}`: {error}", path.display()),
                "see `url` in [directory]",
            );
            return (None, faults);
        }
    };
    let source = Arc::new(Source { name: path.display().to_string(), text });
    (Records::parse(&source, &mut faults), faults)
}

/// What tells one content of a file from another without reading it.
#[derive(PartialEq, Eq)]
struct Mark {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

fn mark(path: &Path) -> Option<Mark> {
    let meta = std::fs::metadata(path).ok()?;
    let inode = std::os::unix::fs::MetadataExt::ino(&meta);
    Some(Mark { modified: meta.modified().ok(), length: meta.len(), inode })
}

/// Keeps a directory in step with its file, for as long as it is polled.
pub async fn follow(directory: &Directory, path: PathBuf) {
    let mut seen = mark(&path);
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = mark(&path);
        if now == seen {
            continue;
        }
        seen = now;
        let file = path.clone();
        let Ok((records, faults)) = tokio::task::spawn_blocking(move || read(&file)).await else { continue };
        match records {
            Some(records) => {
                directory.replace(records);
                tracing::info!("accounts reloaded from {}", path.display());
            }
            None => {
                directory.note_unreadable();
                for fault in faults.iter() {
                    tracing::error!("accounts kept as they were: {fault}");
                }
            }
        }
    }
}
