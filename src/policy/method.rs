//! The nine request methods that we know, and sets of them.
//!
//! Used by the route table and for `Allow`. Any other method is malformed, never routed.

use std::fmt;

/// A request method of RFC 9110 or RFC 5789; method names are case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the variants are the methods' own names")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
    Connect,
}

impl Method {
    /// All methods, in the order in which `Allow` lists them; `method as usize` is the index.
    pub const ALL: [Method; 9] = [
        Method::Get,
        Method::Head,
        Method::Post,
        Method::Put,
        Method::Patch,
        Method::Delete,
        Method::Options,
        Method::Trace,
        Method::Connect,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
        }
    }

    /// Reads a method name; `None` for anything but the nine.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Method::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of methods; displays as the value of an `Allow` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodSet(u16);

impl MethodSet {
    /// The empty set.
    pub const NONE: MethodSet = MethodSet(0);

    /// Adds a method.
    pub fn insert(&mut self, method: Method) {
        self.0 |= 1 << method as u16;
    }

    /// Whether the method is in the set.
    #[must_use]
    pub const fn contains(self, method: Method) -> bool {
        self.0 & (1 << method as u16) != 0
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for method in Method::ALL.into_iter().filter(|method| self.contains(*method)) {
            write!(f, "{separator}{method}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive_and_closed() {
        for (index, method) in Method::ALL.into_iter().enumerate() {
            assert_eq!(method as usize, index);
            assert_eq!(Method::parse(method.name()), Some(method));
        }
        assert_eq!(Method::parse("get"), None);
        assert_eq!(Method::parse("PURGE"), None);
    }

    #[test]
    fn a_set_reads_as_an_allow_value() {
        let mut set = MethodSet::NONE;
        set.insert(Method::Patch);
        set.insert(Method::Get);
        assert_eq!(set.to_string(), "GET, PATCH");
    }
}
