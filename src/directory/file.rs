//! The `file:` source: read at start, and again whenever its content changes.
//!
//! It is polled rather than watched: some looks a second cost nothing, and see editors' renames, symlink
//! swaps and network file systems alike. A file with a fault changes nothing; the faults are logged once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::records::{Records, Vocabulary};
use super::{Directory, reading};
use crate::config::diag::{Faults, Severity, Source};
use crate::config::load::Place;
use crate::config::plain_file::{read_text, remedy};
use crate::config::rest::Watch;
use crate::config::watched::{Version, Watched};

/// How often the file is looked at: whoever was suspended in it is refused within a second.
const PERIOD: Duration = Duration::from_millis(150);
/// More than the accounts of any installation.
pub const LONGEST_ACCOUNTS: u64 = 1 << 30;

/// What came of reading.
pub struct Reading {
    /// `None` with a fault.
    pub records: Option<Records>,
    /// Faults and warnings.
    pub faults: Faults,
    /// What was read, so that the next change is seen.
    pub version: Version,
}

/// Reads the file once. `place` is where the settings name it, for the fault of a file that cannot be read.
#[must_use]
pub fn read(path: &Path, place: Option<&Place>, known: &Vocabulary) -> Reading {
    let mut faults = Faults::default();
    // Before the reading: a change in between is then seen as one.
    let version = Version::of(path);
    let text = match read_text(path, LONGEST_ACCOUNTS) {
        Ok(text) => text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text),
        Err(error) => {
            let message = format!("cannot read the accounts in `{}`: {error}", path.display());
            let missing = "see `url` in [directory]; paths are relative to the file that holds them";
            let hint = remedy(&error).unwrap_or(missing);
            match place {
                Some(place) => faults.fault(&place.source, place.span.clone(), message, hint),
                None => faults.without_place(message, hint),
            }
            return Reading { records: None, faults, version };
        }
    };
    let source = Arc::new(Source { name: path.display().to_string(), text });
    let records = reading::parse(&source, known, &mut faults);
    Reading { records, faults, version }
}

/// A file to be followed.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Where it is.
    pub path: PathBuf,
    /// What the directory holds of it.
    pub version: Version,
    /// The roles and realms that it may speak of.
    pub known: Vocabulary,
}

/// Keeps a directory in step with its file, for as long as it is polled.
pub async fn follow(directory: &Directory, mut followed: Followed) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(PERIOD).await;
        let known = Watched { path: followed.path.clone(), version: followed.version.clone() };
        if !watch.look(&[known], vec![Version::of(&followed.path)]) {
            continue;
        }
        let task = followed.clone();
        let reading = tokio::task::spawn_blocking(move || read(&task.path, None, &task.known)).await;
        let Ok(Reading { records, faults, version }) = reading else {
            tracing::error!("the reading of {} failed; trying again", followed.path.display());
            watch = Watch::default();
            continue;
        };
        if Version::of(&followed.path) != version {
            continue;
        }
        followed.version = version;
        match records {
            Some(records) if records.is_empty() && !directory.is_empty() => {
                directory.note_unreadable();
                let path = followed.path.display();
                tracing::error!("accounts kept as they were: {path} has none; stop the gateway to begin anew");
            }
            Some(records) => {
                directory.replace(records);
                tracing::info!("accounts reloaded from {}", followed.path.display());
                for warning in faults.iter() {
                    tracing::warn!("{warning}");
                }
            }
            None => {
                directory.note_unreadable();
                tracing::error!("accounts kept as they were: {} has faults", followed.path.display());
                for finding in faults.iter() {
                    match finding.severity {
                        Severity::Fault => tracing::error!("{finding}"),
                        Severity::Warning => tracing::warn!("{finding}"),
                    }
                }
            }
        }
    }
}
