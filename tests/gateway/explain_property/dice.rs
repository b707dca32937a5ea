//! Random requests for the property of explain: accounts in every state, and requests that meet each rule of `policies`.
//!
//! Used by that test alone. What is random comes from the seed that the test prints.

use std::collections::HashMap;

use crate::harness::accounts::{Accounts, api_id, key_of};
use crate::harness::jwt::Forgery;
use crate::harness::request::{Request, basic_value, request};
use crate::harness::seed::Random;

/// The lab's tree, with a suspended branch and credentials in every state.
pub(super) fn accounts() -> Accounts {
    Accounts::lab()
        .with("cus-s", "customer", Some("res-8"))
        .with("usr-s", "user", Some("cus-s"))
        .suspend("cus-s")
        .credential("ak_old", "usr-1", "not_after = 2020-01-01T00:00:00Z")
        .credential("ak_early", "res-7", "not_before = 2120-01-01T00:00:00Z")
        .credential("ak_cell", "root", "realms = [\"cell\"]")
        .credential("ak_old_s", "usr-s", "not_after = 2020-01-01T00:00:00Z")
        .quick_to_check()
}

/// Accounts that can log in.
const CALLERS: [(&str, &str); 9] = [
    ("administrator", "root"),
    ("reseller", "res-7"),
    ("reseller", "res-8"),
    ("customer", "cus-42"),
    ("customer", "cus-9"),
    ("user", "usr-1"),
    ("user", "usr-9"),
    ("user", "alice"),
    ("user", "lone"),
];

const TARGETS: [&str; 12] =
    ["root", "res-7", "res-8", "cus-42", "cus-9", "usr-1", "usr-9", "usr-s", "lone", "nobody", "a%C3%A9", "me"];

/// Tokens by base path and account.
pub(super) struct Tokens(HashMap<(&'static str, &'static str), String>);

impl Tokens {
    pub(super) fn of(login: impl Fn(&str, &str) -> String) -> Self {
        let each = ["/m", "/k"].into_iter().flat_map(|base| CALLERS.map(|(_, account)| (base, account)));
        Self(each.map(|(base, account)| ((base, account), login(base, account))).collect())
    }
}

/// One request: as a client sends it, and as it is explained.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) caller: String,
    pub(super) scheme: Option<&'static str>,
    pub(super) method: String,
    pub(super) target: String,
    pub(super) client: &'static str,
    /// In both.
    headers: Vec<(String, String)>,
    /// What proves who calls: sent, and not explained.
    proof: Option<String>,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Sized(usize),
    Chunked,
}

impl Question {
    /// As it is sent.
    pub(super) fn request(&self) -> Request {
        let host = self.headers.iter().find(|(name, _)| name == "host").map_or("", |(_, value)| value);
        let mut sent = request(&self.method, &self.target).host(host);
        let mut hosts = 0;
        for (name, value) in &self.headers {
            hosts += usize::from(name == "host");
            if name != "host" || hosts > 1 {
                sent = sent.header(name, value);
            }
        }
        if self.client != "127.0.0.1" {
            sent = sent.header("X-Forwarded-For", self.client);
        }
        if let Some(proof) = &self.proof {
            sent = sent.header("Authorization", proof);
        }
        match self.body {
            Body::None => sent,
            Body::Sized(length) => sent.body(&vec![b'x'; length]),
            Body::Chunked => sent.chunked(&[b"chunk"]),
        }
    }

    /// The header lines that are explained.
    pub(super) fn explained(&self) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        match self.body {
            Body::None => {}
            Body::Sized(length) => headers.push(("Content-Length".into(), length.to_string())),
            Body::Chunked => headers.push(("transfer-encoding".into(), "chunked".into())),
        }
        headers
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }
}

/// A random request.
pub(super) fn ask(random: &mut Random, tokens: &Tokens) -> Question {
    let (own, methods, path) = ROUTES[random.below(ROUTES.len())];
    // Now and then what another realm has.
    let base = if random.below(20) == 0 { random.pick(&["/m", "/m/cell", "/k", "/m/cells", ""]) } else { own };
    let mut question = Question {
        caller: "anonymous".into(),
        scheme: None,
        method: "GET".into(),
        target: String::new(),
        client: random.pick(&[
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            "10.1.2.3",
            "10.1.2.3",
            "10.9.9.9",
            "203.0.113.7",
        ]),
        headers: vec![("host".into(), random.pick(&["lab.example", "lab.example:8080"]).to_owned())],
        proof: None,
        body: Body::None,
    };
    aim(random, &mut question, base, (methods, path));
    dress(random, &mut question);
    present(random, &mut question, base, tokens);
    if random.below(12) == 0 {
        spoil(random, &mut question);
    }
    question
}

