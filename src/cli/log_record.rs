//! A line of the access log, read back: who asked for what, and what came of it.
//!
//! Called by `why` and `replay`. Logs are read line by line, however long they are; a line holds neither headers, query nor
//! body, so not every rule can be judged by it again ([`retold`] says what is taken for granted).

pub(super) mod retold;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::Stop;
use crate::reason::Reason;

/// What of a line a judgement needs. Whatever else stands in it is not read.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "the fields of `AccessLine`, by their own names")]
pub(super) struct Record {
    pub time: String,
    pub request_id: String,
    pub client: IpAddr,
    pub realm: Option<String>,
    pub route: Option<String>,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub outcome: String,
    #[serde(default, deserialize_with = "reason")]
    pub reason: Option<Reason>,
    pub cause: Option<String>,
    pub role: Option<String>,
    pub account: Option<String>,
    pub credential: Option<String>,
    pub scheme: Option<String>,
    pub lineage: Option<String>,
    pub target: Option<String>,
    pub relation: String,
    pub scope: Option<String>,
    pub app_type: Option<String>,
    pub quota: Option<String>,
    pub upstream: Option<String>,
    #[serde(default)]
    pub bytes_in: u64,
    pub revision: String,
}

fn reason<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
    let name: Option<String> = Option::deserialize(deserializer)?;
    name.map(|name| name.parse().map_err(serde::de::Error::custom)).transpose()
}

/// What a reason tells of how far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It passed every check of the policies, whatever became of it then.
    Passed,
    /// The policies refused it.
    ByPolicy,
    /// Its credential was refused, or the account is suspended.
    ByIdentity,
    /// It was refused for how things stood at that moment.
    ByMoment,
    /// It could not be read.
    Unreadable,
    /// The client left before anything was decided.
    Left,
}

impl Record {
    /// Reads a line; `None` for anything else.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Whether an upstream was told who calls: whatever passes with an identity has a scope. The account of a login's line is
    /// who logged in, not who called.
    pub(super) const fn was_told(&self) -> bool {
        self.scope.is_some()
    }

    /// How far it came.
    pub(super) fn ended(&self) -> Ended {
        match self.reason.map(ended) {
            // Its head was read and its caller known: what is wrong is the target, or came behind the checks.
            Some(Ended::Unreadable) if self.scope.is_some() => Ended::Passed,
            Some(Ended::Unreadable) if self.account.is_some() => Ended::ByPolicy,
            Some(ended) => ended,
            None if self.outcome == "client_gone" && self.route.is_none() => Ended::Left,
            None => Ended::Passed,
        }
    }
}

const fn ended(reason: Reason) -> Ended {
    match reason {
        Reason::HeaderMissing
        | Reason::RoleForbidden
        | Reason::ScopeForbidden
        | Reason::RouteNotFound
        | Reason::MethodNotAllowed
        | Reason::AppTypeMissing
        | Reason::AppTypeNotString
        | Reason::AppTypeUnknown
        | Reason::BodyTooLarge
        | Reason::RouteDisabled => Ended::ByPolicy,
        Reason::LoginFailed
        | Reason::ValidationFailed
        | Reason::UpstreamUnreachable
        | Reason::UpstreamInvalid
        | Reason::UpstreamUnavailable
        | Reason::UpstreamTimeout => Ended::Passed,
        Reason::HeaderInvalid
        | Reason::CredentialInvalid
        | Reason::CredentialExpired
        | Reason::TokenExpired
        | Reason::TokenInvalid
        | Reason::TokenRevoked
        | Reason::AccountSuspended => Ended::ByIdentity,
        Reason::QuotaExceeded
        | Reason::LockedOut
        | Reason::StoreUnavailable
        | Reason::DirectoryUnavailable
        | Reason::RequestTimeout
        | Reason::Overloaded
        | Reason::Internal => Ended::ByMoment,
        Reason::RequestMalformed | Reason::UriTooLong | Reason::HeadersTooLarge => Ended::Unreadable,
    }
}

/// The lines of a log, one at a time.
pub(super) struct Lines {
    input: Box<dyn BufRead>,
    line: Vec<u8>,
    /// Bytes of the whole log, where they are known.
    pub length: Option<u64>,
    /// Bytes read so far.
    pub position: u64,
}

impl Lines {
    /// Opens a log; `-` is standard input.
    pub(super) fn open(path: &Path) -> Result<Self, Stop> {
        let (input, length): (Box<dyn Read>, _) = if path == Path::new("-") {
            (Box::new(std::io::stdin()), None)
        } else {
            let unreadable = |error| Stop::failed(format!("cannot read {}: {error}", path.display()));
            let file = File::open(path).map_err(unreadable)?;
            let about = file.metadata().map_err(unreadable)?;
            if about.is_dir() {
                return Err(Stop::failed(format!("{} is a folder; name one log", path.display())));
            }
            (Box::new(file), about.is_file().then_some(about.len()))
        };
        Ok(Self::of(input, length))
    }

    fn of(input: Box<dyn Read>, length: Option<u64>) -> Self {
        Self { input: Box::new(BufReader::with_capacity(BLOCK, input)), line: Vec::new(), length, position: 0 }
    }

    /// The next line without its end; `None` behind the last one. One that is longer than any access line can be is given
    /// as an empty one.
    pub(super) fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        let (mut any, mut too_long) = (false, false);
        loop {
            let block = self.input.fill_buf()?;
            if block.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', block);
            let piece = &block[..end.unwrap_or(block.len())];
            too_long |= self.line.len() + piece.len() > LONGEST_LINE;
            if too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(piece);
            }
            let read = end.map_or(block.len(), |end| end + 1);
            self.input.consume(read);
            self.position += read as u64;
            if end.is_some() {
                break;
            }
        }
        Ok(any.then_some(&self.line))
    }
}

const BLOCK: usize = 256 << 10;

/// A head of 32 KiB with every byte escaped makes no longer line.
const LONGEST_LINE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut lines = Lines::of(Box::new(std::io::Cursor::new(text.to_owned())), None);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(lines.position, text.len() as u64);
        all
    }

    #[test]
    fn lines_are_read_one_by_one_and_endless_ones_are_passed_over() {
        assert_eq!(lines("a\n\nbc\nd"), ["a", "", "bc", "d"]);
        assert_eq!(lines(""), Vec::<String>::new());
        let endless = format!("x\n{}\ny\n", "z".repeat(3 * LONGEST_LINE));
        assert_eq!(lines(&endless), ["x", "", "y"]);
    }

    #[test]
    fn a_line_of_an_unknown_shape_or_reason_is_none() {
        let line = |reason: &str| {
            format!(
                r#"{{"time":"t","request_id":"r","client":"::1","method":"GET","path":"/","status":403,"outcome":"denied",
                "reason":{reason},"relation":"none","revision":"v","more":1}}"#
            )
        };
        let read = Record::read(line("\"role_forbidden\"").as_bytes()).unwrap();
        assert_eq!((read.reason, read.ended(), read.account), (Some(Reason::RoleForbidden), Ended::ByPolicy, None));
        assert_eq!(Record::read(line("null").as_bytes()).unwrap().ended(), Ended::Passed);
        assert!(Record::read(line("\"bored\"").as_bytes()).is_none());
        assert!(Record::read(b"{}").is_none() && Record::read(b"starting up").is_none());
    }
}
