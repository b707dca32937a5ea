//! The rest of a request that either route looks at: headers, app type, body, scheme and the client's address.
//!
//! Called by `policy::difference`. Each of these is judged apart from the others, so a request that only one side refuses
//! exists exactly where one exists that is as both like it in all of them but one. So they are varied one at a time, and
//! only where the sides look at them differently.

use std::net::IpAddr;

use super::super::credential::Scheme;
use super::super::route::Route;
use super::networks::Origin;

/// Whether the headers that the routes read are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence<'s> {
    /// All of them.
    All,
    /// All but this one.
    Without(&'s str),
    /// All, but `Connection` takes this one away.
    Nominated(&'s str),
}

/// What `X-App-Type` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed<'s> {
    /// Nothing.
    Absent,
    /// One type.
    One(&'s str),
    /// Two.
    Twice,
}

impl<'s> Typed<'s> {
    pub(super) fn values(self) -> impl Iterator<Item = &'s str> {
        let (value, times) = match self {
            Typed::Absent => ("", 0),
            Typed::One(value) => (value, 1),
            Typed::Twice => ("x", 2),
        };
        std::iter::repeat_n(value, times)
    }
}

/// One way for the rest of a request to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<'s> {
    /// Headers.
    pub presence: Presence<'s>,
    /// `X-App-Type`
    pub app_type: Typed<'s>,
    /// The client.
    pub client: IpAddr,
    /// The length of the body.
    pub body: u64,
    /// How the caller authenticates.
    pub scheme: Scheme,
    /// What is particular about it, for people; empty where nothing is.
    pub label: String,
}

/// A setting that both sides take if there is one, and what differs from it in one thing.
pub struct Family<'s> {
    /// To begin with.
    pub first: Setting<'s>,
    /// To go on with where both sides permit that.
    pub others: Vec<Setting<'s>>,
}

/// A value, whether each side takes it, and how people call it.
struct Choice<T> {
    value: T,
    taken: [bool; 2],
    label: String,
}

const fn choice<T>(value: T, taken: [bool; 2], label: String) -> Choice<T> {
    Choice { value, taken, label }
}

/// All settings for a caller and two routes. A side without a route refuses whatever the setting is, so it has no say.
#[must_use]
pub fn families<'s>(
    routes: [Option<&'s Route>; 2],
    targets: &[&str],
    origins: &[Origin],
    schemes: bool,
    unknown: &'s str,
) -> Vec<Family<'s>> {
    let live = routes.map(|route| route.filter(|route| route.enabled));
    let presence = presence(live, targets);
    let types = types(live, unknown);
    let bodies = bodies(live);
    let clients = clients(live, origins);
    let schemes = if schemes { signed(live) } else { vec![choice(Scheme::Token, [true; 2], String::new())] };
    let setting = |at: [usize; 5]| {
        let [p, t, c, b, s] = at;
        let labels = [&presence[p].label, &types[t].label, &clients[c].label, &bodies[b].label, &schemes[s].label];
        let shown: Vec<&str> = labels.into_iter().filter(|label| !label.is_empty()).map(String::as_str).collect();
        Setting {
            presence: presence[p].value,
            app_type: types[t].value,
            client: clients[c].value,
            body: bodies[b].value,
            scheme: schemes[s].value,
            label: shown.join(", "),
        }
    };
    let axes: [Vec<[bool; 2]>; 5] = [taken(&presence), taken(&types), taken(&clients), taken(&bodies), taken(&schemes)];
    let mut starts: Vec<[usize; 5]> = vec![[0; 5]];
    for (axis, values) in axes.iter().enumerate() {
        let firsts = firsts(values);
        starts = starts.iter().flat_map(|at| firsts.iter().map(|first| with(*at, axis, *first))).collect();
    }
    let family = |at: &[usize; 5]| {
        let differing = |axis: usize| {
            let values = &axes[axis];
            (0..values.len()).filter(move |other| *other != at[axis] && values[*other][0] != values[*other][1])
        };
        let others = (0..axes.len()).flat_map(|axis| differing(axis).map(move |other| with(*at, axis, other)));
        Family { first: setting(*at), others: others.map(setting).collect() }
    };
    starts.iter().map(family).collect()
}

fn with(mut at: [usize; 5], axis: usize, value: usize) -> [usize; 5] {
    at[axis] = value;
    at
}

fn taken<T>(choices: &[Choice<T>]) -> Vec<[bool; 2]> {
    choices.iter().map(|choice| choice.taken).collect()
}

/// The first value that both take; without one, the first that either takes.
fn firsts(values: &[[bool; 2]]) -> Vec<usize> {
    let place = |wanted: [bool; 2]| values.iter().position(|taken| *taken == wanted);
    match (place([true; 2]), place([true, false]), place([false, true])) {
        (Some(both), _, _) => vec![both],
        (None, None, None) => vec![0],
        (None, old, new) => old.into_iter().chain(new).collect(),
    }
}

