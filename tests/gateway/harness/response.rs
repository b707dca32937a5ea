//! An answer as it came over the wire: status, header lines in order, body bytes and how the body ended.

use serde_json::Value;

/// One final answer (interim 1xx ones are skipped by the client).
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// Header lines in their order and spelling; bytes above 0x7f as Latin-1.
    pub(crate) headers: Vec<(String, String)>,
    /// The body with the framing taken off.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// All values of one header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that must not be repeated.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times in {self:?}", all.len());
        all.first().copied()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in the body of {self:?}"))
    }

    /// The body as text, for comparisons and messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `X-Request-Id`, which every answer carries.
    pub(crate) fn request_id(&self) -> String {
        self.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-Id in {self:?}")).to_owned()
    }

    /// `data.reason` of a denial.
    pub(crate) fn reason(&self) -> String {
        let body = self.json();
        body["data"]["reason"].as_str().unwrap_or_else(|| panic!("no data.reason in {body}")).to_owned()
    }

    /// Status, headers and body with the request id blanked and `Date` left out: what two answers "with the same
    /// bytes" must share.
    pub(crate) fn fingerprint(&self) -> String {
        let id = self.request_id();
        let mut text = format!("{}\n", self.status);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date")) {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&self.text());
        text.replace(&id, "REQUEST-ID")
    }

    /// Asserts a status.
    #[track_caller]
    pub(crate) fn assert_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Asserts an upstream's or builtin's success and hands the answer on.
    #[track_caller]
    pub(crate) fn assert_ok(self) -> Self {
        assert_eq!(self.status, 200, "{self}");
        self
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "status {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {value}")?;
        }
        writeln!(out, "\n{}", self.text().chars().take(2000).collect::<String>())
    }
}
