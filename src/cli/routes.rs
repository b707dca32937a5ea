//! `portcullis routes`: the role × route matrix.
//!
//! As a table that fits a terminal of 100 columns, or as JSON with everything that a route says. What it shows is read off the
//! compiled policies; nothing is judged. `table` draws.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::args::{Format, RoutesArgs};
use super::report::load_or_stop;
use super::{Done, Exit, Stop};
use crate::config::diag::suggest;
use crate::config::load::Config;
use crate::policy::mutants::wire_name;
use crate::policy::quota::Quota;
use crate::policy::route::{Destination, Realm, Route, TargetSource};

/// What stands for an upstream where the gateway answers itself.
const GATEWAY: &str = "gateway";

/// Runs the verb.
///
/// # Errors
/// Bad files, an unknown role or upstream, or an output that cannot be written.
pub fn run(args: &RoutesArgs, out: &mut dyn Write) -> Done {
    let config = load_or_stop(&args.config.config)?;
    show(args, &config, out)
}

fn show(args: &RoutesArgs, config: &Config, out: &mut dyn Write) -> Done {
    let realms = config.snapshot.realms();
    if let Some(role) = args.role.as_deref().filter(|role| realms.iter().all(|realm| realm.role(role).is_none())) {
        let known = realms.iter().flat_map(|realm| realm.roles.iter().map(|role| &**role));
        return Err(Stop::usage(format!("no realm has a role `{role}`; {}", suggest(role, unique(known)))));
    }
    let upstreams = || config.settings.upstreams.iter().map(|upstream| upstream.name.as_str()).chain([GATEWAY]);
    if let Some(name) = args.upstream.as_deref().filter(|name| upstreams().all(|known| known != *name)) {
        return Err(Stop::usage(format!("no upstream `{name}`; {}", suggest(name, unique(upstreams())))));
    }
    let chosen: Vec<(&Realm, Vec<&Route>)> = realms
        .iter()
        .map(|realm| (realm, realm.routes.iter().filter(|route| is_chosen(args, realm, route, config)).collect()))
        .filter(|(_, routes): &(_, Vec<_>)| !routes.is_empty())
        .collect();
    match args.format {
        Format::Json => json(&chosen, config, out)?,
        Format::Text if chosen.is_empty() => writeln!(out, "no route matches")?,
        Format::Text => table::write(&chosen, config, out)?,
    }
    Ok(Exit::Ok)
}

/// Without those that stood earlier.
fn unique<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut seen = Vec::new();
    for text in texts {
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen
}

/// The upstream's name, or what answers in its place.
fn answered_by<'c>(route: &Route, config: &'c Config) -> &'c str {
    match route.destination {
        Destination::Upstream(index) => {
            config.settings.upstreams.get(usize::from(index.0)).map_or("-", |upstream| &upstream.name)
        }
        Destination::Login | Destination::Logout => GATEWAY,
    }
}

fn is_chosen(args: &RoutesArgs, realm: &Realm, route: &Route, config: &Config) -> bool {
    let role = args.role.as_deref();
    let reaches =
        role.is_none_or(|role| realm.role(role).is_some_and(|role| route.public || route.access.scope(role).is_some()));
    let paths = || route.matches.iter().map(|(_, pattern)| format!("{}{pattern}", realm.base));
    (!args.public || route.public)
        && reaches
        && args.path.as_deref().is_none_or(|text| paths().any(|path| path.contains(text)))
        && args.upstream.as_deref().is_none_or(|name| answered_by(route, config) == name)
}

/// Everything that a route says.
#[derive(Serialize)]
struct Row<'a> {
    realm: &'a str,
    route: &'a str,
    location: String,
    matches: Vec<String>,
    public: bool,
    enabled: bool,
    upstream: &'a str,
    allow: BTreeMap<&'a str, &'static str>,
    schemes: Vec<&'static str>,
    headers: Vec<String>,
    app_types: &'a [Box<str>],
    target: Option<String>,
    target_role: Option<&'a str>,
    quotas: Vec<Allowance<'a>>,
    body_size: u64,
    strip_base: bool,
    forward_authorization: bool,
}

/// A quota of the realm or the route; whether it applies depends on the caller.
#[derive(Serialize)]
struct Allowance<'a> {
    quota: &'a str,
    per: &'a str,
    limit: &'a str,
    rule: String,
}

fn allowances<'a>(realm: &'a Realm, route: &'a Route) -> Vec<Allowance<'a>> {
    let quotas = realm.charged.iter().chain(&route.quotas).filter_map(|index| realm.quota(*index));
    let shown = |quota: &'a Quota| {
        let (per, rule) = (quota.per.name(), quota.location.to_string());
        Allowance { quota: &quota.name, per, limit: &quota.written, rule }
    };
    quotas.map(shown).collect()
}

/// As policy files write it.
fn target(route: &Route) -> Option<String> {
    let (_, pattern) = route.matches.first()?;
    Some(match &route.target.as_ref()?.source {
        TargetSource::Path(index) => {
            let mut parameters = pattern.segments().iter().filter_map(|segment| segment.parameter());
            format!("path.{}", parameters.nth(*index)?)
        }
        TargetSource::Query { name, optional } => format!("query.{name}{}", if *optional { "?" } else { "" }),
        TargetSource::Header(name) => format!("header.{}", wire_name(name)),
    })
}

fn json(chosen: &[(&Realm, Vec<&Route>)], config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let mut rows = Vec::new();
    for (realm, route) in chosen.iter().flat_map(|(realm, routes)| routes.iter().map(move |route| (*realm, *route))) {
        let allow = realm.roles.iter().filter_map(|role| {
            let scope = realm.role(role).and_then(|role| route.access.scope(role))?;
            Some((&**role, scope.name()))
        });
        let schemes = [("basic", route.schemes.basic), ("token", route.schemes.token)];
        let patterns = route.matches.iter().map(|(method, pattern)| format!("{method} {}{pattern}", realm.base));
        rows.push(Row {
            realm: &realm.name,
            route: &route.name,
            location: route.location.to_string(),
            matches: patterns.collect(),
            public: route.public,
            enabled: route.enabled,
            upstream: answered_by(route, config),
            allow: allow.collect(),
            schemes: schemes.into_iter().filter(|(_, taken)| *taken).map(|(name, _)| name).collect(),
            headers: route.headers.iter().map(|name| wire_name(name)).collect(),
            app_types: &route.app_types,
            target: target(route),
            target_role: route.target.as_ref().and_then(|target| target.role.as_deref()),
            quotas: allowances(realm, route),
            body_size: route.body_size,
            strip_base: route.strip_base,
            forward_authorization: route.forward_authorization,
        });
    }
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}
