//! One `[[route]]`, or one of the gateway's own, compiled.
//!
//! Called by `compile` only.

use std::ops::Range;

use super::spanned::Spanned;

use super::compile::Compiler;
use super::compile_charges::Payer;
use super::diag::{Faults, suggest};
use super::gateway_file::timeouts;
use super::policy_file::{RawLogin, RawRoute};
use super::settings::DEFAULT_TIMEOUTS;
use super::value::Texts;
use crate::policy::access::{Access, RoleIndex, Scope};
use crate::policy::credential::Schemes;
use crate::policy::method::Method;
use crate::policy::pattern::Pattern;
use crate::policy::quota::QuotaIndex;
use crate::policy::route::{Destination, Location, Realm, Route, UpstreamIndex};

/// What the realm says for all its routes.
pub(super) struct Defaults {
    /// Where the realm's name and base stand.
    pub named: (Range<usize>, Range<usize>),
    pub upstream: Option<UpstreamIndex>,
    /// The realm names one, though it may have a fault of its own.
    pub upstream_named: bool,
    pub quotas: Vec<Spanned<String>>,
    pub address_quota: bool,
    pub body_size: u64,
}

/// Where the parts of a route stand that are judged once all routes are known.
pub(super) struct Places {
    pub name: Range<usize>,
    /// As many as the route has patterns.
    pub matches: Vec<Range<usize>>,
    pub scopes: Vec<(RoleIndex, Range<usize>)>,
}

/// Longest login body: contract section 4.
const LOGIN_BODY: u64 = 8 << 10;

