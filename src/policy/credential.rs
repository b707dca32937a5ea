//! What a client presented in `Authorization`: one scheme and its credential, read but not yet believed.
//!
//! Called once a request by [`super::facts`]. It decodes Basic (RFC 7617) and nothing else; whether a
//! credential is genuine is for `identity` to find out.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How a caller authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `Basic base64(API ID:API KEY)`, RFC 7617.
    Basic,
    /// `Token <JWT>`, from the gateway's own login.
    Token,
}

impl Scheme {
    /// Reads a scheme's name; letter case does not matter: RFC 9110 section 11.1.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Scheme::Basic, Scheme::Token].into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }

    /// The scheme of an `Authorization` value, whatever follows it; `None` when it is none of ours.
    #[must_use]
    pub fn named_by(value: &[u8]) -> Option<Self> {
        let name = value.split(|byte| *byte == b' ').next()?;
        std::str::from_utf8(value).ok().and(std::str::from_utf8(name).ok()).and_then(Self::parse)
    }

    /// The name in policy files, logs and `X-Auth-Scheme`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Basic => "basic",
            Scheme::Token => "token",
        }
    }
}

/// The schemes that a realm or route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schemes {
    /// Whether `Basic` is taken.
    pub basic: bool,
    /// Whether `Token` is taken.
    pub token: bool,
}

impl Schemes {
    /// Whether the scheme is one of these.
    #[must_use]
    pub const fn contains(self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Basic => self.basic,
            Scheme::Token => self.token,
        }
    }
}

/// The value of `Authorization`, as far as it can be read.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No such header, or an empty one.
    Nothing,
    /// A header that is no credential of ours: the scheme, if it names one of ours, and the private cause.
    Unreadable(Option<Scheme>, &'static str),
    /// An API id and its key.
    Basic(ApiKey),
    /// A token, not yet looked into.
    Token(&'a str),
}

/// An API id with its key, both as the client sent them.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    decoded: Vec<u8>,
    colon: usize,
}

impl ApiKey {
    /// From an id without a colon and its key.
    #[must_use]
    pub fn new(id: &str, key: &[u8]) -> Self {
        let decoded = [id.as_bytes(), b":", key].concat();
        Self { decoded, colon: id.len() }
    }

    /// The API id: the bytes before the first colon, if they are text.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        std::str::from_utf8(&self.decoded[..self.colon]).ok()
    }

    /// The API key: all bytes behind the first colon.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.decoded[self.colon + 1..]
    }
}

impl<'a> Presented<'a> {
    /// Reads one `Authorization` value.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        if value.is_empty() {
            return Presented::Nothing;
        }
        let Ok(text) = std::str::from_utf8(value) else {
            return Presented::Unreadable(None, "authorization is not text");
        };
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let Some(scheme) = Scheme::parse(name) else {
            return Presented::Unreadable(None, "unknown scheme");
        };
        let credential = rest.trim_start_matches(' ');
        if credential.is_empty() || !credential.bytes().fold(true, |good, byte| good & is_token68(byte)) {
            return Presented::Unreadable(Some(scheme), "credential is no token68");
        }
        match scheme {
            Scheme::Token => Presented::Token(credential),
            Scheme::Basic => parse_basic(credential),
        }
    }

    /// The scheme presented, where it could be read.
    #[must_use]
    pub const fn scheme(&self) -> Option<Scheme> {
        match self {
            Presented::Nothing => None,
            Presented::Unreadable(scheme, _) => *scheme,
            Presented::Basic(_) => Some(Scheme::Basic),
            Presented::Token(_) => Some(Scheme::Token),
        }
    }
}

/// Secrets stay out of every log, so the credential itself is never shown.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Presented::Nothing => f.write_str("Nothing"),
            Presented::Unreadable(_, cause) => write!(f, "Unreadable({cause:?})"),
            Presented::Basic(_) => f.write_str("Basic(…)"),
            Presented::Token(_) => f.write_str("Token(…)"),
        }
    }
}

/// RFC 9110 section 11.2. Without branches, so that a whole token is judged many bytes at a time.
const fn is_token68(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let from_hyphen_to_nine = byte.wrapping_sub(b'-') < 13;
    letter | from_hyphen_to_nine | (byte == b'_') | (byte == b'~') | (byte == b'+') | (byte == b'=')
}

fn parse_basic(credential: &str) -> Presented<'static> {
    let unreadable = |cause| Presented::Unreadable(Some(Scheme::Basic), cause);
    let Ok(decoded) = STANDARD.decode(credential) else {
        return unreadable("basic credential is not padded base64");
    };
    match decoded.iter().position(|byte| *byte == b':') {
        None => unreadable("basic credential has no colon"),
        Some(0) => unreadable("basic credential has an empty API id"),
        Some(colon) if colon + 1 == decoded.len() => unreadable("basic credential has an empty API key"),
        Some(colon) => Presented::Basic(ApiKey { decoded, colon }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> Presented<'static> {
        parse_basic(&STANDARD.encode(text))
    }

    #[test]
    fn basic_is_split_at_the_first_colon_and_keeps_spaces() {
        let Presented::Basic(key) = basic(" id :k:e y ") else { panic!("not read") };
        assert_eq!((key.id(), key.key()), (Some(" id "), &b"k:e y "[..]));
    }

    #[test]
    fn basic_without_id_key_or_colon_is_unreadable() {
        for text in ["", ":", ":key", "id:", "idkey"] {
            assert!(matches!(basic(text), Presented::Unreadable(..)), "{text:?}");
        }
        for raw in
            ["Basic !!!!", "Basic YTpi YTpi", "Basic YTpiYw", "Basic YTpi====", "Basic", "Basic ", "Basic YTpjZB=="]
        {
            assert!(matches!(Presented::parse(raw.as_bytes()), Presented::Unreadable(..)), "{raw}");
        }
    }

    #[test]
    fn schemes_compare_without_case_and_unknown_ones_are_unreadable() {
        assert_eq!(Presented::parse(b"tOkEn  abc"), Presented::Token("abc"));
        assert_eq!(Presented::parse(b"BASIC YTpi").scheme(), Some(Scheme::Basic));
        for raw in ["Bearer abc", "Token", "Token ", "Token a, Basic YTpi", "Token\tabc"] {
            assert!(matches!(Presented::parse(raw.as_bytes()), Presented::Unreadable(..)), "{raw}");
        }
        assert_eq!(Presented::parse(b""), Presented::Nothing);
        assert!(matches!(Presented::parse(b"Token \xff"), Presented::Unreadable(..)));
    }

    #[test]
    fn token68_is_what_the_specification_lists() {
        for byte in 0..=u8::MAX {
            let listed = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
            assert_eq!(is_token68(byte), listed, "{byte}");
        }
    }

    #[test]
    fn no_secret_shows_in_debug_output() {
        let shown = format!("{:?} {:?}", basic("id:hunter2"), Presented::Token("hunter2"));
        assert!(!shown.contains("hunter2") && !shown.contains("id:"), "{shown}");
    }
}
