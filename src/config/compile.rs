//! One policy file → one realm with its routes, all faults noted.
//!
//! Called by `load` for each file. `compile_route` does the routes, `compile_test` fixture and tests.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::spanned::Spanned;
use serde::de::DeserializeOwned;

use super::block::Block;
use super::compile_charges::Payer;
use super::compile_quota::Quotas;
use super::compile_route::{Defaults, Places};
use super::contradictions::refuse_contradictions;
use super::diag::{Faults, Severity, Source, suggest};
use super::gateway_file::network;
use super::overlaps;
use super::policy_file::{PolicyTest, RawFixture, RawLogin, RawQuota, RawRealm, RawRoute, RawTest};
use super::settings::{Limits, Upstream};
use crate::policy::access::{MAX_ROLES, RoleIndex};
use crate::policy::credential::Schemes;
use crate::policy::pattern::Pattern;
use crate::policy::rehearsal::Tree;
use crate::policy::route::{Location, Realm, Route};
use crate::policy::table::{Clash, RouteIndex, RouteTable};

/// What one policy file compiles to.
pub(super) struct CompiledFile {
    pub realm: Realm,
    /// Where its name and base stand.
    pub named: (Range<usize>, Range<usize>),
    /// Where its routes' parts stand, in the routes' order.
    pub places: Vec<Places>,
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
    /// Of the routes so far, in their order.
    pub places: Vec<Places>,
    /// Their names.
    pub routes: HashMap<Box<str>, Location>,
    /// A table that could not be read may name quotas too.
    pub unread: bool,
    /// Each route is in the realm's table, with all its patterns.
    pub complete: bool,
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
    let mut compiler = Compiler {
        source,
        around,
        quotas: Quotas::new(),
        places: Vec::new(),
        routes: HashMap::new(),
        unread: false,
        complete: true,
    };
    let quotas = root.take_named("quota", faults);
    let login = root.take_table("login", faults);
    let before = faults.count(Severity::Fault);
    let routes = root.take_tables("route", faults);
    let unlisted = faults.count(Severity::Fault) > before;
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
    if routes.is_empty() && !unlisted {
        faults.fault(
            source,
            realm_span.clone(),
            "the realm has no `[[route]]`",
            "without routes everything is refused",
        );
    }
    for block in routes {
        compiler.read_route(block, &mut realm, &defaults, faults);
    }
    compiler.login(login, &mut realm, &defaults, faults);
    compiler.refuse_unused_quotas(faults);
    let tree = compiler.fixture(fixture, &realm, faults);
    let tests = compiler.read_tests(tests, &realm, &tree, faults);
    if compiler.complete {
        overlaps::judge(source, &realm, &compiler.places, &tests, faults);
    }
    Some(CompiledFile { realm, named: defaults.named, places: compiler.places, tree, tests })
}

fn read_alone<'i, T: DeserializeOwned>(blocks: impl IntoIterator<Item = Block<'i>>, faults: &mut Faults) {
    for block in blocks {
        block.read::<T>(faults);
    }
}

impl Compiler<'_> {
    fn read_route(&mut self, block: Block<'_>, realm: &mut Realm, defaults: &Defaults, faults: &mut Faults) {
        let (line, span) = (block.line(), block.span());
        let Some(raw) = block.read::<RawRoute>(faults) else {
            (self.unread, self.complete) = (true, false);
            return;
        };
        match self.route(raw, span, line, realm, defaults, faults) {
            Some((route, places)) => self.add_route(realm, route, places, faults),
            None => self.complete = false,
        }
    }

    fn read_tests(&self, blocks: Vec<Block<'_>>, realm: &Realm, tree: &Tree, faults: &mut Faults) -> Vec<PolicyTest> {
        let (mut tests, mut places) = (Vec::new(), Vec::new());
        for block in blocks {
            let (line, place) = (block.line(), block.key_span("expect").unwrap_or_else(|| block.span()));
            let Some(raw) = block.read::<RawTest>(faults) else { continue };
            if let Some(test) = self.test(raw, line, realm, tree, faults) {
                tests.push(test);
                places.push(place);
            }
        }
        refuse_contradictions(self.source, &tests, &places, faults);
        tests
    }

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
        let named = (raw.name.span(), raw.base.span());
        let quotas = raw.quotas;
        Some((realm, Defaults { named, upstream, upstream_named, quotas, address_quota: false, body_size }))
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
                faults.fault(self.source, name.span(), message, "drop one");
            }
            known.push(name.get_ref().as_str().into());
        }
        Some(known)
    }

    fn schemes(&self, names: &Spanned<Vec<Spanned<String>>>, faults: &mut Faults) -> Schemes {
        let mut schemes = Schemes::default();
        for (place, name) in names.get_ref().iter().enumerate() {
            if names.get_ref().iter().take(place).any(|earlier| earlier.get_ref() == name.get_ref()) {
                let message = format!("scheme `{}` stands twice", name.get_ref());
                faults.fault(self.source, name.span(), message, "drop one");
            }
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
            (self.unread, self.complete) = (true, false);
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
        for (route, places) in self.own_routes(&raw, line, realm, &quotas.indexes, faults) {
            self.add_route(realm, route, places, faults);
        }
    }

    /// Adds a route, and says which one has its name or pattern already.
    fn add_route(&mut self, realm: &mut Realm, route: Route, places: Places, faults: &mut Faults) {
        match self.routes.get(&route.name) {
            Some(earlier) => {
                let message = format!("route `{}` stands twice, first at {earlier}", route.name);
                faults.fault(self.source, places.name.clone(), message, "names label logs and metrics; choose another");
            }
            None => {
                self.routes.insert(route.name.clone(), route.location.clone());
            }
        }
        let itself = realm.routes.len();
        for (place, Clash(RouteIndex(earlier))) in realm.add(route).err().unwrap_or_default() {
            let (route, earlier) = (&realm.routes[itself], earlier as usize);
            let (method, pattern) = &route.matches[place];
            let message = match realm.routes.get(earlier).filter(|_| earlier != itself) {
                Some(first) => {
                    format!("`{method} {pattern}` matches what `{}` at {} matches", first.name, first.location)
                }
                None => format!("`{method} {pattern}` stands twice in `{}`", route.name),
            };
            let hint = "neither is more specific; merge them or change one";
            faults.fault(self.source, places.matches[place].clone(), message, hint);
            self.complete = false;
        }
        self.places.push(places);
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