/// Where each path lies, the methods that it has, and the path. What stands here twice has more to be told apart.
const ROUTES: [(&str, &[&str], &str); 28] = [
    ("/m", &["GET", "POST"], "/open/a/b"),
    ("/m", &["GET"], "/free"),
    ("/m", &["GET", "PUT"], "/own/{id}"),
    ("/m", &["GET", "PUT"], "/own/{id}"),
    ("/m", &["GET", "DELETE"], "/below/{id}"),
    ("/m", &["GET", "DELETE"], "/below/{id}"),
    ("/m", &["GET"], "/subtree/{id}"),
    ("/m", &["GET"], "/any/{id}"),
    ("/m", &["GET"], "/customers/{id}/users/{id}"),
    ("/m", &["GET"], "/customers/{id}/users/{id}"),
    ("/m", &["GET"], "/query"),
    ("/m", &["GET"], "/query"),
    ("/m", &["GET"], "/optional"),
    ("/m", &["GET", "POST"], "/header"),
    ("/m", &["GET"], "/list"),
    ("/m", &["GET"], "/list"),
    ("/m", &["GET", "POST"], "/apps"),
    ("/m", &["GET", "POST"], "/apps"),
    ("/m", &["POST", "PUT", "PATCH"], "/small"),
    ("/m", &["POST", "PUT", "PATCH"], "/small"),
    ("/m", &["GET", "POST"], "/off"),
    ("/m", &["GET", "POST"], "/narrow"),
    ("/m", &["POST"], "/login"),
    ("/m/cell", &["GET", "POST"], "/all/{id}"),
    ("/m/cell", &["GET"], "/rest/x"),
    ("/k", &["GET"], "/list"),
    ("/k", &["GET"], "/own/{id}"),
    ("/k", &["POST"], "/login"),
];

