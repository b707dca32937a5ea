//! The store URL: text in, the servers to connect to and how to log in there out. Used when a store is made; connects
//! to nobody, and repeats no part of a URL in its errors.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, parse_redis_url};

use super::error::StoreUrlError;

/// Where the store is.
pub(super) enum Place {
    /// One server: `redis://[[user]:password@]host[:port][/database]`, or `rediss://…` over TLS.
    Server(ConnectionInfo),
    /// `redis+sentinel://[[user]:password@]host[:26379],…/name[/database]`. The login and the database are the
    /// server's. Options: `tls=true` for the sentinels and the server, `sentinel_password` and `sentinel_user` for
    /// sentinels that ask for a login.
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        /// Under which the sentinels know the primary.
        name: String,
        /// How to reach the primary, but for its address.
        login: Box<ConnectionInfo>,
    },
    /// `redis+cluster://[[user]:password@]host[:port],…`: some of the cluster's servers, from which the others are
    /// found out. Option: `tls=true`.
    Cluster(Vec<ConnectionInfo>),
}

impl Place {
    /// The URL's parts, or what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, StoreUrlError> {
        if let Some(rest) = text.strip_prefix("redis+sentinel://") {
            return sentinels(&Parts::split(rest)?);
        }
        if let Some(rest) = text.strip_prefix("redis+cluster://") {
            return cluster(&Parts::split(rest)?);
        }
        if text.starts_with("redis://") || text.starts_with("rediss://") {
            return server(text, 6379).map(Self::Server);
        }
        Err(StoreUrlError::Scheme)
    }

    /// Any one of the servers it names; each of them is connected to in the same way.
    pub(super) fn example(&self) -> Option<&ConnectionInfo> {
        match self {
            Self::Server(server) => Some(server),
            Self::Sentinels { login, .. } => Some(login),
            Self::Cluster(seeds) => seeds.first(),
        }
    }
}

/// The same way to another server.
pub(super) fn elsewhere(like: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = if is_tls(like) {
        ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.to_owned(), port)
    };
    like.clone().set_addr(addr)
}

pub(super) fn is_tls(server: &ConnectionInfo) -> bool {
    matches!(server.addr(), ConnectionAddr::TcpTls { .. })
}

/// Host and port, as servers and sentinels write them.
pub(super) fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn sentinels(parts: &Parts<'_>) -> Result<Place, StoreUrlError> {
    let (name, database) = parts.path.split_once('/').unwrap_or((parts.path, ""));
    if name.is_empty() || name.contains('%') {
        return Err(StoreUrlError::Primary);
    }
    let mut tls = false;
    let (mut user, mut password) = ("", None);
    for (option, value) in parts.options() {
        match (option, value) {
            ("tls", "true") => tls = true,
            ("tls", "false") => tls = false,
            ("sentinel_user", value) => user = value,
            ("sentinel_password", value) => password = Some(value),
            _ => return Err(StoreUrlError::Options),
        }
    }
    let login = match password {
        Some(password) => format!("{user}:{password}@"),
        None if user.is_empty() => String::new(),
        None => return Err(StoreUrlError::UserWithoutPassword),
    };
    let sentinels = parts.each_host(|host| server(&format!("{}{login}{host}", scheme(tls)), 26379))?;
    let first = parts.hosts.split(',').next().unwrap_or_default();
    let login = server(&format!("{}{}{first}/{database}", scheme(tls), parts.login), 6379)?;
    Ok(Place::Sentinels { sentinels, name: name.to_owned(), login: Box::new(login) })
}

fn cluster(parts: &Parts<'_>) -> Result<Place, StoreUrlError> {
    if !matches!(parts.path, "" | "0") {
        return Err(StoreUrlError::Database);
    }
    let mut tls = false;
    for option in parts.options() {
        match option {
            ("tls", "true") => tls = true,
            ("tls", "false") => tls = false,
            _ => return Err(StoreUrlError::Options),
        }
    }
    let seeds = parts.each_host(|host| server(&format!("{}{}{host}", scheme(tls), parts.login), 6379))?;
    Ok(Place::Cluster(seeds))
}

fn scheme(tls: bool) -> &'static str {
    if tls { "rediss://" } else { "redis://" }
}

/// A URL with several hosts, which no URL parser reads as a whole.
struct Parts<'a> {
    /// With its `@`, or empty.
    login: &'a str,
    hosts: &'a str,
    /// Without its first slash.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Result<Self, StoreUrlError> {
        if rest.contains('#') {
            return Err(StoreUrlError::Options);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        if path.contains('@') {
            return Err(StoreUrlError::Unparsable);
        }
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Ok(Self { login, hosts, path, query })
    }

    fn each_host<T>(&self, parse: impl Fn(&str) -> Result<T, StoreUrlError>) -> Result<Vec<T>, StoreUrlError> {
        self.hosts.split(',').map(parse).collect()
    }

    fn options(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let options = self.query.split('&').filter(|option| !option.is_empty());
        options.map(|option| option.split_once('=').unwrap_or((option, "")))
    }
}

/// One server's URL. Stricter than the client, which drops what it does not understand and logs in as nobody when
/// only a user is given.
fn server(text: &str, default_port: u16) -> Result<ConnectionInfo, StoreUrlError> {
    let url = parse_redis_url(text).ok_or(StoreUrlError::Unparsable)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(StoreUrlError::Options);
    }
    let one = |host: &str| !host.is_empty() && !host.contains(',');
    if !url.host_str().is_some_and(one) || url.port() == Some(0) {
        return Err(StoreUrlError::Host);
    }
    if !url.username().is_empty() && url.password().is_none() {
        return Err(StoreUrlError::UserWithoutPassword);
    }
    let database = url.path().strip_prefix('/').unwrap_or_default();
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err(StoreUrlError::Database);
    }
    let names_port = url.port().is_some();
    let target = url.into_connection_info().map_err(|_| StoreUrlError::Host)?;
    let tcp = target.tcp_settings().clone().set_nodelay(true);
    let login = target.redis_settings().clone().set_skip_set_lib_name();
    let target = target.set_tcp_settings(tcp).set_redis_settings(login);
    match host(&target) {
        Some(host) if !names_port => Ok(elsewhere(&target, host, default_port)),
        Some(_) => Ok(target),
        None => Err(StoreUrlError::Host),
    }
}

fn host(server: &ConnectionInfo) -> Option<&str> {
    if let ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } = server.addr() {
        Some(host)
    } else {
        None
    }
}
