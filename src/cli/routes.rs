//! `portcullis routes`: the role × route matrix.

use std::io::Write;

use serde::Serialize;

use super::args::{Format, RoutesArgs};
use super::report::load_or_stop;
use super::{Done, Exit, Stop};
use crate::config::diag::suggest;
use crate::config::load::Config;
use crate::policy::quota::Quota;
use crate::policy::route::{Destination, Realm, Route};

/// Names longer than this would push the roles off the screen.
const WIDEST: usize = 46;

/// Runs the verb.
///
/// # Errors
/// Bad files, an unknown role, or an output that cannot be written.
pub fn run(args: &RoutesArgs, out: &mut dyn Write) -> Done {
    let config = load_or_stop(&args.config.config)?;
    let realms = config.snapshot.realms();
    if let Some(role) = args.role.as_deref().filter(|role| realms.iter().all(|realm| realm.role(role).is_none())) {
        let known = realms.iter().flat_map(|realm| realm.roles.iter().map(|role| &**role));
        return Err(Stop::usage(format!("no realm has a role `{role}`; {}", suggest(role, known))));
    }
    let all = realms.iter().flat_map(|realm| realm.routes.iter().map(move |route| (realm, route)));
    if args.format == Format::Text && all.into_iter().all(|(realm, route)| !chosen(args, realm, route, &config)) {
        let upstreams = config.settings.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>();
        writeln!(out, "nothing matches (upstreams: {}, gateway)", upstreams.join(", "))?;
        return Ok(Exit::Ok);
    }
    match args.format {
        Format::Json => json(args, &config, out)?,
        Format::Text => text(args, &config, out)?,
    }
    Ok(Exit::Ok)
}

/// The upstream's name, or what answers in its place.
fn answered_by<'c>(route: &Route, config: &'c Config) -> &'c str {
    match route.destination {
        Destination::Upstream(index) => {
            config.settings.upstreams.get(usize::from(index.0)).map_or("-", |upstream| &upstream.name)
        }
        Destination::Login | Destination::Logout => "gateway",
    }
}

fn chosen(args: &RoutesArgs, realm: &Realm, route: &Route, config: &Config) -> bool {
    let role = args.role.as_deref();
    let reaches =
        role.is_none_or(|role| route.public || realm.role(role).and_then(|role| route.access.scope(role)).is_some());
    let paths = || route.matches.iter().map(|(_, pattern)| format!("{}{pattern}", realm.base));
    (!args.public || route.public)
        && reaches
        && args.path.as_deref().is_none_or(|text| paths().any(|path| path.contains(text)))
        && args.upstream.as_deref().is_none_or(|name| answered_by(route, config) == name)
}

fn text(args: &RoutesArgs, config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    for realm in config.snapshot.realms() {
        let routes: Vec<&Route> = realm.routes.iter().filter(|route| chosen(args, realm, route, config)).collect();
        if routes.is_empty() {
            continue;
        }
        let base = if realm.base.is_empty() { "/" } else { &realm.base };
        writeln!(out, "{}  {base}  ({} routes; paths below are behind the base)", realm.name, routes.len())?;
        let short: Vec<String> = realm.roles.iter().map(|role| role.chars().take(8).collect()).collect();
        let roles: String = short.iter().map(|role| format!(" {role:<8}")).collect();
        writeln!(out, "  {:<WIDEST$}{roles} upstream", "")?;
        for route in routes {
            for (index, (method, pattern)) in route.matches.iter().enumerate() {
                let line = format!("{method} {pattern}");
                let scopes: String = realm.roles.iter().map(|role| cell(realm, route, role)).collect();
                let first = if index == 0 { answered_by(route, config) } else { "〃" };
                writeln!(out, "  {line:<WIDEST$}{scopes} {first}")?;
            }
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "own: its own account · below: accounts under it · subtree: both · any: every account · public: no credential"
    )
}

fn cell(realm: &Realm, route: &Route, role: &str) -> String {
    let scope = realm.role(role).and_then(|role| route.access.scope(role));
    let shown = match scope {
        _ if !route.enabled => "off",
        _ if route.public => "public",
        Some(scope) => scope.name(),
        None => "-",
    };
    format!(" {shown:<8}")
}

#[derive(Serialize)]
struct Row<'a> {
    realm: &'a str,
    route: &'a str,
    location: String,
    matches: Vec<String>,
    public: bool,
    enabled: bool,
    upstream: &'a str,
    allow: std::collections::BTreeMap<&'a str, &'static str>,
    quotas: Vec<Allowance<'a>>,
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

fn json(args: &RoutesArgs, config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let mut rows = Vec::new();
    for realm in config.snapshot.realms() {
        for route in realm.routes.iter().filter(|route| chosen(args, realm, route, config)) {
            let allow = realm.roles.iter().filter_map(|role| {
                let scope = realm.role(role).and_then(|role| route.access.scope(role))?;
                Some((&**role, scope.name()))
            });
            rows.push(Row {
                realm: &realm.name,
                route: &route.name,
                location: route.location.to_string(),
                matches: route
                    .matches
                    .iter()
                    .map(|(method, pattern)| format!("{method} {}{pattern}", realm.base))
                    .collect(),
                public: route.public,
                enabled: route.enabled,
                upstream: answered_by(route, config),
                allow: allow.collect(),
                quotas: allowances(realm, route),
            });
        }
    }
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}
