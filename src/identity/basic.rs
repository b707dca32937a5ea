//! API id and key against the directory: RFC 7617; what a key is compared with is the directory's.
//!
//! Called by the resolver. An unknown id does the work of a known one.

use std::sync::{Arc, LazyLock};

use super::identified;
use crate::directory::proof::Proof;
use crate::directory::records::{Credential, LastUsed};
use crate::directory::{Directory, Unavailable};
use crate::policy::credential::{ApiKey, Scheme};
use crate::policy::principal::Identity;

/// Whose credential it is. `now` in seconds since the epoch, by the store's clock.
pub(super) async fn resolve(directory: &Directory, key: &ApiKey, realm: &str, now: u64) -> Identity {
    let known = match key.id() {
        Some(id) => match directory.credential(id).await {
            Ok(known) => known,
            Err(Unavailable(cause)) => return Identity::DirectoryUnavailable(cause),
        },
        None => None,
    };
    // An unknown id has its key compared with nobody's, and goes the same way to the end of it.
    let (credential, exists) = known.map_or_else(|| (Arc::clone(&NOBODY), false), |known| (known, true));
    let proved = directory.proves(Some(&credential), key.key());
    if !(proved & exists) {
        return Identity::Invalid("unknown API id or wrong key");
    }
    if !credential.is_for(realm) {
        return Identity::Invalid("the credential is not for this realm");
    }
    if !credential.is_current(i64::try_from(now).unwrap_or(i64::MAX)) {
        return Identity::Expired("the credential is outside its validity period");
    }
    credential.last_used.note(now);
    match directory.account(&credential.account).await {
        Err(Unavailable(cause)) => Identity::DirectoryUnavailable(cause),
        Ok(Some(account)) => identified(account, Scheme::Basic, credential.id.clone()),
        Ok(None) => Identity::Invalid("the credential's account is gone"),
    }
}

/// What an unknown id is compared with; no key has this digest, short of a broken SHA-256.
static NOBODY: LazyLock<Arc<Credential>> = LazyLock::new(|| {
    Arc::new(Credential {
        id: "".into(),
        account: "".into(),
        proof: Proof::Sha256([0; 32]),
        realms: None,
        not_before: None,
        not_after: None,
        last_used: LastUsed::default(),
    })
});
