//! A line of the access log as a request again, with what the line does not tell.
//!
//! Called by `why` and `replay`. Who called and where the target lay are taken from the line, since that is what was judged
//! then; what the line lacks is taken for granted and named as a [`Gap`], so that nobody mistakes it for knowledge.

use std::fmt;
use std::sync::Arc;

use super::super::explain::placed;
use super::{Ended, Record};
use crate::policy::credential::Scheme;
use crate::policy::decision::NO_CREDENTIAL;
use crate::policy::facts::{Facts, LockAnswer, TargetAnswer};
use crate::policy::ladder::rung_names;
use crate::policy::method::Method;
use crate::policy::principal::{Account, Identity, Lineage};
use crate::policy::reach::reach;
use crate::policy::rehearsal::{Call, Tree, rehearse};
use crate::policy::route::{Route, TargetRule, TargetSource};
use crate::policy::snapshot::Snapshot;
use crate::reason::Reason;

/// Something that a rule asks for and a line does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Gap {
    /// A header that the route requires; taken as sent.
    Header(Box<str>),
    /// The query parameter or header that names the target; taken as absent.
    Target(Box<str>),
    /// Who called.
    Caller,
    /// Where the target lies, or which role it has.
    Place,
    /// How long the body was; taken as too long.
    Body,
}

impl Gap {
    /// The check that would read it.
    const fn rung(&self) -> &'static str {
        match self {
            Self::Header(_) => "headers",
            Self::Caller => "credential",
            Self::Target(_) | Self::Place => "scope",
            Self::Body => "body",
        }
    }

    /// Whether a decision that this check made could have been another, had the line told more.
    pub(in crate::cli) fn matters(&self, decided_by: &str, permitted: bool) -> bool {
        let place = |name: &str| rung_names().position(|known| known == name);
        match self {
            // Without the header it is refused as well, if only for another reason.
            Self::Header(_) => permitted,
            Self::Caller | Self::Target(_) | Self::Place | Self::Body => place(decided_by) >= place(self.rung()),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "whether the header {name} was sent"),
            Self::Target(name) => write!(f, "whether {name} named an account, and which"),
            Self::Caller => f.write_str("who called"),
            Self::Place => f.write_str("where the account that it names lies"),
            Self::Body => f.write_str("how long the body was"),
        }
    }
}

/// A line as a request.
pub(in crate::cli) struct Retold {
    pub call: Call,
    /// The caller, and the account that the request names.
    pub tree: Tree,
    /// What the line does not tell.
    pub gaps: Vec<Gap>,
}

/// By what lines are judged.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Judges<'f> {
    /// The policies.
    pub snapshot: &'f Snapshot,
    /// All accounts, where the directory is a file.
    pub accounts: Option<&'f Tree>,
    /// The policies that the lines were written under, where they are known: they tell what was asked for then.
    pub was: Option<&'f Snapshot>,
}

impl Judges<'_> {
    fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.and_then(|accounts| accounts.account(id))
    }

    /// The route that a line names, as it was then.
    fn route_of(&self, record: &Record) -> Option<&Route> {
        let realm = self.was?.realms().iter().find(|realm| Some(&*realm.name) == record.realm.as_deref())?;
        realm.routes.iter().find(|route| Some(&*route.name) == record.route.as_deref())
    }
}

/// Makes a request of a line.
pub(in crate::cli) fn retell(record: &Record, judges: Judges<'_>) -> Retold {
    let mut call = Call::new(&record.method, &record.path);
    call.client = record.client;
    let mut retold = Retold { call, tree: Tree::default(), gaps: Vec::new() };
    let place = Method::parse(&record.method).map(|method| judges.snapshot.locate(method, &record.path));
    let route = place.and_then(|place| place.route());
    retold.identify(record, judges, route);
    if let Some(app_type) = &record.app_type {
        retold.send("x-app-type", app_type);
    }
    if record.reason == Some(Reason::AppTypeNotString) {
        // Repeated: that is what the line says, in whichever way it was.
        retold.send("x-app-type", "-");
        retold.send("x-app-type", "-");
    }
    if let Some(route) = route {
        let then = judges.route_of(record);
        retold.require(record, route, then);
        if !route.public {
            retold.aim(record, route, then, judges);
        }
        retold.weigh(record, route, then);
    }
    retold.look_up(record, judges);
    retold
}

