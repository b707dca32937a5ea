//! `portcullis demo`: the shipped policies with fresh accounts, a store in memory and two sample upstreams.
//!
//! Nothing is written and nothing is kept; every start has other ids, keys and passwords. The upstreams
//! answer with what they were told, so that identity headers can be seen.

pub mod directory;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::{Value, json};

use self::directory::SampleServer;
use crate::app::App;
use crate::cli::args::{DemoArgs, DemoDirectory};
use crate::cli::{Stop, report};
use crate::config::diag::{Faults, Source};
use crate::config::load::{Files, Unread, load};
use crate::directory::edit::{AccountFile, Issued, NewAccount, NewCredential};
use crate::directory::reading;
use crate::directory::records::Vocabulary;
use crate::directory::sample::Sample;
use crate::identity::password::hash;
use crate::identity::token::Claims;

/// The accounts of the demo: id, role, parent.
const ACCOUNTS: [(&str, &str, Option<&str>); 6] = [
    ("root", "administrator", None),
    ("res-7", "reseller", Some("root")),
    ("cus-42", "customer", Some("res-7")),
    ("usr-1", "user", Some("cus-42")),
    ("res-8", "reseller", Some("root")),
    ("cus-9", "customer", Some("res-8")),
];

/// The policies of the repository, and settings made for this start.
struct BuiltIn {
    gateway: String,
}

impl Files for BuiltIn {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        match path.to_str() {
            Some("demo.toml") => Ok(self.gateway.clone()),
            Some("policies/ucaas.toml") => Ok(include_str!("../policies/ucaas.toml").to_owned()),
            Some("policies/cpaas.toml") => Ok(include_str!("../policies/cpaas.toml").to_owned()),
            _ => Err("not built in".to_owned().into()),
        }
    }
}

/// What the printed calls need.
struct Samples {
    password: String,
    tenant: Issued,
    server: Issued,
}

/// Builds the demo and prints how to use it.
///
/// # Errors
/// What stands in the way.
pub fn build(args: &DemoArgs) -> Result<App, Stop> {
    let (meeting, provisioning) = (free_port()?, free_port()?);
    let directory = match args.directory {
        DemoDirectory::File => None,
        DemoDirectory::Https => Some(free_port()?),
    };
    // Left out, the accounts are those that are handed over below.
    let asked = directory.map(|address| format!("[directory]\nurl = \"http://{address}\"\n")).unwrap_or_default();
    let gateway = format!(
        "{asked}[server]\nlisten = [\"{}\"]\nadmin = \"{}\"\n[upstreams.meeting]\nservers = [\"{meeting}\"]\n\
         [upstreams.provisioning]\nservers = [\"{provisioning}\"]\n\
         [policies]\ninclude = [\"policies/ucaas.toml\", \"policies/cpaas.toml\"]\n",
        args.listen, args.admin
    );
    let loading = load(Path::new("demo.toml"), &BuiltIn { gateway });
    let config = loading.config.ok_or_else(|| report::stop(&loading.faults))?;
    let (text, samples) = accounts().map_err(Stop::failed)?;
    let source = Arc::new(Source { name: "demo accounts".to_owned(), text });
    let mut faults = Faults::default();
    let records = reading::parse(&source, &Vocabulary::default(), &mut faults).ok_or_else(|| report::stop(&faults))?;
    let sample = directory.map(|address| (address, SampleServer(Sample::new(records.clone(), None))));
    let mut app = App::build(config, records, None).map_err(Stop::failed)?;
    if let Some((address, sample)) = sample {
        app.add_server("directory", address, Arc::new(sample));
    }
    let expired = expired_token(&app).map_err(Stop::failed)?;
    for (name, address) in [("meeting", meeting), ("provisioning", provisioning)] {
        app.add_server(name, address, Arc::new(Echo { service: name }));
    }
    app.try_ports().map_err(|error| Stop::failed(format!(
            "{error}\nTry: make run ARGS='--listen 127.0.0.1:9000 --admin 127.0.0.1:9001', or portcullis demo with these options"
        )))?;
    introduce(args, &samples, directory, &expired)?;
    Ok(app)
}

/// A port that was free a moment ago; the sample upstreams need no fixed one.
fn free_port() -> Result<SocketAddr, Stop> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(Stop::failed)
}

/// Fresh accounts, as text and as what the calls need.
fn accounts() -> Result<(String, Samples), String> {
    let mut file = AccountFile::parse("").map_err(|error| error.to_string())?;
    let mut random = [0; 12];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let record = hash(password.as_bytes()).map_err(|error| error.to_string())?;
    for (id, role, parent) in ACCOUNTS {
        let email = format!("{id}@demo.example");
        let new = NewAccount { id, role, parent, email: Some(&email), password: Some(&record) };
        file.add_account(&new).map_err(|error| error.to_string())?;
    }
    let realms = ["ucaas".to_owned(), "cpaas".to_owned()];
    let mut issue = |account, label| {
        let new = NewCredential { account, realms: &realms, label: Some(label), ..NewCredential::default() };
        file.add_credential(&new, SystemTime::now()).map_err(|error| error.to_string())
    };
    let tenant = issue("root", "the tenant, for X-Api-Id")?;
    let server = issue("cus-42", "a customer's server")?;
    Ok((file.text(), Samples { password, tenant, server }))
}

