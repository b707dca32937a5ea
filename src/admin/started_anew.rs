//! Quotas that a reload changed: what was spent of them is forgotten, and operators are told.
//!
//! Used by `reload`. Nothing is swapped here: counters belong to a quota's mark, and a changed quota has another. One that
//! is new or gone is no news.

use serde::Serialize;

use crate::policy::quota::Quota;
use crate::policy::snapshot::Snapshot;

/// A quota of both policies that is not the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StartedAnew {
    /// `realm/name`, as metrics have it.
    pub quota: String,
    /// The limit that it had, and who had an allowance.
    pub was: String,
    /// The same now.
    pub now: String,
}

/// All of them, in the order of the new policies.
pub(super) fn started_anew(old: &Snapshot, new: &Snapshot) -> Vec<StartedAnew> {
    let mut anew = Vec::new();
    for realm in new.realms() {
        let Some(before) = old.realms().iter().find(|known| known.name == realm.name) else { continue };
        for quota in &realm.quotas {
            let was = before.quotas.iter().find(|known| known.name == quota.name);
            if let Some(was) = was.filter(|was| was.mark != quota.mark) {
                let name = format!("{}/{}", realm.name, quota.name);
                anew.push(StartedAnew { quota: name, was: shown(was), now: shown(quota) });
            }
        }
    }
    anew
}

fn shown(quota: &Quota) -> String {
    format!("{} per {}", quota.written, quota.per.name())
}
