//! Reload: all files are read again, and taken over whole or not at all.
//!
//! Asked for by `POST /reload`, by SIGHUP, and by [`super::watch`] when a file has changed. What needs a restart is refused
//! by name; everything else is swapped while requests go on, each of which sees one snapshot. One reload runs at a time, on
//! a thread of its own; whoever asks meanwhile waits and has the files read once more. The reading and the swap are in
//! `take_over`.

mod behind;
mod take_over;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::{mem, thread};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::Response;
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};

pub use self::take_over::live;
use super::Admin;
use super::reply::{Refusal, json_ok};
use super::started_anew::StartedAnew;
use crate::cli::report::rows;
use crate::config::diag::{Faults, Severity};
use crate::config::load::Config;
use crate::config::secret::Secret;
use crate::config::settings::Settings;
use crate::config::watched::{Version, Watched};
use crate::directory::Directory;
use crate::directory::file::Followed;
use crate::directory::records::Records;
use crate::identity::password::{step_back, step_out};
use crate::proxy::Gateway;
use crate::proxy::exchange::Live;
use crate::telemetry::access_line::timestamp;

/// Accounts that a reload read, for the task that follows their file.
pub struct NewAccounts {
    /// What to follow from now on.
    pub followed: Followed,
    /// What stands in it.
    pub records: Records,
    /// To be told when they are in effect.
    pub done: oneshot::Sender<()>,
}

/// Which policy files are in effect.
pub struct ReadFiles {
    /// `gateway.toml` first.
    pub names: Vec<String>,
    /// RFC 3339.
    pub at: String,
}

/// Where a gateway was started from.
pub struct Origin {
    /// `gateway.toml`.
    pub path: PathBuf,
    /// All files that were read at start, secrets and certificates among them.
    pub watched: Vec<Watched>,
}

/// Whatever the files said that is in effect, but for the policies themselves.
#[derive(Clone, Debug)]
pub struct InEffect {
    /// The settings.
    pub settings: Settings,
    /// `gateway.toml` and the policy files, by name.
    pub names: Vec<String>,
    /// The revision of what is judged in shadow, and the share of its disagreements that is logged.
    candidate: Option<(Box<str>, f64)>,
    /// What stood in the accounts file.
    accounts: Option<Version>,
}

impl InEffect {
    /// Whether both say the same, whatever accounts there are.
    fn is_same_but_for_accounts(&self, other: &Self) -> bool {
        let Self { settings, names, candidate, accounts: _ } = self;
        (settings, names, candidate) == (&other.settings, &other.names, &other.candidate)
    }

    /// Of a configuration, with the accounts that it names.
    #[must_use]
    pub fn of(config: &Config, accounts: Option<&Followed>) -> Self {
        let candidate = config.candidate.as_ref();
        Self {
            settings: config.settings.clone(),
            names: config.files.clone(),
            candidate: candidate.map(|candidate| (candidate.snapshot.revision().into(), candidate.sample)),
            accounts: accounts.map(|followed| followed.version.clone()),
        }
    }
}

/// Who wants the files read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Somebody who waits for an answer or looks for it in the log.
    ByOperator,
    /// The watch over the files. What is known already is not told again.
    ByChange,
}

/// What a reload took over; the body of its answer.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The policies in effect.
    pub revision: String,
    /// Whether anything is otherwise than before.
    pub changed: bool,
    /// Quotas that it changed, and of which nothing is spent any more therefore.
    pub quotas_started_anew: Vec<StartedAnew>,
}

/// Why nothing was taken over: findings as `check` has them, and the label of the metric.
#[derive(Debug)]
pub struct NotReloaded {
    faults: Faults,
    result: &'static str,
}

impl NotReloaded {
    fn because(result: &'static str, message: impl Into<String>, hint: &str) -> Self {
        let mut faults = Faults::default();
        faults.without_place(message, hint);
        Self { faults, result }
    }
}

/// Reads the files again; one for the process.
pub struct Reloader {
    gateway: Arc<Gateway>,
    directory: Arc<Directory>,
    /// `gateway.toml`; `None` where the settings come from no file.
    path: Option<PathBuf>,
    accounts: mpsc::Sender<NewAccounts>,
    /// Held throughout a reload, so that there is one at a time.
    state: Mutex<State>,
    admin_token: ArcSwapOption<Secret>,
    files: ArcSwap<ReadFiles>,
    /// What was read last, whether it was taken over or not.
    watched: ArcSwap<Vec<Watched>>,
    /// What no new request gets any more. Kept until no old one has it either, so that none of them has to free it.
    retired: std::sync::Mutex<Vec<Arc<Live>>>,
}

struct State {
    in_effect: InEffect,
    /// The faults that were told last; none while all is well.
    told: Vec<String>,
}

