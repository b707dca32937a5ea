//! The role × route matrix as a table of at most 100 columns.
//!
//! Drawn by `portcullis routes`. Where all roles fit beside the paths, each has a column; where they do not, names are cut and
//! told in full above; where there are too many even for that, each route has its roles on lines of its own. What is too long for
//! its column goes on in the next line, so that nothing is lost.

use std::collections::BTreeSet;
use std::io::{Result, Write};

use super::answered_by;
use crate::config::load::Config;
use crate::policy::route::{Realm, Route};

/// What a terminal of a usual size shows.
const WIDTH: usize = 100;

/// A column of roles is at least as wide as its longest word, `subtree`.
const NARROWEST: usize = 7;

/// Paths get at least so many columns.
const PATHS: usize = 28;

/// Columns for the upstream; longer names go on in the next line.
const LONGEST_UPSTREAM: usize = 20;

/// In front of every line of a table.
const INDENT: &str = "  ";

/// Draws one table for each realm.
///
/// # Errors
/// When `out` cannot be written to.
pub(super) fn write(chosen: &[(&Realm, Vec<&Route>)], config: &Config, out: &mut dyn Write) -> Result<()> {
    for (realm, routes) in chosen {
        let base = if realm.base.is_empty() { "/" } else { &realm.base };
        let count = if routes.len() == 1 { "1 route" } else { &format!("{} routes", routes.len()) };
        for line in folded(&format!("{}  {base}  ({count}; paths below are behind the base)", realm.name), WIDTH) {
            writeln!(out, "{line}")?;
        }
        matrix(realm, routes, config, out)?;
        writeln!(out)?;
    }
    writeln!(out, "own: its own account · below: accounts under it · subtree: both · any: every account")?;
    writeln!(out, "public: no credential · off: refused, switched off · -: refused")
}

fn matrix(realm: &Realm, routes: &[&Route], config: &Config, out: &mut dyn Write) -> Result<()> {
    let upstream = routes.iter().map(|route| answered_by(route, config).chars().count()).max().unwrap_or_default();
    let upstream = upstream.max("upstream".len()).min(LONGEST_UPSTREAM);
    let left = WIDTH - INDENT.len() - 1 - upstream;
    let lines = routes.iter().flat_map(|route| &route.matches).map(|(method, pattern)| format!("{method} {pattern}"));
    let longest = lines.map(|line| line.chars().count()).max().unwrap_or_default().max(PATHS);
    let Some(columns) = columns(realm, left, longest) else { return list(realm, routes, config, out) };
    let paths = longest.min(left - columns.iter().map(|width| width + 1).sum::<usize>());
    for (role, width) in realm.roles.iter().zip(&columns).filter(|(role, width)| role.chars().count() > **width) {
        writeln!(out, "{INDENT}{} = {role}", cut(role, *width))?;
    }
    let roles = realm.roles.iter().map(|role| role.to_string());
    row(out, "", paths, roles.zip(&columns), "upstream", upstream)?;
    for route in routes {
        for (index, (method, pattern)) in route.matches.iter().enumerate() {
            let cells = realm.roles.iter().map(|role| cell(realm, route, role).to_owned());
            let answers = if index == 0 { answered_by(route, config) } else { "\"" };
            row(out, &format!("{method} {pattern}"), paths, cells.zip(&columns), answers, upstream)?;
        }
    }
    Ok(())
}

/// How wide the roles' columns are: as wide as their names, even if paths have to be folded for it, else cut; `None` where not
/// even that fits, or where two names would be cut to one.
fn columns(realm: &Realm, left: usize, longest: usize) -> Option<Vec<usize>> {
    let cuts = [(usize::MAX, longest), (usize::MAX, PATHS), (NARROWEST, PATHS)];
    cuts.into_iter().find_map(|(widest, paths)| {
        let width = |role: &str| role.chars().count().clamp(NARROWEST, widest);
        let widths: Vec<usize> = realm.roles.iter().map(|role| width(role)).collect();
        let names: BTreeSet<String> = realm.roles.iter().zip(&widths).map(|(role, width)| cut(role, *width)).collect();
        let fits = widths.iter().map(|width| width + 1).sum::<usize>() + paths <= left;
        (fits && names.len() == realm.roles.len()).then_some(widths)
    })
}

/// One row, over as many lines as its longest text needs.
fn row<'w>(
    out: &mut dyn Write,
    path: &str,
    paths: usize,
    cells: impl Iterator<Item = (String, &'w usize)>,
    upstream: &str,
    upstreams: usize,
) -> Result<()> {
    let (path, upstream) = (folded(path, paths), folded(upstream, upstreams));
    let cells: String = cells.map(|(text, width)| format!(" {:<width$}", cut(&text, *width))).collect();
    for line in 0..path.len().max(upstream.len()) {
        let text = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
        let cells = if line == 0 { cells.clone() } else { " ".repeat(cells.chars().count()) };
        let whole = format!("{INDENT}{:<paths$}{cells} {}", text(&path), text(&upstream));
        writeln!(out, "{}", whole.trim_end())?;
    }
    Ok(())
}

/// Each route with its roles below it.
fn list(realm: &Realm, routes: &[&Route], config: &Config, out: &mut dyn Write) -> Result<()> {
    for route in routes {
        for (method, pattern) in &route.matches {
            for line in folded(&format!("{method} {pattern}"), WIDTH - INDENT.len()) {
                writeln!(out, "{INDENT}{line}")?;
            }
        }
        let allowed = realm.roles.iter().filter(|role| cell(realm, route, role) != "-");
        let roles: Vec<String> = if route.public || !route.enabled {
            realm.roles.first().map(|role| cell(realm, route, role).to_owned()).into_iter().collect()
        } else {
            allowed.map(|role| format!("{role} {}", cell(realm, route, role))).collect()
        };
        for line in folded(&format!("{} → {}", roles.join(", "), answered_by(route, config)), WIDTH - 6) {
            writeln!(out, "      {line}")?;
        }
    }
    Ok(())
}

fn cell(realm: &Realm, route: &Route, role: &str) -> &'static str {
    let scope = realm.role(role).and_then(|role| route.access.scope(role));
    match scope {
        _ if !route.enabled => "off",
        _ if route.public => "public",
        Some(scope) => scope.name(),
        None => "-",
    }
}

/// The text, or its beginning with a mark that it goes on.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The text in lines of at most `width`, broken in front of a `/` or behind a space where there is one.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        // Not so early that the next line could not be shorter.
        let borders = (2..=width).rev().filter(|place| rest[*place] == '/' || rest[place - 1] == ' ');
        let end = borders.into_iter().find(|place| *place > width / 3).unwrap_or(width);
        let behind = rest.split_off(end);
        lines.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = if lines.is_empty() { behind } else { "  ".chars().chain(behind).collect() };
    }
    lines.push(rest.into_iter().collect());
    lines
}
