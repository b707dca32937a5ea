//! One line of the access log: what it says of a request, and how that is written as JSON.
//!
//! Made by `proxy::finish`, queued by `access_log`, read back by `cli::log_record`. It is written without serde, which looks
//! at every byte of every name for something to escape: of refusing a request, that would be a quarter.

use std::net::IpAddr;

use serde::Serialize;
use time::OffsetDateTime;

/// What is said of one request. `None` is written as `null`.
#[derive(Debug)]
#[cfg_attr(test, derive(Serialize))]
#[allow(missing_docs, reason = "the fields of contract section 11, by their own names")]
pub struct AccessLine<'a> {
    pub time: &'a str,
    pub request_id: &'a str,
    pub client: IpAddr,
    pub http_version: &'static str,
    pub realm: Option<&'a str>,
    pub route: Option<&'a str>,
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// 499 when the client left before the reply was complete.
    pub status: u16,
    pub outcome: &'static str,
    pub reason: Option<&'static str>,
    /// Private: for operators only.
    pub cause: Option<&'a str>,
    pub role: Option<&'a str>,
    pub account: Option<&'a str>,
    pub credential: Option<&'a str>,
    pub scheme: Option<&'static str>,
    pub lineage: Option<&'a str>,
    pub target: Option<&'a str>,
    pub relation: &'static str,
    pub scope: Option<&'static str>,
    pub app_type: Option<&'a str>,
    pub quota: Option<&'a str>,
    /// Seconds.
    pub duration: f64,
    /// Seconds without the upstream's.
    pub gateway_time: f64,
    pub upstream: Option<&'a str>,
    pub upstream_status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub user_agent: Option<&'a str>,
    pub revision: &'a str,
}

/// Appends fields of a line, each with its name; the brace or comma that stands before a name is written with it.
macro_rules! append {
    ($text:ident, $line:ident, { $first:ident $(, $name:ident)* }) => {
        $text.extend_from_slice(concat!("{\"", stringify!($first), "\":").as_bytes());
        $line.$first.append_to($text);
        $(
            $text.extend_from_slice(concat!(",\"", stringify!($name), "\":").as_bytes());
            $line.$name.append_to($text);
        )*
        $text.push(b'}');
    };
}

impl AccessLine<'_> {
    /// Appends the JSON object and the end of the line.
    #[rustfmt::skip]
    pub fn append_to(&self, text: &mut Vec<u8>) {
        append!(text, self, {
            time, request_id, client, http_version, realm, route, method, path, status, outcome, reason, cause, role, account,
            credential, scheme, lineage, target, relation, scope, app_type, quota, duration, gateway_time, upstream,
            upstream_status, bytes_in, bytes_out, user_agent, revision
        });
        text.push(b'\n');
    }
}

/// A value of a field.
trait Value {
    fn append_to(&self, text: &mut Vec<u8>);
}

impl Value for &str {
    fn append_to(&self, text: &mut Vec<u8>) {
        append_text(self, text);
    }
}

impl<V: Value> Value for Option<V> {
    fn append_to(&self, text: &mut Vec<u8>) {
        match self {
            Some(value) => value.append_to(text),
            None => text.extend_from_slice(b"null"),
        }
    }
}

macro_rules! serialised {
    ($($kind:ty),*) => { $(impl Value for $kind {
        fn append_to(&self, text: &mut Vec<u8>) {
            serialise(self, text);
        }
    })* };
}

serialised!(u16, u64, f64, IpAddr);

/// Appends a text as JSON has it: most hold nothing to escape.
pub fn append_text(value: &str, text: &mut Vec<u8>) {
    // Without branches, so that it runs over many bytes at a time.
    let escaped = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    if value.bytes().fold(false, |any, byte| any | escaped(byte)) {
        return serialise(&value, text);
    }
    text.push(b'"');
    text.extend_from_slice(value.as_bytes());
    text.push(b'"');
}

fn serialise(value: &impl Serialize, text: &mut Vec<u8>) {
    // Neither texts nor numbers can fail to serialise, nor memory to be written.
    let _ = serde_json::to_writer(text, value);
}

/// Now, as RFC 3339 in UTC to the millisecond; of one width, so that lines sort as text.
#[must_use]
pub fn timestamp() -> String {
    written(OffsetDateTime::now_utc())
}

fn written(moment: OffsetDateTime) -> String {
    let (date, (hour, minute, second, millisecond)) = (moment.date(), moment.time().as_hms_milli());
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (mut number, place) in [
        (date.year().unsigned_abs(), 0..4),
        (u8::from(date.month()).into(), 5..7),
        (date.day().into(), 8..10),
        (hour.into(), 11..13),
        (minute.into(), 14..16),
        (second.into(), 17..19),
        (millisecond.into(), 20..23),
    ] {
        for digit in text[place].iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_serde_makes_of_its_fields() {
        let bare = AccessLine {
            time: "2026-11-22T08:09:10.011Z",
            request_id: "r-1",
            client: "::ffff:10.0.0.1".parse().unwrap(),
            http_version: "HTTP/1.1",
            realm: None,
            route: None,
            method: "-",
            path: "/",
            status: 0,
            outcome: "denied",
            reason: None,
            cause: None,
            role: None,
            account: None,
            credential: None,
            scheme: None,
            lineage: None,
            target: None,
            relation: "none",
            scope: None,
            app_type: None,
            quota: None,
            duration: 0.0,
            gateway_time: 1e-6,
            upstream: None,
            upstream_status: None,
            bytes_in: 0,
            bytes_out: u64::MAX,
            user_agent: None,
            revision: "",
        };
        let full = AccessLine {
            client: "192.0.2.1".parse().unwrap(),
            realm: Some("ucaas"),
            route: Some("users.get"),
            status: 429,
            reason: Some("quota_exceeded"),
            cause: Some("a quota has too little left"),
            role: Some("user"),
            account: Some("usr-1"),
            credential: Some("ak"),
            scheme: Some("basic"),
            lineage: Some("root/usr-1"),
            target: Some("usr-2"),
            scope: Some("own"),
            app_type: Some("vc"),
            quota: Some("address"),
            duration: 12.5,
            gateway_time: 0.000_295,
            upstream: Some("meeting"),
            upstream_status: Some(200),
            user_agent: Some("a \"quoted\\ one\",\ttabbed, \u{1} \u{7f} and ü \u{2028}"),
            ..bare
        };
        for line in [bare, full] {
            let mut text = Vec::new();
            line.append_to(&mut text);
            assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(&line).unwrap() + "\n");
        }
    }

    #[test]
    fn a_text_with_any_byte_is_what_serde_makes_of_it() {
        for letter in (0..=0x7f).map(char::from) {
            let (mut text, long) = (Vec::new(), format!("{letter}{}{letter}", "x".repeat(40)));
            long.as_str().append_to(&mut text);
            assert_eq!(text, serde_json::to_vec(&long).unwrap(), "{letter:?}");
        }
    }

    #[test]
    fn a_timestamp_has_its_width_whatever_the_time() {
        let of = |nanoseconds| written(OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap());
        assert_eq!(of(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(of(1_795_346_950_011_999_999), "2026-11-22T11:29:10.011Z");
        assert_eq!(of(951_782_399_999_000_000), "2000-02-28T23:59:59.999Z");
        let now = time::format_description::well_known::Rfc3339;
        assert!(OffsetDateTime::parse(&timestamp(), &now).is_ok());
    }
}
