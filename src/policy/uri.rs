//! Request targets and Host values in their one canonical form, or a refusal.
//!
//! The path that is judged is the path that is sent, so nothing is ever repaired here: a target with
//! two possible readings is malformed (contract section 7). Called by [`super::facts`].

/// A target in origin-form, split at the first `?`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Starts with `/`.
    pub path: &'a str,
    /// Without the `?`; `None` when there is no `?`.
    pub query: Option<&'a str>,
    /// The authority of an absolute-form target, to be compared with Host.
    pub authority: Option<&'a str>,
    /// Path and query as one piece, as they go upstream.
    pub origin_form: &'a str,
}

/// Reads a request target.
///
/// # Errors
/// The private cause: which rule the target breaks.
pub fn parse_target(raw: &[u8]) -> Result<Target<'_>, &'static str> {
    // Without branches, so that it runs over many bytes at a time.
    if !raw.iter().fold(true, |good, byte| good & (byte.wrapping_sub(0x21) < 0x5e)) {
        return Err("target has a byte outside visible ASCII");
    }
    let text = std::str::from_utf8(raw).map_err(|_| "target is not ASCII")?;
    if text.contains('#') {
        return Err("target has a fragment");
    }
    let (authority, origin_form) = if text.starts_with('/') {
        (None, text)
    } else {
        let (authority, rest) = split_absolute(text)?;
        (Some(authority), rest)
    };
    let (path, query) = match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    };
    check_path(path)?;
    if query.is_some_and(|query| query.contains(['<', '>', '"'])) {
        return Err("query has a character that no URI has and the carrier cannot send as it is");
    }
    Ok(Target { path, query, authority, origin_form })
}

/// `http://host/path` → (`host`, `/path`). An empty path is refused: there is nothing to send as it is.
fn split_absolute(text: &str) -> Result<(&str, &str), &'static str> {
    let rest = strip_prefix_ignore_case(text, "http://")
        .or_else(|| strip_prefix_ignore_case(text, "https://"))
        .ok_or("target is neither origin-form nor absolute-form http")?;
    let start = rest.find(['/', '?']).ok_or("absolute-form target without a path")?;
    let (authority, origin_form) = rest.split_at(start);
    if !origin_form.starts_with('/') {
        return Err("absolute-form target without a path");
    }
    Ok((authority, origin_form))
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn check_path(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    let mut segment = 1; // index of the first byte after the last `/`
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'/' if index > 0 => {
                check_segment(&bytes[segment..index], false)?;
                segment = index + 1;
            }
            b'\\' => return Err("path has a backslash"),
            b';' => return Err("path has a semicolon"),
            // No URI has them (RFC 3986), and the carrier cannot send them as they are.
            b'<' | b'>' | b'`' => return Err("path has a character that no URI has"),
            b'%' => {
                check_escape(&bytes[index + 1..])?;
                index += 2;
            }
            _ => {}
        }
        index += 1;
    }
    check_segment(&bytes[segment..], true)
}

fn check_segment(segment: &[u8], last: bool) -> Result<(), &'static str> {
    match segment {
        b"" if !last => Err("path has an empty segment"),
        b"." | b".." => Err("path has a dot segment"),
        _ => Ok(()),
    }
}

/// Judges what follows a `%`.
fn check_escape(rest: &[u8]) -> Result<(), &'static str> {
    let byte = escaped_byte(rest).ok_or("path has an invalid escape")?;
    match byte {
        b'/' | b'\\' => Err("path escapes a slash or backslash"),
        0x00..=0x1f | 0x7f => Err("path escapes a control character"),
        b'%' if escaped_byte(&rest[2..]).is_some() => Err("path is escaped twice"),
        b'-' | b'.' | b'_' | b'~' => Err("path escapes an unreserved character"),
        other if other.is_ascii_alphanumeric() => Err("path escapes an unreserved character"),
        lead if is_overlong(lead, &rest[2..]) => Err("path spells a character in overlong UTF-8"),
        _ => Ok(()),
    }
}

/// Lenient decoders read these as ASCII, a slash or dot among it: RFC 3629 section 10.
fn is_overlong(lead: u8, rest: &[u8]) -> bool {
    let next = match rest.split_first() {
        Some((b'%', rest)) => escaped_byte(rest),
        _ => None,
    };
    match (lead, next) {
        (0xc0 | 0xc1, _) => true,
        (0xe0, Some(next)) => next < 0xa0,
        (0xf0, Some(next)) => next < 0x90,
        _ => false,
    }
}

