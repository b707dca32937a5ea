//! The directory a gateway starts in: `gateway.toml` from a few knobs, policies, accounts. Everything has a default
//! that works, so that a test says only what it is about.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;

use tempfile::TempDir;

use crate::harness::accounts::Accounts;
use crate::harness::gateway::{Exit, Gateway, run};
use crate::harness::ports;

/// The token key of every gateway under test.
pub(crate) const SECRET: &str = "lab-secret-0123456789abcdef-0123456789abcdef";

/// The variable that holds it.
pub(crate) const SECRET_VARIABLE: &str = "PORTCULLIS_TOKEN_KEY";

/// A gateway that is not started yet.
#[derive(Clone)]
pub(crate) struct Builder {
    listen: SocketAddr,
    also_listen: String,
    server: String,
    limits: String,
    ttl: String,
    keys: String,
    token: String,
    store: String,
    directory: String,
    lockout: String,
    upstreams: String,
    policies: Vec<(String, String)>,
    accounts: String,
    extra: String,
    files: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

/// Where a gateway starts.
pub(crate) struct Place {
    /// Removed with this value, kept when a test fails.
    pub(crate) dir: TempDir,
    /// The proxy listener.
    pub(crate) proxy: SocketAddr,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    /// What the process gets on top of the test's own environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl Gateway {
    /// A gateway with the memory store, nobody in its directory and no policy.
    pub(crate) fn builder() -> Builder {
        Builder {
            listen: ports::free(),
            also_listen: String::new(),
            server: String::new(),
            limits: String::new(),
            ttl: "20m".into(),
            keys: format!("keys = [{{ id = \"lab\", secret = {{ env = \"{SECRET_VARIABLE}\" }} }}]"),
            token: String::new(),
            store: "url = \"memory:\"".into(),
            directory: "url = \"file:accounts.toml\"".into(),
            // Out of the way of tests that are about something else.
            lockout: "attempts = 100000\nnetwork_attempts = 100000\nwithin = \"15m\"".into(),
            upstreams: String::new(),
            policies: Vec::new(),
            accounts: Accounts::none().toml(),
            extra: String::new(),
            files: Vec::new(),
            environment: vec![(SECRET_VARIABLE.into(), SECRET.into())],
        }
    }
}

impl Builder {
    /// Another proxy address than a free one.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// One more proxy address.
    pub(crate) fn also_listen(mut self, address: SocketAddr) -> Self {
        self.also_listen.push_str(&format!(", \"{address}\""));
        self
    }

    /// Lines for `[server]`.
    pub(crate) fn server(mut self, lines: &str) -> Self {
        self.server.push_str(lines);
        self
    }

    /// Lines for `[server.limits]`.
    pub(crate) fn limits(mut self, lines: &str) -> Self {
        self.limits.push_str(lines);
        self
    }

    /// How long a token lives.
    pub(crate) fn ttl(mut self, ttl: &str) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Lines for `[token]`.
    pub(crate) fn token(mut self, lines: &str) -> Self {
        self.token.push_str(lines);
        self.token.push('\n');
        self
    }

    /// Names no token key, so that the gateway makes one at start.
    pub(crate) fn without_keys(mut self) -> Self {
        self.keys.clear();
        self
    }

    /// The store's url; `memory:` unless said.
    pub(crate) fn store(self, url: &str) -> Self {
        self.store_with(url, "")
    }

    /// The store's url and further lines for `[store]`.
    pub(crate) fn store_with(mut self, url: &str, lines: &str) -> Self {
        self.store = format!("url = \"{url}\"\n{lines}");
        self
    }

    /// The whole of `[store]`.
    pub(crate) fn store_lines(mut self, lines: &str) -> Self {
        self.store = lines.into();
        self
    }

    /// The whole of `[directory]`; the file of the builder's accounts unless said.
    pub(crate) fn directory(mut self, lines: &str) -> Self {
        self.directory = lines.into();
        self
    }

    /// The whole of `[lockout]`; nobody is locked unless said.
    pub(crate) fn lockout(mut self, lines: &str) -> Self {
        self.lockout = lines.into();
        self
    }

    /// One more upstream with one server.
    pub(crate) fn upstream(self, name: &str, server: SocketAddr) -> Self {
        self.upstream_with(name, server, "")
    }

    /// One more upstream, with further lines.
    pub(crate) fn upstream_with(mut self, name: &str, server: SocketAddr, lines: &str) -> Self {
        self.upstreams.push_str(&format!("[upstreams.{name}]\nservers = [\"{server}\"]\n{lines}\n"));
        self
    }

    /// One more policy file, named by its realm.
    pub(crate) fn policy(mut self, realm: &str, text: &str) -> Self {
        self.policies.push((format!("{realm}.toml"), text.into()));
        self
    }

    /// The directory.
    pub(crate) fn accounts(mut self, accounts: &Accounts) -> Self {
        self.accounts = accounts.toml();
        self
    }

    /// Text at the end of `gateway.toml`.
    pub(crate) fn toml_extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    /// A file as it is, in place of a generated one of the same name.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Takes the token key out of the environment.
    pub(crate) fn without_secret(mut self) -> Self {
        self.environment.retain(|(name, _)| name != SECRET_VARIABLE);
        self
    }

    /// Another environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it is ready and takes connections.
    pub(crate) fn start(self) -> Gateway {
        self.start_until_ready().taking_connections()
    }

    /// Starts it and waits for nothing but what `/readyz` says.
    pub(crate) fn start_until_ready(self) -> Gateway {
        Gateway::serve(self.place(), "/readyz")
    }

    /// Starts it and waits only until it lives and takes connections: readiness may be refused.
    pub(crate) fn start_unready(self) -> Gateway {
        Gateway::serve(self.place(), "/livez").taking_connections()
    }

    /// Runs `serve`, which is expected to end by itself.
    pub(crate) fn start_expecting_exit(self) -> Exit {
        self.verb(&["serve", "-c", "gateway.toml"])
    }

    /// Runs another verb in the gateway's directory.
    pub(crate) fn verb(self, words: &[&str]) -> Exit {
        run(&self.place(), words, "")
    }

    /// `gateway.toml` with this admin address.
    pub(crate) fn toml(&self, admin: SocketAddr) -> String {
        let names: Vec<String> = self.policies.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let Self {
            listen,
            also_listen,
            server,
            limits,
            ttl,
            keys,
            token,
            store,
            directory,
            lockout,
            upstreams,
            extra,
            ..
        } = self;
        format!(
            r#"[server]
listen = ["{listen}"{also_listen}]
admin = "{admin}"
runtime_dir = "run"
{server}

[server.limits]
{limits}

[token]
issuer = "portcullis"
ttl = "{ttl}"
{keys}
{token}

[store]
{store}

[directory]
{directory}

[lockout]
{lockout}

{upstreams}
[policies]
include = [{include}]

{extra}
"#,
            include = names.join(", ")
        )
    }

    /// Writes the files and starts nothing.
    pub(crate) fn place(self) -> Place {
        let dir = tempfile::Builder::new().prefix("portcullis-test-").tempdir().expect("a directory");
        let admin = ports::free();
        let write =
            |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file in our own directory");
        write("gateway.toml", &self.toml(admin));
        write("accounts.toml", &self.accounts);
        for (name, text) in self.policies.iter().chain(&self.files) {
            write(name, text);
        }
        DirBuilder::new().mode(0o700).create(dir.path().join("run")).expect("the runtime directory");
        Place { dir, proxy: self.listen, admin, environment: self.environment }
    }
}
