//! API id and key against the directory: RFC 7617; what a key is compared with is the directory's.
//!
//! Called by the resolver. An unknown id does the work of a known one.

use super::identified;
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
    let proved = directory.proves(known.as_deref(), key.key());
    let Some(credential) = known.filter(|_| proved) else {
        return Identity::Invalid("unknown API id or wrong key");
    };
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
