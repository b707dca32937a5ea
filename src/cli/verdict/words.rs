//! What each rung looked at, in words: also when it passes, so that an operator sees what a decision rests on.
//!
//! Called by `verdict` for every rung that was reached. The words come from the facts and from what the rung said; nothing
//! is judged again here.

use super::Around;
use crate::policy::credential::{Presented, Schemes};
use crate::policy::decision::{Denial, Hint, Question};
use crate::policy::facts::{AppType, Body, Facts, TargetAnswer};
use crate::policy::ladder::{Rung, Step};
use crate::policy::principal::{Identity, Principal, Relation};
use crate::policy::reach::{Reach, reach};
use crate::policy::rehearsal::UNNAMED;
use crate::policy::route::{Destination, Realm, Route};

/// The words of one rung.
pub(super) struct Words {
    pub why: String,
    /// `file:line` of the rule that was looked at.
    pub rule: Option<String>,
}

pub(super) fn words(around: &Around<'_>, facts: &Facts<'_>, rung: &Rung) -> Words {
    let route = facts.place.route();
    let (why, concerns_route) = match &rung.step {
        Step::Pass => (passed(around, facts, rung.name), ruled(rung.name, route)),
        Step::Moot => (moot(facts, rung.name), false),
        Step::Deny(denial) => (denied(facts, rung.name, denial), RULED.contains(&rung.name)),
        Step::Ask(question) => (asked(question), false),
        Step::Permit(_) => ("every check holds".to_owned(), false),
    };
    let rule = route.filter(|_| concerns_route).map(|route| route.location.to_string());
    Words { why, rule }
}

/// The rungs that judge by what a `[[route]]` says.
const RULED: [&str; 8] = ["route", "enabled", "headers", "credential", "app-type", "role", "scope", "body"];

/// Whether a rung that passed judged by something that the route itself says.
fn ruled(name: &str, route: Option<&Route>) -> bool {
    let Some(route) = route else { return false };
    match name {
        "route" | "app-type" | "role" | "scope" => true,
        "headers" => !route.headers.is_empty(),
        _ => false,
    }
}

fn passed(around: &Around<'_>, facts: &Facts<'_>, name: &str) -> String {
    let route = facts.place.route();
    match name {
        "well-formed" => "the request can be read in one way only".to_owned(),
        "realm" => facts.place.realm.map_or_else(String::new, |(_, realm)| owns(realm)),
        "arrival-quota" | "quota" => enough(around),
        "route" => route.map_or_else(|| "the path is known".to_owned(), found),
        "method" => format!("{} is taken here", facts.head.method.map_or("-", |method| method.name())),
        "enabled" => "the route is switched on".to_owned(),
        "headers" => route.map_or_else(String::new, |route| there(&route.headers)),
        "credential" => credential(facts),
        "lock-out" => lock_out(around, facts),
        "identity" => facts.principal().map_or_else(String::new, who),
        "app-type" => app_type(facts),
        "role" => role(facts),
        "scope" => reach(facts).map_or_else(|_| String::new(), |reach| scope(facts, &reach)),
        "body" => body(facts),
        // A rung without words of its own still says what it said.
        _ => String::new(),
    }
}

fn owns(realm: &Realm) -> String {
    let base = if realm.base.is_empty() { "/" } else { &realm.base };
    format!("{} owns {base}", realm.name)
}

fn enough(around: &Around<'_>) -> String {
    match around.peek {
        Some(_) => "enough is left now".to_owned(),
        None => "taken as enough left: only a running gateway knows".to_owned(),
    }
}

fn found(route: &Route) -> String {
    let patterns: Vec<String> = route.matches.iter().map(|(method, pattern)| format!("{method} {pattern}")).collect();
    match patterns.as_slice() {
        [first, second, third, more @ ..] if !more.is_empty() => {
            format!("{}: {first}, {second}, {third} and {} more", route.name, more.len())
        }
        _ => format!("{}: {}", route.name, patterns.join(", ")),
    }
}

