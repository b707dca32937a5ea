//! The registry as the binary lists it, and which of its reasons were provoked.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::gateway::{Gateway, run_alone};
use crate::harness::lines::Line;
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

/// What a reason promises.
struct Row {
    status: u16,
    result: String,
    msg: String,
    desc: String,
    retry_after: Option<u64>,
}

/// The registry, ticked off.
pub(super) struct Book {
    rows: BTreeMap<String, Row>,
    provoked: BTreeSet<String>,
}

impl Book {
    /// What `portcullis reasons` lists.
    pub(super) fn of_the_binary() -> Self {
        let exit = run_alone(&["reasons", "--format", "json"], "");
        assert_eq!(exit.code, 0, "{exit:?}");
        let listed: Vec<Value> = serde_json::from_str(&exit.stdout).expect("a list of rows");
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned();
        let rows: BTreeMap<String, Row> = listed
            .iter()
            .map(|row| {
                let status = row["status"].as_u64().and_then(|status| u16::try_from(status).ok()).expect("a status");
                let told = Row {
                    status,
                    result: text(row, "result"),
                    msg: text(row, "msg"),
                    desc: text(row, "desc"),
                    retry_after: row["retry_after"].as_u64(),
                };
                (text(row, "reason"), told)
            })
            .collect();
        assert_eq!((rows.len(), listed.len()), (33, 33), "a row a reason");
        Self { rows, provoked: BTreeSet::new() }
    }

    /// The reasons that nobody has provoked.
    pub(super) fn missing(&self) -> Vec<&str> {
        self.rows.keys().filter(|reason| !self.provoked.contains(*reason)).map(String::as_str).collect()
    }

    /// Holds a refusal to what its reason promises, and gives how many of it were counted meanwhile, each with its line.
    #[track_caller]
    pub(super) fn provoke_some(
        &mut self,
        gateway: &Gateway,
        reason: &str,
        provoke: impl FnOnce() -> Response,
    ) -> usize {
        let row = self.rows.get(reason).unwrap_or_else(|| panic!("{reason} is in no registry"));
        let counted = || gateway.metrics().sum("portcullis_denials_total", &[("reason", reason)]);
        let (before, lines_before) = (counted(), lines_of(gateway, reason).len());
        let response = provoke();
        row.assert_told(reason, &response);
        let line = gateway.line_of(&response.request_id());
        let outcome = if row.status >= 500 { "failed" } else { "denied" };
        line.assert(&[("reason", reason), ("status", &row.status.to_string()), ("outcome", outcome)]);
        assert!(!line.text("cause").is_empty(), "{reason} has no private cause: {line:?}");
        assert_ne!(line.text("cause"), row.desc, "what the client is told is not the cause");
        let realm = Some(line.text("realm")).filter(|realm| !realm.is_empty()).unwrap_or_else(|| "-".to_owned());
        let more = eventually(&format!("the metric and the lines of {reason} agree"), PATIENCE, || {
            let more = counted() - before;
            let lines = lines_of(gateway, reason).len() - lines_before;
            (more > 0.0 && more == lines as f64).then_some(lines)
        });
        let labels = [("realm", realm.as_str()), ("reason", reason)];
        assert!(
            gateway.metrics().sum("portcullis_denials_total", &labels) >= 1.0,
            "{reason} of {realm} is not counted"
        );
        self.provoked.insert(reason.to_owned());
        more
    }
}

fn lines_of(gateway: &Gateway, reason: &str) -> Vec<Line> {
    gateway.access_lines(0).into_iter().filter(|line| line.text("reason") == reason).collect()
}

impl Row {
    /// Status, body and headers.
    #[track_caller]
    fn assert_told(&self, reason: &str, response: &Response) {
        response.assert_denied(self.status, &self.result, reason);
        let body = response.json();
        assert_eq!(body["msg"].as_str(), Some(self.msg.as_str()), "{response}");
        let desc = body["desc"].as_str().unwrap_or_default();
        // These name what is missing, or what would have been taken.
        let told = match reason {
            "header_missing" => desc == "Add the header Authorization.",
            "app_type_missing" | "app_type_not_string" | "app_type_unknown" => {
                desc == format!("{} This call takes: vc, wb.", self.desc) || desc == self.desc
            }
            _ => desc == self.desc,
        };
        assert!(told, "{reason} promises {:?}: {response}", self.desc);
        let wait = response.header("retry-after").map(|wait| wait.parse::<u64>().expect("whole seconds"));
        match (self.status, reason) {
            // How long it takes is told by the quota, the lock-out and the breaker themselves.
            (429, _) | (_, "upstream_unavailable") => {
                assert!(wait >= self.retry_after && wait.is_some(), "{reason}: {response}");
            }
            _ => assert_eq!(wait, self.retry_after, "{reason}: {response}"),
        }
        assert_eq!(response.header("allow").is_some(), self.status == 405, "{reason}: {response}");
        assert_eq!(!response.all("www-authenticate").is_empty(), self.status == 401, "{reason}: {response}");
    }
}
