//! A running gateway as the verbs see it: its admin listener, asked over HTTP.
//!
//! Used by `token`, `lockout`, `reload` and `credential list`. Where it is and which token it wants comes from the
//! command line, then from the environment, then from `gateway.toml`, of which nothing else is read: a gateway with a
//! fault in its new files can still be asked.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::args::RemoteArgs;
use super::{Exit, Stop};
use crate::config::plain_file::{LONGEST_FILE, read_text};
use crate::config::secret::Secret;
use crate::config::value::SecretSource;

/// The admin listener of one gateway.
pub(super) struct Remote {
    url: String,
    token: Option<HeaderValue>,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// Who answered.
    url: String,
}

impl Remote {
    /// Makes no connection yet. `patience` bounds each call.
    pub(super) fn new(args: &RemoteArgs, patience: Duration) -> Result<Self, Stop> {
        let excerpt = Excerpt::read(&args.config.config)?.server;
        let url = match &args.admin {
            Some(url) => checked(url)?,
            None => format!("http://{}", reachable(excerpt.admin.as_deref(), &args.config.config)?),
        };
        let folder = args.config.config.parent().unwrap_or(Path::new(""));
        let token = match (&args.admin_token_file, std::env::var_os(TOKEN_VARIABLE), &excerpt.admin_token) {
            (Some(path), ..) => Some(secret(&SecretSource::File(path.clone()), Path::new(""))?),
            (None, Some(_), _) => Some(secret(&SecretSource::Env(TOKEN_VARIABLE.to_owned()), folder)?),
            (None, None, Some(source)) => Some(secret(source, folder)?),
            (None, None, None) => None,
        };
        let token = token.as_ref().map(bearer).transpose()?;
        // An earlier one of this process does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.connect_timeout(CONNECT_PATIENCE.min(patience)).timeout(patience);
        // The system's authorities are looked for only where they are needed; a small container has none.
        let client = if url.starts_with("https:") { client } else { client.tls_certs_only([]) };
        let client = client.build().map_err(Stop::failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Stop::failed)?;
        Ok(Self { url, token, client, runtime })
    }

    /// Asks for something.
    pub(super) fn read(&self, path: &str, query: Option<(&str, &str)>) -> Result<Answer, Stop> {
        self.call(Method::GET, path, query, None)
    }

