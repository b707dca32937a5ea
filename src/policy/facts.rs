//! What is known of one request when it is judged.
//!
//! [`RequestHead`] is made from a method, a raw target and a list of header fields, never from a
//! connection, so that any carrier (and any tool without one) can make it. [`Facts`] adds where the
//! path leads and what was found out on asking.

use std::net::IpAddr;
use std::sync::Arc;

use super::credential::{Presented, Scheme};
use super::method::Method;
use super::principal::{Account, Identity, Principal};
use super::quota::{Charged, Charges, QuotaAnswer, QuotaIndex, Stage};
use super::snapshot::{Place, Snapshot};
use super::uri::{is_host, parse_target};
use crate::reason::Reason;

/// The header fields of a request, as its carrier holds them.
pub trait Fields: Sync {
    /// Calls `visit` with each field line: lower-case name and raw value, in order.
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [u8]));

    /// The values of one field, by its lower-case name.
    fn values<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a>;

    /// The first value of one field.
    fn first(&self, name: &str) -> Option<&[u8]>;
}

/// A request that is no good, with the private cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What the client is told.
    pub reason: Reason,
    /// What the operator is told.
    pub cause: &'static str,
}

const fn malformed(cause: &'static str) -> Fault {
    Fault { reason: Reason::RequestMalformed, cause }
}

/// The head of a request, canonical or with its fault named.
pub struct RequestHead<'a> {
    /// `None` only with a fault.
    pub method: Option<Method>,
    /// As judged and as sent; empty when the target could not be read.
    pub path: &'a str,
    /// Without the `?`.
    pub query: Option<&'a str>,
    /// Path and query in one piece, as they go upstream.
    pub origin_form: &'a str,
    /// The Host value.
    pub host: &'a str,
    /// All header fields.
    pub fields: &'a dyn Fields,
    /// What `Authorization` holds.
    pub presented: Presented<'a>,
    /// What `X-App-Type` holds.
    pub app_type: AppType<'a>,
    /// The length that the client announced; `None` for a chunked body.
    pub body: Body,
    /// The request asks for another protocol.
    pub upgrade: bool,
    /// There is a `Connection` header.
    pub nominating: bool,
    /// The client, behind trusted proxies only as far as they are trusted.
    pub client: IpAddr,
    /// What makes the request unfit.
    pub fault: Option<Fault>,
}

/// The `X-App-Type` header of both APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppType<'a> {
    /// Not there, or empty.
    #[default]
    Absent,
    /// One token of RFC 9110.
    Token(&'a str),
    /// Repeated, or no token.
    NotString,
}

impl<'a> AppType<'a> {
    /// Of all values of the header.
    pub fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        values.into_iter().fold(AppType::Absent, AppType::and)
    }

    fn and(self, value: &'a [u8]) -> Self {
        match (self, std::str::from_utf8(value)) {
            (AppType::Absent, Ok("")) => AppType::Absent,
            (AppType::Absent, Ok(text)) if text.bytes().all(is_tchar) => AppType::Token(text),
            _ => AppType::NotString,
        }
    }
}

/// The body that a head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Exactly so many bytes; 0 without a body.
    Length(u64),
    /// Unknown until its end.
    Chunked,
}

impl<'a> RequestHead<'a> {
    /// Reads a head. It never fails: what is wrong stands in `fault`, and the first rung refuses it.
    pub fn read(method: &'a str, target: &'a [u8], fields: &'a dyn Fields, client: IpAddr) -> Self {
        let (head, authorization) = Self::read_but_credential(method, target, fields, client);
        Self { presented: Presented::parse(authorization), ..head }
    }

    /// The same for what is judged before any credential is: it tells the scheme that was presented, and no more.
    pub fn read_on_arrival(method: &'a str, target: &'a [u8], fields: &'a dyn Fields, client: IpAddr) -> Self {
        let (head, authorization) = Self::read_but_credential(method, target, fields, client);
        let presented = Presented::Unreadable(Scheme::named_by(authorization), "not looked into on arrival");
        Self { presented, ..head }
    }

