//! `[upstreams.*]` and `[reasons.*]` of `gateway.toml`.
//!
//! Called by `gateway_file` only.

use std::time::Duration;

use super::spanned::Spanned;

use super::block::Block;
use super::diag::{Faults, suggest};
use super::gateway_file::{Reader, timeouts};
use super::raw::{RawBalance, RawBreaker, RawHttp, RawReason, RawUpstream};
use super::settings::{Breaker, DEFAULT_TIMEOUTS, ReasonOverride, Upstream};
use super::value::Period;
use crate::policy::principal::is_id;
use crate::reason::Reason;

impl Reader<'_> {
    pub(super) fn upstream(&self, name: &Spanned<String>, block: Block<'_>, faults: &mut Faults) -> Option<Upstream> {
        let section = format!("upstreams.{}", name.get_ref());
        block.warn_without_effect(&section, &["health", "eject", "retry_budget"], faults);
        if let Some(span) = block.key_span("tls") {
            let hint = "requests and identity headers go to this upstream in clear text";
            faults.warn(self.source, span, format!("`{section}.tls` has no effect yet"), hint);
        }
        let balance_span = block.key_span("balance").unwrap_or(0..0);
        let http_span = block.key_span("http").unwrap_or(0..0);
        let raw: RawUpstream = block.read(faults)?;
        if let Some(RawBalance::LeastRequests | RawBalance::AccountHash) = raw.balance {
            let message = format!("`{section}.balance`: this choice has no effect yet");
            faults.warn(self.source, balance_span, message, "servers take turns");
        }
        if let Some(RawHttp::Two) = raw.http {
            faults.warn(
                self.source,
                http_span,
                format!("`{section}.http = \"2\"` has no effect yet"),
                "HTTP/1.1 is used",
            );
        }
        if raw.servers.get_ref().is_empty() {
            faults.fault(self.source, raw.servers.span(), format!("`{section}.servers` is empty"), "name a server");
            return None;
        }
        if !is_id(name.get_ref()) {
            faults.fault(self.source, name.span(), "an upstream's name is 1 to 64 of A-Z a-z 0-9 . _ ~ -", "");
        }
        let retries = match raw.retries {
            Some(retries) if *retries.get_ref() > 5 => {
                faults.fault(self.source, retries.span(), "`retries` is 0 to 5", "");
                1
            }
            Some(retries) => retries.into_inner(),
            None => 1,
        };
        let timeouts = timeouts(self.source, raw.timeouts.unwrap_or_default(), DEFAULT_TIMEOUTS, faults);
        let servers = raw.servers.into_inner();
        for (place, server) in servers.iter().enumerate() {
            let address = &server.get_ref().address;
            if servers.iter().take(place).any(|earlier| earlier.get_ref().address == *address) {
                let message = format!("server `{address}` stands twice in `{section}`");
                faults.fault(self.source, server.span(), message, "give it a weight instead");
            }
        }
        let servers = servers.into_iter().map(Spanned::into_inner).collect();
        let breaker = raw.breaker.map(|raw| self.breaker(&section, raw, faults));
        Some(Upstream { name: name.get_ref().clone(), servers, timeouts, retries, breaker })
    }

    fn breaker(&self, section: &str, raw: RawBreaker, faults: &mut Faults) -> Breaker {
        let RawBreaker { failures, within, open_for } = raw;
        if !(1..=MOST_FAILURES).contains(failures.get_ref()) {
            let message = format!("`{section}.breaker.failures` is 1 to {MOST_FAILURES}");
            faults.fault(self.source, failures.span(), message, "without a breaker nothing is refused");
        }
        for (key, period) in [("within", &within), ("open_for", &open_for)] {
            if !(LEAST_PERIOD..=MOST_PERIOD).contains(&period.get_ref().0) {
                let [least, most] = [LEAST_PERIOD, MOST_PERIOD].map(Period);
                let message = format!("`{section}.breaker.{key}` is {least} to {most}");
                faults.fault(self.source, period.span(), message, "without a breaker nothing is refused");
            }
        }
        let [within, open_for] = [within, open_for].map(|period| period.into_inner().0);
        Breaker { failures: failures.into_inner(), within, open_for }
    }

    pub(super) fn reason(
        &self,
        name: &Spanned<String>,
        block: Block<'_>,
        faults: &mut Faults,
    ) -> Option<(Reason, ReasonOverride)> {
        let raw: RawReason = block.read_partly(faults);
        let Ok(reason) = name.get_ref().parse::<Reason>() else {
            let hint = suggest(name.get_ref(), Reason::ALL.iter().map(|reason| reason.name()));
            faults.fault(self.source, name.span(), format!("no reason `{}`", name.get_ref()), hint);
            return None;
        };
        if let Some(status) = raw.status.as_ref().filter(|status| !(400..=599).contains(status.get_ref())) {
            faults.fault(self.source, status.span(), "the status of a refusal is 400 to 599", "");
        }
        let status = raw.status.map(Spanned::into_inner);
        Some((reason, ReasonOverride { status, result: raw.result, msg: raw.msg, desc: raw.desc }))
    }
}

/// Each has its place in memory.
const MOST_FAILURES: u32 = 10_000;

const LEAST_PERIOD: Duration = Duration::from_millis(1);
const MOST_PERIOD: Duration = Duration::from_secs(86_400);
