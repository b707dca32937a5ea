//! The value types of configuration files: periods, sizes, byte rates, secrets, one-or-many.
//!
//! Each reads a text and says in its error what it would have liked; the place is added by `block`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::spanned::Spanned;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Splits `"20m"` into 20 and `m`.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// A span of time: `"250ms"`, `"10s"`, `"20m"`, `"1h"`, `"30d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

impl Period {
    /// Reads a period.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        Some(Self(Duration::from_millis(number.checked_mul(milliseconds)?)))
    }
}

/// As it would be written, in the largest unit that fits.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        let fits = units.into_iter().find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
        match fits {
            Some((unit, name)) => write!(f, "{}{name}", milliseconds / unit),
            None if milliseconds == 0 => f.write_str("0s"),
            None => write!(f, "{milliseconds}ms"),
        }
    }
}

/// A number of bytes: `"512B"`, `"8KiB"`, `"1MiB"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// As it would be written, in the largest unit that fits.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
        let fits = units.into_iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit));
        let (unit, name) = fits.unwrap_or((1, "B"));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl Size {
    /// Reads a size.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = number_and_unit(text)?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self)
    }
}

/// Bytes in a second: `"1KiB/s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate(pub u64);

impl ByteRate {
    /// Reads a byte rate.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Size::parse(text.strip_suffix("/s")?).map(|size| Self(size.0))
    }
}

macro_rules! from_text {
    ($type:ident, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        $type::parse(text).ok_or_else(|| E::custom(format!("`{text}` is not {}", $expected)))
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}
from_text!(Period, "a duration like \"250ms\", \"10s\", \"20m\" or \"1h\"");
from_text!(Size, "a size like \"512B\", \"8KiB\" or \"1MiB\"");
from_text!(ByteRate, "bytes in a second like \"1KiB/s\"");

/// Where the bytes of a secret come from; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;
        const EXPECTED: &str = "{ env = \"NAME\" } or { file = \"/path\" }";
        impl<'de> Visitor<'de> for Source {
            type Value = SecretSource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            // The text is not repeated: it may be the secret that should not be here.
            fn visit_str<E: Error>(self, _: &str) -> Result<SecretSource, E> {
                Err(E::custom(format!("a secret is never written in a file — use {EXPECTED}")))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
                let source = match map.next_entry::<String, String>()? {
                    Some((key, value)) if key == "env" && !value.is_empty() => SecretSource::Env(value),
                    Some((key, value)) if key == "file" && !value.is_empty() => SecretSource::File(value.into()),
                    _ => return Err(A::Error::custom(format!("a secret is {EXPECTED}"))),
                };
                match map.next_key::<String>()? {
                    None => Ok(source),
                    Some(_) => Err(A::Error::custom(format!("a secret has one source: {EXPECTED}"))),
                }
            }
        }
        deserializer.deserialize_any(Source)
    }
}

/// A text that may hold a password: written out, or taken from where secrets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextSource {
    /// As it stands in the file.
    Written(String),
    /// Elsewhere.
    Secret(SecretSource),
}

impl<'de> Deserialize<'de> for TextSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrSource;
        impl<'de> Visitor<'de> for TextOrSource {
            type Value = TextSource;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, { env = \"NAME\" } or { file = \"/path\" }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<TextSource, E> {
                Ok(TextSource::Written(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TextSource, A::Error> {
                SecretSource::deserialize(MapAccessDeserializer::new(map)).map(TextSource::Secret)
            }
        }
        deserializer.deserialize_any(TextOrSource)
    }
}

/// One text or a list of texts, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts(Vec<(String, Option<Range<usize>>)>);

impl Texts {
    /// The texts with their places; `whole` is the place of the value.
    #[must_use]
    pub fn placed(texts: &Spanned<Self>) -> Vec<Spanned<String>> {
        let place = |(text, span): &(String, Option<Range<usize>>)| {
            Spanned::new(span.clone().unwrap_or_else(|| texts.span()), text.clone())
        };
        texts.get_ref().0.iter().map(place).collect()
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![(text.to_owned(), None)]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element::<Spanned<String>>()? {
                    let span = text.span();
                    texts.push((text.into_inner(), Some(span)));
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// `{ key = value, … }` in the order of the file, or `["key", …]` where the value goes without saying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T>(pub Vec<(Spanned<String>, Option<Spanned<T>>)>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrList<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for TableOrList<T> {
            type Value = Listed<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or a list of names")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Listed<T>, A::Error> {
                let mut listed = Vec::new();
                while let Some(name) = items.next_element::<Spanned<String>>()? {
                    listed.push((name, None));
                }
                Ok(Listed(listed))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed<T>, A::Error> {
                let mut listed = Vec::new();
                while let Some((name, value)) = map.next_entry::<Spanned<String>, Spanned<T>>()? {
                    listed.push((name, Some(value)));
                }
                listed.sort_by_key(|(name, _)| name.span().start);
                Ok(Listed(listed))
            }
        }
        deserializer.deserialize_any(TableOrList(PhantomData))
    }
}

/// One upstream server: `"host:port"` or `{ address = "host:port", weight = 2 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host and port.
    pub address: String,
    /// Its share of the requests, 1 to 100.
    pub weight: u8,
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;
        impl<'de> Visitor<'de> for TextOrTable {
            type Value = ServerAddress;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"host:port\" or { address = \"host:port\", weight = 2 }")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ServerAddress, E> {
                ServerAddress::checked(text.to_owned(), 1).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ServerAddress, A::Error> {
                let (mut address, mut weight) = (None, 1);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "address" => address = Some(map.next_value()?),
                        "weight" => weight = map.next_value()?,
                        _ => return Err(A::Error::unknown_field(&key, &["address", "weight"])),
                    }
                }
                let address = address.ok_or_else(|| A::Error::missing_field("address"))?;
                ServerAddress::checked(address, weight).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(TextOrTable)
    }
}

impl ServerAddress {
    fn checked(address: String, weight: u8) -> Result<Self, String> {
        let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !fits {
            return Err(format!("`{address}` is not \"host:port\""));
        }
        if !(1..=100).contains(&weight) {
            return Err("a weight is 1 to 100".to_owned());
        }
        Ok(Self { address, weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_and_sizes_have_units() {
        assert_eq!(Period::parse("20m"), Some(Period(Duration::from_secs(1200))));
        assert_eq!(Period::parse("250ms"), Some(Period(Duration::from_millis(250))));
        assert_eq!(Size::parse("8KiB"), Some(Size(8192)));
        assert_eq!(ByteRate::parse("1KiB/s"), Some(ByteRate(1024)));
        for text in ["0s", "250ms", "90s", "20m", "1h", "2d"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "20", "m", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert_eq!(Period::parse(bad), None, "{bad}");
        }
        assert_eq!(Size::parse("8KB"), None);
        for text in ["0B", "100B", "8KiB", "1025KiB", "10MiB", "1024GiB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn servers_are_host_and_port() {
        for bad in ["localhost", ":80", "a:0", "a:b", "http://a:80", "a:70000"] {
            assert!(ServerAddress::checked(bad.to_owned(), 1).is_err(), "{bad}");
        }
        assert!(ServerAddress::checked("[::1]:80".to_owned(), 1).is_ok());
        assert!(ServerAddress::checked("a:80".to_owned(), 0).is_err());
    }
}
