//! `gateway.toml` → [`Settings`]: section by section, every fault noted.
//!
//! Called by `load`. It opens nothing but secrets; files and policies that it names are read there.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::spanned::Spanned;

use super::block::Block;
use super::diag::{Faults, Source, suggest};
use super::gateway_bounds::Bounds;
use super::load::Files;
use super::raw::{RawLimits, RawLockout, RawOtlp, RawPolicies, RawServer, RawServerTls, RawTimeouts};
use super::secret::Secret;
use super::settings::{Limits, Lockout, Server, Settings, beside, is_loopback};
use super::value::{Period, SecretSource};
use crate::policy::route::Timeouts;

/// What `gateway.toml` says: settings, and the policy files that it includes.
pub(super) struct GatewayFile {
    pub settings: Settings,
    /// The accounts file of a `file:` directory, and where it is named.
    pub accounts: Option<(PathBuf, Range<usize>)>,
    pub named_upstreams: Vec<String>,
    pub policies: Policies,
}

/// Which policy files there are.
pub(super) struct Policies {
    pub include: Vec<Spanned<String>>,
    /// A second set, judged in shadow.
    pub candidate: Vec<Spanned<String>>,
    /// The share of its disagreements that is logged.
    pub sample: f64,
}

/// Of a hundred disagreements one is logged, unless said otherwise.
const SAMPLE: f64 = 0.01;

pub(super) const SECTIONS: &[&str] =
    &["server", "token", "store", "directory", "lockout", "upstreams", "policies", "reasons", "otlp"];

/// Reads the whole file. `None` when a fault leaves nothing to go on with.
pub(super) fn read(source: &Arc<Source>, files: &dyn Files, faults: &mut Faults) -> Option<GatewayFile> {
    let mut root = Block::parse(source, faults)?;
    let reader = Reader { source, secrets: files.reads_secrets(), files };
    let (server, limits) = reader.server(root.take_table("server", faults), faults);
    let (store, in_memory) = reader.store(root.take_table("store", faults), faults);
    let token = reader.token(root.take_table("token", faults), store.redis.is_some(), faults);
    let (directory, accounts) = reader.directory(root.take_table("directory", faults), in_memory, faults);
    let lockout = reader.lockout(root.take_table("lockout", faults), faults);
    let upstreams = root.take_named("upstreams", faults);
    let named_upstreams = upstreams.iter().map(|(name, _)| name.get_ref().clone()).collect();
    let upstreams = upstreams.into_iter().filter_map(|(name, block)| reader.upstream(&name, block, faults)).collect();
    let reasons = root.take_named("reasons", faults);
    let reasons = reasons.into_iter().filter_map(|(name, block)| reader.reason(&name, block, faults)).collect();
    if let Some(block) = root.take_table("otlp", faults) {
        faults.warn(source, block.span(), "`[otlp]` has no effect yet", "");
        block.read::<RawOtlp>(faults);
    }
    let policies = reader.policies(root.take_table("policies", faults), faults);
    root.refuse_rest(SECTIONS, faults);
    let settings = Settings { server, limits, token: token?, store, directory, lockout, upstreams, reasons };
    Some(GatewayFile { settings, accounts, named_upstreams, policies: policies? })
}

pub(super) struct Reader<'s> {
    pub source: &'s Arc<Source>,
    /// Whether secrets are read; what stands for one otherwise is never used.
    pub secrets: bool,
    /// Told of secrets and certificates before they are read.
    pub files: &'s dyn Files,
}