    fn read_but_credential(
        method: &'a str,
        target: &'a [u8],
        fields: &'a dyn Fields,
        client: IpAddr,
    ) -> (Self, &'a [u8]) {
        let mut head = Self {
            method: Method::parse(method),
            path: "",
            query: None,
            origin_form: "",
            host: "",
            fields,
            presented: Presented::Nothing,
            app_type: AppType::Absent,
            body: Body::Length(0),
            upgrade: false,
            nominating: false,
            client,
            fault: None,
        };
        let filled = head.fill(target);
        head.fault = filled.err();
        (head, filled.unwrap_or_default())
    }

    /// Whether `Connection` names the field: it then ends here and does not reach the upstream.
    #[must_use]
    pub fn nominates(&self, name: &str) -> bool {
        let names = |value: &[u8]| {
            let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            names.any(|known| known.eq_ignore_ascii_case(name.as_bytes()))
        };
        self.nominating && self.fields.values("connection").any(names)
    }

    /// Fills in what the target and the fields say; gives the value of `Authorization`.
    fn fill(&mut self, target: &'a [u8]) -> Result<&'a [u8], Fault> {
        let target = parse_target(target).map_err(malformed)?;
        self.path = target.path;
        self.query = target.query;
        self.origin_form = target.origin_form;
        if self.method.is_none() {
            return Err(malformed("unknown method"));
        }
        if self.method == Some(Method::Connect) {
            return Err(malformed("CONNECT opens tunnels, and its target is no path"));
        }
        let mut lines = Lines::default();
        self.fields.each(&mut |name, value| lines.note(name, value));
        if let Some(cause) = lines.fault {
            return Err(malformed(cause));
        }
        self.host = lines.host.and_then(|host| std::str::from_utf8(host).ok()).ok_or(malformed("no Host"))?;
        if !is_host(self.host) {
            return Err(malformed("Host is not one host"));
        }
        if target.authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(self.host)) {
            return Err(malformed("target names another host"));
        }
        self.body = lines.body().map_err(malformed)?;
        self.upgrade = lines.upgrade;
        self.nominating = lines.nominated > 0;
        if self.upgrade && self.body != Body::Length(0) {
            return Err(malformed("upgrade with a body"));
        }
        self.app_type = lines.app_type;
        Ok(lines.authorization.unwrap_or_default())
    }
}

/// The field lines that decide how a request is read, gathered in one pass.
#[derive(Default)]
struct Lines<'a> {
    host: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    app_type: AppType<'a>,
    upgrade: bool,
    nominated: usize,
    fault: Option<&'static str>,
}

impl<'a> Lines<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) {
        let (slot, cause) = match name {
            "host" => (&mut self.host, "Host repeated"),
            "authorization" => (&mut self.authorization, "Authorization repeated"),
            "content-length" => (&mut self.content_length, "Content-Length repeated"),
            "transfer-encoding" => (&mut self.transfer_encoding, "Transfer-Encoding repeated"),
            "connection" => {
                self.nominated += value.split(|byte| *byte == b',').count();
                // The carrier's own bound is ten; a client has no use for more.
                let many = (self.nominated > 9).then_some("Connection names too many headers");
                self.fault = self.fault.or(connection_fault(value)).or(many);
                return;
            }
            "x-app-type" => {
                self.app_type = self.app_type.and(value);
                return;
            }
            "upgrade" => {
                self.upgrade = true;
                return;
            }
            _ => return,
        };
        if slot.replace(value).is_some() {
            self.fault = self.fault.or(Some(cause));
        }
    }

    fn body(&self) -> Result<Body, &'static str> {
        match (self.transfer_encoding, self.content_length) {
            (Some(_), Some(_)) => Err("Transfer-Encoding with Content-Length"),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
            (Some(_), None) => Err("coding other than chunked"),
            (None, None) => Ok(Body::Length(0)),
            (None, Some(digits)) => {
                let text = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
                text.and_then(|text| text.parse().ok()).map(Body::Length).ok_or("Content-Length is no number")
            }
        }
    }
}

