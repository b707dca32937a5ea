//! One policy file → one realm with its routes, all faults noted.
//!
//! Called by `load` for each file. `compile_route` does the routes, `compile_test` fixture and tests.

use std::ops::Range;
use std::sync::Arc;

use super::spanned::Spanned;
use serde::de::DeserializeOwned;

use super::block::Block;
use super::compile_charges::Payer;
use super::compile_quota::Quotas;
use super::compile_route::Defaults;
use super::diag::{Faults, Source, suggest};
use super::gateway_file::network;
use super::policy_file::{PolicyTest, RawFixture, RawLogin, RawQuota, RawRealm, RawRoute, RawTest};
use super::settings::{Limits, Upstream};
use crate::policy::access::{MAX_ROLES, RoleIndex};
use crate::policy::credential::Schemes;
use crate::policy::pattern::Pattern;
use crate::policy::rehearsal::Tree;
use crate::policy::route::{Location, Realm, Route};
use crate::policy::table::RouteTable;

/// What one policy file compiles to.
pub(super) struct CompiledFile {
    pub realm: Realm,
    pub realm_span: Range<usize>,
    pub tree: Tree,
    pub tests: Vec<PolicyTest>,
}

/// What a file is compiled against.
pub(super) struct Surroundings<'s> {
    pub upstreams: &'s [Upstream],
    /// All that gateway.toml names, those with a fault of their own among them.
    pub named_upstreams: &'s [String],
    pub limits: &'s Limits,
}

pub(super) const TOP: &[&str] = &["realm", "login", "quota", "route", "fixture", "test"];

/// The file being compiled, with what its parts refer to.
pub(super) struct Compiler<'s> {
    pub source: &'s Arc<Source>,
    pub around: &'s Surroundings<'s>,
    pub quotas: Quotas,
    /// A table that could not be read may name quotas too.
    pub unread: bool,
}

/// Reads and compiles one policy file.
pub(super) fn compile(source: &Arc<Source>, around: &Surroundings<'_>, faults: &mut Faults) -> Option<CompiledFile> {
    let mut root = Block::parse(source, faults)?;
    let Some(block) = root.take_table("realm", faults) else {
        faults.fault(
            source,
            0..0,
            "`[realm]` is missing",
            "a policy file starts with [realm] name, base, roles, schemes",
        );
        return None;
    };
    let realm_span = block.span();
    let mut compiler = Compiler { source, around, quotas: Quotas::new(), unread: false };
    let quotas = root.take_named("quota", faults);
    let login = root.take_table("login", faults);
    let routes = root.take_tables("route", faults);
    let fixture = root.take_table("fixture", faults);
    let tests = root.take_tables("test", faults);
    root.refuse_rest(TOP, faults);

    let Some((mut realm, mut defaults)) = compiler.realm(block, faults) else {
        // Without a realm nothing can be compiled, but each table can still be read.
        read_alone::<RawQuota>(quotas.into_iter().map(|(_, block)| block), faults);
        read_alone::<RawLogin>(login, faults);
        read_alone::<RawRoute>(routes, faults);
        read_alone::<RawTest>(tests, faults);
        return None;
    };
    compiler.read_quotas(quotas, &mut realm, faults);
    let charged = compiler.charged(&defaults.quotas, &Payer::Realm, &realm, faults);
    defaults.address_quota = charged.per_address;
    realm.charged = charged.indexes;
    if routes.is_empty() {
        faults.fault(
            source,
            realm_span.clone(),
            "the realm has no `[[route]]`",
            "without routes everything is refused",
        );
    }
    for block in routes {
        let line = block.line();
        let span = block.span();
        let Some(raw) = block.read::<RawRoute>(faults) else {
            compiler.unread = true;
            continue;
        };
        let (name, matches) = (raw.name.clone(), raw.matches.span());
        if let Some(route) = compiler.route(raw, span, line, &realm, &defaults, faults) {
            compiler.add_route(&mut realm, route, name.span(), matches, faults);
        }
    }
    compiler.login(login, &mut realm, &defaults, faults);
    compiler.refuse_unused_quotas(faults);
    let tree = compiler.fixture(fixture, &realm, faults);
    let tests = tests.into_iter().filter_map(|block| {
        let line = block.line();
        compiler.test(block.read::<RawTest>(faults)?, line, &realm, &tree, faults)
    });
    let tests = tests.collect();
    Some(CompiledFile { realm, realm_span, tree, tests })
}