impl Retold {
    fn send(&mut self, name: &str, value: &str) {
        self.call.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Who called.
    fn identify(&mut self, record: &Record, judges: Judges<'_>, route: Option<&Route>) {
        let called = record.was_told() || record.ended() != Ended::Passed;
        if let (Some(id), Some(path), Some(role), true) = (&record.account, &record.lineage, &record.role, called) {
            let realm = judges.snapshot.owner(&record.path);
            let known = |id: &str| judges.account(id).map(|account| account.lineage.role());
            let roles = realm.map_or(&[][..], |realm| &realm.roles);
            let suspended = record.reason == Some(Reason::AccountSuspended);
            if let Some(lineage) = placed(path, (role, id), known, roles) {
                let account = Arc::new(Account { lineage, suspended, password_mark: 0 });
                // The tree is empty, so there is room.
                let _ = self.tree.insert(Arc::clone(&account));
                self.call.caller = Some(account);
                self.call.scheme = record.scheme.as_deref().and_then(Scheme::parse);
                self.call.credential = record.credential.as_deref().map(Into::into);
                return;
            }
        }
        let is_nobody = record.reason == Some(Reason::HeaderMissing) && record.cause.as_deref() == Some(NO_CREDENTIAL);
        if self.present(record.reason) || is_nobody {
            return;
        }
        if route.is_some_and(|route| !route.public) {
            self.gaps.push(Gap::Caller);
        }
    }

    /// A credential that came to nothing, as the line's reason has it. Whether there is one.
    fn present(&mut self, reason: Option<Reason>) -> bool {
        let logged = "as the access line says";
        let Some(reason) = reason else { return false };
        let (scheme, flaw) = match reason {
            Reason::CredentialInvalid => (Scheme::Basic, Identity::Invalid(logged)),
            Reason::CredentialExpired => (Scheme::Basic, Identity::Expired(logged)),
            Reason::TokenInvalid => (Scheme::Token, Identity::Invalid(logged)),
            Reason::TokenExpired => (Scheme::Token, Identity::Expired(logged)),
            Reason::TokenRevoked => (Scheme::Token, Identity::Revoked(logged)),
            Reason::StoreUnavailable => (Scheme::Token, Identity::StoreUnavailable(logged)),
            Reason::DirectoryUnavailable => (Scheme::Basic, Identity::DirectoryUnavailable(logged)),
            Reason::LockedOut => {
                self.call.lock = LockAnswer::Locked(1);
                (Scheme::Basic, Identity::Locked(1))
            }
            Reason::HeaderInvalid => {
                self.send("authorization", "-");
                return true;
            }
            // Of these, none is about a credential, or the line names the account.
            Reason::RequestMalformed
            | Reason::HeaderMissing
            | Reason::LoginFailed
            | Reason::AccountSuspended
            | Reason::RoleForbidden
            | Reason::ScopeForbidden
            | Reason::RouteNotFound
            | Reason::MethodNotAllowed
            | Reason::ValidationFailed
            | Reason::AppTypeMissing
            | Reason::AppTypeNotString
            | Reason::AppTypeUnknown
            | Reason::RequestTimeout
            | Reason::BodyTooLarge
            | Reason::UriTooLong
            | Reason::HeadersTooLarge
            | Reason::QuotaExceeded
            | Reason::Internal
            | Reason::UpstreamUnreachable
            | Reason::UpstreamInvalid
            | Reason::UpstreamUnavailable
            | Reason::RouteDisabled
            | Reason::Overloaded
            | Reason::UpstreamTimeout => return false,
        };
        (self.call.scheme, self.call.flaw) = (Some(scheme), Some(flaw));
        true
    }

    /// The headers that the route requires.
    fn require(&mut self, record: &Record, route: &Route, then: Option<&Route>) {
        let was_past = record.ended() == Ended::Passed || record.account.is_some();
        for name in &route.headers {
            if self.call.headers.iter().any(|(known, _)| **known == **name) {
                continue;
            }
            self.send(name, "-");
            if !(was_past && then.is_some_and(|then| then.headers.contains(name))) {
                self.gaps.push(Gap::Header(name.clone()));
            }
        }
    }

    /// The account that the request names, and where it lies.
    fn aim(&mut self, record: &Record, route: &Route, then: Option<&Route>, judges: Judges<'_>) {
        let Some(rule) = &route.target else { return };
        let is_same = then.map(|then| then.target.as_ref().is_some_and(|then| then.source == rule.source));
        match (&rule.source, &record.target) {
            (TargetSource::Path(_), _) => {}
            (TargetSource::Query { name, .. } | TargetSource::Header(name), Some(target)) => {
                // What stands in the path as well may have been read there.
                let elsewhere = || record.path.split('/').any(|segment| segment == target);
                if is_same.unwrap_or_else(|| !elsewhere()) {
                    self.name(&rule.source, target);
                } else {
                    self.gaps.push(Gap::Target(name.clone()));
                }
            }
            (TargetSource::Query { name, .. } | TargetSource::Header(name), None) => {
                if !(is_same == Some(true) && record.ended() == Ended::Passed) {
                    self.gaps.push(Gap::Target(name.clone()));
                }
            }
        }
        if let Some(target) = &record.target {
            self.put(record, rule, target, judges);
        }
    }

    fn name(&mut self, source: &TargetSource, target: &str) {
        match source {
            TargetSource::Path(_) => {}
            // Account ids need no escapes.
            TargetSource::Query { name, .. } => self.call.target.push_str(&format!("?{name}={target}")),
            TargetSource::Header(name) => self.send(name, target),
        }
    }

    /// Puts the target where the line says that it lay.
    fn put(&mut self, record: &Record, rule: &TargetRule, target: &str, judges: Judges<'_>) {
        let Some(caller) = self.call.caller.clone() else { return };
        let known = judges.account(target).filter(|known| match record.relation.as_str() {
            "below" => caller.lineage.contains(&known.lineage),
            relation => relation == "outside",
        });
        let account = match (record.relation.as_str(), known) {
            (_, Some(known)) => Some(Arc::clone(known)),
            ("below", None) => Lineage::new(caller.lineage.nodes().chain([(target, NO_ROLE)])).map(account),
            ("outside", None) => Lineage::new([(target, NO_ROLE)]).map(account),
            // Its own, or nobody's: there is nothing to put.
            _ => return,
        };
        let Some(account) = account else { return self.gaps.push(Gap::Place) };
        if rule.role.is_some() && account.lineage.role() == NO_ROLE {
            self.gaps.push(Gap::Place);
        }
        let _ = self.tree.insert(account);
    }

    /// The length of the body.
    fn weigh(&mut self, record: &Record, route: &Route, then: Option<&Route>) {
        if record.reason == Some(Reason::BodyTooLarge) {
            self.send("content-length", &route.body_size.saturating_add(1).to_string());
            if then.is_none_or(|then| then.body_size < route.body_size) {
                self.gaps.push(Gap::Body);
            }
        } else if record.bytes_in > 0 {
            self.send("content-length", &record.bytes_in.to_string());
        }
    }

    /// Looks the account up that the policies ask for and the line does not place.
    fn look_up(&mut self, record: &Record, judges: Judges<'_>) {
        let asked = rehearse(judges.snapshot, &self.tree, &self.call, |facts, _| unknown_target(facts));
        let Some(id) = asked.filter(|id| record.target.as_ref() != Some(id)) else { return };
        match (judges.accounts, judges.account(&id)) {
            (Some(_), Some(account)) => {
                let _ = self.tree.insert(Arc::clone(account));
            }
            (Some(_), None) => {}
            (None, _) => self.gaps.push(Gap::Place),
        }
    }
}

fn unknown_target(facts: &Facts<'_>) -> Option<String> {
    let target = reach(facts).ok().and_then(|reach| reach.target)?;
    (facts.target == Some(TargetAnswer::Unknown)).then(|| target.into_owned())
}

fn account(lineage: Lineage) -> Arc<Account> {
    Arc::new(Account { lineage, suspended: false, password_mark: 0 })
}

/// Of an account whose role nobody knows.
const NO_ROLE: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_presented_is_told_by_nine_reasons_and_no_other() {
        let mut told = Vec::new();
        for reason in Reason::ALL {
            let mut retold = Retold { call: Call::new("GET", "/"), tree: Tree::default(), gaps: Vec::new() };
            let is_told = retold.present(Some(*reason));
            let Call { scheme, flaw, headers, lock, .. } = &retold.call;
            let flaw = flaw.as_ref().map(|flaw| format!("{flaw:?}").split('(').next().unwrap_or_default().to_owned());
            let nothing = scheme.is_none() && flaw.is_none() && headers.is_empty();
            assert_eq!(is_told, !nothing, "{reason}");
            assert_eq!(*lock == LockAnswer::Locked(1), *reason == Reason::LockedOut, "{reason}");
            if let (Some(scheme), Some(flaw)) = (scheme, flaw) {
                told.push(format!("{reason}: {} {flaw}", scheme.name()));
            } else if let [(name, value)] = &headers[..] {
                told.push(format!("{reason}: {name} {value}"));
            } else {
                assert!(nothing, "{reason}");
            }
        }
        let expected = [
            "header_invalid: authorization -",
            "credential_invalid: basic Invalid",
            "credential_expired: basic Expired",
            "token_expired: token Expired",
            "token_invalid: token Invalid",
            "token_revoked: token Revoked",
            "locked_out: basic Locked",
            "store_unavailable: token StoreUnavailable",
            "directory_unavailable: basic DirectoryUnavailable",
        ];
        assert_eq!(told, expected);
    }
}
