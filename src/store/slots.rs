//! Which keys a cluster keeps where: from a command to its key, from the key to its slot, and from a server's own words
//! to the table of slots. Used by `cluster`; pure, asks nobody.

use std::ops::RangeInclusive;

use redis::{Arg, Cmd, Value, from_redis_value};

/// How a server sees the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    /// Whether it takes commands at all.
    pub(super) serves: bool,
    /// The higher, the newer.
    pub(super) epoch: u64,
    pub(super) ranges: Vec<Range>,
}

/// Neighbouring slots and who keeps them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slots: RangeInclusive<u16>,
    /// `host:port`, the primary first.
    pub(super) servers: Vec<String>,
}

impl View {
    /// From the answers of `answerer`, a host, to `CLUSTER INFO` and `CLUSTER SLOTS`.
    pub(super) fn parse(info: Value, slots: Value, answerer: &str) -> Option<Self> {
        let info: String = from_redis_value(info).ok()?;
        let field = |name: &str| info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'));
        let Value::Array(slots) = slots else {
            return None;
        };
        Some(Self {
            serves: field("cluster_state")? == "ok",
            epoch: field("cluster_current_epoch")?.parse().ok()?,
            ranges: slots.into_iter().filter_map(|entry| Range::parse(entry, answerer)).collect(),
        })
    }

    /// Whether each slot has somebody who keeps it.
    pub(super) fn is_complete(&self) -> bool {
        self.ranges.iter().map(|range| range.slots.len()).sum::<usize>() == usize::from(SLOTS)
    }
}

impl Range {
    /// From `[first, last, [host, port, …], …]`.
    fn parse(entry: Value, answerer: &str) -> Option<Self> {
        let Value::Array(parts) = entry else {
            return None;
        };
        let mut parts = parts.into_iter();
        let first = number(parts.next()?)?;
        let last = number(parts.next()?)?;
        let mut servers = parts.map(|server| address(server, answerer));
        // Without an address of the primary nobody can be asked; a replica is not asked in its place.
        let primary = servers.next()??;
        let servers = std::iter::once(primary).chain(servers.flatten()).collect();
        (first <= last && last < SLOTS).then_some(Self { slots: first..=last, servers })
    }
}

/// A server whose host is left out is reached as the one that answered; `?` is one that nobody can reach.
fn address(server: Value, answerer: &str) -> Option<String> {
    let Value::Array(parts) = server else {
        return None;
    };
    let mut parts = parts.into_iter();
    let host: Option<String> = from_redis_value(parts.next()?).ok()?;
    let port = number(parts.next()?)?;
    match host.as_deref() {
        Some("?") => None,
        None | Some("") => Some(format!("{answerer}:{port}")),
        Some(host) => Some(format!("{host}:{port}")),
    }
}

/// Not read as `u16` at once: the client would cut off what does not fit.
fn number(value: Value) -> Option<u16> {
    from_redis_value::<i64>(value).ok()?.try_into().ok()
}

/// The key by which a command finds its server; `None` for one without a key.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut arguments =
        command.args_iter().map(|argument| if let Arg::Simple(bytes) = argument { bytes } else { b"0" });
    let name = arguments.next()?;
    let is = |known: &[&str]| known.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
    if is(&WITHOUT_KEY) {
        return None;
    }
    if is(&["EVALSHA", "EVAL"]) {
        let keys = arguments.nth(1)?;
        return if keys == b"0" { None } else { arguments.next() };
    }
    arguments.next()
}

/// The slot of a key (Redis Cluster specification, "Key distribution model"): of its hash tag, where it has one.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let tag = &key[open + 1..];
        let close = tag.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &tag[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 { shifted } else { shifted ^ 0x1021 }
        })
    })
}

pub(super) const SLOTS: u16 = 16384;

/// Of the commands the store uses.
const WITHOUT_KEY: [&str; 8] = ["PING", "TIME", "INFO", "ROLE", "PUBLISH", "SCRIPT", "CLUSTER", "WAIT"];