fn there(names: &[Box<str>]) -> String {
    match names {
        [] => "the route requires none".to_owned(),
        [one] => format!("{one} is there"),
        several => format!("{} are there", several.join(", ")),
    }
}

fn credential(facts: &Facts<'_>) -> String {
    let presented = match facts.head.presented {
        Presented::Basic(_) => "an API id and its key are presented",
        Presented::Token(_) => "a token is presented",
        Presented::Nothing | Presented::Unreadable(..) => "nothing readable is presented",
    };
    facts
        .place
        .route()
        .map_or_else(String::new, |route| format!("{presented}; the route takes {}", taken(route.schemes)))
}

fn taken(schemes: Schemes) -> &'static str {
    match (schemes.basic, schemes.token) {
        (true, true) => "basic and token",
        (true, false) => "basic",
        (false, true) => "token",
        (false, false) => "no scheme",
    }
}

fn lock_out(around: &Around<'_>, facts: &Facts<'_>) -> String {
    let named = facts.principal().filter(|principal| &*principal.credential != UNNAMED);
    match (around.peek, named) {
        (Some(_), Some(principal)) => format!("{} may be tried from {}", principal.credential, facts.head.client),
        (Some(_), None) => "taken as not locked: no credential is named".to_owned(),
        (None, _) => "taken as not locked: only a running gateway knows".to_owned(),
    }
}

fn who(principal: &Principal) -> String {
    let lineage = &principal.account.lineage;
    let by = if &*principal.credential == UNNAMED { principal.scheme.name() } else { &principal.credential };
    format!("{} {} by {by}, at {}; taken as genuine", lineage.role(), lineage.id(), lineage.as_str())
}

fn app_type(facts: &Facts<'_>) -> String {
    match (facts.head.app_type, facts.place.route()) {
        (AppType::Token(token), Some(route)) => {
            format!("X-App-Type {token} is one of {}", route.app_types.join(", "))
        }
        (AppType::Absent | AppType::NotString | AppType::Token(_), _) => String::new(),
    }
}

fn role(facts: &Facts<'_>) -> String {
    let (Some((_, realm)), Some(route), Some(principal)) = (facts.place.realm, facts.place.route(), facts.principal())
    else {
        return String::new();
    };
    let name = principal.account.lineage.role();
    let Some(index) = realm.role(name) else { return String::new() };
    let scope = route.access.scope(index).map_or("-", |scope| scope.name());
    let limited = realm.networks.iter().any(|(limited, _)| *limited == index);
    let from = if limited { format!(", and {name} may call from {}", facts.head.client) } else { String::new() };
    format!("the route allows {name}: {scope}{from}")
}

/// Where the target lies, and what the scope makes of it.
fn scope(facts: &Facts<'_>, reach: &Reach<'_>) -> String {
    let own = facts.principal().map_or("-", |principal| principal.account.lineage.id());
    let target = reach.target.as_deref().unwrap_or("-");
    let lies = match reach.relation {
        Relation::None => return "the request names no account".to_owned(),
        Relation::Myself => format!("target {target} is the caller's own account"),
        Relation::Below => format!("target {target} lies below {own}"),
        Relation::Outside => outside(facts, target, own),
        Relation::Unknown => format!("no account {target} is known"),
    };
    let holds = if reach.allows() { "holds it" } else { "does not hold it" };
    format!("{lies}; scope {} {holds}", reach.scope)
}

/// An account of another role than the route is about counts as one outside, wherever it lies.
fn outside(facts: &Facts<'_>, target: &str, own: &str) -> String {
    let wanted = facts.place.route().and_then(|route| route.target.as_ref()).and_then(|rule| rule.role.as_deref());
    let role = match &facts.target {
        Some(TargetAnswer::Known(account)) => Some(account.lineage.role()),
        Some(TargetAnswer::Unknown | TargetAnswer::Unavailable(_)) => None,
        None => facts.principal().map(|principal| principal.account.lineage.role()),
    };
    match (wanted, role) {
        (Some(wanted), Some(role)) if wanted != role => {
            format!("target {target} is a {role}, and the route is about a {wanted}")
        }
        _ => format!("target {target} lies outside of the accounts of {own}"),
    }
}

