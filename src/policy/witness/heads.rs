//! The header fields of the calls that a witness is looked for among.
//!
//! Made by `witness` for two versions of a route: every header that one of them asks for is there or not, `X-App-Type` is
//! good, absent, unknown or no token, and `Connection` takes a header away or not.

use crate::policy::route::{Route, TargetSource};

const APP_TYPE: &str = "x-app-type";

/// Every combination that the two versions could judge differently; the one that both find complete comes first.
pub(super) fn heads(before: &Route, after: &Route) -> Vec<Vec<(String, String)>> {
    let both = [before, after];
    let target = both.iter().find_map(|route| match &route.target.as_ref()?.source {
        TargetSource::Header(name) => Some(&**name),
        TargetSource::Path(_) | TargetSource::Query { .. } => None,
    });
    let mut names: Vec<&str> = Vec::new();
    for name in both.iter().flat_map(|route| &route.headers) {
        // The target's header comes with the target.
        if !names.contains(&&**name) && **name != *APP_TYPE && Some(&**name) != target {
            names.push(name);
        }
    }
    let mut heads = Vec::new();
    for left_out in std::iter::once(None).chain(names.iter().map(Some)) {
        let present = names.iter().filter(|name| left_out.is_none_or(|left_out| left_out != *name));
        let plain: Vec<(String, String)> = present.map(|name| ((*name).to_owned(), value(name).to_owned())).collect();
        for app_type in app_types(both) {
            let mut head = plain.clone();
            head.extend(app_type.map(|value| (APP_TYPE.to_owned(), value)));
            heads.push(head);
        }
    }
    let complete = heads.first().cloned().unwrap_or_default();
    let taken = names.iter().copied().chain(target).chain([APP_TYPE, "authorization"]);
    heads.extend(taken.map(|name| {
        let mut head = complete.clone();
        head.push(("connection".to_owned(), name.to_owned()));
        head
    }));
    heads
}

fn app_types(both: [&Route; 2]) -> Vec<Option<String>> {
    let listed = both.iter().find_map(|route| route.app_types.first());
    let required = both.iter().any(|route| route.headers.iter().any(|name| **name == *APP_TYPE));
    if listed.is_none() && !required {
        return vec![None];
    }
    let is_listed = |name: &str| both.iter().any(|route| route.app_types.iter().any(|known| **known == *name));
    let mut other = "other".to_owned();
    while is_listed(&other) {
        other.push('x');
    }
    let good = listed.map_or_else(|| "any".to_owned(), ToString::to_string);
    vec![Some(good), None, Some(other), Some("no token".to_owned())]
}

/// A value that leaves the request well-formed.
fn value(name: &str) -> &'static str {
    match name {
        "host" => "gateway.local",
        "content-length" => "0",
        "transfer-encoding" => "chunked",
        "connection" => "close",
        "authorization" => "Token x",
        _ => "x",
    }
}
