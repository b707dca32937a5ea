//! A value of a TOML file with the bytes that it stands at.
//!
//! `toml`'s own, in a type of ours, so that the JSON Schemas of the files can be made from the types that parse them. Used by
//! every raw type of the files.

use std::ops::Range;

use serde::Deserialize;

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct Spanned<T>(toml::Spanned<T>);

impl<T> Spanned<T> {
    /// A value with a place of the caller's choice.
    pub fn new(span: Range<usize>, value: T) -> Self {
        Self(toml::Spanned::new(span, value))
    }

    /// The bytes.
    pub fn span(&self) -> Range<usize> {
        self.0.span()
    }

    /// The value.
    pub fn get_ref(&self) -> &T {
        self.0.get_ref()
    }

    /// The value without its place.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}
