//! Numbers and periods of `gateway.toml` that have a default and bounds.
//!
//! Used by the readers of its sections. A value outside its bounds is a fault that names key and bounds; what such a
//! value would do at run time is nobody's business then.

use std::sync::Arc;
use std::time::Duration;

use super::spanned::Spanned;

use super::diag::{Faults, Source};
use super::value::{Period, Size};

/// What a key may be.
pub(super) struct Bounds<T> {
    /// Its full name.
    pub key: &'static str,
    /// Where it is left out.
    pub default: T,
    /// The least that makes sense.
    pub least: T,
    /// More is taken for a mistake.
    pub most: T,
}

impl Bounds<u32> {
    /// The number in effect.
    pub(super) fn count(&self, source: &Arc<Source>, value: Option<Spanned<u32>>, faults: &mut Faults) -> u32 {
        match value {
            None => self.default,
            Some(value) if (self.least..=self.most).contains(value.get_ref()) => value.into_inner(),
            Some(value) => {
                let message = format!("`{}` is {} to {}", self.key, self.least, self.most);
                faults.fault(source, value.span(), message, format!("the default is {}", self.default));
                self.default
            }
        }
    }
}

impl Bounds<u64> {
    /// The number of bytes in effect.
    pub(super) fn size(&self, source: &Arc<Source>, value: Option<Spanned<Size>>, faults: &mut Faults) -> u64 {
        match value {
            None => self.default,
            Some(value) if (self.least..=self.most).contains(&value.get_ref().0) => value.into_inner().0,
            Some(value) => {
                let message = format!("`{}` is {} to {}", self.key, Size(self.least), Size(self.most));
                faults.fault(source, value.span(), message, format!("the default is {}", Size(self.default)));
                self.default
            }
        }
    }
}

impl Bounds<Duration> {
    /// The period in effect.
    pub(super) fn period(&self, source: &Arc<Source>, value: Option<Spanned<Period>>, faults: &mut Faults) -> Duration {
        match value {
            None => self.default,
            Some(value) if (self.least..=self.most).contains(&value.get_ref().0) => value.into_inner().0,
            Some(value) => {
                let message = format!("`{}` is {} to {}", self.key, Period(self.least), Period(self.most));
                faults.fault(source, value.span(), message, format!("the default is {}", Period(self.default)));
                self.default
            }
        }
    }
}
