//! Judging by files: settings, policies and accounts, without a gateway.
//!
//! Used by `explain`, `why` and `replay`. Accounts come from the accounts file, where the directory is one. Whoever is in
//! none but in a realm's `[fixture]`, or whose place is said with `--lineage`, is judged among those of the fixture, too: a
//! gateway would know neither.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::super::Stop;
use super::super::report::{load_or_stop, stop};
use super::super::verdict::{Around, Wanted, Who, describe, judged_credential};
use crate::config::load::Config;
use crate::directory::file;
use crate::directory::records::{Records, Vocabulary};
use crate::policy::ladder::Decision;
use crate::policy::principal::{Account, Lineage};
use crate::policy::quota::{Charges, QuotaAnswer};
use crate::policy::rehearsal::{Call, Tree, rehearse_charged};
use crate::policy::route::{Realm, UpstreamIndex};
use crate::policy::snapshot::Snapshot;
use crate::problem::envelope::{Problem, Reply};
use crate::problem::registry::{Override, Registry};
use crate::reason::Reason;

/// What a request came to, with why.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether it may pass.
    pub permitted: bool,
    /// For programs and people: `POST /explain` answers the same.
    pub report: Value,
    /// What whoever reads it should know.
    pub notes: Vec<String>,
}

/// The files that requests are judged by.
pub struct Files {
    config: Config,
    registry: Registry,
    /// All accounts of the accounts file.
    tree: Tree,
    /// `None` where the directory is no file.
    records: Option<Records>,
}