fn body(facts: &Facts<'_>) -> String {
    let most = facts.place.route().map_or(0, |route| route.body_size);
    match facts.head.body {
        Body::Length(0) => "no body is announced".to_owned(),
        Body::Length(length) => format!("{length} bytes are announced; the route takes {most}"),
        Body::Chunked => format!("a body of unknown length; it is cut off after {most} bytes"),
    }
}

fn moot(facts: &Facts<'_>, name: &str) -> String {
    let public = facts.place.route().is_some_and(|route| route.public);
    let text = match name {
        "arrival-quota" => "no quota is charged on arrival",
        "quota" => "no further quota is charged",
        "app-type" => "the route takes any X-App-Type",
        "lock-out" if !public => "a token is no guess",
        "scope" if !public => return untargeted(facts),
        "credential" | "lock-out" | "identity" | "role" | "scope" if public => "the route is public",
        _ => "",
    };
    text.to_owned()
}

fn untargeted(facts: &Facts<'_>) -> String {
    let answered = facts.place.route().is_some_and(|route| match route.destination {
        Destination::Upstream(_) => false,
        Destination::Login | Destination::Logout => true,
    });
    match reach(facts) {
        Ok(reach) if !answered => {
            format!("the request names no account; the upstream is told scope {} and filters by it", reach.scope)
        }
        Ok(_) | Err(_) => "the request names no account".to_owned(),
    }
}

/// The ladder's own cause, and what the facts add to it.
fn denied(facts: &Facts<'_>, name: &str, denial: &Denial) -> String {
    let cause = denial.cause;
    let more = match &denial.hint {
        Hint::None => detail(facts, name),
        Hint::Allow(methods) => Some(format!("it has {methods}")),
        // "no Authorization" names it already.
        Hint::Header(name) => (!cause.ends_with(&**name)).then(|| name.to_string()),
        Hint::AppTypes(types) => Some(format!("it takes {}", types.join(", "))),
        Hint::RetryAfter(seconds) => Some(format!("another try may pass in {seconds} s")),
    };
    more.map_or_else(|| cause.to_owned(), |more| format!("{cause}: {more}"))
}

fn detail(facts: &Facts<'_>, name: &str) -> Option<String> {
    let route = facts.place.route();
    match name {
        "realm" | "route" => facts.head.method.map(|method| format!("{method} {}", facts.head.path)),
        "credential" => route.map(|route| format!("the route takes {}", taken(route.schemes))),
        "identity" => suspended(facts),
        "role" => Some(refused_role(facts)),
        "scope" => reach(facts).ok().map(|reach| scope(facts, &reach)),
        "body" => Some(body(facts)),
        _ => None,
    }
}

fn suspended(facts: &Facts<'_>) -> Option<String> {
    let Some(Identity::Suspended(principal)) = &facts.identity else { return None };
    Some(principal.account.lineage.as_str().to_owned())
}

fn refused_role(facts: &Facts<'_>) -> String {
    let name = facts.principal().map_or("-", |principal| principal.account.lineage.role());
    let (Some((_, realm)), Some(route)) = (facts.place.realm, facts.place.route()) else { return name.to_owned() };
    let index = realm.role(name);
    if index.is_some_and(|index| route.access.scope(index).is_some()) {
        return format!("{name} from {}", facts.head.client);
    }
    let allowed = realm.roles.iter().filter(|role| {
        let scope = realm.role(role).and_then(|index| route.access.scope(index));
        scope.is_some()
    });
    let allowed: Vec<&str> = allowed.map(|role| &**role).collect();
    format!("{name}; it allows {}", allowed.join(", "))
}

fn asked(question: &Question) -> String {
    match question {
        Question::LockOut => "nobody says whether it is locked out",
        Question::Identity => "nobody says who calls",
        Question::Target(_) => "nobody says where the target lies",
        Question::Quota(_) => "nobody says what is left",
    }
    .to_owned()
}
