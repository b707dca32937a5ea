//! Judging a request that nobody sent: the engine of policy tests and `explain`.
//!
//! It answers the ladder's questions from a tree in memory instead of store and directory, and is the
//! same ladder in every other respect. Nothing here decides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::credential::{ApiKey, Presented, Scheme};
use super::decision::Question;
use super::facts::{Facts, Fields, LockAnswer, RequestHead, TargetAnswer};
use super::ladder::{Decision, MAX_QUESTIONS, decide};
use super::principal::{Account, Identity, Lineage, Principal};
use super::quota::{Charges, QuotaAnswer, Stage};
use super::snapshot::Snapshot;

/// A tree of accounts in memory.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    accounts: HashMap<Box<str>, Arc<Account>>,
}

/// Why a path cannot stand in a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TreeError {
    #[error("`{0}` is no path of account ids joined by `/`")]
    Path(String),
    #[error("`{0}` stands in two places of the tree")]
    TwoPlaces(String),
    #[error("`{path}` has {levels} levels, but the realm has {roles} roles")]
    TooDeep { path: String, levels: usize, roles: usize },
}

impl Tree {
    /// Adds a path like `root/res-7/cus-42` and all accounts on it; the role follows from the level.
    ///
    /// # Errors
    /// When the path is none, deeper than there are roles, or puts an account in a second place.
    pub fn add(&mut self, path: &str, roles: &[Box<str>]) -> Result<(), TreeError> {
        let ids: Vec<&str> = path.split('/').collect();
        if ids.len() > roles.len() {
            return Err(TreeError::TooDeep { path: path.to_owned(), levels: ids.len(), roles: roles.len() });
        }
        for end in 1..=ids.len() {
            let nodes = ids[..end].iter().zip(roles).map(|(id, role)| (*id, &**role));
            let lineage = Lineage::new(nodes).ok_or_else(|| TreeError::Path(path.to_owned()))?;
            self.insert(Arc::new(Account { lineage, suspended: false, password_mark: 0 }))?;
        }
        Ok(())
    }

    /// Adds one account.
    ///
    /// # Errors
    /// When the account stands elsewhere already.
    pub fn insert(&mut self, account: Arc<Account>) -> Result<(), TreeError> {
        let id = account.lineage.id();
        match self.accounts.get(id) {
            Some(known) if known.lineage.as_str() != account.lineage.as_str() => {
                Err(TreeError::TwoPlaces(id.to_owned()))
            }
            Some(_) => Ok(()),
            None => {
                self.accounts.insert(id.into(), account);
                Ok(())
            }
        }
    }

    /// An account by its id.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<&Arc<Account>> {
        self.accounts.get(id)
    }

    /// The account seen with another role than its level gives it.
    #[must_use]
    pub fn with_role(&self, id: &str, role: &str) -> Option<Arc<Account>> {
        let account = self.accounts.get(id)?;
        let mut nodes: Vec<(&str, &str)> = account.lineage.nodes().collect();
        if let Some(last) = nodes.last_mut() {
            last.1 = role;
        }
        Some(Arc::new(Account { lineage: Lineage::new(nodes)?, suspended: account.suspended, password_mark: 0 }))
    }

    /// All accounts, in no order.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    fn answer(&self, id: &str) -> TargetAnswer {
        self.accounts.get(id).map_or(TargetAnswer::Unknown, |account| TargetAnswer::Known(Arc::clone(account)))
    }
}

/// A request as a tool or test writes it down.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method's name.
    pub method: String,
    /// The whole target, the realm's base included.
    pub target: String,
    /// Lower-case names; `host` is added when it is missing.
    pub headers: Vec<(String, String)>,
    /// Who sends it; `None` sends no credential.
    pub caller: Option<Arc<Account>>,
    /// The API id that it calls with, where one is known.
    pub credential: Option<Box<str>>,
    /// What is wrong with the caller's credential, where something is.
    pub flaw: Option<Identity>,
    /// The scheme used; `None` takes the one that the route takes.
    pub scheme: Option<Scheme>,
    /// What the lock-out would say to it; by default that it may be tried.
    pub lock: LockAnswer,
    /// From where it comes.
    pub client: IpAddr,
}