fn read_alone<'i, T: DeserializeOwned>(blocks: impl IntoIterator<Item = Block<'i>>, faults: &mut Faults) {
    for block in blocks {
        block.read::<T>(faults);
    }
}

impl Compiler<'_> {
    fn realm(&self, block: Block<'_>, faults: &mut Faults) -> Option<(Realm, Defaults)> {
        block.warn_without_effect("realm", &["cors"], faults);
        let location = Location { file: self.source.name.as_str().into(), line: block.line() };
        let raw: RawRealm = block.read(faults)?;
        self.label(&raw.name, "a realm's name", faults);
        let base = self.base(&raw.base, faults)?;
        let roles = self.roles(&raw.roles, faults)?;
        let schemes = self.schemes(&raw.schemes, faults);
        let mut realm = Realm {
            name: raw.name.get_ref().as_str().into(),
            location,
            base,
            roles,
            schemes,
            networks: Vec::new(),
            quotas: Vec::new(),
            charged: Vec::new(),
            routes: Vec::new(),
            upstreams: self.around.upstreams.iter().map(|upstream| upstream.name.as_str().into()).collect(),
            table: RouteTable::default(),
        };
        for (role, networks) in raw.networks.0 {
            let span = role.span();
            let Some(role) = self.role(&realm, &role, faults) else { continue };
            let networks = networks.map(Spanned::into_inner).unwrap_or_default();
            if networks.is_empty() {
                let message = format!("`{}` may call from nowhere", realm.roles[usize::from(role.0)]);
                faults.fault(self.source, span.clone(), message, "networks = { administrator = [\"10.0.0.0/8\"] }");
            }
            let networks = networks.iter().filter_map(|text| network(self.source, text, faults)).collect();
            realm.networks.push((role, networks));
        }
        let upstream_named = raw.upstream.is_some();
        let upstream = raw.upstream.and_then(|name| self.upstream(&name, faults));
        let body_size = self.around.limits.body_size;
        Some((realm, Defaults { upstream, upstream_named, quotas: raw.quotas, address_quota: false, body_size }))
    }

    fn base(&self, base: &Spanned<String>, faults: &mut Faults) -> Option<Box<str>> {
        let text = base.get_ref();
        if text == "/" {
            return Some("".into());
        }
        let hint = "write \"/\", or \"/ucaas/v1\" without a slash at the end";
        match Pattern::parse(text) {
            Ok(pattern) if !text.ends_with('/') && !text.contains(['{', '}']) => Some(pattern.to_string().into()),
            Ok(_) => {
                faults.fault(self.source, base.span(), format!("`{text}` is no base path"), hint);
                None
            }
            Err(error) => {
                faults.fault(self.source, base.span(), format!("`{text}` is no base path: {error}"), hint);
                None
            }
        }
    }

    fn roles(&self, roles: &Spanned<Vec<Spanned<String>>>, faults: &mut Faults) -> Option<Vec<Box<str>>> {
        let names = roles.get_ref();
        if names.is_empty() || names.len() > MAX_ROLES {
            faults.fault(self.source, roles.span(), format!("a realm has 1 to {MAX_ROLES} roles"), "highest first");
            return None;
        }
        let mut known: Vec<Box<str>> = Vec::with_capacity(names.len());
        for name in names {
            self.label(name, "a role", faults);
            if known.iter().any(|role| **role == **name.get_ref()) {
                let message = format!("role `{}` stands twice, so it would outrank itself", name.get_ref());
                faults.fault(self.source, name.span(), message, "");
            }
            known.push(name.get_ref().as_str().into());
        }
        Some(known)
    }

    fn schemes(&self, names: &Spanned<Vec<Spanned<String>>>, faults: &mut Faults) -> Schemes {
        let mut schemes = Schemes::default();
        for name in names.get_ref() {
            match name.get_ref().as_str() {
                "basic" => schemes.basic = true,
                "token" => schemes.token = true,
                other => {
                    faults.fault(
                        self.source,
                        name.span(),
                        format!("no scheme `{other}`"),
                        suggest(other, ["basic", "token"]),
                    );
                }
            }
        }
        if names.get_ref().is_empty() {
            faults.fault(self.source, names.span(), "a realm needs a scheme", "schemes = [\"basic\", \"token\"]");
        }
        schemes
    }

    fn login(&mut self, block: Option<Block<'_>>, realm: &mut Realm, defaults: &Defaults, faults: &mut Faults) {
        let Some(block) = block else {
            if realm.schemes.token && !realm.schemes.basic {
                let hint = "add [login], or schemes = [\"basic\"]";
                faults.warn(self.source, 0..0, "nobody can get a token for this realm: it has no `[login]`", hint);
            }
            return;
        };
        let line = block.line();
        let span = block.span();
        let Some(raw) = block.read::<RawLogin>(faults) else {
            self.unread = true;
            return;
        };
        let quotas = self.charged(&raw.quotas, &Payer::Login, realm, faults);
        if !quotas.per_address && !defaults.address_quota {
            let hint = "anybody may try passwords as fast as the gateway can check them";
            faults.warn(self.source, span.clone(), "the login has no quota per address", hint);
        }
        if !realm.schemes.token {
            faults.fault(self.source, span, "a login gives tokens, but `schemes` of the realm lacks \"token\"", "");
        }
        for route in self.own_routes(&raw, line, realm, &quotas.indexes, faults) {
            let place = if &*route.name == "login" {
                raw.login.span()
            } else {
                raw.logout.as_ref().map_or(0..0, Spanned::span)
            };
            self.add_route(realm, route, place.clone(), place, faults);
        }
    }

    /// Adds a route, or says which one has its name or pattern already.
    fn add_route(
        &self,
        realm: &mut Realm,
        route: Route,
        name: Range<usize>,
        matches: Range<usize>,
        faults: &mut Faults,
    ) {
        if let Some(earlier) = realm.routes.iter().find(|known| known.name == route.name) {
            let message = format!("route `{}` stands twice, first at {}", route.name, earlier.location);
            faults.fault(self.source, name, message, "names label logs and metrics; choose another");
        }
        let patterns: Vec<String> =
            route.matches.iter().map(|(method, pattern)| format!("{method} {pattern}")).collect();
        let itself = route.name.clone();
        if let Err((place, clash)) = realm.add(route) {
            let pattern = patterns.get(place).map_or("", String::as_str);
            let message = match realm.routes.get(clash.0.0 as usize) {
                Some(earlier) => format!("`{pattern}` matches what `{}` at {} matches", earlier.name, earlier.location),
                None => format!("`{pattern}` stands twice in `{itself}`"),
            };
            faults.fault(self.source, matches, message, "neither is more specific; merge them or change one");
        }
    }

    /// A name that becomes a metric label.
    pub(super) fn label(&self, name: &Spanned<String>, what: &str, faults: &mut Faults) {
        if !crate::policy::principal::is_id(name.get_ref()) {
            faults.fault(self.source, name.span(), format!("{what} is 1 to 64 of A-Z a-z 0-9 . _ ~ -"), "");
        }
    }

    pub(super) fn role(&self, realm: &Realm, name: &Spanned<String>, faults: &mut Faults) -> Option<RoleIndex> {
        let role = realm.role(name.get_ref());
        if role.is_none() {
            let message = format!("the realm has no role `{}`", name.get_ref());
            faults.fault(
                self.source,
                name.span(),
                message,
                suggest(name.get_ref(), realm.roles.iter().map(|role| &**role)),
            );
        }
        role
    }

    pub(super) fn upstream(
        &self,
        name: &Spanned<String>,
        faults: &mut Faults,
    ) -> Option<crate::policy::route::UpstreamIndex> {
        let index = self.around.upstreams.iter().position(|upstream| upstream.name == *name.get_ref());
        if index.is_none() && !self.around.named_upstreams.contains(name.get_ref()) {
            let known = self.around.named_upstreams.iter().map(String::as_str);
            let hint = suggest(name.get_ref(), known);
            faults.fault(self.source, name.span(), format!("no upstream `{}` in gateway.toml", name.get_ref()), hint);
        }
        u16::try_from(index?).ok().map(crate::policy::route::UpstreamIndex)
    }

    fn fixture(&self, block: Option<Block<'_>>, realm: &Realm, faults: &mut Faults) -> Tree {
        let mut tree = Tree::default();
        let raw: RawFixture = block.and_then(|block| block.read(faults)).unwrap_or_default();
        for path in raw.accounts {
            if let Err(error) = tree.add(path.get_ref(), &realm.roles) {
                faults.fault(
                    self.source,
                    path.span(),
                    error.to_string(),
                    "write \"root/res-7/cus-42\", one id for each role",
                );
            }
        }
        tree
    }
}
