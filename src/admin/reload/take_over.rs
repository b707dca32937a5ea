//! One reload: the files are read at rest, held against what is in effect, and swapped in.
//!
//! Called by the reload, on its thread. Everything that can go wrong does so before the first swap. Which answer, metric
//! and log lines come of it is the caller's.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::behind::behind;
use super::{Applied, InEffect, NewAccounts, NotReloaded, ReadFiles, Reloader};
use crate::admin::started_anew::started_anew;
use crate::cli::report::{Loaded, read_watched};
use crate::config::cold::cold_faults;
use crate::config::load::Config;
use crate::config::settings::{RANDOM_KEY, ReasonOverride, Settings};
use crate::config::watched::{Version, Watched};
use crate::directory::file::Followed;
use crate::directory::https::NewSecrets;
use crate::directory::records::Records;
use crate::problem::registry::{Override, Registry};
use crate::proxy::exchange::Live;
use crate::proxy::shadow::Shadow;
use crate::telemetry::access_line::timestamp;
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstreams;

/// How often files that change under the reader are read again, and how long they are left alone before.
const READINGS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

impl Reloader {
    /// Reads everything, and takes it over if it is other than what is in effect.
    pub(super) async fn take_over(&self, path: &Path, in_effect: &mut InEffect) -> Result<Applied, NotReloaded> {
        let Loaded { mut config, records, followed, warnings } = self.read_at_rest(path).await?;
        keep_random_key(&in_effect.settings, &mut config.settings);
        let faults = cold_faults(&in_effect.settings, &config.settings, &config.source);
        if faults.any_fault() {
            return Err(NotReloaded { faults, result: "cold" });
        }
        let secrets = self.new_secrets(&in_effect.settings, &config.settings)?;
        if followed.is_some() && records.is_empty() && !self.directory.is_empty() {
            let hint = "stop the gateway to begin anew";
            return Err(NotReloaded::because("faults", "the accounts file holds no account any more", hint));
        }
        let revision = config.snapshot.revision().to_owned();
        let next = InEffect::of(&config, followed.as_ref());
        let old = self.gateway.live.load_full();
        if next.is_same_but_for_accounts(in_effect) && *old.snapshot.revision() == *revision {
            let changed = next.accounts != in_effect.accounts;
            if changed {
                self.hand_over(records, followed).await;
                in_effect.accounts = next.accounts;
            }
            return Ok(Applied { revision, changed, quotas_started_anew: Vec::new() });
        }
        let upstreams = old.upstreams.renewed(&config.settings.upstreams, &self.gateway.metrics);
        upstreams.look_up_new().await;
        let quotas_started_anew = started_anew(&old.snapshot, &config.snapshot);
        drop(old);
        let (metrics, bound) = (Arc::clone(&self.gateway.metrics), Arc::new(config));
        let new = behind(move || live(&metrics, &bound, upstreams.clone())).await.ok_or_else(broke_down)?;
        for warning in warnings.iter() {
            tracing::warn!("{warning}");
        }
        self.hand_over(records, followed).await;
        if let Some(secrets) = secrets {
            self.directory.replace_secrets(secrets);
        }
        self.swap(&in_effect.settings, &next, Arc::new(new));
        *in_effect = next;
        Ok(Applied { revision, changed: true, quotas_started_anew })
    }

    /// Reads the files until none of them changed meanwhile: what was read of several then stood there at one time.
    async fn read_at_rest(&self, path: &Path) -> Result<Loaded, NotReloaded> {
        for _ in 0..READINGS {
            let path = path.to_owned();
            let (read, watched) = behind(move || read_watched(&path)).await.ok_or_else(broke_down)?;
            let accounts = read.as_ref().ok().and_then(|loaded| loaded.followed.as_ref());
            let rests = accounts.is_none_or(|file| Version::of(&file.path) == file.version);
            let rests = rests && watched.iter().all(Watched::is_unchanged);
            self.watched.store(Arc::new(watched));
            if rests {
                return read.map_err(|faults| NotReloaded { faults, result: "faults" });
            }
            tokio::time::sleep(PAUSE).await;
        }
        let hint = "write to another file and rename it, or ask again when it is written";
        Err(NotReloaded::because("faults", "the files went on changing while they were read", hint))
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

    /// Gives accounts to the task that follows their file, so that two readers never overtake each other.
    async fn hand_over(&self, records: Records, followed: Option<Followed>) {
        let Some(followed) = followed else { return };
        let (done, in_effect) = oneshot::channel();
        // Nobody is there any more when the process is about to end.
        if self.accounts.send(NewAccounts { followed, records, done }).await.is_ok() {
            let _ = in_effect.await;
        }
    }

    fn swap(&self, old: &Settings, InEffect { settings, names, .. }: &InEffect, new: Arc<Live>) {
        if old.token.keys != settings.token.keys {
            self.gateway.resolver.replace_token_keys(&settings.token.keys);
        }
        if old.directory.peppers != settings.directory.peppers {
            self.directory.replace_peppers(&settings.directory.peppers);
        }
        self.gateway.resolver.lockout().configure(settings.lockout);
        self.admin_token.store(settings.server.admin_token.clone().map(Arc::new));
        self.files.store(Arc::new(ReadFiles { names: names.clone(), at: timestamp() }));
        let old = self.gateway.live.swap(new);
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(old);
    }
}

/// Told where there was a panic, or no thread.
fn broke_down() -> NotReloaded {
    NotReloaded::because("failed", "the reload failed", "its log says where")
}

/// Every reading makes a key where none is named; the one that running sessions are signed with stays.
fn keep_random_key(old: &Settings, new: &mut Settings) {
    let is_random = |settings: &Settings| settings.token.keys.iter().any(|(id, _)| id.starts_with(RANDOM_KEY));
    if is_random(old) && is_random(new) {
        new.token.keys.clone_from(&old.token.keys);
    }
}

/// What requests are judged by, from the files.
#[must_use]
pub fn live(metrics: &Arc<Metrics>, config: &Config, upstreams: Upstreams) -> Live {
    let reasons = config.settings.reasons.iter().cloned().map(|(reason, change)| {
        let ReasonOverride { status, result, msg, desc } = change;
        (reason, Override { status, result, msg, desc })
    });
    let registry = Registry::with(reasons);
    let shadow = config.candidate.as_ref();
    let shadow = shadow.map(|candidate| Shadow { snapshot: Arc::clone(&candidate.snapshot), sample: candidate.sample });
    Live::bind(metrics, Arc::clone(&config.snapshot), registry, upstreams, shadow)
}