    /// Changes something.
    pub(super) fn change(
        &self,
        method: Method,
        path: &str,
        query: Option<(&str, &str)>,
        body: &Value,
    ) -> Result<Answer, Stop> {
        self.call(method, path, query, Some(body))
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        query: Option<(&str, &str)>,
        body: Option<&Value>,
    ) -> Result<Answer, Stop> {
        let query = query.map(|(name, value)| format!("?{name}={}", encoded(value))).unwrap_or_default();
        let mut request = self.client.request(method, format!("{}{path}{query}", self.url));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.runtime.block_on(async {
            let mut response = request.send().await?;
            let (status, mut bytes) = (response.status().as_u16(), Vec::new());
            while let Some(piece) = response.chunk().await? {
                bytes.extend_from_slice(&piece);
                if bytes.len() > LONGEST_ANSWER {
                    return Ok(None);
                }
            }
            Ok::<_, reqwest::Error>(Some((status, bytes)))
        });
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let (status, bytes) = answer.ok_or_else(|| stranger(&self.url))?;
        let body = serde_json::from_slice(&bytes).map_err(|_| stranger(&self.url))?;
        Ok(Answer { status, body, url: self.url.clone() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> Stop {
        let why = if error.is_timeout() {
            "it did not answer in time".to_owned()
        } else {
            let mut innermost: &dyn std::error::Error = error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            innermost.to_string()
        };
        let message = format!(
            "cannot reach the admin listener at {}: {why}; is the gateway running, or does it listen elsewhere?",
            self.url
        );
        Stop { message, exit: Exit::Unavailable }
    }
}

impl Answer {
    /// The body of a success, and what has to be in it.
    ///
    /// # Errors
    /// What the gateway says instead, or that this is none: whatever listens at a port may answer 200.
    pub(super) fn ok<T: DeserializeOwned>(self) -> Result<(T, Value), Stop> {
        if (200..=299).contains(&self.status) {
            return Ok((self.has()?, self.body));
        }
        let Said { error: said } = self.has()?;
        Err(match self.status {
            401 => Stop::failed(format!(
                "the admin listener wants its token: --admin-token-file, {TOKEN_VARIABLE}, or admin_token in the settings"
            )),
            503 => Stop { message: format!("the gateway cannot do it now: {said}"), exit: Exit::Unavailable },
            400 => Stop::usage(said),
            status => Stop::failed(format!("the gateway refused ({status}): {said}")),
        })
    }

    /// What has to be in the body, whatever the status.
    ///
    /// # Errors
    /// It is not there, so no gateway answered.
    pub(super) fn has<T: DeserializeOwned>(&self) -> Result<T, Stop> {
        T::deserialize(&self.body).map_err(|_| stranger(&self.url))
    }
}

/// Every refusal but that of a reload.
#[derive(Deserialize)]
struct Said {
    error: String,
}

fn stranger(url: &str) -> Stop {
    Stop { message: format!("{url} is not the admin listener of a portcullis"), exit: Exit::Unavailable }
}

/// The part of `gateway.toml` that is read here; `check` judges the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Excerpt {
    server: ServerKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerKeys {
    admin: Option<String>,
    admin_token: Option<SecretSource>,
}

impl Excerpt {
    /// Where no file is named and none is there, the listener may still be the usual one. A name that was typed wrongly must
    /// not lead to another gateway.
    fn read(path: &Path) -> Result<Self, Stop> {
        let bad = |message: String| Stop { message, exit: Exit::BadFiles };
        let text = match read_text(path, LONGEST_FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && path == Path::new(SETTINGS) => {
                return Ok(Self::default());
            }
            Err(error) => return Err(bad(format!("cannot read {}: {error}", path.display()))),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // What the parser says is left out: it repeats values, and one of them may be a secret.
        toml::from_str(text)
            .map_err(|_| bad(format!("{} has a fault; `portcullis check -c {0}` shows it", path.display())))
    }
}

/// The address to call, of the one to listen on: "all addresses" can be called by none of them.
fn reachable(admin: Option<&str>, settings: &Path) -> Result<SocketAddr, Stop> {
    let address: SocketAddr = admin.unwrap_or(DEFAULT_ADMIN).parse().map_err(|_| Stop {
        message: format!("{}: `server.admin` is no address; --admin names one", settings.display()),
        exit: Exit::BadFiles,
    })?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

fn checked(url: &str) -> Result<String, Stop> {
    let known = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match known {
        Some(host) if !host.is_empty() && !host.contains(['?', '#', '@']) => Ok(url.trim_end_matches('/').to_owned()),
        Some(_) | None => Err(Stop::usage("an admin listener is named by a URL like http://127.0.0.1:8081")),
    }
}

fn secret(source: &SecretSource, folder: &Path) -> Result<Secret, Stop> {
    let read = Secret::read(source, folder);
    read.map_err(|(message, hint)| Stop { message: format!("admin token: {message}; {hint}"), exit: Exit::BadFiles })
}

fn bearer(token: &Secret) -> Result<HeaderValue, Stop> {
    let bytes = token.reveal().strip_suffix(b"\n").unwrap_or(token.reveal());
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", bytes].concat())
        .map_err(|_| Stop::usage("the admin token holds characters that no header can"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A value for a query: every byte that could mean something there is escaped.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Where most who run a verb by hand would keep it.
const TOKEN_VARIABLE: &str = "PORTCULLIS_ADMIN_TOKEN";

/// What `-c` is where it is left out.
const SETTINGS: &str = "gateway.toml";

const DEFAULT_ADMIN: &str = "127.0.0.1:8081";

const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// Whatever listens at a port may never stop talking. No list of a gateway is as long.
const LONGEST_ANSWER: usize = 64 << 20;

/// For a call of a verb that was typed: reading all files again may take a while.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_called_on_loopback() {
        let settings = Path::new("gateway.toml");
        for (listen, called) in [
            (None, "127.0.0.1:8081"),
            (Some("0.0.0.0:9000"), "127.0.0.1:9000"),
            (Some("[::]:9000"), "[::1]:9000"),
            (Some("10.0.0.5:9000"), "10.0.0.5:9000"),
        ] {
            assert_eq!(reachable(listen, settings).unwrap().to_string(), called);
        }
        assert_eq!(reachable(Some("nowhere"), settings).unwrap_err().exit, Exit::BadFiles);
    }

    #[test]
    fn only_settings_that_nobody_named_may_be_missing() {
        assert!(Excerpt::read(Path::new("no-such-gateway.toml")).is_err_and(|stop| {
            stop.exit == Exit::BadFiles && stop.message.starts_with("cannot read no-such-gateway.toml: ")
        }));
        let args = <crate::cli::args::Args as clap::Parser>::try_parse_from(["portcullis", "reload"]).unwrap();
        let crate::cli::args::Verb::Reload(reload) = args.verb else { panic!("not reload") };
        assert_eq!(reload.remote.config.config, Path::new(SETTINGS));
    }

    #[test]
    fn a_url_is_a_scheme_and_a_host() {
        assert_eq!(checked("http://127.0.0.1:8081/").unwrap(), "http://127.0.0.1:8081");
        for odd in ["127.0.0.1:8081", "ftp://h", "http://", "http://u:p@h", "http://h?x"] {
            assert_eq!(checked(odd).unwrap_err().exit, Exit::Usage, "{odd}");
        }
    }

    #[test]
    fn who_never_stops_talking_is_left() {
        use clap::Parser as _;
        use std::io::{Read as _, Write as _};
        #[derive(clap::Parser)]
        struct Typed {
            #[command(flatten)]
            remote: RemoteArgs,
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let talker = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n\"").unwrap();
            let mut said = 0;
            while stream.write_all(&[b'a'; 1 << 16]).is_ok() {
                said += 1 << 16;
            }
            said
        });
        let typed = Typed::parse_from(["portcullis", "--admin", &url]);
        let stop = Remote::new(&typed.remote, PATIENCE).unwrap().read("/sessions", None).unwrap_err();
        assert_eq!(stop.message, format!("{url} is not the admin listener of a portcullis"));
        assert!(talker.join().unwrap() > LONGEST_ANSWER, "it had not said too much yet");
    }

    #[test]
    fn what_a_gateway_would_not_say_is_a_strangers() {
        #[derive(Debug, Deserialize)]
        struct Revoked {
            revoked: bool,
        }
        let ok = |status, body: &str| {
            let answer = Answer { status, body: serde_json::from_str(body).unwrap(), url: "http://h".to_owned() };
            answer.ok::<Revoked>().map(|(revoked, _)| revoked.revoked)
        };
        assert!(!ok(200, r#"{"revoked":false,"more":1}"#).unwrap());
        for (status, body) in [
            (200, "{}"),
            (200, "[]"),
            (200, "null"),
            (200, r#"{"revoked":"yes"}"#),
            (404, "{}"),
            (401, r#"{"message":"who are you"}"#),
            (400, "[]"),
        ] {
            let stop = ok(status, body).unwrap_err();
            assert_eq!(stop.exit, Exit::Unavailable, "{status} {body}");
            assert_eq!(stop.message, "http://h is not the admin listener of a portcullis");
        }
        let refused = [(400, Exit::Usage), (401, Exit::Failed), (404, Exit::Failed), (503, Exit::Unavailable)];
        for (status, exit) in refused {
            let stop = ok(status, r#"{"error":"because"}"#).unwrap_err();
            assert!(stop.exit == exit && !stop.message.contains("is not the admin listener"), "{stop:?}");
        }
    }

    #[test]
    fn a_query_value_cannot_end_itself() {
        assert_eq!(encoded("pair:a@b.c&x=1 ü"), "pair%3Aa%40b.c%26x%3D1%20%C3%BC");
    }
}
