//! `portcullis explain`: one request, every check, the reply and the identity headers.
//!
//! It judges by the files, with the same ladder as live traffic. Accounts come from the accounts file, where the
//! directory is one, then from the realms' fixtures, then from `--lineage`.

use std::io::Write;
use std::sync::Arc;

use serde_json::Value;

use super::args::{ExplainArgs, Format};
use super::report::{load_or_stop, stop};
use super::verdict::{Around, describe};
use super::{Done, Exit, Stop};
use crate::config::load::Config;
use crate::directory::file;
use crate::directory::records::{Records, Vocabulary};
use crate::policy::credential::Scheme;
use crate::policy::ladder::Decision;
use crate::policy::principal::{Account, Identity, Lineage};
use crate::policy::rehearsal::{Call, Tree, rehearse};
use crate::policy::route::UpstreamIndex;
use crate::problem::registry::{Override, Registry};

/// Runs the verb.
///
/// # Errors
/// Bad files, a caller that cannot be made out, or an output that cannot be written.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> Done {
    let config = load_or_stop(&args.judged.config.config)?;
    let mut call = Call::new(&args.method, &args.path);
    call.client = args.client;
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Stop::usage(format!("`{header}` is no header; write -H 'Name: value'")))?;
        call.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let records = match config.settings.accounts_file() {
        Some(path) => {
            let reading = file::read(path, None, &Vocabulary::default());
            reading.records.ok_or_else(|| stop(&reading.faults))?
        }
        None => {
            let mut errors = anstream::stderr();
            writeln!(errors, "note: the directory is not a file; accounts come from [fixture] and --lineage alone")?;
            Records::default()
        }
    };
    let mut tree = tree(&config, &records, args)?;
    cast(&mut call, args, &config, &records, &mut tree)?;
    let registry = Registry::with(config.settings.reasons.iter().cloned().map(|(reason, change)| {
        (reason, Override { status: change.status, result: change.result, msg: change.msg, desc: change.desc })
    }));
    let upstream =
        |index: UpstreamIndex| config.settings.upstreams.get(usize::from(index.0)).map(|up| up.name.as_str());
    let around = Around { registry: &registry, upstream: &upstream, peek: None };
    let (permitted, report) = rehearse(&config.snapshot, &tree, &call, |facts, decision| {
        let permitted = matches!(decision, Decision::Permit(_));
        (permitted, describe(&around, facts, decision))
    });
    match args.judged.format {
        Format::Json => writeln!(out, "{report:#}")?,
        Format::Text => write_text(&report, out)?,
    }
    Ok(if permitted { Exit::Ok } else { Exit::Denied })
}

/// All accounts that a target may be: the accounts file's, then the realm's fixture.
fn tree(config: &Config, records: &Records, args: &ExplainArgs) -> Result<Tree, Stop> {
    let mut tree = Tree::default();
    for account in records.accounts() {
        tree.insert(Arc::clone(account)).map_err(Stop::failed)?;
    }
    let realm = owner(config, args);
    for (name, fixture) in &config.trees {
        if Some(&**name) == realm {
            for account in fixture.accounts() {
                // What the accounts file says of an account counts more than the fixture.
                let _ = tree.insert(Arc::clone(account));
            }
        }
    }
    Ok(tree)
}

fn owner<'c>(config: &'c Config, args: &ExplainArgs) -> Option<&'c str> {
    let path = args.path.split('?').next().unwrap_or_default();
    config.snapshot.realms().iter().find(|realm| realm.strip_base(path).is_some()).map(|realm| &*realm.name)
}

