//! Records that are kept elsewhere: looked up on shelves, read where those do not hold them, put together to accounts.
//!
//! Called by the directory. What the shelves answer needs no task switch and no allocation; anything else waits for the
//! source, at most the budget in all, and is answered by what was known before while the source is away. A record that
//! cannot be told is never "unknown".

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::gauges::{Came, Gauges};
use super::hearing::Hearing;
use super::https::Calls;
use super::records::{Credential, User};
use super::shelf::{Answer, Boarded, Flight, Found, Held};
use super::shelves::{Record, Shelves};
use super::source::{Kind, Origin, Outage, SourceError};
use super::tree::{Node, compile, complain};
use super::wire::Verified;
use super::{PasswordCheck, Unavailable};
use crate::policy::principal::{Account, MAX_LEVELS};
use crate::store::feed::{Listener, News};

/// A source that is not a file, with its shelves.
pub(super) struct Remote {
    pub(super) origin: Origin,
    pub(super) hearing: Hearing,
    pub(super) budget: Duration,
    /// Before every key of the store.
    pub(super) prefix: Box<str>,
    pub(super) gauges: Gauges,
    pub(super) shelves: Shelves,
    pub(super) outage: Outage,
}

impl Remote {
    /// An account, if the shelves can tell; `Some(None)` when they know that there is none.
    pub(super) fn known_account(&self, id: &str) -> Option<Option<Arc<Account>>> {
        let held = self.shelves.accounts.held(id)?;
        let now = self.hearing.now();
        let known = match &held.found {
            Found::Known(node) => {
                let is_fresh = |read| self.hearing.is_fresh(read, now);
                node.account(is_fresh, &self.shelves.accounts, &self.shelves.generation).map(Some)
            }
            Found::Unknown => self.hearing.is_negative_fresh(held.read, now).then_some(None),
            Found::Unreadable(_) => None,
        };
        known.inspect(|_| self.gauges.count(Came::Hit))
    }

    /// A credential, if the shelf can tell; as above.
    pub(super) fn known_credential(&self, id: &str) -> Option<Option<Arc<Credential>>> {
        let held = self.shelves.credentials.held(id).filter(|held| self.is_current(held))?;
        let known = match &held.found {
            Found::Known(credential) => Some(Some(Arc::clone(credential))),
            Found::Unknown => Some(None),
            Found::Unreadable(_) => None,
        };
        known.inspect(|_| self.gauges.count(Came::Hit))
    }

