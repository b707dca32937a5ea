//! Follows the files that the configuration was read from, and has them read again when they have changed and rest.
//!
//! Run by `app` beside the requests. The files are polled: that sees editors' renames, symlink swaps of mounted volumes
//! and network file systems alike, some of which notify nobody, and twenty looks cost some microseconds four times a
//! second. It judges no file; accounts are followed by `directory::file`.

use std::sync::Arc;
use std::time::Duration;

use super::reload::{Asked, Reloader};
use crate::config::rest::Watch;
use crate::config::watched::Version;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Keeps what is in effect in step with the files, for as long as it is polled.
pub async fn follow_files(reloader: &Arc<Reloader>) {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(PERIOD).await;
        let read = reloader.watched();
        // Not on this thread: a network file system may take its time.
        let versions = {
            let read = Arc::clone(&read);
            tokio::task::spawn_blocking(move || read.iter().map(|file| Version::of(&file.path)).collect()).await
        };
        let Ok(versions) = versions else { continue };
        if watch.look(&read, versions) {
            // It logs its outcome itself.
            let _ = reloader.reload(Asked::ByChange).await;
        }
        reloader.drop_retired();
    }
}