/// What each side says, where it has a say; the other side's word otherwise.
fn both(live: [Option<&Route>; 2], says: impl Fn(&Route) -> bool) -> [bool; 2] {
    match live {
        [Some(old), Some(new)] => [says(old), says(new)],
        [Some(one), None] | [None, Some(one)] => [says(one); 2],
        [None, None] => [true; 2],
    }
}

fn presence<'s>(live: [Option<&'s Route>; 2], targets: &[&str]) -> Vec<Choice<Presence<'s>>> {
    let mut choices = vec![choice(Presence::All, [true; 2], String::new())];
    let mut names: Vec<&'s str> = live.iter().flatten().flat_map(|route| &route.headers).map(|name| &**name).collect();
    names.sort_unstable();
    names.dedup();
    // Whether these are there is said by the caller, the app type, the accounts named, and HTTP itself.
    let governed = |name: &str| ["authorization", "x-app-type", "host"].contains(&name) || targets.contains(&name);
    for name in names.iter().copied().filter(|name| !governed(name)) {
        let taken = both(live, |route| !route.headers.iter().any(|known| **known == *name));
        choices.push(choice(Presence::Without(name), taken, format!("without {name}")));
    }
    let mut read: Vec<&'s str> = live.iter().flatten().flat_map(|route| route.reads()).collect();
    read.sort_unstable();
    read.dedup();
    for name in read.into_iter().filter(|name| *name != "host") {
        let taken = both(live, |route| !route.reads().any(|known| known == name));
        choices.push(choice(Presence::Nominated(name), taken, format!("with {name} named in Connection")));
    }
    choices
}

fn types<'s>(live: [Option<&'s Route>; 2], unknown: &'s str) -> Vec<Choice<Typed<'s>>> {
    let required = |route: &Route| route.headers.iter().any(|name| &**name == "x-app-type");
    let takes = |route: &Route, value: &str| {
        route.app_types.is_empty() || route.app_types.iter().any(|known| **known == *value)
    };
    let mut choices: Vec<Choice<Typed<'s>>> = Vec::new();
    let mut values: Vec<&'s str> =
        live.iter().flatten().flat_map(|route| &route.app_types).map(|name| &**name).collect();
    values.sort_unstable();
    values.dedup();
    if values.is_empty() && !live.iter().flatten().any(|route| required(route)) {
        return vec![choice(Typed::Absent, [true; 2], String::new())];
    }
    for value in values {
        let taken = both(live, |route| takes(route, value));
        choices.push(choice(Typed::One(value), taken, format!("with app type {value}")));
    }
    let other = both(live, |route| route.app_types.is_empty());
    let absent = both(live, |route| route.app_types.is_empty() && !required(route));
    choices.push(choice(Typed::One(unknown), other, "with another app type".to_owned()));
    choices.push(choice(Typed::Absent, absent, "without X-App-Type".to_owned()));
    choices.push(choice(Typed::Twice, other, "with X-App-Type twice".to_owned()));
    for known in choices.iter_mut().filter(|known| known.taken == [true; 2]) {
        known.label.clear();
    }
    choices
}

fn bodies(live: [Option<&Route>; 2]) -> Vec<Choice<u64>> {
    let mut choices = vec![choice(0, [true; 2], String::new())];
    if let [Some(old), Some(new)] = live
        && old.body_size != new.body_size
    {
        let (smaller, larger) = (old.body_size.min(new.body_size), old.body_size.max(new.body_size));
        let label = format!("with a body of more than {smaller} and at most {larger} bytes");
        choices.push(choice(larger, both(live, |route| route.body_size >= larger), label));
    }
    choices
}

fn clients(live: [Option<&Route>; 2], origins: &[Origin]) -> Vec<Choice<IpAddr>> {
    let choices = origins.iter().map(|origin| {
        let asks = |route: Option<&Route>, side: usize| route.map(|route| route.public || origin.admitted[side]);
        let taken = match [asks(live[0], 0), asks(live[1], 1)] {
            [Some(old), Some(new)] => [old, new],
            [Some(one), None] | [None, Some(one)] => [one; 2],
            [None, None] => [true; 2],
        };
        let label = if taken == [true; 2] { String::new() } else { format!("from {}", origin.label) };
        choice(origin.client, taken, label)
    });
    choices.collect()
}

fn signed(live: [Option<&Route>; 2]) -> Vec<Choice<Scheme>> {
    let choices = [Scheme::Token, Scheme::Basic].map(|scheme| {
        let taken = both(live, |route| route.public || route.schemes.contains(scheme));
        let name = match scheme {
            Scheme::Token => "with a token",
            Scheme::Basic => "with Basic",
        };
        choice(scheme, taken, if taken == [true; 2] { String::new() } else { name.to_owned() })
    });
    choices.into()
}
