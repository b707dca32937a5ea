//! One `[[test]]` compiled to calls that can be judged.
//!
//! Called by `compile` only.

use std::net::IpAddr;
use std::sync::Arc;

use super::spanned::Spanned;

use super::compile::Compiler;
use super::diag::{Faults, suggest};
use super::policy_file::{Expectation, PolicyTest, RawTest, Wanted};
use super::value::Texts;
use crate::policy::outcome::{AUTHORIZATION, TOLD_APART};
use crate::policy::principal::Account;
use crate::policy::rehearsal::{Call, Tree};
use crate::policy::route::{Location, Realm};
use crate::reason::Reason;

impl Compiler<'_> {
    pub(super) fn test(
        &self,
        raw: RawTest,
        line: u32,
        realm: &Realm,
        tree: &Tree,
        faults: &mut Faults,
    ) -> Option<PolicyTest> {
        let expect = self.expectation(&raw, realm, faults)?;
        let client = self.client(raw.client.as_ref(), faults);
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in &raw.headers.0 {
            let Some(value) = value else {
                faults.fault(
                    self.source,
                    name.span(),
                    "headers of a test are a table",
                    "headers = { \"X-Api-Id\" = \"abc\" }",
                );
                continue;
            };
            headers.push((name.get_ref().to_ascii_lowercase(), value.get_ref().clone()));
        }
        headers.extend(raw.app_type.iter().map(|app_type| ("x-app-type".to_owned(), app_type.clone())));
        for texts in [&raw.callers, &raw.call].into_iter().filter(|texts| Texts::placed(texts).is_empty()) {
            faults.fault(self.source, texts.span(), "this test tests nothing", "name at least one caller and one call");
        }
        let mut calls = Vec::new();
        for caller in Texts::placed(&raw.callers) {
            let Some(account) = self.caller(&caller, realm, tree, faults) else { continue };
            for text in Texts::placed(&raw.call) {
                let Some((method, path)) = text.get_ref().split_once(' ').filter(|(_, path)| path.starts_with('/'))
                else {
                    let message = format!("`{}` is no method and path", text.get_ref());
                    faults.fault(self.source, text.span(), message, "write \"GET /customers/cus-42\"");
                    continue;
                };
                let mut call = Call::new(method, &format!("{}{path}", realm.base));
                call.headers.clone_from(&headers);
                call.caller.clone_from(&account);
                call.client = client.unwrap_or(call.client);
                calls.push((caller.get_ref().clone(), call));
            }
        }
        let location = Location { file: self.source.name.as_str().into(), line };
        Some(PolicyTest { location, realm: realm.name.clone(), calls, expect })
    }

    /// `Some(None)` is nobody.
    #[allow(clippy::option_option, reason = "no caller, an anonymous one, an account: three different things")]
    fn caller(
        &self,
        text: &Spanned<String>,
        realm: &Realm,
        tree: &Tree,
        faults: &mut Faults,
    ) -> Option<Option<Arc<Account>>> {
        if text.get_ref() == "anonymous" {
            return Some(None);
        }
        let Some((role, id)) = text.get_ref().split_once(':') else {
            let message = format!("`{}` is no caller", text.get_ref());
            faults.fault(self.source, text.span(), message, "write \"ROLE:ACCOUNT\" or \"anonymous\"");
            return None;
        };
        self.role(realm, &Spanned::new(text.span(), role.to_owned()), faults)?;
        let account = tree.with_role(id, role);
        if account.is_none() {
            let message = format!("the fixture has no account `{id}`");
            faults.fault(self.source, text.span(), message, "add it to [fixture] accounts");
        }
        account.map(Some)
    }

    fn client(&self, text: Option<&Spanned<String>>, faults: &mut Faults) -> Option<IpAddr> {
        let text = text?;
        let address = text.get_ref().parse().ok();
        if address.is_none() {
            let message = format!("`{}` is no address", text.get_ref());
            faults.fault(self.source, text.span(), message, "client = \"10.1.2.3\"");
        }
        address
    }

    fn forwarded(&self, raw: &RawTest, realm: &Realm, faults: &mut Faults) -> Vec<(&'static str, Wanted)> {
        let mut forwarded: Vec<(&'static str, Wanted)> = Vec::new();
        for (name, value) in &raw.forwarded.0 {
            let Some(known) = TOLD_APART.into_iter().find(|known| known.eq_ignore_ascii_case(name.get_ref())) else {
                let message = format!("`{}` is no header that a policy decides about", name.get_ref());
                faults.fault(self.source, name.span(), message, suggest(name.get_ref(), TOLD_APART));
                continue;
            };
            let Some(value) = value else {
                let hint = "forwarded = { \"X-Auth-Scope\" = \"below\" }";
                faults.fault(self.source, name.span(), "forwarded headers of a test are a table", hint);
                continue;
            };
            if forwarded.iter().any(|(earlier, _)| *earlier == known) {
                faults.fault(self.source, name.span(), format!("`{known}` stands twice"), "");
            }
            let wanted = match value.get_ref().as_str() {
                "" => Wanted::Nothing,
                "*" => Wanted::Anything,
                text => {
                    self.check_forwarded(known, value, realm, faults);
                    Wanted::Exactly(text.to_owned())
                }
            };
            forwarded.push((known, wanted));
        }
        forwarded
    }

    /// A value that no call of a test could bring about is a slip of the pen.
    fn check_forwarded(&self, name: &str, value: &Spanned<String>, realm: &Realm, faults: &mut Faults) {
        match name {
            "X-Auth-Scope" => {
                self.scope(value, faults);
            }
            "X-Auth-Role" => {
                self.role(realm, value, faults);
            }
            AUTHORIZATION | "X-Auth-Credential" => {
                let message = format!("a call of a test has no credential that `{name}` could be");
                faults.fault(self.source, value.span(), message, "write \"*\" for any value, \"\" for none");
            }
            _ => {}
        }
    }

    fn expectation(&self, raw: &RawTest, realm: &Realm, faults: &mut Faults) -> Option<Expectation> {
        if raw.expect.get_ref() == "permit" {
            let scope = match &raw.scope {
                Some(text) => Some(self.scope(text, faults)?),
                None => None,
            };
            if let Some(name) = &raw.upstream {
                self.upstream(name, faults)?;
            }
            let upstream = raw.upstream.as_ref().map(|name| name.get_ref().clone());
            let forwarded = self.forwarded(raw, realm, faults);
            return Some(Expectation::Permit { scope, upstream, forwarded });
        }
        match raw.expect.get_ref().parse::<Reason>() {
            Ok(reason) => {
                let header = raw.forwarded.0.first().map(|(name, _)| name);
                if let Some(extra) = raw.scope.as_ref().or(raw.upstream.as_ref()).or(header) {
                    let message = "only a permit has a scope, an upstream and forwarded headers";
                    faults.fault(self.source, extra.span(), message, "");
                }
                Some(Expectation::Deny(reason))
            }
            Err(error) => {
                let known = Reason::ALL.iter().map(|reason| reason.name()).chain(["permit"]);
                faults.fault(self.source, raw.expect.span(), error.to_string(), suggest(raw.expect.get_ref(), known));
                None
            }
        }
    }
}
