//! When credentials were used last, told to all gateways: what each notes in passing goes to the store once a minute.
//!
//! Run in the background by `app`, asked by the admin listener. The request path only writes a number in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Directory;
use crate::store::{Store, StoreError};

/// Notes in the store what was used here since the last round, for as long as it is polled. What a store that is away
/// did not take is noted in the next round.
pub async fn share(directory: &Directory, store: &Store) {
    let mut noted: HashMap<Arc<str>, u64> = HashMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let used: Vec<_> = directory.last_used();
        let news: Vec<_> = used.iter().filter(|(id, at)| noted.get(id) != Some(at)).cloned().collect();
        if !news.is_empty() && store.note_used(&news).await.is_ok() {
            noted = used.into_iter().collect();
        }
    }
}

/// When credentials were used last, by any gateway: API id and seconds since the epoch, sorted.
///
/// # Errors
/// The store could not tell; what this process knows is in [`Directory::last_used`].
pub async fn last_used(directory: &Directory, store: &Store) -> Result<Vec<(Box<str>, u64)>, StoreError> {
    let mut latest: HashMap<Box<str>, u64> = store.used().await?.into_iter().collect();
    for (id, at) in directory.last_used() {
        let known = latest.entry((*id).into()).or_default();
        *known = at.max(*known);
    }
    let mut rows: Vec<_> = latest.into_iter().collect();
    rows.sort();
    Ok(rows)
}

const PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diag::{Faults, Source};
    use crate::directory::reading;
    use crate::directory::records::Vocabulary;

    #[tokio::test]
    async fn what_this_process_used_is_told_without_a_shared_store() {
        let text = format!(
            "[[account]]\nid = \"a\"\nrole = \"r\"\n[[credential]]\nid = \"k\"\naccount = \"a\"\nkey = \"sha256:{}\"\n",
            "0".repeat(64)
        );
        let source = Arc::new(Source { name: "accounts".into(), text });
        let records = reading::parse(&source, &Vocabulary::default(), &mut Faults::default()).unwrap();
        let (directory, store) = (Directory::new(records), Store::memory());
        assert_eq!(last_used(&directory, &store).await.unwrap(), []);
        directory.credential("k").await.unwrap().unwrap().last_used.note(7);
        assert_eq!(last_used(&directory, &store).await.unwrap(), [("k".into(), 7)]);
    }
}