impl Reader<'_> {
    pub(super) fn folder(&self) -> &Path {
        Path::new(&self.source.name).parent().unwrap_or(Path::new(""))
    }

    fn server(&self, block: Option<Block<'_>>, faults: &mut Faults) -> (Server, Limits) {
        let mut raw = RawServer::default();
        let mut listen = 0..0;
        let mut limits = Limits::default();
        if let Some(mut block) = block {
            if let Some(tls) = block.take_table("tls", faults) {
                let hint = "no TLS listener is opened; put TLS in front of the gateway";
                faults.warn(self.source, tls.span(), "`[server.tls]` has no effect yet", hint);
                tls.read::<RawServerTls>(faults);
            }
            if let Some(block) = block.take_table("limits", faults) {
                limits = self.limits(block, faults);
            }
            block.warn_without_effect("server", &["proxy_protocol", "runtime_dir"], faults);
            listen = block.key_span("listen").unwrap_or(listen);
            raw = block.read_partly(faults);
        }
        if raw.listen.as_ref().is_some_and(Vec::is_empty) {
            faults.fault(self.source, listen, "`server.listen` is empty", "name at least one address");
        }
        let (listen, admin) = self.listeners(raw.listen.as_deref(), raw.admin.as_ref(), faults);
        let admin_token = raw.admin_token.as_ref().and_then(|source| self.admin_token(source, faults));
        if !is_loopback(&admin) && raw.admin_token.is_none() {
            let message = "`server.admin` is not on loopback, so `server.admin_token` is mandatory";
            let hint = "add admin_token = { file = \"…\" }, or listen on 127.0.0.1";
            faults.fault(self.source, raw.admin.as_ref().map_or(0..0, Spanned::span), message, hint);
        }
        let log = raw.log.map_or_else(|| "info".to_owned(), |log| self.log_level(&log, faults));
        if let Some(threads) = raw.threads.as_ref().filter(|threads| *threads.get_ref() > 1024) {
            faults.fault(self.source, threads.span(), "`server.threads` is at most 1024", "0 is one per core");
        }
        let threads = match raw.threads.map_or(0, Spanned::into_inner) {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => usize::from(threads),
        };
        let server = Server {
            listen,
            admin,
            admin_token,
            threads,
            trusted_proxies: raw.trusted_proxies.iter().filter_map(|text| self.network(text, faults)).collect(),
            drain: raw.drain.map_or(Duration::from_secs(20), |period| period.0),
            pre_drain: raw.pre_drain.map_or(Duration::ZERO, |period| period.0),
            access_log: raw
                .access_log
                .filter(|path| path.get_ref() != "stdout")
                .map(|path| beside(&self.source.name, path.get_ref())),
            log,
        };
        (server, limits)
    }

    /// The addresses for clients and operators: no two of them one.
    fn listeners(
        &self,
        listen: Option<&[Spanned<String>]>,
        admin: Option<&Spanned<String>>,
        faults: &mut Faults,
    ) -> (Vec<SocketAddr>, SocketAddr) {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for text in listen.unwrap_or_default() {
            let Some(address) = self.address(text, faults) else { continue };
            if addresses.contains(&address) {
                let message = format!("`server.listen` names {address} twice");
                faults.fault(self.source, text.span(), message, "");
            }
            addresses.push(address);
        }
        if listen.is_none() {
            addresses.push(SocketAddr::from(([127, 0, 0, 1], 8080)));
        }
        let span = admin.map_or(0..0, Spanned::span);
        let admin = admin.and_then(|text| self.address(text, faults));
        let admin = admin.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8081)));
        if addresses.contains(&admin) {
            faults.fault(self.source, span, format!("{admin} is one of `server.listen`"), "they need two ports");
        }
        (addresses, admin)
    }

    /// It is compared byte by byte with a header value, so it must be able to stand in one.
    fn admin_token(&self, source: &Spanned<SecretSource>, faults: &mut Faults) -> Option<Secret> {
        let token = self.secret(source, faults)?;
        let fits = !self.secrets || token.reveal().len() >= 16 && token.reveal().iter().all(u8::is_ascii_graphic);
        if !fits {
            let message = "the admin token is not at least 16 visible ASCII characters, without a line end";
            faults.fault(self.source, source.span(), message, "make one with `openssl rand -hex 32 | tr -d '\\n'`");
        }
        fits.then_some(token)
    }

    fn log_level(&self, log: &Spanned<String>, faults: &mut Faults) -> String {
        const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
        if !LEVELS.contains(&log.get_ref().as_str()) {
            let hint = suggest(log.get_ref(), LEVELS);
            faults.fault(self.source, log.span(), format!("`{}` is no log level", log.get_ref()), hint);
        }
        log.get_ref().clone()
    }

    fn limits(&self, block: Block<'_>, faults: &mut Faults) -> Limits {
        const UNBUILT: &[&str] =
            &["connections", "per_network", "total_timeout", "min_rate", "upgrade_lifetime", "upgrade_idle"];
        block.warn_without_effect("server.limits", UNBUILT, faults);
        let raw: RawLimits = block.read_partly(faults);
        let default = Limits::default();
        let mut period = |value: Option<Spanned<Period>>, default| self.period(value, default, faults);
        let header_timeout = period(raw.header_timeout, default.header_timeout);
        let body_timeout = period(raw.body_timeout, default.body_timeout);
        let idle_timeout = period(raw.idle_timeout, default.idle_timeout);
        let mut size =
            |key, value, default, (least, most)| Bounds { key, default, least, most }.size(self.source, value, faults);
        // The carrier's parser has bounds of its own above these.
        let (head, target) = (default.head_size as u64, default.target_size as u64);
        let head_size = size("head_size", raw.head_size, head, (256, 512 << 10)) as usize;
        let target_size = size("target_size", raw.target_size, target, (64, 60 << 10)) as usize;
        let body_size = size("body_size", raw.body_size, default.body_size, (1, 1 << 40));
        let head_lines = match raw.head_lines {
            Some(lines) if !(1..=250).contains(lines.get_ref()) => {
                let hint = format!("the default is {}", default.head_lines);
                faults.fault(self.source, lines.span(), "`head_lines` is 1 to 250", hint);
                default.head_lines
            }
            Some(lines) => usize::from(lines.into_inner()),
            None => default.head_lines,
        };
        Limits { header_timeout, body_timeout, idle_timeout, head_size, head_lines, target_size, body_size }
    }

    fn lockout(&self, block: Option<Block<'_>>, faults: &mut Faults) -> Lockout {
        let raw: RawLockout = block.map(|block| block.read_partly(faults)).unwrap_or_default();
        Lockout {
            attempts: ATTEMPTS.count(self.source, raw.attempts, faults),
            network_attempts: NETWORK_ATTEMPTS.count(self.source, raw.network_attempts, faults),
            within: WITHIN.period(self.source, raw.within, faults),
        }
    }

    fn policies(&self, block: Option<Block<'_>>, faults: &mut Faults) -> Option<Policies> {
        let Some(block) = block else {
            let hint = "add [policies] include = [\"policies/….toml\"]";
            faults.fault(self.source, 0..0, "`[policies]` is missing: without a policy everything is refused", hint);
            return None;
        };
        let RawPolicies { include, candidate, sample } = block.read::<RawPolicies>(faults)?;
        let sample = match sample {
            None => SAMPLE,
            Some(sample) if (0.0..=1.0).contains(sample.get_ref()) => sample.into_inner(),
            Some(sample) => {
                let hint = "0 logs none of the disagreements, 1 all";
                faults.fault(self.source, sample.span(), "`policies.sample` is a share, from 0 to 1", hint);
                SAMPLE
            }
        };
        if include.get_ref().is_empty() {
            faults.fault(self.source, include.span(), "`policies.include` is empty", "name at least one policy file");
            return None;
        }
        Some(Policies { include: include.into_inner(), candidate, sample })
    }

    fn address(&self, text: &Spanned<String>, faults: &mut Faults) -> Option<SocketAddr> {
        let address = text.get_ref().parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        if address.is_none() {
            let message = format!("`{}` is no address", text.get_ref());
            faults.fault(self.source, text.span(), message, "write \"127.0.0.1:8080\" or \"[::1]:8080\"");
        }
        address
    }

    fn network(&self, text: &Spanned<String>, faults: &mut Faults) -> Option<ipnet::IpNet> {
        network(self.source, text, faults)
    }

    pub(super) fn secret(&self, source: &Spanned<SecretSource>, faults: &mut Faults) -> Option<Secret> {
        if !self.secrets {
            return Some(Secret::new(*b"not read, since no gateway starts"));
        }
        if let SecretSource::File(path) = source.get_ref() {
            self.files.about_to_read(&self.folder().join(path));
        }
        Secret::read(source.get_ref(), self.folder())
            .map_err(|(message, hint)| faults.fault(self.source, source.span(), message, hint))
            .ok()
    }

    fn period(&self, value: Option<Spanned<Period>>, default: Duration, faults: &mut Faults) -> Duration {
        positive(self.source, value, default, faults)
    }
}

