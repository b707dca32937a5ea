//! Reload: all files are read again, and taken over whole or not at all.
//!
//! Asked for by `POST /reload` and by SIGHUP. What needs a restart is refused by name; everything else is swapped while
//! requests go on, each of which sees one snapshot. The accounts are handed to the task that follows their file, so that
//! two readers never overtake each other.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::Response;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::Admin;
use super::reply::{Refusal, json_ok};
use super::started_anew::{StartedAnew, started_anew};
use crate::cli::report::{Loaded, read_all, rows};
use crate::config::diag::Faults;
use crate::config::load::Config;
use crate::config::secret::Secret;
use crate::config::settings::{RANDOM_KEY, ReasonOverride, Settings, cold_difference};
use crate::directory::Directory;
use crate::directory::file::Followed;
use crate::directory::https::NewSecrets;
use crate::directory::records::Records;
use crate::problem::registry::{Override, Registry};
use crate::proxy::Gateway;
use crate::proxy::exchange::Live;
use crate::proxy::shadow::Shadow;
use crate::telemetry::access_log::timestamp;
use crate::telemetry::metrics::Metrics;

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

/// What a reload took over; the body of its answer.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The policies in effect.
    pub revision: String,
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
    /// Those in effect; held throughout a reload, so that there is one at a time.
    settings: Mutex<Settings>,
    admin_token: ArcSwapOption<Secret>,
    files: ArcSwap<ReadFiles>,
}

impl Reloader {
    /// From what the gateway was started with. `path` is its `gateway.toml`.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        directory: Arc<Directory>,
        (path, names): (Option<PathBuf>, Vec<String>),
        settings: Settings,
        accounts: mpsc::Sender<NewAccounts>,
    ) -> Self {
        let admin_token = ArcSwapOption::from_pointee(settings.server.admin_token.clone());
        let files = ArcSwap::from_pointee(ReadFiles { names, at: timestamp() });
        Self { gateway, directory, path, accounts, settings: Mutex::new(settings), admin_token, files }
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

    /// Reads everything again and takes it over.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(self: &Arc<Self>) -> Result<Applied, NotReloaded> {
        let own = Arc::clone(self);
        // On a task of its own: whoever asked may go away, and must not leave half of it behind.
        let outcome = tokio::spawn(async move { own.read_and_apply().await }).await;
        let outcome = outcome.unwrap_or_else(|_| Err(NotReloaded::because("failed", "the reload failed", "")));
        let metrics = &self.gateway.metrics;
        let result = outcome.as_ref().map_or_else(|refused| refused.result, |_| "applied");
        metrics.policy_reloads.with_label_values(&[result]).inc();
        metrics.policy_stale.set(i64::from(outcome.is_err()));
        match &outcome {
            Ok(applied) => {
                tracing::info!("reloaded: policies of revision {}", applied.revision);
                for StartedAnew { quota, was, now } in &applied.quotas_started_anew {
                    tracing::info!("quota {quota} starts anew: {was} → {now}");
                }
            }
            Err(refused) => {
                tracing::error!("everything kept as it was: the files were not taken over");
                for finding in refused.faults.iter() {
                    tracing::error!("{finding}");
                }
            }
        }
        outcome
    }

    async fn read_and_apply(&self) -> Result<Applied, NotReloaded> {
        let Some(path) = self.path.clone() else {
            let hint = "only `portcullis serve` reads them again";
            return Err(NotReloaded::because("failed", "this gateway was started without files", hint));
        };
        let mut settings = self.settings.lock().await;
        let read = tokio::task::spawn_blocking(move || read_all(&path)).await;
        let read = read.map_err(|_| NotReloaded::because("failed", "the reading of the files failed", ""))?;
        let Loaded { config, records, followed, warnings } =
            read.map_err(|faults| NotReloaded { faults, result: "faults" })?;
        if let Some(key) = cold_difference(&settings, &config.settings) {
            let message = format!("`gateway.toml` changes {key}");
            return Err(NotReloaded::because("cold", message, "restart the gateway, or put the old value back"));
        }
        let secrets = self.new_secrets(&settings, &config.settings)?;
        if followed.is_some() && records.is_empty() && !self.directory.is_empty() {
            let hint = "stop the gateway to begin anew";
            return Err(NotReloaded::because("faults", "the accounts file holds no account any more", hint));
        }
        for warning in warnings.iter() {
            tracing::warn!("{warning}");
        }
        if let Some(followed) = followed {
            let (done, in_effect) = oneshot::channel();
            // Nobody is there any more when the process is about to end.
            if self.accounts.send(NewAccounts { followed, records, done }).await.is_ok() {
                let _ = in_effect.await;
            }
        }
        if let Some(secrets) = secrets {
            self.directory.replace_secrets(secrets);
        }
        Ok(self.apply(&mut settings, config))
    }

    /// Token and certificates of the directory's calls, if they are others than before.
    fn new_secrets(&self, old: &Settings, new: &Settings) -> Result<Option<NewSecrets>, NotReloaded> {
        if old.directory.source == new.directory.source {
            return Ok(None);
        }
        let hint = "put the old files back, or mend the new ones";
        let prepared = self.directory.prepare_calls(&new.directory.source);
        prepared.map_err(|error| NotReloaded::because("faults", error.to_string(), hint))
    }

    fn apply(&self, settings: &mut Settings, mut config: Config) -> Applied {
        let is_random = |settings: &Settings| settings.token.keys.iter().any(|(id, _)| id.starts_with(RANDOM_KEY));
        if is_random(settings) && is_random(&config.settings) {
            // Every reading makes a key; the one that running sessions are signed with stays.
            config.settings.token.keys.clone_from(&settings.token.keys);
        } else if settings.token.keys != config.settings.token.keys {
            self.gateway.resolver.replace_token_keys(&config.settings.token.keys);
        }
        if settings.directory.peppers != config.settings.directory.peppers {
            self.directory.replace_peppers(&config.settings.directory.peppers);
        }
        self.gateway.resolver.lockout().configure(config.settings.lockout);
        self.admin_token.store(config.settings.server.admin_token.clone().map(Arc::new));
        let revision = config.snapshot.revision().to_owned();
        self.files.store(Arc::new(ReadFiles { names: config.files.clone(), at: timestamp() }));
        let quotas_started_anew = started_anew(&self.gateway.live.load().snapshot, &config.snapshot);
        self.gateway.live.store(Arc::new(live(&self.gateway.metrics, &config)));
        *settings = config.settings;
        Applied { revision, quotas_started_anew }
    }
}

/// What requests are judged by, from the files.
#[must_use]
pub fn live(metrics: &Arc<Metrics>, config: &Config) -> Live {
    let reasons = config.settings.reasons.iter().cloned().map(|(reason, change)| {
        let ReasonOverride { status, result, msg, desc } = change;
        (reason, Override { status, result, msg, desc })
    });
    let registry = Registry::with(reasons);
    let shadow = config.candidate.as_ref();
    let shadow = shadow.map(|candidate| Shadow { snapshot: Arc::clone(&candidate.snapshot), sample: candidate.sample });
    Live::bind(metrics, Arc::clone(&config.snapshot), registry, shadow)
}

impl Admin {
    /// `POST /reload`
    pub(super) async fn reload(&self) -> Result<Response<Vec<u8>>, Refusal> {
        match self.reloader.reload().await {
            Ok(applied) => Ok(json_ok(&applied)),
            Err(refused) => Err(Refusal::Reload(json!(rows(&refused.faults)))),
        }
    }
}
