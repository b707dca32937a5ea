//! `portcullis check`: all faults of all files in one run, or the settings in effect.

use std::io::Write;

use super::args::{CheckArgs, Format};
use super::report::{Loaded, count, read_all, summary, write_json, write_text};
use super::{Done, Exit};
use crate::config::load::{Candidate, Config};
use crate::config::secret::Secret;
use crate::config::settings::{
    Breaker, Directory, DirectorySource, Limits, RANDOM_KEY, Server, Settings, TlsFiles, Token, Upstream,
};
use crate::config::value::{Period, Size};
use crate::policy::snapshot::Snapshot;

/// Runs the verb.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &CheckArgs, out: &mut dyn Write) -> Done {
    let (loaded, faults) = match read_all(&args.config.config) {
        Ok(Loaded { config, warnings, .. }) => (Some(config), warnings),
        Err(faults) => (None, faults),
    };
    match args.format {
        Format::Json => write_json(&faults, out)?,
        Format::Text if args.print && loaded.is_some() => write_text(&faults, &mut anstream::stderr())?,
        Format::Text => write_text(&faults, out)?,
    }
    let Some(config) = loaded else {
        if args.format == Format::Text {
            writeln!(out, "{}", summary(&faults))?;
        }
        return Ok(Exit::Faults);
    };
    if args.print {
        print_settings(&config, out)?;
        print_quotas(&config.snapshot, out)?;
    } else if args.format == Format::Text {
        let routes: usize = config.snapshot.realms().iter().map(|realm| realm.routes.len()).sum();
        let (realms, tests) = (config.snapshot.realms().len(), config.tests.len());
        let revision = config.snapshot.revision();
        writeln!(
            out,
            "good: {}, {}, {}, revision {revision}; {}",
            count(realms, "realm"),
            count(routes, "route"),
            count(tests, "test"),
            summary(&faults)
        )?;
        if config.settings.accounts_file().is_none() {
            writeln!(out, "Accounts are not checked: the directory is not a file.")?;
        }
    }
    Ok(Exit::Ok)
}

/// In the order and with the names of gateway.toml, as TOML that can be read again; a secret is shown as its presence.
fn print_settings(config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let Settings { server, limits, token, store, directory, lockout, upstreams, reasons } = &config.settings;
    print_server(server, limits, out)?;
    print_token(token, out)?;
    writeln!(out, "\n[store]\nurl = {}\nbudget = \"{}\"", text(&store.shown_url()), Period(store.budget))?;
    writeln!(out, "prefix = {}\nreplicas = {}", text(&store.prefix), store.replicas)?;
    if let Some(tls) = &store.tls {
        let files = tls_files(tls, ["ca", "certificate", "key"]);
        writeln!(out, "tls = {{ {} }}", files.join(", "))?;
    }
    print_directory(directory, out)?;
    writeln!(out, "\n[lockout]\nattempts = {}", lockout.attempts)?;
    writeln!(out, "network_attempts = {}\nwithin = \"{}\"", lockout.network_attempts, Period(lockout.within))?;
    print_upstreams(upstreams, out)?;
    writeln!(out, "\n[policies]\ninclude = [{}]", texts(&config.include))?;
    if let Some(Candidate { sample, files, .. }) = &config.candidate {
        writeln!(out, "candidate = [{}]\nsample = {sample:?}", texts(files))?;
    }
    for (reason, change) in reasons {
        writeln!(out, "\n[reasons.{reason}]")?;
        if let Some(status) = change.status {
            writeln!(out, "status = {status}")?;
        }
        for (name, value) in [("result", &change.result), ("msg", &change.msg), ("desc", &change.desc)] {
            if let Some(value) = value {
                writeln!(out, "{name} = {}", text(value))?;
            }
        }
    }
    Ok(())
}

fn print_token(token: &Token, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\n[token]\nissuer = {}\nttl = \"{}\"", text(&token.issuer), Period(token.ttl))?;
    if token.keys.iter().any(|(id, _)| id.starts_with(RANDOM_KEY)) {
        writeln!(out, "# keys: none is named, so each start makes one")?;
    } else {
        writeln!(out, "keys = [{}]", keys(&token.keys))?;
    }
    writeln!(out, "cache = {}\nstale = \"{}\"", token.cache, Period(token.stale))?;
    writeln!(out, "sessions_per_account = {}", token.sessions_per_account)
}

/// A text as TOML has it.
fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name may have dots, which part tables where no quotes are.
fn key(name: &str) -> String {
    let is_bare = name.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter));
    if is_bare { name.to_owned() } else { text(name) }
}

fn texts<T: ToString>(all: &[T]) -> String {
    all.iter().map(|one| text(&one.to_string())).collect::<Vec<_>>().join(", ")
}