/// Names in `Connection` are removed on the way; these would take our own away.
fn connection_fault(value: &[u8]) -> Option<&'static str> {
    const FORWARDED: &str = "x-forwarded-";
    let Ok(text) = std::str::from_utf8(value) else { return Some("Connection is not text") };
    for name in text.split(',').map(|name| name.trim_matches([' ', '\t'])) {
        if name.eq_ignore_ascii_case("host")
            || name.get(..FORWARDED.len()).is_some_and(|head| head.eq_ignore_ascii_case(FORWARDED))
        {
            return Some("Connection names a protected header");
        }
        if !name.bytes().all(is_tchar) {
            return Some("Connection is no list of names");
        }
    }
    None
}

/// A character of a token, RFC 9110 section 5.6.2.
#[must_use]
pub const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// What the directory knows of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAnswer {
    /// Where the account stands.
    Known(Arc<Account>),
    /// There is no such account.
    Unknown,
    /// It could not be asked; the text is the private cause.
    Unavailable(&'static str),
}

/// What the lock-out knows of an identifier and a client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// Its secret may be compared.
    Open,
    /// Not before so many seconds, at least 1.
    Locked(u32),
}

/// Everything the ladder judges by. The shell fills a field when it is asked for it.
pub struct Facts<'a> {
    /// The request.
    pub head: &'a RequestHead<'a>,
    /// Where its method and path lead.
    pub place: Place<'a>,
    /// What the quotas per address and realm said.
    pub arrival: Option<QuotaAnswer>,
    /// Whether the credential may be looked at, at all.
    pub lock: Option<LockAnswer>,
    /// Who calls.
    pub identity: Option<Identity>,
    /// Where the account stands that the request names.
    pub target: Option<TargetAnswer>,
    /// What the other quotas said.
    pub quota: Option<QuotaAnswer>,
}

impl<'a> Facts<'a> {
    /// The facts before anything was asked.
    #[must_use]
    pub fn new(head: &'a RequestHead<'a>, snapshot: &'a Snapshot) -> Self {
        let place = match (head.method, head.fault) {
            (Some(method), None) => snapshot.locate(method, head.path),
            // A malformed head is refused whatever it asks for; its realm is looked up for the log only
            // where there is a path that can be trusted to be one.
            _ => Place::NOWHERE,
        };
        Self { head, place, arrival: None, lock: None, identity: None, target: None, quota: None }
    }

    /// What a stage charges; nothing before the realm is known.
    #[must_use]
    pub fn charges(&self, stage: Stage) -> Option<Charges<'_>> {
        let charged = self.charged()?;
        charged.owes(stage).then(|| charged.due(stage))
    }

    /// Whether a stage charges anything.
    #[must_use]
    pub fn is_charged(&self, stage: Stage) -> bool {
        self.charged().is_some_and(|charged| charged.owes(stage))
    }

    /// A login's e-mail stands in its body, which the ladder does not see.
    fn charged(&self) -> Option<Charged<'_>> {
        let (_, realm) = self.place.realm?;
        let (principal, client) = (self.principal(), self.head.client);
        Some(Charged { realm, route: self.place.route(), principal, client, login: None })
    }

    /// The quota that refused the request.
    #[must_use]
    pub fn refused_quota(&self) -> Option<QuotaIndex> {
        [self.arrival, self.quota].into_iter().flatten().find_map(|answer| match answer {
            QuotaAnswer::Admitted => None,
            QuotaAnswer::Refused { quota, .. } => Some(quota),
        })
    }

    /// The caller, once it proved genuine.
    #[must_use]
    pub const fn principal(&self) -> Option<&Principal> {
        match &self.identity {
            Some(Identity::Valid(principal)) => Some(principal),
            _ => None,
        }
    }
}
