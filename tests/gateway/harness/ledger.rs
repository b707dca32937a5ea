//! Logins, token calls, logouts and revocations at two gateways, and a ledger of what was acknowledged: what has to hold
//! whatever happens to the store meanwhile. `failover` makes it happen; this file knows nothing of servers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::accounts::Accounts;
use crate::harness::fleet::{Fleet, wait_until_known};
use crate::harness::lab::{login, login_request};
use crate::harness::request::{get, post};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

/// How soon an end has to be known everywhere.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Workers that log in and end sessions; each has accounts of its own, so that none ends another's.
const WORKERS: usize = 2;

/// So many known tokens a gateway is asked with.
const KNOWN: usize = 6;

/// What goes on, and what came of it.
pub(crate) struct Ledger {
    pub(crate) fleet: Fleet,
    /// Tokens that both gateways have in their caches and nobody ends.
    known: Vec<String>,
    /// Tokens with a session that no gateway has seen yet.
    fresh: Vec<String>,
    next_fresh: AtomicUsize,
    stop: AtomicBool,
    /// Even while the store is well; goes up when it is made to fail and when it is whole again.
    phase: AtomicUsize,
    book: Mutex<Book>,
}

/// What was answered 200.
#[derive(Default)]
struct Book {
    live: Vec<String>,
    ended: Vec<String>,
    /// Calls that were `store_unavailable`.
    unavailable: usize,
    /// Token calls that were served.
    served: usize,
    /// The longest that an end took to be known at both gateways.
    slowest_end: Duration,
}

/// How a session is ended.
#[derive(Clone, Copy)]
enum End {
    Never,
    Logout,
    Account,
    Subtree,
}

/// Stops the workers however its scope is left: a scope whose test failed would wait for them for ever.
struct Stop<'l>(&'l AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl End {
    const ALL: [Self; 4] = [Self::Never, Self::Logout, Self::Account, Self::Subtree];

    /// Whose sessions a worker ends in this way.
    fn account(self, worker: usize) -> String {
        let kind = match self {
            Self::Never => "stays",
            Self::Logout => "leaves",
            Self::Account => "goes",
            Self::Subtree => "falls",
        };
        format!("{kind}-{worker}")
    }
}

/// The lab's tree with the workers' accounts. What a login takes is the store's doing alone.
pub(crate) fn accounts() -> Accounts {
    let all = (0..WORKERS).fold(Accounts::lab(), |mut accounts, worker| {
        for end in End::ALL {
            let above = format!("above-{worker}");
            if matches!(end, End::Subtree) {
                accounts = accounts.with(&above, "administrator", Some("root"));
            }
            let parent = if matches!(end, End::Subtree) { &above } else { "root" };
            accounts = accounts.with(&end.account(worker), "user", Some(parent));
        }
        accounts
    });
    all.quick_to_check()
}

impl Ledger {
    /// Nothing acknowledged yet. `fresh` are tokens of sessions that are in the store.
    pub(crate) fn open(fleet: Fleet, fresh: Vec<String>) -> Self {
        let known: Vec<String> = (0..KNOWN).map(|at| login(&fleet.gateways[at % 2], "", "alice")).collect();
        for (token, gateway) in known.iter().flat_map(|token| fleet.gateways.iter().map(move |at| (token, at))) {
            gateway.call(&get("/orders/1").token(token)).assert_ok();
            wait_until_known(gateway, &get("/orders/1").token(token));
        }
        let (stop, phase) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { fleet, known, fresh, next_fresh: AtomicUsize::new(0), stop, phase, book: Mutex::default() }
    }

