//! Every `quotas = […]`: what a request is charged to, and whether each quota can be charged there at all.
//!
//! Called by `compile` and `compile_route`. A quota that would never be charged where it is named, or twice, protects
//! nothing that the operator believes it does, so it is a fault.

use super::spanned::Spanned;

use super::compile::Compiler;
use super::diag::{Faults, suggest};
use crate::policy::access::{Access, RoleIndex};
use crate::policy::quota::{Limit, MAX_CHARGES, Per, Quota, QuotaIndex, Stage};
use crate::policy::route::Realm;

/// Where a list stands.
pub(super) enum Payer<'p> {
    /// `[realm]`: charged before routing.
    Realm,
    /// `[login]`
    Login,
    /// A `[[route]]` that needs no credential.
    Public,
    /// A `[[route]]` for these roles.
    Roles(&'p Access),
}

/// What one list names.
#[derive(Default)]
pub(super) struct Named {
    pub indexes: Vec<QuotaIndex>,
    /// One of them bounds the rate of an address, or may do so once its own fault is mended.
    pub per_address: bool,
}

impl Compiler<'_> {
    /// Compiles a list, and notes that its quotas are used.
    pub(super) fn charged(
        &mut self,
        names: &[Spanned<String>],
        payer: &Payer<'_>,
        realm: &Realm,
        faults: &mut Faults,
    ) -> Named {
        let mut named = Named::default();
        for (place, name) in names.iter().enumerate() {
            let text = name.get_ref().as_str();
            let mut refuse = |message: String, hint: &str| faults.fault(self.source, name.span(), message, hint);
            if names.iter().take(place).any(|earlier| earlier.get_ref() == text) {
                refuse(format!("quota `{text}` stands twice, so it would be charged twice"), "drop one");
                continue;
            }
            let Some(known) = self.quotas.get_mut(text) else {
                let hint = suggest(text, self.quotas.keys().map(String::as_str));
                let hint = if hint.is_empty() { format!("add [quota.{text}]") } else { hint };
                refuse(format!("no quota `{text}` in this file"), &hint);
                named.per_address = true;
                continue;
            };
            known.used = true;
            let quota = known.index.and_then(|index| realm.quota(index).map(|quota| (index, quota)));
            let Some((index, quota)) = quota else {
                named.per_address = true;
                continue;
            };
            if realm.charged.contains(&index) {
                let message = format!("[realm] charges every request to quota `{text}`, so it would be charged twice");
                refuse(message, "drop it here or there");
                continue;
            }
            if let Err((message, hint)) = payer.can_pay(quota, realm) {
                refuse(message, hint);
            }
            named.indexes.push(index);
            named.per_address |= quota.per == Per::Address && matches!(quota.limit, Limit::Rate(_));
            if charges(realm, &named.indexes, quota.per.stage()) == MAX_CHARGES + 1 {
                let message = match quota.per.stage() {
                    Stage::Arrival => format!("more than {MAX_CHARGES} quotas per address or realm for one request"),
                    Stage::Permitted => format!("more than {MAX_CHARGES} quotas for one request"),
                };
                refuse(message, "the [realm]'s and the route's own count together; drop the widest");
            }
        }
        named
    }

    pub(super) fn refuse_unused_quotas(&self, faults: &mut Faults) {
        if self.unread {
            return;
        }
        for (name, quota) in self.quotas.iter().filter(|(_, quota)| !quota.used) {
            let message = format!("nobody uses quota `{name}`");
            let hint = "name it in `quotas` of a route, the realm or the login";
            faults.fault(self.source, quota.span.clone(), message, hint);
        }
    }
}

/// How many quotas of a stage one request is charged to.
fn charges(realm: &Realm, own: &[QuotaIndex], stage: Stage) -> usize {
    let all = realm.charged.iter().chain(own).filter_map(|index| realm.quota(*index));
    all.filter(|quota| quota.per.stage() == stage).count()
}

impl Payer<'_> {
    /// Whether a request of this kind has what the quota is per; the message and the remedy if it has not.
    fn can_pay(&self, quota: &Quota, realm: &Realm) -> Result<(), (String, &'static str)> {
        let (name, per) = (&quota.name, quota.per.name());
        match (self, &quota.per) {
            (_, Per::Address | Per::Realm)
            | (Payer::Login, Per::Login | Per::Route)
            | (Payer::Public, Per::Route | Per::Upstream)
            | (Payer::Roles(_), Per::Principal | Per::Route | Per::Upstream) => Ok(()),
            (Payer::Roles(access), Per::Ancestor(role)) if may_have(access, role, realm) => Ok(()),
            (Payer::Roles(_), Per::Ancestor(_)) => Err((
                format!("quota `{name}` is per `{per}`, but no role of this route is one or lies below one"),
                "it would never be charged here; drop it",
            )),
            (Payer::Realm, Per::Login) => Err((
                format!("quota `{name}` is per `login`, and only a login has an e-mail"),
                "name it in `quotas` of [login]",
            )),
            (Payer::Realm, Per::Principal | Per::Route | Per::Upstream | Per::Ancestor(_)) => Err((
                format!("quota `{name}` is per `{per}`, which is not known before routing"),
                "name it in `quotas` of the routes; [realm] takes those per `address` or `realm`",
            )),
            (Payer::Public | Payer::Roles(_), Per::Login) => Err((
                format!("quota `{name}` is per `login`, and only a login has an e-mail"),
                "name it in `quotas` of [login]; callers of a route are `principal`",
            )),
            (Payer::Public, Per::Principal | Per::Ancestor(_)) => Err((
                format!("quota `{name}` is per `{per}`, but nobody knows who calls a public route"),
                "per = \"address\", \"realm\" or \"route\"",
            )),
            (Payer::Login, Per::Principal | Per::Ancestor(_)) => Err((
                format!("quota `{name}` is per `{per}`, but who logs in is not known before the password is right"),
                "per = \"login\", which is the e-mail, or \"address\"",
            )),
            (Payer::Login, Per::Upstream) => Err((
                format!("quota `{name}` is per `upstream`, but the gateway answers logins itself"),
                "per = \"route\" or \"realm\"",
            )),
        }
    }
}

/// Whether one of the roles is `role`, or can have an account of it above. An access without roles has a fault already.
fn may_have(access: &Access, role: &str, realm: &Realm) -> bool {
    let allowed = |index: usize| u8::try_from(index).is_ok_and(|index| access.scope(RoleIndex(index)).is_some());
    let own = realm.roles.iter().position(|known| **known == *role).unwrap_or(0);
    let mut roles = 0..realm.roles.len();
    !roles.clone().any(allowed) || roles.any(|index| index >= own && allowed(index))
}