/// As comments: they stand in the policies, not in gateway.toml. A burst that was left out is written out.
fn print_quotas(snapshot: &Snapshot, out: &mut dyn Write) -> std::io::Result<()> {
    let quotas = snapshot.realms().iter().flat_map(|realm| realm.quotas.iter().map(move |quota| (realm, quota)));
    for (place, (realm, quota)) in quotas.enumerate() {
        if place == 0 {
            writeln!(out, "\n# Quotas, of the policies:")?;
        }
        let (name, per) = (format!("{}/{}", realm.name, quota.name), quota.per.name());
        writeln!(out, "# {name}: {}, per {per}  ({})", quota.written, quota.location)?;
    }
    Ok(())
}

fn print_server(server: &Server, limits: &Limits, out: &mut dyn Write) -> std::io::Result<()> {
    let access_log = server.access_log.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
    writeln!(out, "[server]\nlisten = [{}]\nadmin = \"{}\"", texts(&server.listen), server.admin)?;
    if server.admin_token.is_some() {
        writeln!(out, "admin_token = {REDACTED}")?;
    }
    writeln!(out, "threads = {}\ntrusted_proxies = [{}]", server.threads, texts(&server.trusted_proxies))?;
    writeln!(out, "drain = \"{}\"\npre_drain = \"{}\"", Period(server.drain), Period(server.pre_drain))?;
    writeln!(out, "access_log = {}\nlog = {}\n\n[server.limits]", text(&access_log), text(&server.log))?;
    for (name, period) in [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("idle_timeout", limits.idle_timeout),
    ] {
        writeln!(out, "{name} = \"{}\"", Period(period))?;
    }
    let [head, target] = [limits.head_size, limits.target_size].map(|size| Size(size as u64));
    writeln!(out, "head_size = \"{head}\"\nhead_lines = {}", limits.head_lines)?;
    writeln!(out, "target_size = \"{target}\"\nbody_size = \"{}\"", Size(limits.body_size))
}

fn print_directory(directory: &Directory, out: &mut dyn Write) -> std::io::Result<()> {
    let url = match &directory.source {
        DirectorySource::File(path) => format!("file:{}", path.display()),
        DirectorySource::Redis => "redis:".to_owned(),
        DirectorySource::Https(calls) => calls.url.clone(),
    };
    writeln!(out, "\n[directory]\nurl = {}", text(&url))?;
    if let DirectorySource::Https(calls) = &directory.source {
        if calls.token.is_some() {
            writeln!(out, "token = {REDACTED}")?;
        }
        for line in tls_files(&calls.tls, ["ca", "client_certificate", "client_key"]) {
            writeln!(out, "{line}")?;
        }
    }
    for (name, period) in [("budget", directory.budget), ("cache", directory.cache), ("negative", directory.negative)] {
        writeln!(out, "{name} = \"{}\"", Period(period))?;
    }
    writeln!(out, "cache_entries = {}\npeppers = [{}]", directory.cache_entries, keys(&directory.peppers))
}

fn keys(keys: &[(String, Secret)]) -> String {
    let shown = |(id, _): &(String, Secret)| format!("{{ id = {}, secret = {REDACTED} }}", text(id));
    keys.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// `key = "(900 bytes)"` for what was read; what a private key holds is not even measured.
fn tls_files(files: &TlsFiles, [ca, certificate, key]: [&str; 3]) -> Vec<String> {
    let read = |name: &str, bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| format!("{name} = \"({} bytes)\"", bytes.len()))
    };
    let key = files.key.as_ref().map(|_| format!("{key} = {REDACTED}"));
    [read(ca, &files.ca), read(certificate, &files.certificate), key].into_iter().flatten().collect()
}

const REDACTED: &str = "\"(redacted)\"";

fn print_upstreams(upstreams: &[Upstream], out: &mut dyn Write) -> std::io::Result<()> {
    for upstream in upstreams {
        let servers: Vec<String> = upstream
            .servers
            .iter()
            .map(|server| format!("{{ address = {}, weight = {} }}", text(&server.address), server.weight))
            .collect();
        writeln!(
            out,
            "\n[upstreams.{}]\nservers = [{}]\nretries = {}",
            key(&upstream.name),
            servers.join(", "),
            upstream.retries
        )?;
        let times = upstream.timeouts;
        let [connect, read, write, idle] = [times.connect, times.read, times.write, times.idle].map(Period);
        writeln!(
            out,
            "timeouts = {{ connect = \"{connect}\", read = \"{read}\", write = \"{write}\", idle = \"{idle}\" }}"
        )?;
        if let Some(Breaker { failures, within, open_for }) = upstream.breaker {
            let [within, open_for] = [within, open_for].map(Period);
            writeln!(out, "breaker = {{ failures = {failures}, within = \"{within}\", open_for = \"{open_for}\" }}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
