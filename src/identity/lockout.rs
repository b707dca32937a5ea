//! The lock-out: failed attempts are counted per (identifier, client network), per network and per e-mail, and who has too
//! many is told to wait, whether the next secret would be right or wrong.
//!
//! `proxy::admit` asks before a Basic key is compared, the resolver settles what came of it; login goes through
//! `attempt`. A node judges by its own bounded tables, which follow the store's; without a store it counts alone.
//! Sessions are never locked, and no account is: only a pair, or strangers from a network.

mod attempt;
mod errands;
mod first_sight;
mod ledger;
mod seen;
mod subject;
mod table;
mod tally;
mod waiting_room;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

pub(super) use self::attempt::{Attempt, Entry};
use self::errands::{Errand, Errands};
use self::ledger::{DAY_MS, Judgement, Ledger, MONTH_MS};
use self::subject::{Identifier, Key, Subject};
use self::waiting_room::WaitingRoom;
use crate::config::settings;
use crate::policy::credential::ApiKey;
use crate::policy::facts::LockAnswer;
use crate::policy::principal::Identity;
use crate::store::feed::{Listener, News};
use crate::store::{Patience, Store, StoreError};
use crate::telemetry::metrics::{Metrics, observe_since};

/// What a key of the lock-out is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier from a network.
    Pair,
    /// A network, whatever was tried from it.
    Network,
    /// An e-mail, wherever it was tried from.
    Email,
}

impl Kind {
    /// The name in metrics and lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pair => "pair",
            Kind::Network => "network",
            Kind::Email => "email",
        }
    }

    const fn of(key: Key<'_>) -> Self {
        match key {
            Key::Pair(_) => Kind::Pair,
            Key::Network(_) => Kind::Network,
            Key::Email(_) => Kind::Email,
        }
    }
}

/// A key with failures, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `pair:<identifier>@<network>`, `network:<network>` or `email:<email>`; the identifier `*` stands for everything
    /// that is neither an API id nor an e-mail.
    pub key: Box<str>,
    /// Its first word.
    pub kind: Kind,
    /// Failures that are not forgotten yet.
    pub failures: u32,
    /// Locked until then: milliseconds since the epoch by the store's clock; 0 when it is open.
    pub until: u64,
}

/// Counts and judges. One for the whole process.
pub struct Lockout {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    ledger: Ledger,
    waiting_room: WaitingRoom,
    errands: Errands,
    /// Basic requests that may ask the store at once whether it has seen them.
    asking: Semaphore,
}

impl Lockout {
    /// With nothing counted. It has to be told to the store as a listener, and [`Lockout::run`] to be run.
    #[must_use]
    pub fn new(store: Arc<Store>, rules: settings::Lockout, metrics: Arc<Metrics>) -> Self {
        let (ledger, errands) = (Ledger::new(rules, &metrics), Errands::new());
        Self { store, metrics, ledger, waiting_room: WaitingRoom::default(), errands, asking: Semaphore::new(ASKING) }
    }

    /// Tells the store in the background, for ever.
    pub async fn run(&self) {
        self.errands.run(|errand| self.carry_out(errand)).await;
    }

    /// Takes other settings over; what was counted stays.
    pub fn configure(&self, rules: settings::Lockout) {
        self.ledger.configure(rules);
    }

    /// Whether an API id may be tried from this client, before its key is compared. Asks the store in two rare cases:
    /// another gateway may have locked the pair unheard; the network is locked, and this node has not seen the id
    /// succeed from it.
    pub async fn judge(&self, key: &ApiKey, client: IpAddr, patience: &Patience) -> LockAnswer {
        let subject = Subject::api(key.id(), client);
        let answer = self.judge_by_what_is_known(subject, patience).await;
        if answer != LockAnswer::Open || !self.may_have_missed(subject) {
            return answer;
        }
        self.catch_up(subject, patience).await;
        self.judge_by_what_is_known(subject, patience).await
    }

    async fn judge_by_what_is_known(&self, subject: Subject<'_>, patience: &Patience) -> LockAnswer {
        match self.ledger.judge(subject, self.now()) {
            Judgement::Open => LockAnswer::Open,
            Judgement::Locked(left) => LockAnswer::Locked(seconds(left)),
            Judgement::Unless(left, life) => match self.asking.try_acquire() {
                Ok(_) if self.was_seen(subject, life, patience).await => LockAnswer::Open,
                Ok(_) | Err(_) => LockAnswer::Locked(seconds(left)),
            },
        }
    }

    /// Settles what a comparison of a Basic key found. When the pair was locked in the meantime, that is the answer
    /// whatever was found: of guesses that run side by side no more are answered than of guesses in a row.
    ///
    /// A key that is past its time, or of a suspended account, has proved right. One that is not for the realm is
    /// answered like a wrong one, so it counts like one. Where the directory could not tell, nothing is counted.
    pub(super) fn settle(&self, key: &ApiKey, client: IpAddr, found: Identity) -> Identity {
        let subject = Subject::api(key.id(), client);
        let settled = match &found {
            Identity::Valid(_) | Identity::Suspended(_) | Identity::Expired(_) => self.note_success(subject),
            Identity::Invalid(_) | Identity::Revoked(_) => self.note_failure(subject),
            Identity::Locked(_) | Identity::StoreUnavailable(_) | Identity::DirectoryUnavailable(_) => Ok(()),
        };
        settled.map_or_else(|left| Identity::Locked(seconds(left)), |()| found)
    }

    /// A token whose signature is wrong came from this client. Counted for its network only; tokens themselves are
    /// never refused for it.
    pub fn bad_signature(&self, client: IpAddr) {
        let subject = Subject::api(None, client);
        if self.ledger.fail_network(subject, self.now()) {
            self.leave(subject.whole_network(), Errand::Failed);
        }
    }