/// Fills in who calls.
fn cast(call: &mut Call, args: &ExplainArgs, config: &Config, records: &Records, tree: &mut Tree) -> Result<(), Stop> {
    let who = args.caller.as_str();
    if who == "anonymous" {
        return Ok(());
    }
    let Some((role, id)) = who.split_once(':') else {
        return Err(Stop::usage(format!("`{who}` is nobody; write --as ROLE:ACCOUNT, credential:ID or anonymous")));
    };
    if role == "credential" {
        let credential = records.credential(id).ok_or_else(|| {
            Stop::usage(match config.settings.accounts_file() {
                Some(accounts) => format!("{} has no credential `{id}`", accounts.display()),
                None => "the directory is not a file, so no credential is known; write --as ROLE:ACCOUNT".to_owned(),
            })
        })?;
        call.scheme = Some(Scheme::Basic);
        call.credential = Some(id.into());
        call.caller = records.account(&credential.account).cloned();
        call.flaw = if !credential.is_for(owner(config, args).unwrap_or_default()) {
            Some(Identity::Invalid("the credential is not for this realm"))
        } else if !credential.is_current(time::OffsetDateTime::now_utc().unix_timestamp()) {
            Some(Identity::Expired("the credential is outside its validity period"))
        } else {
            None
        };
        return Ok(());
    }
    if let Some(path) = &args.lineage {
        let lineage = placed(path, role, id, owner_roles(config, args)).ok_or_else(|| {
            Stop::usage(format!("--lineage `{path}` has to be ids joined by `/`, root first, with `{id}` last"))
        })?;
        let account = Account { lineage, suspended: false, password_mark: 0 };
        tree.insert(Arc::new(account)).map_err(Stop::usage)?;
    }
    if let Some(account) = records.account(id).filter(|account| account.lineage.role() != role) {
        let known = account.lineage.role();
        return Err(Stop::usage(format!("`{id}` is a {known}, not a {role}; write --as {known}:{id}")));
    }
    call.caller = tree.with_role(id, role);
    if call.caller.is_none() {
        let message = format!("no file knows account `{id}`; add --lineage root/…/{id}, or name one of [fixture]");
        return Err(Stop::usage(message));
    }
    Ok(())
}

fn owner_roles<'c>(config: &'c Config, args: &ExplainArgs) -> &'c [Box<str>] {
    let realm = owner(config, args);
    config.snapshot.realms().iter().find(|known| Some(&*known.name) == realm).map_or(&[], |realm| &realm.roles)
}

/// The ancestors' roles follow from their level; only the caller's own is judged.
fn placed(path: &str, role: &str, id: &str, roles: &[Box<str>]) -> Option<Lineage> {
    let ids: Vec<&str> = path.split('/').collect();
    let last = ids.len().checked_sub(1)?;
    let role_of = |index: usize| if index == last { role } else { roles.get(index).map_or("-", |role| role) };
    let lineage = Lineage::new(ids.iter().enumerate().map(|(index, id)| (*id, role_of(index))))?;
    (lineage.id() == id).then_some(lineage)
}

fn write_text(report: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    writeln!(out, "realm  {}", text(&report["realm"]))?;
    writeln!(out, "route  {}  ({})\n", text(&report["route"]), text(&report["rule"]))?;
    for rung in report["rungs"].as_array().into_iter().flatten() {
        let why = rung["why"].as_str().map(|why| format!("  {why}")).unwrap_or_default();
        writeln!(out, "  {:<13} {}{why}", text(&rung["rung"]), text(&rung["result"]))?;
        for quota in rung["quotas"].as_array().into_iter().flatten() {
            let [name, limit, whose, rule] = ["quota", "limit", "whose", "rule"].map(|key| text(&quota[key]));
            writeln!(out, "  {:<13}   {name}: {limit}; {whose}  ({rule})", "")?;
        }
        for quota in rung["not_charged"].as_array().into_iter().flatten() {
            let [name, why, rule] = ["quota", "why", "rule"].map(|key| text(&quota[key]));
            writeln!(out, "  {:<13}   {name}: not charged, {why}  ({rule})", "")?;
        }
    }
    let outcome = &report["outcome"];
    writeln!(out)?;
    if outcome["decision"] == "permit" {
        writeln!(out, "PERMIT → {}  (target: {})", text(&outcome["upstream"]), text(&outcome["relation"]))?;
        for (name, value) in outcome["headers"].as_object().into_iter().flatten() {
            writeln!(out, "  {name}: {}", text(value))?;
        }
    } else {
        let reply = &outcome["reply"];
        writeln!(out, "DENY {}: {}", text(&outcome["reason"]), text(&outcome["cause"]))?;
        writeln!(out, "  HTTP {}", reply["status"])?;
        for header in reply["headers"].as_array().into_iter().flatten() {
            writeln!(out, "  {}", text(header))?;
        }
        writeln!(out, "  {}", text(&reply["text"]))?;
    }
    Ok(())
}