    /// An account that the shelves could not tell.
    pub(super) async fn account(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Account>>, Unavailable> {
        self.account_by(id, Instant::now() + self.budget).await
    }

    async fn account_by(self: &Arc<Self>, id: &str, deadline: Instant) -> Result<Option<Arc<Account>>, Unavailable> {
        let generation = self.shelves.generation.load(Ordering::Acquire);
        let mut came = Came::Hit;
        let mut path: Vec<Arc<Held<Node>>> = Vec::with_capacity(4);
        let mut held = self.find::<Node>(id, deadline, &mut came).await?;
        loop {
            let parent = match &held.found {
                Found::Known(node) => node.record.parent.clone(),
                Found::Unknown if path.is_empty() => {
                    self.gauges.count(came);
                    return Ok(None);
                }
                Found::Unknown => return Err(complain(&path, "an account of the directory has an unknown parent")),
                Found::Unreadable(_) => return Err(UNREADABLE),
            };
            path.push(held);
            let Some(parent) = parent else { break };
            if path.len() == MAX_LEVELS {
                return Err(complain(&path, "an account of the directory is its own ancestor, or lies too deep"));
            }
            held = self.find::<Node>(&parent, deadline, &mut came).await?;
        }
        self.gauges.count(came);
        compile(&path, generation).map(Some)
    }

    /// A credential that the shelf could not tell.
    pub(super) async fn credential(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Credential>>, Unavailable> {
        let mut came = Came::Hit;
        let held = self.find::<Arc<Credential>>(id, Instant::now() + self.budget, &mut came).await?;
        self.gauges.count(came);
        match &held.found {
            Found::Known(credential) => Ok(Some(Arc::clone(credential))),
            Found::Unknown => Ok(None),
            Found::Unreadable(_) => Err(UNREADABLE),
        }
    }

    /// A user by the canonical e-mail.
    pub(super) async fn user(self: &Arc<Self>, email: &str) -> Result<Option<Arc<User>>, Unavailable> {
        if let Origin::Calls(_) = self.origin {
            return Err(Unavailable("the directory shows nobody's e-mail"));
        }
        let (deadline, mut came) = (Instant::now() + self.budget, Came::Hit);
        let held = self.find::<Box<str>>(email, deadline, &mut came).await?;
        let account = match &held.found {
            Found::Known(account) => self.find::<Node>(account, deadline, &mut came).await?,
            Found::Unknown => {
                self.gauges.count(came);
                return Ok(None);
            }
            Found::Unreadable(_) => return Err(UNREADABLE),
        };
        self.gauges.count(came);
        match &account.found {
            // An account that has another e-mail by now: what leads to it from this one is left over.
            Found::Known(node) if node.record.email.as_deref() != Some(email) => Ok(None),
            Found::Known(node) => Ok(Some(Arc::new(User {
                account: node.record.id.clone(),
                email: email.into(),
                password: node.record.password.clone(),
                password_mark: node.record.password_mark,
            }))),
            Found::Unknown => Ok(None),
            Found::Unreadable(_) => Err(UNREADABLE),
        }
    }

    /// Has a password compared by the source, or tells with what to compare it.
    pub(super) async fn check_password(
        self: &Arc<Self>,
        email: &str,
        password: &str,
    ) -> Result<PasswordCheck, Unavailable> {
        let Origin::Calls(calls) = &self.origin else { return self.user(email).await.map(PasswordCheck::Here) };
        let deadline = Instant::now() + self.budget;
        let Some(verified) = self.verify(calls, email, password).await? else { return Ok(PasswordCheck::There(None)) };
        self.renew::<Node>(&verified.account, deadline).await;
        let Some(account) = self.account_by(&verified.account, deadline).await? else {
            return Err(Unavailable("the directory knows a password of an account that it does not know"));
        };
        // The password may have been changed since it proved right. A session would then begin by the new one's mark, and
        // go on although the old one opened it.
        let still_right = match verified.password_mark {
            Some(mark) => mark == account.password_mark,
            // A directory that never tells passwords apart cannot end sessions by them either.
            None if account.password_mark == 0 => true,
            // It does not say which password it compared: one that is right after the mark was read is the mark's.
            None => self.verify(calls, email, password).await?.is_some_and(|again| again.account == verified.account),
        };
        Ok(PasswordCheck::There(Some(account).filter(|_| still_right)))
    }

    /// Has a password compared by the source: whose it is, or `None` for nobody's.
    async fn verify(&self, calls: &Calls, email: &str, password: &str) -> Result<Option<Verified>, Unavailable> {
        let started = self.hearing.now();
        if !self.outage.admits(started, self.budget) {
            return Err(SourceError::LeftAlone.unavailable());
        }
        let timer = self.gauges.password.start_timer();
        let verified = calls.verify(email, password, self.budget).await;
        timer.observe_duration();
        match verified.as_ref().err().copied() {
            // Hashing takes its time; a source that is slow in it may be quick with records.
            Some(SourceError::TimedOut) => self.gauges.fail("password", SourceError::TimedOut),
            error => self.note("password", started, error),
        }
        verified.map_err(SourceError::unavailable)
    }

    /// The record of this id: from its shelf, from the source, or, while that is away, what it was before.
    async fn find<T: Record>(
        self: &Arc<Self>,
        id: &str,
        deadline: Instant,
        came: &mut Came,
    ) -> Result<Arc<Held<T>>, Unavailable> {
        let held = T::shelf(&self.shelves).held(id);
        if let Some(held) = held.as_ref().filter(|held| self.is_current(held)) {
            return Ok(Arc::clone(held));
        }
        let now = self.hearing.now();
        let known =
            |held: &Arc<Held<T>>| matches!(held.found, Found::Known(_)) && self.hearing.is_usable(held.read, now);
        let before = held.filter(known);
        let flight = self.take_off::<T>(id);
        // In an outage nobody waits who does not have to.
        if let Some(before) = before.as_ref().filter(|_| self.outage.is_on()) {
            *came = Came::Stale;
            return Ok(Arc::clone(before));
        }
        let waited =
            async { tokio::time::timeout_at(deadline, flight?.wait()).await.unwrap_or(Err(SourceError::TimedOut)) };
        match (waited.await, before) {
            (Ok(held), _) => {
                *came = (*came).max(Came::Miss);
                Ok(held)
            }
            (Err(_), Some(before)) => {
                *came = Came::Stale;
                Ok(before)
            }
            (Err(error), None) => {
                self.gauges.count(Came::Miss);
                Err(error.unavailable())
            }
        }
    }

    /// Reads a record anew. What is held may be older than a password that proved right just now, and a session that
    /// began by its mark would end with the next look. When the source does not answer, what is held has to do.
    async fn renew<T: Record>(self: &Arc<Self>, id: &str, deadline: Instant) {
        if let Ok(flight) = self.take_off::<T>(id) {
            let _ = tokio::time::timeout_at(deadline, flight.wait()).await;
        }
    }

    fn is_current<T>(&self, held: &Held<T>) -> bool {
        let now = self.hearing.now();
        match held.found {
            Found::Known(_) => self.hearing.is_fresh(held.read, now),
            Found::Unknown | Found::Unreadable(_) => self.hearing.is_negative_fresh(held.read, now),
        }
    }

    /// Joins the read of a record, or begins it as a task of its own.
    fn take_off<T: Record>(self: &Arc<Self>, id: &str) -> Result<Arc<Flight<T>>, SourceError> {
        let admits = || self.outage.admits(self.hearing.now(), self.budget);
        match T::shelf(&self.shelves).board(id, admits)? {
            Boarded::With(flight) => Ok(flight),
            Boarded::First(flight) => {
                let landing = Landing {
                    remote: Arc::clone(self),
                    id: id.into(),
                    flight: Arc::clone(&flight),
                    answer: Err(SourceError::Unreachable),
                };
                tokio::spawn(landing.fly());
                Ok(flight)
            }
        }
    }

    /// Asks the source itself.
    async fn ask<T: Record>(&self, id: &str) -> Result<Held<T>, SourceError> {
        let (read, kind) = (self.hearing.read(), T::KIND);
        let timer = self.gauges.of(kind).start_timer();
        let asked = tokio::time::timeout(self.budget, self.origin.record(kind, id, self.budget)).await;
        timer.observe_duration();
        let found = asked.unwrap_or(Err(SourceError::TimedOut)).and_then(|bytes| match bytes {
            Some(bytes) => Ok(Found::Known(T::read(&self.shelves, id, &bytes)?)),
            None => Ok(Found::Unknown),
        });
        self.note(kind.name(), read.at, found.as_ref().err().copied());
        match found {
            Ok(found) => Ok(Held { found, read }),
            Err(SourceError::Unreadable(fault)) => {
                tracing::warn!(%id, "a record of the directory, {}, cannot be read: {fault}", kind.name());
                Ok(Held { found: Found::Unreadable(fault), read })
            }
            Err(error) => Err(error),
        }
    }

    /// Notes what came of a call that began at `started`.
    fn note(&self, op: &'static str, started: u64, error: Option<SourceError>) {
        if let Some(error) = error {
            self.gauges.fail(op, error);
        }
        match error.filter(|error| error.is_outage()) {
            Some(error) if self.outage.note(started, self.hearing.now()) => {
                tracing::warn!("the directory is away: {error}");
            }
            None if self.outage.end() => tracing::info!("the directory answers again"),
            Some(_) | None => {}
        }
    }

    /// Whether the source answered last.
    pub(super) fn is_up(&self) -> bool {
        let reached = match &self.origin {
            Origin::Store(store) => store.is_up(),
            Origin::Calls(_) => true,
        };
        reached && !self.outage.is_on()
    }

    /// A record changed.
    pub(super) fn forget(&self, kind: Kind, id: &str) {
        match kind {
            Kind::Account => {
                self.shelves.accounts.forget(id);
                self.shelves.generation.fetch_add(1, Ordering::AcqRel);
            }
            Kind::Credential => self.shelves.credentials.forget(id),
            Kind::Email => self.shelves.emails.forget(&id.to_ascii_lowercase()),
        }
    }

    /// When keys were used.
    pub(super) fn last_used(&self) -> Vec<(Arc<str>, u64)> {
        self.shelves.uses.iter().filter_map(|(id, used)| used.seconds().map(|seconds| (id, seconds))).collect()
    }

    /// Finds out in an outage that it is over, for as long as it is polled.
    pub(super) async fn watch(&self) {
        let mut ticks = tokio::time::interval(TICK);
        // The store says itself whether it is there; a far directory says nothing until it is asked.
        let mut unasked = matches!(self.origin, Origin::Calls(_));
        loop {
            ticks.tick().await;
            let due = std::mem::take(&mut unasked) || self.outage.is_on();
            if due && self.outage.admits(self.hearing.now(), self.budget) {
                // Whatever it answers is an answer.
                let _ = self.ask::<Node>(PROBE).await;
            }
        }
    }
}

/// A read on its way. However it ends, those who wait are told, and the next look-up may read again.
struct Landing<T: Record> {
    remote: Arc<Remote>,
    id: Box<str>,
    flight: Arc<Flight<T>>,
    answer: Answer<T>,
}

impl<T: Record> Landing<T> {
    async fn fly(mut self) {
        self.answer = self.remote.ask::<T>(&self.id).await.map(Arc::new);
    }
}

impl<T: Record> Drop for Landing<T> {
    fn drop(&mut self) {
        let answer = std::mem::replace(&mut self.answer, Err(SourceError::Unreachable));
        let changed = T::shelf(&self.remote.shelves).land(&self.id, &self.flight, answer);
        if changed && T::KIND == Kind::Account {
            self.remote.shelves.generation.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Passes on what the feed says of records. Weak, since the store that tells it belongs to the directory.
pub(super) struct Ear(pub(super) Weak<Remote>);

impl Listener for Ear {
    fn hear(&self, news: &News<'_>) {
        match news {
            News::Record(kind, id) => {
                if let Some((remote, kind)) = self.0.upgrade().zip(Kind::named(kind)) {
                    remote.forget(kind, id);
                }
            }
            News::Session(_) | News::Account(..) | News::Subtree(..) | News::Lock(..) => {}
        }
    }
}

const UNREADABLE: Unavailable = Unavailable("a record of the directory cannot be read");

/// Asked for when only the answer counts; nobody has to have it.
const PROBE: &str = "portcullis-probe";

const TICK: Duration = Duration::from_millis(250);
