//! One rule after another is changed, and the tests run again: a change that no test notices could be made by a slip of the
//! pen, and nobody would know.
//!
//! Run by `portcullis test --mutate` once all tests pass. A mutant changes no path, so only calls that lead to its route are
//! judged again. What no test noticed is given to `policy::witness`: either there is a call that would, and it is shown, or the
//! change makes no difference to any call.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Judged;
use super::judge::{judge, upstream_name};
use crate::config::load::Config;
use crate::policy::access::Scope;
use crate::policy::mutants::{Mutant, mutants, wire_name};
use crate::policy::outcome::{AUTHORIZATION, Outcome};
use crate::policy::rehearsal::Tree;
use crate::policy::route::{Destination, Location};
use crate::policy::snapshot::{RealmIndex, Snapshot};
use crate::policy::table::RouteIndex;
use crate::policy::witness::{Witness, witness};

/// What became of all mutants.
pub(super) struct Mutation {
    /// In the order of the rules.
    pub(super) trials: Vec<Trial>,
    /// Of all of them.
    pub(super) took: Duration,
}

/// What became of one mutant.
pub(super) struct Trial {
    /// The route and the change: `customers.get: drop role reseller`.
    pub(super) name: String,
    /// The rule that was changed.
    pub(super) rule: Location,
    /// What became of it.
    pub(super) fate: Fate,
}

/// What became of a mutant.
pub(super) enum Fate {
    /// A test failed.
    Noticed,
    /// None did; a test that would, as it could be written.
    Survived(String),
    /// No call whatever is judged otherwise.
    Indistinct,
}

impl Mutation {
    /// The mutants that some call could tell from the policy, and no test does.
    pub(super) fn survivors(&self) -> impl Iterator<Item = (&Trial, &str)> {
        self.trials.iter().filter_map(|trial| match &trial.fate {
            Fate::Survived(test) => Some((trial, test.as_str())),
            Fate::Noticed | Fate::Indistinct => None,
        })
    }

    /// How many a test noticed.
    pub(super) fn noticed(&self) -> usize {
        self.trials.iter().filter(|trial| matches!(trial.fate, Fate::Noticed)).count()
    }

    /// How many nothing could notice.
    pub(super) fn indistinct(&self) -> usize {
        self.trials.iter().filter(|trial| matches!(trial.fate, Fate::Indistinct)).count()
    }
}

/// Tries every mutant.
pub(super) fn tried(config: &Config, calls: &[Judged<'_>]) -> Mutation {
    let start = Instant::now();
    let mut concerned: HashMap<(RealmIndex, Option<RouteIndex>), Vec<&Judged<'_>>> = HashMap::new();
    for call in calls {
        if let Some((realm, route)) = call.verdict.place {
            concerned.entry((realm, Some(route))).or_default().push(call);
            concerned.entry((realm, None)).or_default().push(call);
        }
    }
    let mutants = mutants(&config.snapshot, config.settings.upstreams.len());
    let progress = progress(mutants.len());
    let mut scratch = Snapshot::clone(&config.snapshot);
    let mut trials = Vec::with_capacity(mutants.len());
    for mutant in mutants {
        let calls = concerned.get(&(mutant.realm, mutant.route())).map_or(&[][..], Vec::as_slice);
        trials.extend(trial(config, &mut scratch, mutant, calls));
        progress.inc(1);
    }
    progress.finish_and_clear();
    Mutation { trials, took: start.elapsed() }
}

fn trial(config: &Config, scratch: &mut Snapshot, mut mutant: Mutant, calls: &[&Judged<'_>]) -> Option<Trial> {
    let (place, route) = (mutant.realm, mutant.route());
    let realm = config.snapshot.realm(place)?;
    let name = route.and_then(|route| config.snapshot.route(place, route)).map_or(&realm.name, |route| &route.name);
    let words = mutant.edit.words(realm, |upstream| upstream_name(config, Destination::Upstream(upstream)));
    let name = format!("{name}: {words}");
    mutant.change_places(scratch);
    let noticed = calls.iter().any(|call| judge(config, scratch, call.test, call.call).difference.is_some());
    let fate = if noticed {
        Fate::Noticed
    } else {
        let empty = Tree::default();
        let tree = config.trees.iter().find(|(name, _)| *name == realm.name).map_or(&empty, |(_, tree)| tree);
        match witness(&config.snapshot, scratch, tree, place, route) {
            Some(witness) => Fate::Survived(as_test(config, &realm.base, &witness)),
            None => Fate::Indistinct,
        }
    };
    mutant.change_places(scratch);
    Some(Trial { name, rule: mutant.rule, fate })
}

/// A bar on standard error, and only for people.
fn progress(length: usize) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(u64::try_from(length).ok(), target);
    match ProgressStyle::with_template("mutants {bar:40} {pos} of {len}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The `[[test]]` that a witness comes to, in one line.
fn as_test(config: &Config, base: &str, witness: &Witness) -> String {
    let Witness { caller, call, original, changed, lacking } = witness;
    let path = call.target.strip_prefix(base).unwrap_or(&call.target);
    let mut parts = vec![format!("as = {caller:?}"), format!("call = {:?}", format!("{} {path}", call.method))];
    let (app_types, headers): (Vec<_>, Vec<_>) = call.headers.iter().partition(|(name, _)| name == "x-app-type");
    if !headers.is_empty() {
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{:?} = {value:?}", wire_name(name))).collect();
        parts.push(format!("headers = {{ {} }}", headers.join(", ")));
    }
    parts.extend(app_types.iter().map(|(_, value)| format!("app_type = {value:?}")));
    if !call.client.is_loopback() {
        parts.push(format!("client = \"{}\"", call.client));
    }
    parts.extend(expectation(config, original, changed));
    if !lacking.is_empty() {
        parts.push(format!("with [fixture] accounts = {lacking:?} besides"));
    }
    parts.join(", ")
}

/// As little as tells the two apart.
fn expectation(config: &Config, original: &Outcome, changed: &Outcome) -> Vec<String> {
    let (scope, destination, headers) = match original {
        Outcome::Denied(reason) => return vec![format!("expect = \"{reason}\"")],
        Outcome::Permitted { scope, destination, headers } => (scope, destination, headers),
    };
    let mut parts = vec!["expect = \"permit\"".to_owned()];
    let authorization = headers.iter().any(|(name, _)| *name == AUTHORIZATION);
    let mut forwarded: Vec<String> = authorization.then(|| format!("{AUTHORIZATION} = \"*\"")).into_iter().collect();
    if let Outcome::Permitted { scope: now, destination: goes_to, headers: sent } = changed {
        let named = |scope: &Option<Scope>| scope.filter(|_| scope != now);
        if let Some(scope) = named(scope) {
            parts.push(format!("scope = \"{scope}\""));
        } else if destination != goes_to {
            parts.push(format!("upstream = {:?}", upstream_name(config, *destination)));
        } else {
            let names = headers.iter().chain(sent).map(|(name, _)| *name).filter(|name| *name != AUTHORIZATION);
            let mut differing = names.filter(|name| original.header(name) != changed.header(name));
            let shown = |name: &str| format!("{name:?} = {:?}", original.header(name).unwrap_or_default());
            forwarded.extend(differing.next().map(shown));
        }
    }
    if !forwarded.is_empty() {
        parts.push(format!("forwarded = {{ {} }}", forwarded.join(", ")));
    }
    parts
}
