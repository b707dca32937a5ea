//! What a request says: the accounts that it names, and the call itself.
//!
//! Called by `policy::difference`. Each set may read the account from another place, so a request can name two, and every
//! combination is tried. An id that a pattern spells out can be an account's too.

use super::super::credential::Scheme;
use super::super::principal::is_id;
use super::super::rehearsal::Call;
use super::super::route::{Route, TargetSource};
use super::super::snapshot::{Place, Spot};
use super::Piece;
use super::callers::Callers;
use super::conditions::{Presence, Setting};

/// Where a request names an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Slot<'s> {
    /// In a free segment of the path.
    Segment(usize),
    /// In what the path spells out.
    Spelled(Box<str>),
    /// In the query.
    Query(&'s str),
    /// In a header.
    Header(&'s str),
}

/// How the account that a slot names lies to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// It is the caller's.
    Myself,
    /// Below it; its role is this one of [`Callers::below`].
    Below(usize),
    /// In the tree, elsewhere.
    Outside,
    /// Not in the tree.
    Unknown,
    /// It can be no account.
    NoId,
    /// Nothing is named.
    Absent,
    /// It is named twice.
    Malformed,
}

/// Where a route reads the account from, for a path filled in by [`filled`] that leads to the place.
#[must_use]
pub fn slot<'s>(route: &'s Route, place: &Place<'_>, fresh: &str) -> Option<Slot<'s>> {
    let Spot::Route(_, _, parameters) = place.spot else { return None };
    match &route.target.as_ref()?.source {
        TargetSource::Path(index) => {
            let text = parameters.value(*index).unwrap_or_default();
            let free = text.strip_prefix(fresh).and_then(|place| place.parse().ok());
            Some(free.map_or_else(|| Slot::Spelled(text.into()), Slot::Segment))
        }
        TargetSource::Query { name, .. } => Some(Slot::Query(name)),
        TargetSource::Header(name) => Some(Slot::Header(name)),
    }
}

/// All that a slot can name. `wanted` are the roles that either route asks of a target.
#[must_use]
pub fn names(slot: &Slot<'_>, callers: &Callers, wanted: &[&str]) -> Vec<Named> {
    if matches!(slot, Slot::Spelled(text) if !is_id(text)) {
        return vec![Named::NoId];
    }
    let mut names = vec![Named::Myself];
    let is_wanted = |role: &usize| callers.below.get(*role).is_some_and(|role| wanted.contains(&&**role));
    names.extend((0..callers.below.len()).filter(is_wanted).map(Named::Below));
    // One role that nobody asks for stands for all of them; the unknown one is such a role.
    names.push(Named::Below(callers.below.len() - 1));
    names.extend([Named::Outside, Named::Unknown]);
    match slot {
        Slot::Spelled(_) => {}
        Slot::Segment(_) => names.push(Named::NoId),
        Slot::Query(_) | Slot::Header(_) => names.extend([Named::NoId, Named::Absent, Named::Malformed]),
    }
    names
}

impl Named {
    /// In the words of the access log, with the role of an account below where it matters.
    #[must_use]
    pub fn label(self, callers: &Callers, roles_matter: bool) -> String {
        match self {
            Named::Myself => "self".to_owned(),
            Named::Below(_) if !roles_matter => "below".to_owned(),
            Named::Below(role) if role + 1 == callers.below.len() => "below (of another role)".to_owned(),
            Named::Below(role) => format!("below (a {})", callers.below[role]),
            Named::Outside => "outside".to_owned(),
            Named::Unknown => "unknown".to_owned(),
            Named::NoId => "no id".to_owned(),
            Named::Absent => "none".to_owned(),
            Named::Malformed => "named twice".to_owned(),
        }
    }
}

/// The path with every free segment filled in; two of them never alike.
#[must_use]
pub fn filled(path: &[Piece<'_>], fresh: &str) -> String {
    let mut text = String::new();
    for (place, piece) in path.iter().enumerate() {
        text.push('/');
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Free => text.push_str(&format!("{fresh}{place}")),
        }
    }
    text
}

/// The target of a call that names these accounts.
#[must_use]
pub fn target(path: &[Piece<'_>], named: &[(&Slot<'_>, Named)], callers: &Callers) -> String {
    let (mut text, mut query) = (String::with_capacity(64), String::new());
    for (place, piece) in path.iter().enumerate() {
        text.push('/');
        let name = named.iter().position(|(slot, _)| **slot == Slot::Segment(place));
        match (piece, name) {
            (Piece::Literal(literal), _) => text.push_str(literal),
            (Piece::Free, Some(name)) => text.push_str(&callers.id(named[name].1, name > 0)),
            (Piece::Free, None) => text.push_str(&format!("{}{place}", callers.fresh)),
        }
    }
    for (place, (slot, named)) in named.iter().enumerate() {
        let Slot::Query(name) = slot else { continue };
        for _ in 0..times(*named) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(&escaped(name));
            query.push('=');
            query.push_str(&callers.id(*named, place > 0));
        }
    }
    text + &query
}

fn times(named: Named) -> usize {
    match named {
        Named::Absent => 0,
        Named::Malformed => 2,
        Named::Myself | Named::Below(_) | Named::Outside | Named::Unknown | Named::NoId => 1,
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The headers of a call that names these accounts and is otherwise as the setting says.
#[must_use]
pub fn headers(
    routes: [Option<&Route>; 2],
    named: &[(&Slot<'_>, Named)],
    callers: &Callers,
    setting: &Setting<'_>,
    signed: bool,
) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = vec![("host".to_owned(), "gateway.local".to_owned())];
    let add = |headers: &mut Vec<(String, String)>, name: &str, value: &str| {
        headers.push((name.to_owned(), value.to_owned()));
    };
    for (place, (slot, named)) in named.iter().enumerate() {
        let Slot::Header(name) = slot else { continue };
        for _ in 0..times(*named) {
            add(&mut headers, name, &callers.id(*named, place > 0));
        }
    }
    if signed {
        add(&mut headers, "authorization", "Token rehearsal");
    }
    for value in setting.app_type.values() {
        add(&mut headers, "x-app-type", value);
    }
    match setting.body {
        0 => {}
        length => add(&mut headers, "content-length", &length.to_string()),
    }
    match setting.presence {
        Presence::Nominated(name) => add(&mut headers, "connection", name),
        Presence::All | Presence::Without(_) => {}
    }
    for name in routes.iter().flatten().flat_map(|route| &route.headers) {
        let governed = named.iter().any(|(slot, _)| **slot == Slot::Header(name))
            || ["authorization", "x-app-type"].contains(&&**name);
        let present = headers.iter().any(|(known, _)| **known == **name);
        if !governed && !present && setting.presence != Presence::Without(name) {
            add(&mut headers, name, value_of(name));
        }
    }
    headers
}

/// A value that leaves the request well-formed.
fn value_of(name: &str) -> &'static str {
    match name {
        "content-length" => "0",
        "transfer-encoding" => "chunked",
        _ => "x",
    }
}

/// A call without an account named or a caller.
#[must_use]
pub fn call(method: &str, target: String, setting: &Setting<'_>, scheme: Scheme) -> Call {
    Call { client: setting.client, scheme: Some(scheme), target, ..Call::new(method, "") }
}