impl Compiler<'_> {
    pub(super) fn route(
        &mut self,
        raw: RawRoute,
        span: Range<usize>,
        line: u32,
        realm: &Realm,
        defaults: &Defaults,
        faults: &mut Faults,
    ) -> Option<(Route, Places)> {
        self.label(&raw.name, "a route's name", faults);
        let texts = Texts::placed(&raw.matches);
        let (matches, places) = self.matches(&texts, faults);
        self.complete &= matches.len() == texts.len();
        if texts.is_empty() {
            faults.fault(self.source, raw.matches.span(), "the route matches nothing", "match = \"GET /customers\"");
        }
        let mut scopes = Vec::new();
        let access = self.access(&raw, span.clone(), realm, &mut scopes, faults);
        let payer = if raw.public { Payer::Public } else { Payer::Roles(&access) };
        let quotas = self.charged(&raw.quotas, &payer, realm, faults);
        if raw.public {
            self.check_public(&raw, quotas.per_address || defaults.address_quota, faults);
        }
        let target = raw.target.as_ref().and_then(|target| self.target(target, &matches, &raw, realm, faults));
        if let (None, Some(role)) = (&raw.target, &raw.target_role) {
            faults.fault(self.source, role.span(), "`target_role` without `target`", "say where the target stands");
        }
        let upstream = match &raw.upstream {
            Some(name) => self.upstream(name, faults),
            None if defaults.upstream_named => defaults.upstream,
            None => {
                faults.fault(self.source, span, "the route has no upstream", "name one here or in [realm]");
                None
            }
        };
        let limits = self.upgrade_and_limits(&raw, upstream, faults);
        let places = Places { name: raw.name.span(), matches: places, scopes };
        let route = Route {
            name: raw.name.get_ref().as_str().into(),
            location: Location { file: self.source.name.as_str().into(), line },
            matches,
            public: raw.public,
            enabled: raw.enabled.unwrap_or(true),
            schemes: realm.schemes,
            access,
            headers: self.header_names(&raw, faults),
            app_types: self.app_types(raw.app_types.as_ref(), faults),
            quotas: quotas.indexes,
            target,
            destination: Destination::Upstream(upstream?),
            body_size: raw.body_size.map_or(defaults.body_size, |size| size.get_ref().0),
            timeouts: limits,
            strip_base: raw.strip_base,
            forward_authorization: raw.forward_authorization,
        };
        Some((route, places))
    }

    fn check_public(&self, raw: &RawRoute, limited: bool, faults: &mut Faults) {
        let place = raw.name.span();
        if let Some(allow) = &raw.allow {
            faults.fault(
                self.source,
                allow.span(),
                "a public route has no `allow`",
                "drop `allow`, or `public = true`",
            );
        }
        if let Some(target) = &raw.target {
            let hint = "nobody is known whose data it could be; drop `target`, or `public = true`";
            faults.fault(self.source, target.span(), "a public route names no target", hint);
        }
        if !limited {
            faults.warn(
                self.source,
                place,
                "a public route without a quota per address",
                "anybody may call it without end",
            );
        }
    }

    fn upgrade_and_limits(
        &self,
        raw: &RawRoute,
        upstream: Option<UpstreamIndex>,
        faults: &mut Faults,
    ) -> Option<crate::policy::route::Timeouts> {
        for protocol in &raw.upgrade {
            if protocol.get_ref() == "websocket" {
                faults.warn(self.source, protocol.span(), "`upgrade` has no effect yet", "`Upgrade` is dropped");
            } else {
                let hint = "upgrade = [\"websocket\"]";
                faults.fault(self.source, protocol.span(), format!("no upgrade to `{}`", protocol.get_ref()), hint);
            }
        }
        if let Some(size) = raw.body_size.as_ref().filter(|size| size.get_ref().0 == 0) {
            faults.fault(self.source, size.span(), "a body limit of zero would refuse every body", "");
        }
        let raw = raw.timeouts.clone()?;
        let upstream = upstream.and_then(|index| self.around.upstreams.get(usize::from(index.0)));
        let default = upstream.map_or(DEFAULT_TIMEOUTS, |upstream| upstream.timeouts);
        Some(timeouts(self.source, raw, default, faults))
    }

    /// The patterns, and where each stands.
    fn matches(&self, texts: &[Spanned<String>], faults: &mut Faults) -> (Vec<(Method, Pattern)>, Vec<Range<usize>>) {
        let read = texts.iter().filter_map(|text| Some((self.method_and_pattern(text, faults)?, text.span())));
        read.unzip()
    }

    pub(super) fn method_and_pattern(&self, text: &Spanned<String>, faults: &mut Faults) -> Option<(Method, Pattern)> {
        let hint = "write \"GET /customers/{customer_id}\"";
        let Some((method, path)) = text.get_ref().split_once(' ') else {
            faults.fault(self.source, text.span(), format!("`{}` is no method and path", text.get_ref()), hint);
            return None;
        };
        let Some(method) = Method::parse(method) else {
            let hint = suggest(&method.to_ascii_uppercase(), Method::ALL.map(Method::name));
            faults.fault(self.source, text.span(), format!("no method `{method}`"), hint);
            return None;
        };
        if method == Method::Connect {
            faults.fault(self.source, text.span(), "CONNECT opens tunnels, so no request could match", "");
        }
        Pattern::parse(path)
            .map(|pattern| (method, pattern))
            .map_err(|error| faults.fault(self.source, text.span(), format!("`{path}`: {error}"), hint))
            .ok()
    }

    /// Who may, how far; `places` takes where each role's scope stands.
    fn access(
        &self,
        raw: &RawRoute,
        span: Range<usize>,
        realm: &Realm,
        places: &mut Vec<(RoleIndex, Range<usize>)>,
        faults: &mut Faults,
    ) -> Access {
        let mut access = Access::default();
        let public = raw.public;
        let Some(allow) = &raw.allow else {
            if !public {
                let hint = "allow = [\"administrator\"], or public = true";
                faults.fault(self.source, span, "the route allows nobody", hint);
            }
            return access;
        };
        if allow.get_ref().0.is_empty() && !public {
            faults.fault(
                self.source,
                allow.span(),
                "the route allows nobody",
                "name a role; to switch it off: enabled = false",
            );
        }
        for (name, scope) in &allow.get_ref().0 {
            let Some(role) = self.role(realm, name, faults) else { continue };
            if places.iter().any(|(known, _)| *known == role) {
                faults.fault(self.source, name.span(), format!("role `{}` stands twice", name.get_ref()), "drop one");
            }
            places.push((role, scope.as_ref().map_or_else(|| name.span(), Spanned::span)));
            let scope = match scope {
                None => Scope::Subtree,
                Some(text) => match self.scope(text, faults) {
                    Some(scope) => scope,
                    None => continue,
                },
            };
            if scope == Scope::Any {
                let hint = "`subtree` keeps a role to its own data and what lies below";
                let message = format!("`{}` may reach the data of any account", name.get_ref());
                faults.warn(self.source, name.span(), message, hint);
            }
            access.allow(role, scope);
        }
        access
    }

    pub(super) fn scope(&self, text: &Spanned<String>, faults: &mut Faults) -> Option<Scope> {
        let scope = Scope::parse(text.get_ref());
        if scope.is_none() {
            let hint = suggest(text.get_ref(), Scope::ALL.map(Scope::name));
            faults.fault(self.source, text.span(), format!("no scope `{}`", text.get_ref()), hint);
        }
        scope
    }

    /// The routes that the gateway answers itself.
    pub(super) fn own_routes(
        &self,
        raw: &RawLogin,
        line: u32,
        realm: &Realm,
        quotas: &[QuotaIndex],
        faults: &mut Faults,
    ) -> Vec<(Route, Places)> {
        let mut own = Vec::with_capacity(2);
        let texts =
            [(Some(&raw.login), "login", Destination::Login), (raw.logout.as_ref(), "logout", Destination::Logout)];
        for (text, name, destination) in texts {
            let Some(text) = text else { continue };
            let Some(found) = self.method_and_pattern(text, faults) else { continue };
            let login = destination == Destination::Login;
            if login && found.0 != Method::Post {
                let message = format!("a login with {} has no body to read e-mail and password from", found.0);
                faults.fault(self.source, text.span(), message, "login = \"POST /login\"");
            }
            let places = Places { name: text.span(), matches: vec![text.span()], scopes: Vec::new() };
            let mut access = Access::default();
            for role in realm.roles.iter().filter_map(|role| realm.role(role)) {
                access.allow(role, Scope::Own);
            }
            let route = Route {
                name: name.into(),
                location: Location { file: self.source.name.as_str().into(), line },
                matches: vec![found],
                public: login,
                enabled: true,
                schemes: Schemes { basic: false, token: true },
                access,
                headers: if login { vec!["x-api-id".into()] } else { Vec::new() },
                app_types: Vec::new(),
                quotas: if login { quotas.to_vec() } else { Vec::new() },
                target: None,
                destination,
                body_size: LOGIN_BODY,
                timeouts: None,
                strip_base: false,
                forward_authorization: false,
            };
            own.push((route, places));
        }
        own
    }
}