/// A network in CIDR notation, or one address. A client that comes by IPv4 has an IPv4 address, however it was written.
pub(super) fn network(source: &Arc<Source>, text: &Spanned<String>, faults: &mut Faults) -> Option<ipnet::IpNet> {
    let parsed = text
        .get_ref()
        .parse()
        .ok()
        .or_else(|| Some(ipnet::IpNet::from(text.get_ref().parse::<std::net::IpAddr>().ok()?)));
    if parsed.is_none() {
        let message = format!("`{}` is no network", text.get_ref());
        faults.fault(source, text.span(), message, "write \"10.0.0.0/8\" or \"2001:db8::/32\"");
    }
    if let Some(ipnet::IpNet::V6(network)) = parsed
        && let Some(address) = network.network().to_ipv4_mapped()
        && let Some(length) = network.prefix_len().checked_sub(96)
    {
        let message = format!("no client is in `{}`: addresses of this form are taken for IPv4", text.get_ref());
        faults.fault(source, text.span(), message, format!("write \"{address}/{length}\""));
    }
    parsed
}

/// Time limits of an upstream or a route over their defaults.
pub(super) fn timeouts(source: &Arc<Source>, raw: RawTimeouts, default: Timeouts, faults: &mut Faults) -> Timeouts {
    Timeouts {
        connect: positive(source, raw.connect, default.connect, faults),
        read: positive(source, raw.read, default.read, faults),
        write: positive(source, raw.write, default.write, faults),
        idle: positive(source, raw.idle, default.idle, faults),
    }
}

fn positive(source: &Arc<Source>, value: Option<Spanned<Period>>, default: Duration, faults: &mut Faults) -> Duration {
    match value {
        None => default,
        Some(value) if value.get_ref().0.is_zero() => {
            let span: Range<usize> = value.span();
            faults.fault(source, span, "a time limit of zero would refuse everything", "there is no \"unlimited\"");
            default
        }
        Some(value) => value.into_inner().0,
    }
}

const ATTEMPTS: Bounds<u32> = Bounds { key: "lockout.attempts", default: 5, least: 1, most: 1_000_000 };
const NETWORK_ATTEMPTS: Bounds<u32> =
    Bounds { key: "lockout.network_attempts", default: 100, least: 1, most: 1_000_000 };
const WITHIN: Bounds<Duration> = Bounds {
    key: "lockout.within",
    default: Duration::from_secs(900),
    least: Duration::from_secs(1),
    most: Duration::from_secs(86_400),
};