/// The Host of a call that names none.
pub const HOST: &str = "gateway.local";

/// The credential of a caller of whom only the account is said.
pub const UNNAMED: &str = "(session or API id)";

impl Call {
    /// A call from loopback without headers or caller.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            caller: None,
            credential: None,
            flaw: None,
            scheme: None,
            lock: LockAnswer::Open,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// Judges a call and shows the facts that it was finally judged by. Every quota has enough left.
pub fn rehearse<R>(snapshot: &Snapshot, tree: &Tree, call: &Call, view: impl FnOnce(&Facts<'_>, &Decision) -> R) -> R {
    rehearse_charged(snapshot, tree, call, |_| QuotaAnswer::Admitted, view)
}

/// The same where `quotas` says what each stage's charges would come to.
pub fn rehearse_charged<R>(
    snapshot: &Snapshot,
    tree: &Tree,
    call: &Call,
    quotas: impl Fn(&Charges<'_>) -> QuotaAnswer,
    view: impl FnOnce(&Facts<'_>, &Decision) -> R,
) -> R {
    let mut headers = Cow::Borrowed(call.headers.as_slice());
    if !headers.iter().any(|(name, _)| name == "host") {
        headers.to_mut().push(("host".to_owned(), HOST.to_owned()));
    }
    let fields: &dyn Fields = &ListedFields(&headers);
    let mut head = RequestHead::read(&call.method, call.target.as_bytes(), fields, call.client);
    let route_takes_token = head
        .method
        .and_then(|method| snapshot.locate(method, head.path).route().map(|route| route.schemes.token))
        .unwrap_or(true);
    let scheme = call.scheme.unwrap_or(if route_takes_token { Scheme::Token } else { Scheme::Basic });
    // Of a caller's own Authorization nothing is looked into: who calls is said, not proved.
    if call.caller.is_some() || call.flaw.is_some() {
        head.presented = match scheme {
            Scheme::Basic => Presented::Basic(ApiKey::new("rehearsal", b"-")),
            Scheme::Token => Presented::Token("rehearsal"),
        };
    }
    let answer =
        |facts: &Facts<'_>, stage| facts.charges(stage).map_or(QuotaAnswer::Admitted, |charges| quotas(&charges));
    let mut facts = Facts::new(&head, snapshot);
    for _ in 0..MAX_QUESTIONS {
        match decide(&facts) {
            Decision::Ask(Question::LockOut) => facts.lock = Some(call.lock),
            Decision::Ask(Question::Identity) => facts.identity = Some(identity(call, scheme)),
            Decision::Ask(Question::Target(id)) => facts.target = Some(tree.answer(&id)),
            Decision::Ask(Question::Quota(Stage::Arrival)) => facts.arrival = Some(answer(&facts, Stage::Arrival)),
            Decision::Ask(Question::Quota(Stage::Permitted)) => facts.quota = Some(answer(&facts, Stage::Permitted)),
            Decision::Permit(_) | Decision::Deny(_) => break,
        }
    }
    let decision = decide(&facts);
    view(&facts, &decision)
}

fn identity(call: &Call, scheme: Scheme) -> Identity {
    if let Some(flaw) = &call.flaw {
        return flaw.clone();
    }
    match &call.caller {
        None => Identity::Invalid("who calls is not said, and credentials are not looked into here"),
        Some(account) => {
            let principal = Principal {
                account: Arc::clone(account),
                scheme,
                credential: call.credential.as_deref().unwrap_or(UNNAMED).into(),
            };
            if account.suspended { Identity::Suspended(principal) } else { Identity::Valid(principal) }
        }
    }
}

struct ListedFields<'h>(&'h [(String, String)]);

impl Fields for ListedFields<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8])) {
        for (name, value) in self.0 {
            visit(name, value.as_bytes());
        }
    }

    fn values<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let name = name.to_owned();
        Box::new(self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_bytes()))
    }

    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_bytes())
    }
}