impl Files {
    /// Reads them, without secrets.
    ///
    /// # Errors
    /// Their faults, which are printed.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let config = load_or_stop(path)?;
        let records = match config.settings.accounts_file() {
            Some(path) => {
                let reading = file::read(path, None, &Vocabulary::default());
                Some(reading.records.ok_or_else(|| stop(&reading.faults))?)
            }
            None => None,
        };
        let mut tree = Tree::default();
        for account in records.iter().flat_map(Records::accounts) {
            tree.insert(Arc::clone(account)).map_err(Stop::failed)?;
        }
        let registry = Registry::with(config.settings.reasons.iter().cloned().map(|(reason, change)| {
            (reason, Override { status: change.status, result: change.result, msg: change.msg, desc: change.desc })
        }));
        Ok(Self { config, registry, tree, records })
    }

    /// The policies.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.config.snapshot
    }

    /// The accounts of the accounts file; `None` where the directory is no file.
    #[must_use]
    pub fn accounts(&self) -> Option<&Tree> {
        self.records.as_ref().map(|_| &self.tree)
    }

    /// The name of an upstream.
    #[must_use]
    pub fn upstream(&self, index: UpstreamIndex) -> Option<&str> {
        self.config.settings.upstreams.get(usize::from(index.0)).map(|upstream| upstream.name.as_str())
    }

    /// Judges a request.
    ///
    /// # Errors
    /// It is not said who calls, or in words that mean nothing here.
    pub fn explain(&self, wanted: &Wanted, lineage: Option<&str>) -> Result<Verdict, Stop> {
        let mut call = wanted.call().map_err(Stop::usage)?;
        let mut tree = self.tree.clone();
        let mut notes = Vec::new();
        if self.records.is_none() {
            notes.push("the directory is not a file; accounts come from [fixture] and --lineage alone".to_owned());
        }
        match wanted.who() {
            None => return Err(super::nobody(&wanted.caller)),
            Some(Who::Anonymous) => {}
            Some(Who::Credential(id)) => self.present(&mut call, id)?,
            Some(Who::Account { role, id }) => {
                if self.tree.account(id).is_none() {
                    self.add_fixture(&mut tree, &call.target);
                    if lineage.is_none() && tree.account(id).is_some() && self.records.is_some() {
                        notes.push(format!("`{id}` stands in [fixture] only; a gateway knows no such account"));
                    }
                }
                self.place(&mut tree, (role, id), lineage, &call.target)?;
                call.caller = self.account(&tree, role, id)?;
            }
        }
        let (permitted, report) = self.judge(&call, &tree, None);
        Ok(Verdict { permitted, report, notes })
    }

    /// Judges a call among these accounts. Quotas have enough left, but for the one of this name.
    #[must_use]
    pub fn judge(&self, call: &Call, tree: &Tree, refusing: Option<&str>) -> (bool, Value) {
        let upstream = |index: UpstreamIndex| self.upstream(index);
        let revision = self.snapshot().revision();
        let around = Around { revision, registry: &self.registry, upstream: &upstream, peek: None };
        let quotas = |charges: &Charges<'_>| {
            let refused = charges.iter().find(|charge| Some(&*charge.quota.name) == refusing);
            refused.map_or(QuotaAnswer::Admitted, |charge| QuotaAnswer::Refused { quota: charge.index, retry_after: 1 })
        };
        rehearse_charged(self.snapshot(), tree, call, quotas, |facts, decision| {
            (matches!(decision, Decision::Permit(_)), describe(&around, facts, decision))
        })
    }

    /// What the client is told of a refusal without hints.
    #[must_use]
    pub fn reply(&self, reason: Reason) -> Reply {
        Problem::plain(reason).reply(&self.registry, "(request id)")
    }

    fn present(&self, call: &mut Call, id: &str) -> Result<(), Stop> {
        let Some(records) = &self.records else {
            return Err(Stop::usage(
                "the directory is not a file, so no credential is known; write --as ROLE:ACCOUNT, or ask with --live",
            ));
        };
        let credential = records.credential(id).ok_or_else(|| {
            let file = self.config.settings.accounts_file().unwrap_or(Path::new("-"));
            Stop::usage(format!("{} has no credential `{id}`", file.display()))
        })?;
        let realm = self.snapshot().owner(&call.target).map_or("", |realm| &realm.name);
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        judged_credential(call, credential, records.account(&credential.account).cloned(), realm, now);
        Ok(())
    }

    /// The realm's `[fixture]`, as far as the accounts file says nothing else.
    fn add_fixture(&self, tree: &mut Tree, target: &str) {
        let realm = self.snapshot().owner(target).map(|realm| &*realm.name);
        for (_, fixture) in self.config.trees.iter().filter(|(name, _)| Some(&**name) == realm) {
            for account in fixture.accounts() {
                let _ = tree.insert(Arc::clone(account));
            }
        }
    }

    /// Puts an account where `--lineage` says that it stands.
    fn place(&self, tree: &mut Tree, who: (&str, &str), lineage: Option<&str>, target: &str) -> Result<(), Stop> {
        let Some(path) = lineage else { return Ok(()) };
        let roles: &[Box<str>] = self.snapshot().owner(target).map_or(&[], |realm: &Realm| &realm.roles);
        let lineage = placed(path, who, |id| self.role_of(id), roles).ok_or_else(|| {
            let (_, id) = who;
            Stop::usage(format!("--lineage `{path}` has to be ids joined by `/`, root first, with `{id}` last"))
        })?;
        tree.insert(Arc::new(Account { lineage, suspended: false, password_mark: 0 })).map_err(Stop::usage)
    }

    fn role_of(&self, id: &str) -> Option<&str> {
        self.tree.account(id).map(|account| account.lineage.role())
    }

    fn account(&self, tree: &Tree, role: &str, id: &str) -> Result<Option<Arc<Account>>, Stop> {
        if let Some(known) = self.role_of(id).filter(|known| *known != role) {
            return Err(Stop::usage(format!("`{id}` is a {known}, not a {role}; write --as {known}:{id}")));
        }
        let account = tree.with_role(id, role).ok_or_else(|| {
            Stop::usage(format!("no file knows account `{id}`; add --lineage root/…/{id}, or name one of [fixture]"))
        })?;
        Ok(Some(account))
    }
}

/// A place in the tree from its ids. The role of an account above that nobody knows follows from its level; only the
/// caller's own is judged.
pub(in crate::cli) fn placed<'a>(
    path: &'a str,
    (role, id): (&'a str, &str),
    known: impl Fn(&str) -> Option<&'a str>,
    roles: &'a [Box<str>],
) -> Option<Lineage> {
    let ids: Vec<&str> = path.split('/').collect();
    let last = ids.len().checked_sub(1)?;
    let role_of = |(index, id): (usize, &str)| {
        if index == last {
            return role;
        }
        known(id).or_else(|| roles.get(index).map(|role| &**role)).unwrap_or("-")
    };
    let lineage = Lineage::new(ids.iter().copied().enumerate().map(|(index, id)| (id, role_of((index, id)))))?;
    (lineage.id() == id).then_some(lineage)
}
