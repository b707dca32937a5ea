//! Which account a request names, read from its path, query or header.
//!
//! A value that two parsers could read differently is malformed, never guessed at.

use std::borrow::Cow;

use super::facts::RequestHead;
use super::route::{TargetRule, TargetSource};
use super::table::Parameters;
use super::uri::decode_query;

/// Why no account could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFault<'r> {
    /// Twice, empty, or in a spelling that other parsers read as this parameter.
    Malformed(&'static str),
    /// The header is absent.
    HeaderMissing(&'r str),
}

/// Reads the account id; `None` when an optional query parameter is absent.
///
/// # Errors
/// Why the request does not name one account.
pub fn read<'a, 'r>(
    rule: &'r TargetRule,
    head: &RequestHead<'a>,
    parameters: &Parameters<'a>,
) -> Result<Option<Cow<'a, str>>, TargetFault<'r>> {
    match &rule.source {
        TargetSource::Path(index) => {
            let value = parameters.value(*index).ok_or(TargetFault::Malformed("no such path parameter"))?;
            Ok(Some(Cow::Borrowed(value)))
        }
        TargetSource::Query { name, optional } => match query_value(head.query, name)? {
            None if !optional => Err(TargetFault::Malformed("target query parameter missing")),
            value => Ok(value),
        },
        TargetSource::Header(name) => {
            let mut values = head.fields.values(name);
            let Some(value) = values.next() else { return Err(TargetFault::HeaderMissing(name)) };
            if values.next().is_some() {
                return Err(TargetFault::Malformed("target header repeated"));
            }
            match std::str::from_utf8(value) {
                Ok("") => Err(TargetFault::HeaderMissing(name)),
                Ok(value) => Ok(Some(Cow::Borrowed(value))),
                Err(_) => Err(TargetFault::Malformed("target header is not text")),
            }
        }
    }
}

/// Splits on `&` only and decodes once. Letter-case and `X[]` variants of the name are what other
/// parsers may take for it, so they are refused wherever they stand.
fn query_value<'a>(query: Option<&'a str>, name: &str) -> Result<Option<Cow<'a, str>>, TargetFault<'static>> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(key) = decode_query(key) else {
            return Err(TargetFault::Malformed("query name cannot be decoded"));
        };
        if *key == *name {
            if found.is_some() {
                return Err(TargetFault::Malformed("target query parameter repeated"));
            }
            let value = decode_query(value).ok_or(TargetFault::Malformed("target value cannot be decoded"))?;
            if value.is_empty() {
                return Err(TargetFault::Malformed("target query parameter empty"));
            }
            found = Some(value);
        } else if is_variant(&key, name) {
            return Err(TargetFault::Malformed("variant spelling of the target query parameter"));
        }
    }
    Ok(found)
}

/// Letter case, brackets, blanks around it, and the characters that some frameworks fold to `_`.
fn is_variant(key: &str, name: &str) -> bool {
    let stem = key.trim_matches([' ', '\t', '\0']);
    let stem = stem
        .split_once('[')
        .map_or(stem, |(stem, rest)| if rest.contains(']') || rest.is_empty() { stem } else { key });
    let fold = |byte: u8| match byte {
        b'.' | b' ' | b'[' => b'_',
        other => other.to_ascii_lowercase(),
    };
    stem.len() == name.len() && stem.bytes().map(fold).eq(name.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_one_account_or_none() {
        let read = |query| query_value(Some(query), "customer_id");
        assert_eq!(read("a=1&customer_id=c%2D1&b"), Ok(Some("c-1".into())));
        assert_eq!(read("customer%5Fid=c1"), Ok(Some("c1".into())));
        assert_eq!(read("a=1"), Ok(None));
        assert_eq!(query_value(None, "customer_id"), Ok(None));
        for odd in [
            "customer_id=1&customer_id=1",
            "customer_id=",
            "customer_id",
            "Customer_Id=1",
            "customer_id[]=1",
            "customer_id%5B0%5D=1",
            "customer_id=1&CUSTOMER_ID=2",
            "customer_id=%zz",
            "%zz=1",
            "+customer_id=1",
            "customer_id=1&customer%5fid=2",
            "customer.id=1",
            "customer+id=1",
            "customer[id=1",
            "%09customer_id=1",
            "customer_id[x]=1",
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