    /// Every key with failures that this node knows, in the order of their names.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.ledger.list(self.now())
    }

    /// Forgets failures and lock of a key, on every gateway; whether this one knew it.
    ///
    /// # Errors
    /// The private cause, when the store could not be told: then only this gateway has forgotten it.
    pub async fn clear(&self, key: &str) -> Result<bool, &'static str> {
        let Some(parsed) = Key::parse(key) else { return Ok(false) };
        let known = self.ledger.forget(parsed);
        let cleared = self.measured("clear_lock", self.store.clear_lock(key)).await;
        cleared.map(|()| known).map_err(|_| "the store could not be told")
    }

    /// The same for every key that this node knows; how many there were.
    ///
    /// # Errors
    /// As above.
    pub async fn clear_all(&self) -> Result<usize, &'static str> {
        let all = self.list();
        let mut outcome = Ok(all.len());
        for some in all.chunks(TELLING) {
            let told = join_all(some.iter().map(|listed| self.clear(&listed.key))).await;
            outcome = told.into_iter().fold(outcome, |outcome, told| told.and(outcome));
        }
        outcome
    }

    fn note_failure(&self, subject: Subject<'_>) -> Result<(), u64> {
        let counted = self.ledger.fail(subject, self.now())?;
        self.leave(subject.pair(), Errand::Failed);
        if counted.network {
            self.leave(subject.whole_network(), Errand::Failed);
        }
        Ok(())
    }

    fn note_success(&self, subject: Subject<'_>) -> Result<(), u64> {
        let proved = self.ledger.prove(subject, self.now())?;
        if proved.clear {
            self.leave(subject.pair(), Errand::Cleared);
        }
        if proved.note && !self.leave(subject.pair(), Errand::Seen) {
            self.ledger.untold(subject);
        }
        Ok(())
    }

    fn leave(&self, key: Key<'_>, errand: impl FnOnce(Box<str>) -> Errand) -> bool {
        let left = self.errands.leave(self.ledger.hash(key), errand(key.to_string().into()));
        if !left {
            self.metrics.store_errors.with_label_values(&["count_failure", "dropped"]).inc();
        }
        left
    }

    async fn carry_out(&self, errand: Errand) {
        match errand {
            // What comes back of these is told to all listeners, this node included, when the store is in memory; from
            // Redis the answer is quicker than the news.
            Errand::Failed(name) => {
                if let Some(key) = Key::parse(&name) {
                    self.count(key, &name, &self.store.patience()).await;
                }
            }
            Errand::Cleared(name) => {
                // A store that is away keeps counts that are forgotten here; they end by themselves.
                let _ = self.measured("clear_lock", self.store.clear_lock(&name)).await;
            }
            Errand::Seen(name) => {
                if let Some(Key::Pair(subject)) = Key::parse(&name) {
                    self.tell_seen(subject).await;
                }
            }
        }
    }

    /// Counts a failure in the store, and takes over what it says. `None`: the store is away.
    async fn count(&self, key: Key<'_>, name: &str, patience: &Patience) -> Option<u32> {
        let allowance = self.ledger.allowance(key);
        let counting = self.store.count_failure(name, allowance.failures.max(1), allowance.within);
        let lock = self.measured("count_failure", patience.wait(counting)).await.ok()?;
        // An answer without failures says nothing of a key that was just counted.
        if lock.failures > 0 {
            self.ledger.follow(key, lock, self.now());
        }
        Some(lock.failures)
    }

    /// Whether the store has seen a subject succeed within `life` milliseconds; not, when it cannot tell.
    async fn was_seen(&self, subject: Subject<'_>, life: u64, patience: &Patience) -> bool {
        let Some(identifier) = subject.remembered_as() else { return false };
        let network = subject.network.to_string();
        let asking = patience.wait(self.store.seen(identifier, &network));
        let Ok(seen) = self.measured("seen", asking).await else { return false };
        let now = self.now();
        self.ledger.learn_seen(subject, now, seen);
        seen.is_some_and(|at| at.saturating_add(life) > now)
    }

    async fn tell_seen(&self, subject: Subject<'_>) {
        let (life, identifier) = match subject.identifier {
            Identifier::Api(id) => (DAY_MS, id),
            Identifier::Email(email) => (MONTH_MS, email),
            Identifier::Stranger => return,
        };
        let network = subject.network.to_string();
        let telling = self.store.note_seen(identifier, &network, Duration::from_millis(life));
        if self.measured("note_seen", telling).await.is_err() {
            self.ledger.untold(subject);
        }
    }

    async fn measured<T>(
        &self,
        op: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let answer = call.await;
        observe_since(&self.metrics.store_duration.with_label_values(&[op]), started);
        answer.inspect_err(|error| self.metrics.store_errors.with_label_values(&[op, error.kind()]).inc())
    }

    fn now(&self) -> u64 {
        self.store.now_ms()
    }
}

impl Listener for Lockout {
    fn hear(&self, news: &News<'_>) {
        match news {
            News::Lock(name, lock) => match Key::parse(name) {
                Some(key) => self.ledger.follow(key, *lock, self.now()),
                None => tracing::debug!("news of a key that is none of the lock-out's"),
            },
            News::Session(_) | News::Account(..) | News::Subtree(..) | News::Record(..) => {}
        }
    }
}

/// Whole seconds, rounded up, at least 1.
fn seconds(left: u64) -> u32 {
    u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// A flood from a locked network must not become a flood of questions.
const ASKING: usize = 16;

/// Keys that the store is told of at once when all are forgotten: enough to make up for the way there and back, few
/// enough that requests beside it get their answers in time.
const TELLING: usize = 128;
