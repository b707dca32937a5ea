//! `portcullis check`: all faults of all files in one run, or the settings in effect.

use std::io::Write;

use super::args::{CheckArgs, Format};
use super::report::{Loaded, read_all, summary, write_json, write_text};
use super::{Done, Exit};
use crate::config::settings::{Settings, Upstream};

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
        print_settings(&config.settings, out)?;
    } else if args.format == Format::Text {
        let routes: usize = config.snapshot.realms().iter().map(|realm| realm.routes.len()).sum();
        let (realms, tests) = (config.snapshot.realms().len(), config.tests.len());
        let revision = config.snapshot.revision();
        writeln!(
            out,
            "good: {realms} realms, {routes} routes, {tests} tests, revision {revision}; {}",
            summary(&faults)
        )?;
    }
    Ok(Exit::Ok)
}

/// In the order and with the names of gateway.toml, as TOML; a secret is shown as its presence.
fn print_settings(settings: &Settings, out: &mut dyn Write) -> std::io::Result<()> {
    let Settings { server, limits, token, store, directory: _, lockout: _, upstreams, reasons } = settings;
    let listen: Vec<String> = server.listen.iter().map(ToString::to_string).collect();
    let trusted: Vec<String> = server.trusted_proxies.iter().map(ToString::to_string).collect();
    let access_log = server.access_log.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
    writeln!(out, "[server]\nlisten = {listen:?}\nadmin = \"{}\"", server.admin)?;
    if server.admin_token.is_some() {
        writeln!(out, "admin_token = \"(redacted)\"")?;
    }
    writeln!(out, "threads = {}\ntrusted_proxies = {trusted:?}", server.threads)?;
    writeln!(out, "drain = \"{}ms\"\npre_drain = \"{}ms\"", server.drain.as_millis(), server.pre_drain.as_millis())?;
    writeln!(out, "access_log = {access_log:?}\nlog = {:?}\n\n[server.limits]", server.log)?;
    for (name, period) in [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("idle_timeout", limits.idle_timeout),
    ] {
        writeln!(out, "{name} = \"{}ms\"", period.as_millis())?;
    }
    writeln!(out, "head_size = \"{}B\"\nhead_lines = {}", limits.head_size, limits.head_lines)?;
    writeln!(out, "target_size = \"{}B\"\nbody_size = \"{}B\"\n", limits.target_size, limits.body_size)?;
    writeln!(out, "[token]\nissuer = {:?}\nttl = \"{}s\"", token.issuer, token.ttl.as_secs())?;
    let keys: Vec<String> =
        token.keys.iter().map(|(id, _)| format!("{{ id = {id:?}, secret = \"(redacted)\" }}")).collect();
    writeln!(out, "keys = [{}]\n", keys.join(", "))?;
    let url = store.redis.as_deref().map_or_else(|| "memory:".to_owned(), without_password);
    writeln!(
        out,
        "[store]\nurl = {url:?}\nbudget = \"{}ms\"\nprefix = {:?}\n",
        store.budget.as_millis(),
        store.prefix
    )?;
    writeln!(out, "[directory]\nurl = \"file:{}\"", settings.accounts_file().display())?;
    print_upstreams(upstreams, out)?;
    for (reason, change) in reasons {
        writeln!(out, "\n[reasons.{reason}]")?;
        if let Some(status) = change.status {
            writeln!(out, "status = {status}")?;
        }
        for (name, value) in [("result", &change.result), ("msg", &change.msg), ("desc", &change.desc)] {
            if let Some(value) = value {
                writeln!(out, "{name} = {value:?}")?;
            }
        }
    }
    Ok(())
}

fn print_upstreams(upstreams: &[Upstream], out: &mut dyn Write) -> std::io::Result<()> {
    for upstream in upstreams {
        let servers: Vec<String> = upstream
            .servers
            .iter()
            .map(|server| format!("{{ address = {:?}, weight = {} }}", server.address, server.weight))
            .collect();
        writeln!(
            out,
            "\n[upstreams.{}]\nservers = [{}]\nretries = {}",
            upstream.name,
            servers.join(", "),
            upstream.retries
        )?;
        let times = upstream.timeouts;
        let [connect, read, write, idle] =
            [times.connect, times.read, times.write, times.idle].map(|time| time.as_millis());
        writeln!(
            out,
            "timeouts = {{ connect = \"{connect}ms\", read = \"{read}ms\", write = \"{write}ms\", idle = \"{idle}ms\" }}"
        )?;
    }
    Ok(())
}

/// `redis://user:secret@host` → `redis://user:(redacted)@host`
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:(redacted)@{host}")
        }
        None => url.to_owned(),
    }
}