fn escaped_byte(rest: &[u8]) -> Option<u8> {
    let high = char::from(*rest.first()?).to_digit(16)?;
    let low = char::from(*rest.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// Whether a Host value (or authority) is one host with an optional port, and nothing odd.
#[must_use]
pub fn is_host(value: &str) -> bool {
    let (host, port) = if let Some(rest) = value.strip_prefix('[') {
        let Some((inside, port)) = rest.split_once(']') else { return false };
        if inside.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        ("v6", port)
    } else {
        value.find(':').map_or((value, ""), |colon| value.split_at(colon))
    };
    let port_is_fine = match port.strip_prefix(':') {
        Some(digits) => digits.parse::<u16>().is_ok() && digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    let name_is_fine = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && !host.starts_with('.');
    port_is_fine && name_is_fine
}

/// Decodes one name or value of a query: `+` is a space, escapes are decoded once.
///
/// `None` when an escape is invalid or the result is not UTF-8.
#[must_use]
pub fn decode_query(piece: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !piece.contains(['%', '+']) {
        return Some(piece.into());
    }
    let bytes = piece.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'+' => decoded.push(b' '),
            b'%' => {
                decoded.push(escaped_byte(&bytes[index + 1..])?);
                index += 2;
            }
            other => decoded.push(other),
        }
        index += 1;
    }
    String::from_utf8(decoded).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_paths_are_refused() {
        let refused: &[&[u8]] = &[
            b"/a/../b",
            b"/a/./b",
            b"/..",
            b"/a/..",
            b"//a",
            b"/a//b",
            b"/a\\b",
            b"/a;x=1/b",
            b"/a#b",
            b"/a%2fb",
            b"/a%2Fb",
            b"/a%5cb",
            b"/a%00",
            b"/a%0a",
            b"/a%7f",
            b"/%2561dmin",
            b"/%61",
            b"/%2e%2e/a",
            b"/a%7E",
            b"/a%zz",
            b"/a%2",
            b"/a%",
            b"/caf\xc3\xa9",
            b"/a b",
            b"",
            b"*",
            b"admin",
            b"gateway.local:80",
            b"http:admin",
            b"ftp://h/a",
            b"http://h",
            b"http://h?x",
            b"/a?\xff",
            b"/%c0%ae%c0%ae/a",
            b"/%c1%9c",
            b"/a?x#y",
            b"*/test",
            b"/a<b",
            b"/a`b",
            b"/a?b=\"c\"",
            b"/a?<",
            b"/a\x7f",
        ];
        for target in refused {
            assert!(parse_target(target).is_err(), "{}", target.escape_ascii());
        }
    }

    #[test]
    fn plain_targets_pass_as_they_are() {
        for (raw, path, query) in [
            ("/", "/", None),
            ("/a/", "/a/", None),
            ("/a/b?", "/a/b", Some("")),
            ("/a?x=/../;\\%zz", "/a", Some("x=/../;\\%zz")),
            ("/caf%C3%A9", "/caf%C3%A9", None),
            ("/caf%E9%ff%e0%a4%a0", "/caf%E9%ff%e0%a4%a0", None),
            ("/a%20b%25", "/a%20b%25", None),
            ("/...", "/...", None),
            ("/a%3f%3b", "/a%3f%3b", None),
        ] {
            let target = parse_target(raw.as_bytes()).unwrap();
            assert_eq!((target.path, target.query, target.origin_form), (path, query, raw));
        }
        let absolute = parse_target(b"HTTP://gateway.local:80/a?b").unwrap();
        assert_eq!(absolute.authority, Some("gateway.local:80"));
        assert_eq!(absolute.origin_form, "/a?b");
    }

    #[test]
    fn hosts_are_one_name_and_one_port() {
        for good in ["a", "gateway.local", "gateway.local.:8080", "127.0.0.1:80", "[::1]:8080", "[::1]"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ":80", "a@b", "a,b", "a b", "a:", "a:+1", "a:99999", "[::1", "[x]", "a/b", ".a", "[::1]x"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn a_query_piece_is_decoded_once() {
        assert_eq!(decode_query("a%2542+b").as_deref(), Some("a%42 b"));
        assert_eq!(decode_query("plain").as_deref(), Some("plain"));
        assert_eq!(decode_query("%f"), None);
        assert_eq!(decode_query("%ff"), None);
    }
}