impl Reloader {
    /// From what the gateway was started with. Without an origin there is nothing to read again.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        directory: Arc<Directory>,
        origin: Option<Origin>,
        in_effect: InEffect,
        accounts: mpsc::Sender<NewAccounts>,
    ) -> Self {
        let admin_token = ArcSwapOption::from_pointee(in_effect.settings.server.admin_token.clone());
        let files = ArcSwap::from_pointee(ReadFiles { names: in_effect.names.clone(), at: timestamp() });
        let (path, watched) = origin.map(|origin| (origin.path, origin.watched)).unzip();
        let watched = ArcSwap::from_pointee(watched.unwrap_or_default());
        let state = Mutex::new(State { in_effect, told: Vec::new() });
        let retired = std::sync::Mutex::default();
        Self { gateway, directory, path, accounts, state, admin_token, files, watched, retired }
    }

    /// The admin token in effect.
    #[must_use]
    pub fn admin_token(&self) -> Option<Arc<Secret>> {
        self.admin_token.load_full()
    }

    /// The policy files in effect.
    #[must_use]
    pub fn files(&self) -> Arc<ReadFiles> {
        self.files.load_full()
    }

    /// All files that were read last, as they were then.
    #[must_use]
    pub fn watched(&self) -> Arc<Vec<Watched>> {
        self.watched.load_full()
    }

    /// Whether the files say something else than what is in effect, and could not be taken over.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.gateway.metrics.policy_stale.get() != 0
    }

    /// Reads everything again and takes it over.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(self: &Arc<Self>, asked: Asked) -> Result<Applied, NotReloaded> {
        let (own, runtime) = (Arc::clone(self), Handle::current());
        let (answer, outcome) = oneshot::channel();
        // On a thread of its own: thousands of routes are compiled, bound and freed there, and requests go before. Whoever
        // asked may go away, and does not leave half of it behind.
        let started = thread::Builder::new().name("reload".to_owned()).spawn(move || {
            step_back("reloads");
            let _ = answer.send(runtime.block_on(own.run(asked)));
            // Nobody waits for this any more.
            step_out();
            own.drop_retired();
        });
        let outcome = match started {
            Ok(_) => outcome.await.ok(),
            Err(_) => None,
        };
        outcome.unwrap_or_else(|| {
            tracing::error!("everything kept as it was: the reload failed");
            self.gateway.metrics.policy_stale.set(1);
            self.gateway.metrics.policy_reloads.with_label_values(&["failed"]).inc();
            Err(NotReloaded::because("failed", "the reload failed", "its log says where"))
        })
    }

    async fn run(&self, asked: Asked) -> Result<Applied, NotReloaded> {
        let metrics = &self.gateway.metrics;
        let Some(path) = self.path.as_deref() else {
            metrics.policy_reloads.with_label_values(&["failed"]).inc();
            let hint = "only `portcullis serve` reads them again";
            return Err(NotReloaded::because("failed", "this gateway was started without files", hint));
        };
        let mut state = self.state.lock().await;
        let outcome = self.take_over(path, &mut state.in_effect).await;
        let result = match &outcome {
            Ok(Applied { changed: true, .. }) => "applied",
            Ok(Applied { changed: false, .. }) => "unchanged",
            Err(refused) => refused.result,
        };
        match &outcome {
            Ok(applied) => {
                let was_told = !mem::take(&mut state.told).is_empty();
                tell(applied, asked == Asked::ByOperator || was_told);
            }
            Err(refused) => {
                // Warnings are told of what is taken over.
                let faults = refused.faults.iter().filter(|finding| finding.severity == Severity::Fault);
                let findings: Vec<String> = faults.map(ToString::to_string).collect();
                if asked == Asked::ByOperator || findings != state.told {
                    tracing::error!("everything kept as it was: the files were not taken over");
                    findings.iter().for_each(|finding| tracing::error!("{finding}"));
                }
                state.told = findings;
            }
        }
        // After the log, so that whoever sees these finds the reasons there.
        metrics.policy_reloads.with_label_values(&[result]).inc();
        metrics.policy_stale.set(i64::from(outcome.is_err()));
        outcome
    }

    /// Frees what no request uses any more. It may take a while, and so is done on no thread that drives connections.
    pub fn drop_retired(&self) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody can get hold of one anew, so whoever is alone with it stays alone.
        let unused: Vec<_> = retired.extract_if(.., |live| Arc::strong_count(live) == 1).collect();
        drop(retired);
        if !unused.is_empty() {
            let freeing = move || drop(unused);
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(freeing)),
                Err(_) => freeing(),
            }
        }
    }
}

fn tell(applied: &Applied, in_full: bool) {
    let Applied { revision, changed, quotas_started_anew } = applied;
    if *changed {
        tracing::info!("reloaded: policies of revision {revision}");
    } else if in_full {
        tracing::info!("nothing changed: the files say what is in effect, revision {revision}");
    }
    for StartedAnew { quota, was, now } in quotas_started_anew {
        tracing::info!("quota {quota} starts anew: {was} → {now}");
    }
}

impl Admin {
    /// `POST /reload`
    pub(super) async fn reload(&self) -> Result<Response<Vec<u8>>, Refusal> {
        match self.reloader.reload(Asked::ByOperator).await {
            Ok(applied) => Ok(json_ok(&applied)),
            Err(refused) => Err(Refusal::Reload(json!(rows(&refused.faults)))),
        }
    }
}