/// A genuine token whose time is over.
fn expired_token(app: &App) -> Result<String, &'static str> {
    let now = app.gateway().resolver.sessions().now_s();
    let claims = Claims {
        iss: "portcullis".into(),
        aud: "ucaas".into(),
        sub: "usr-1".into(),
        role: "user".into(),
        lineage: "root/res-7/cus-42/usr-1".into(),
        jti: "expired".into(),
        iat: now.saturating_sub(2400),
        exp: now.saturating_sub(1200),
        nbf: None,
    };
    app.gateway().resolver.tokens().sign(&claims)
}

fn introduce(args: &DemoArgs, samples: &Samples, directory: Option<SocketAddr>, expired: &str) -> Result<(), Stop> {
    let Samples { password, tenant, server } = samples;
    let (base, admin) = (format!("http://{}", args.listen), args.admin);
    let mut out = anstream::stdout();
    let logins: Vec<String> = ACCOUNTS.iter().map(|(id, role, _)| format!("  {id}@demo.example  ({role})")).collect();
    if let Some(address) = directory {
        writeln!(out, "Accounts are asked for at a sample directory: curl -s http://{address}/accounts/usr-1")?;
    }
    write!(
        out,
        "Portcullis demo on {base}, admin on http://{admin}. Everything is made anew at every start.

Accounts, all with the password {password}
{logins}
Tenant for logins  X-Api-Id: {tenant_id}
A server's key     {server_id}:{server_key}  (customer cus-42)

Try, in another terminal:

# 1. Log in as a user; the token lives 20 minutes.
TOKEN=$(curl -s {base}/ucaas/v1/login -H 'X-Api-Id: {tenant_id}' -H 'Content-Type: application/json' \\
  -d '{{\"email\":\"usr-1@demo.example\",\"password\":\"{password}\"}}' | sed 's/.*\"token\":\"\\([^\"]*\\).*/\\1/')

# 2. A call with the token: the sample upstream shows the identity it was given.
curl -isw '\\n' {base}/ucaas/v1/meetings -H \"Authorization: Token $TOKEN\" -H 'X-App-Type: vc'

# 3. A role that may not call (403, role_forbidden).
curl -isw '\\n' {base}/ucaas/v1/customers -H \"Authorization: Token $TOKEN\"

# 4. A server with API ID and API KEY: its own user (200), a stranger's account (403, scope_forbidden).
curl -isw '\\n' {base}/ucaas/v1/users/usr-1 -u {server_id}:{server_key}
curl -isw '\\n' {base}/ucaas/v1/users/cus-9 -u {server_id}:{server_key}

# 5. A missing header (400), an invalid token (401, result 1001), an expired one (403).
curl -isw '\\n' {base}/ucaas/v1/timezones
curl -isw '\\n' {base}/ucaas/v1/timezones -H 'Authorization: Token abc.def.ghi'
curl -isw '\\n' {base}/ucaas/v1/timezones -H 'Authorization: Token {expired}'

# 6. End that session from outside: the next call 2 is refused (401, token_revoked).
curl -s http://{admin}/revocations -H 'Content-Type: application/json' -d '{{\"account\":\"usr-1\"}}'

# 7. For operators.
curl -s http://{admin}/readyz; curl -s http://{admin}/policy; curl -s http://{admin}/metrics | grep ^portcullis_requests

Ctrl-C ends it. Below: one access line a request.

",
        logins = logins.join("\n"),
        tenant_id = tenant.id,
        server_id = server.id,
        server_key = server.key,
    )?;
    Ok(())
}

/// A sample upstream: says what it was told.
struct Echo {
    service: &'static str,
}

#[async_trait]
impl ServeHttp for Echo {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut bytes = 0;
        // A body that breaks off ends the count; the gateway has told the client already.
        while let Ok(Some(chunk)) = session.read_request_body().await {
            bytes += chunk.len();
        }
        let request = session.req_header();
        let identity: serde_json::Map<String, Value> = request
            .headers
            .iter()
            .filter(|(name, _)| {
                name.as_str().starts_with("x-auth-")
                    || name.as_str().starts_with("x-forwarded-")
                    || *name == "x-request-id"
            })
            .map(|(name, value)| (name.as_str().to_owned(), json!(String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let target = String::from_utf8_lossy(request.raw_path()).into_owned();
        let reply = json!({ "service": self.service, "method": request.method.as_str(), "target": target,
            "body_bytes": bytes, "told": identity });
        let body = format!("{reply:#}\n").into_bytes();
        let built = Response::builder()
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONTENT_LENGTH, body.len())
            .body(body);
        built.unwrap_or_default()
    }
}