    /// Runs `work` while requests go on.
    pub(crate) fn while_busy(&self, work: impl FnOnce()) {
        thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            (0..WORKERS).for_each(|worker| self.begin(scope, worker));
            work();
        });
    }

    /// The store is made to fail, or is whole again.
    pub(crate) fn turn(&self) {
        self.phase.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until so many more logins, and so many more ends, are acknowledged.
    #[track_caller]
    pub(crate) fn wait_for(&self, more: usize) {
        let count = || self.with(|book| (book.live.len(), book.ended.len()));
        let (live, ended) = count();
        eventually("logins and ends are acknowledged", PATIENCE * 3, || {
            let now = count();
            (now.0 >= live + more && now.1 >= ended + more).then_some(())
        });
    }

    /// A token with a session that no gateway has seen.
    pub(crate) fn fresh(&self) -> &str {
        let next = self.next_fresh.fetch_add(1, Ordering::Relaxed);
        &self.fresh[next % self.fresh.len()]
    }

    /// Asserts at both gateways that whoever was let in still is, and whoever was ended is not; says how many.
    #[track_caller]
    pub(crate) fn assert_kept(&self, when: &str) {
        let (live, ended) = self.with(|book| (book.live.clone(), book.ended.clone()));
        assert!(
            live.len() >= 5 && ended.len() >= 5,
            "{when}: {} live and {} ended are too few",
            live.len(),
            ended.len()
        );
        // The last of the ends may be of this very moment.
        thread::sleep(KNOWN_WITHIN);
        for (at, gateway) in self.fleet.gateways.iter().enumerate() {
            let mut client = gateway.client();
            let fresh = self.fresh.iter().step_by(self.fresh.len() / 100);
            for token in live.iter().chain(&self.known).chain(fresh) {
                let response = client.send(&get("/orders/1").token(token));
                assert_eq!(response.status, 200, "{when}, gateway {at}: an acknowledged session: {response}");
            }
            for token in ended.iter().chain(&ended) {
                client.send(&get("/orders/1").token(token)).assert_denied(401, "1001", "token_revoked");
            }
        }
        let told = self.with(|book| {
            format!(
                "{} token calls served, {} calls store_unavailable, slowest end {:?}",
                book.served, book.unavailable, book.slowest_end
            )
        });
        eprintln!("{when}: {} sessions live, {} ended, at both gateways; {told}", live.len(), ended.len());
    }

    fn begin<'s>(&'s self, scope: &'s Scope<'s, '_>, worker: usize) {
        scope.spawn(move || {
            for round in 0.. {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                self.one_session(worker, worker + round, End::ALL[round % 4]);
                // A session and an end of the same millisecond: the end wins, which is no loss.
                thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(move || {
            let mut client = self.fleet.gateways[worker % 2].client();
            for round in 0.. {
                if self.stop.load(Ordering::Relaxed) {
                    break;
                }
                let known = client.send(&get("/orders/1").token(&self.known[round % KNOWN]));
                assert_eq!(known.status, 200, "a token that gateway {worker} knows: {known}");
                let fresh = client.send(&get("/orders/1").token(self.fresh()));
                self.note_call(&fresh);
                thread::sleep(Duration::from_millis(4));
            }
        });
    }

    /// A login at one gateway, a call at the other, and perhaps an end at either.
    fn one_session(&self, worker: usize, turn: usize, end: End) {
        let here = &self.fleet.gateways[turn % 2];
        let there = &self.fleet.gateways[(turn + 1) % 2];
        let account = end.account(worker);
        let login = here.call(&login_request("", &account));
        if !self.is_served(&login) {
            return;
        }
        let token = login.json()["token"].as_str().expect("a token").to_owned();
        for gateway in [here, there] {
            self.note_call(&gateway.call(&get("/orders/1").token(&token)));
        }
        let ender = if turn % 4 < 2 { here } else { there };
        let phase = self.phase.load(Ordering::SeqCst);
        let is_ended = match end {
            End::Never => {
                self.with(|book| book.live.push(token));
                return;
            }
            End::Logout => self.is_served(&ender.call(&post("/logout").token(&token))),
            End::Account => self.is_revoked(&ender.admin_json("POST", "/revocations", &json!({ "account": account }))),
            End::Subtree => {
                let above = format!("above-{worker}");
                self.is_revoked(&ender.admin_json("POST", "/revocations", &json!({ "subtree": above })))
            }
        };
        // One that was not acknowledged may have ended or not: nobody was promised anything.
        if is_ended {
            self.follow_end(&token, phase, Instant::now());
            self.with(|book| book.ended.push(token));
        }
    }

    /// While the store is well, both gateways know of an end within a second. While it is not, they go on with what
    /// they knew, and learn of it when it is back.
    fn follow_end(&self, token: &str, phase: usize, since: Instant) {
        let is_calm = || phase.is_multiple_of(2) && self.phase.load(Ordering::SeqCst) == phase;
        for gateway in &self.fleet.gateways {
            let mut client = gateway.client();
            loop {
                let asked = since.elapsed();
                let response = client.send(&get("/orders/1").token(token));
                if response.status == 401 {
                    response.assert_denied(401, "1001", "token_revoked");
                    if is_calm() {
                        self.with(|book| book.slowest_end = book.slowest_end.max(asked));
                    }
                    break;
                }
                self.note_call(&response);
                if !is_calm() {
                    break;
                }
                assert!(asked < KNOWN_WITHIN, "served {asked:?} after its end was acknowledged");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// A token that was not ended: served, or the store is away.
    #[track_caller]
    fn note_call(&self, response: &Response) {
        if self.is_served(response) {
            self.with(|book| book.served += 1);
        }
    }

    #[track_caller]
    fn is_served(&self, response: &Response) -> bool {
        if response.status == 200 {
            return true;
        }
        response.assert_denied(503, "503", "store_unavailable");
        self.with(|book| book.unavailable += 1);
        false
    }

    #[track_caller]
    fn is_revoked(&self, response: &Response) -> bool {
        assert!([200, 503].contains(&response.status), "{response}");
        if response.status == 503 {
            self.with(|book| book.unavailable += 1);
            return false;
        }
        assert_eq!(response.json()["revoked"], true, "{response}");
        true
    }

    fn with<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