/// Method, path and query.
fn aim(random: &mut Random, question: &mut Question, base: &str, (methods, path): (&[&str], &str)) {
    let mut method = random.pick(methods);
    if method == "GET" && random.below(6) == 0 {
        method = "HEAD";
    }
    if random.below(15) == 0 {
        method = random.pick(&["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]);
    }
    method.clone_into(&mut question.method);
    let mut filled = path.to_owned();
    while filled.contains("{id}") {
        filled = filled.replacen("{id}", random.pick(&TARGETS), 1);
    }
    question.target = format!("{base}{filled}");
    if random.below(25) == 0 {
        question.target.push_str(random.pick(&["/", "/more", "x", "/all/of/this"]));
    }
    let target = random.pick(&TARGETS);
    let query = match random.below(10) {
        0..=4 if path == "/query" || path == "/optional" => format!("?account={target}"),
        0 => "?".to_owned(),
        1 => format!("?page=2&account={target}"),
        2 => random
            .pick(&[
                "?account=",
                "?Account=usr-1",
                "?account[]=usr-1",
                "?account=usr-1&account=usr-1",
                "?account=a+b",
                "?a=%zz",
            ])
            .to_owned(),
        3 => format!("?a=1&b={target}"),
        _ => String::new(),
    };
    question.target.push_str(&query);
    if random.below(40) == 0 {
        let host = random.pick(&["lab.example", "lab.example:8080", "elsewhere.example"]);
        question.target = format!("http://{host}{}", question.target);
    }
}

/// Headers that rules ask for, and a body.
fn dress(random: &mut Random, question: &mut Question) {
    for (name, values) in [
        ("X-Api-Id", &["ak_usr-1", "x", "anything at all", ""][..]),
        ("X-Tenant", &["t", "t", "t", ""]),
        ("X-Trace", &["1", "2"]),
        ("X-Account", &["usr-1", "cus-42", "res-7", "nobody", "a b", ""]),
        ("X-App-Type", &["vc", "wb", "vc", "other", "v c", ""]),
    ] {
        if random.below(5) < 3 {
            question.set(name, random.pick(values));
        }
        if random.below(25) == 0 {
            question.set(name, random.pick(values));
        }
    }
    if ["POST", "PUT", "PATCH", "DELETE"].contains(&question.method.as_str()) {
        question.body = match random.below(8) {
            0 => Body::None,
            1 => Body::Chunked,
            2 => Body::Sized(0),
            3 => Body::Sized(64),
            4 => Body::Sized(65),
            5 => Body::Sized(700),
            _ => Body::Sized(11),
        };
    }
}

/// Who calls, and with what.
fn present(random: &mut Random, question: &mut Question, base: &'static str, tokens: &Tokens) {
    let (role, account) = CALLERS[random.below(CALLERS.len())];
    match random.below(20) {
        0..=6 => {
            // A token of one realm is nothing to another; explain is told who it is of, so it is used where it is good.
            if let Some(token) = tokens.0.get(&(base, account)) {
                question.caller = format!("{role}:{account}");
                question.scheme = Some("token");
                question.proof = Some(format!("Token {token}"));
            }
        }
        7..=13 => {
            let id = api_id(account);
            question.proof = Some(format!("Basic {}", basic_value(&id, &key_of(&id))));
            question.caller = if random.below(2) == 0 {
                question.scheme = Some("basic");
                format!("{role}:{account}")
            } else {
                format!("credential:{id}")
            };
        }
        14 | 15 => {
            let id = random.pick(&["ak_old", "ak_early", "ak_cell", "ak_old_s", "ak_usr-s", "ak_cus-s"]);
            question.caller = format!("credential:{id}");
            question.proof = Some(format!("Basic {}", basic_value(id, &key_of(id))));
        }
        16 => {
            // What cannot be genuine is explained as it is sent.
            let token = &tokens.0[&("/m", account)];
            let forged = Forgery::of(token).sign_with(b"another key of at least 32 bytes, I say");
            let value = match random.below(6) {
                0 => format!("Token {forged}"),
                1 => format!("token {}", &token[..token.len() / 2]),
                2 => format!("Basic {}", basic_value("ak_usr-1", "not its key")),
                3 => format!("BASIC {}", basic_value("nobody", "no key")),
                4 => "Token abc.def.ghi".to_owned(),
                _ => format!("Basic {}", basic_value("ak_root", "key-of-ak_root")),
            };
            question.set("Authorization", &value);
        }
        17 => {
            let value =
                random.pick(&["Bearer abc", "Basic !!!", "Basic", "Token", "Token a b", "Basic bm9jb2xvbg==", "x"]);
            question.set("Authorization", value);
        }
        18 => question.set("Authorization", ""),
        _ => {}
    }
}

/// Makes it a request that cannot be read, or nearly.
fn spoil(random: &mut Random, question: &mut Question) {
    match random.below(16) {
        0 => question.target = question.target.replacen('/', "//", 1),
        1 => question.target.push_str("/../x"),
        2 => question.target.push_str("/%2e"),
        3 => question.target.push_str(";v=1"),
        4 => question.target.push_str("#top"),
        5 => question.target.push_str("/%zz"),
        6 => question.target.push_str("/é"),
        7 => random.pick(&["*", "m/list", "ftp://lab.example/m/list", "/m\\list"]).clone_into(&mut question.target),
        8 => random.pick(&["PURGE", "get", "Get", "LINK"]).clone_into(&mut question.method),
        9 => question.set("host", "lab.example"),
        10 => question.headers[0].1 = random.pick(&["", "a b", "user@host", "h:99999", "[::1", "a,b"]).to_owned(),
        11 => question.set(
            "Connection",
            random.pick(&["host", "x-forwarded-for", "x-app-type", "x-tenant", "keep-alive", "a b"]),
        ),
        12 if matches!(question.body, Body::Sized(_)) => question.set("Transfer-Encoding", "chunked"),
        12 => question.set("Transfer-Encoding", random.pick(&["gzip", "gzip, chunked"])),
        13 => question.set("Upgrade", "websocket"),
        14 => question.set("Content-Length", random.pick(&["x", "-1", "1, 1"])),
        _ => {
            question.set("Authorization", "Token abc");
            question.set("Authorization", "Token abc");
        }
    }
}
