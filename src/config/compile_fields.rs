//! What a `[[route]]` reads of a request beside path and method: its target, headers that must be there, the app type.
//!
//! Called by `compile_route` only. A rule over something that no upstream gets, or that no request can have, is a fault.

use std::collections::BTreeSet;

use super::compile::Compiler;
use super::diag::{Faults, suggest};
use super::policy_file::RawRoute;
use super::spanned::Spanned;
use crate::policy::facts::is_tchar;
use crate::policy::left_behind::is_dropped;
use crate::policy::method::Method;
use crate::policy::pattern::{Pattern, Segment};
use crate::policy::route::{Realm, TargetRule, TargetSource};

impl Compiler<'_> {
    pub(super) fn target(
        &self,
        text: &Spanned<String>,
        matches: &[(Method, Pattern)],
        raw: &RawRoute,
        realm: &Realm,
        faults: &mut Faults,
    ) -> Option<TargetRule> {
        let hint = "write path.X, query.X, query.X? or header.X";
        let refuse = |faults: &mut Faults, message: String| {
            faults.fault(self.source, text.span(), message, hint);
            None
        };
        let source = match text.get_ref().split_once('.') {
            Some(("path", name)) => {
                let mut places = matches.iter().map(|(_, pattern)| pattern.parameter(name));
                let first = places.next().flatten();
                if first.is_none() || places.any(|place| place != first) {
                    let message = format!("not every pattern of the route has `{{{name}}}` in the same place");
                    let known = matches.iter().flat_map(|(_, pattern)| pattern.segments());
                    let known: BTreeSet<&str> = known.filter_map(Segment::parameter).collect();
                    let near = if known.contains(name) { String::new() } else { suggest(name, known) };
                    let hint = if near.is_empty() { hint.to_owned() } else { near };
                    faults.fault(self.source, text.span(), message, hint);
                    return None;
                }
                TargetSource::Path(first?)
            }
            Some(("query", name)) if !name.trim_end_matches('?').is_empty() => {
                let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
                TargetSource::Query { name: name.into(), optional }
            }
            Some(("header", name)) if !reaches_upstream(name) => {
                return refuse(faults, format!("header `{name}` is not one that upstreams get from clients"));
            }
            Some(("header", name)) if is_field_name(name) => TargetSource::Header(name.to_ascii_lowercase().into()),
            _ => return refuse(faults, format!("`{}` is no target", text.get_ref())),
        };
        let role = raw.target_role.as_ref().and_then(|role| {
            self.role(realm, role, faults)?;
            Some(role.get_ref().as_str().into())
        });
        Some(TargetRule { source, role })
    }

    /// The headers that must be there.
    pub(super) fn header_names(&self, raw: &RawRoute, faults: &mut Faults) -> Vec<Box<str>> {
        let mut names: Vec<Box<str>> = Vec::with_capacity(raw.headers.len());
        for name in &raw.headers {
            let lower = name.get_ref().to_ascii_lowercase();
            let mut refuse = |message: String, hint: &str| faults.fault(self.source, name.span(), message, hint);
            if !is_field_name(name.get_ref()) {
                refuse(format!("`{}` is no header name", name.get_ref()), "letters, digits and -, as in \"X-Api-Id\"");
            } else if names.iter().any(|known| **known == *lower) {
                refuse(format!("header `{}` stands twice", name.get_ref()), "letter case makes no other header");
            } else if is_dropped(&lower, true) {
                let message = format!("header `{}` never reaches an upstream", name.get_ref());
                refuse(message, "the gateway takes it away from every request, so nobody needs it; drop it here");
            }
            names.push(lower.into());
        }
        names
    }

    pub(super) fn app_types(
        &self,
        types: Option<&Spanned<Vec<Spanned<String>>>>,
        faults: &mut Faults,
    ) -> Vec<Box<str>> {
        let Some(types) = types else { return Vec::new() };
        if types.get_ref().is_empty() {
            let hint = "leave it out where X-App-Type does not matter";
            faults.fault(self.source, types.span(), "`app_types` is empty", hint);
        }
        for (place, name) in types.get_ref().iter().enumerate() {
            if !is_field_name(name.get_ref()) {
                let message = format!("`{}` is no token, so no request could match", name.get_ref());
                faults.fault(self.source, name.span(), message, "letters and digits, as in \"vc\"");
            } else if types.get_ref().iter().take(place).any(|earlier| earlier.get_ref() == name.get_ref()) {
                faults.fault(
                    self.source,
                    name.span(),
                    format!("app type `{}` stands twice", name.get_ref()),
                    "drop one",
                );
            }
        }
        types.get_ref().iter().map(|name| name.get_ref().as_str().into()).collect()
    }
}

/// A target that is judged but not sent, or that holds a secret, would be no target.
fn reaches_upstream(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !is_dropped(&name, false) && !["cookie", "host"].contains(&&*name)
}

fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_tchar)
}
