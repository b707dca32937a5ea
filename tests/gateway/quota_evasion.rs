//! Ways around a quota that are none: whatever a client can vary about its requests, it has one bucket (cases RATE-003,
//! 006 to 010).

use std::net::{Ipv6Addr, SocketAddr};

use crate::harness::accounts::{Accounts, key_of};
use crate::harness::client::Client;
use crate::harness::lab::{Lab, login_request};
use crate::harness::ports;
use crate::harness::request::{Request, basic_value, get, request};
use crate::harness::shop::Shop;
use crate::harness::upstream::Upstream;

fn per(kind: &str, burst: u32) -> String {
    format!("per = \"{kind}\"\nrate = \"1/h\"\nburst = {burst}")
}

fn door(burst: u32) -> Shop {
    Shop::default().quota("door", &per("address", burst), &["arrival"])
}

/// Asserts that all requests are charged to one bucket of this size, and that what follows is refused by it.
#[track_caller]
fn assert_one_bucket(lab: &Lab, quota: &str, size: i64, requests: impl IntoIterator<Item = Request>) {
    let mut left = size;
    for request in requests {
        let response = lab.call(&request);
        if left == 0 {
            assert_eq!(response.status, 429, "{} got past it: {response}", request.line());
            continue;
        }
        left -= 1;
        assert!(response.status < 500 && response.status != 429, "{}: {response}", request.line());
        response.assert_told(quota, left);
    }
    assert_eq!(left, 0, "too few requests to use it up");
}

#[test]
fn headers_that_a_client_makes_up_give_it_no_other_address() {
    const BURST: u32 = 12;
    let lab = door(BURST).lab();
    let forged = (0..BURST + 20).map(|number| {
        let address = format!("192.0.2.{number}");
        let request = get("/s/open/1");
        match number % 6 {
            0 => request.header("X-Forwarded-For", &address),
            1 => request.header("X-Real-IP", &address),
            2 => request.header("Forwarded", &format!("for={address}")),
            3 => request.header("X-Forwarded-For", "127.0.0.1").header("X-Forwarded-For", &address),
            4 => request.header("True-Client-IP", &address).header("CF-Connecting-IP", &address),
            _ => request.header("X_Forwarded_For", &address).header("X-Client-IP", &address),
        }
    });
    assert_one_bucket(&lab, "door", BURST.into(), forged);
}

#[test]
fn a_trusted_proxys_word_separates_clients_and_mapped_forms_are_one_address() {
    let lab = door(4).lab_before(Upstream::start(), |builder| builder.server("trusted_proxies = [\"127.0.0.0/8\"]\n"));
    let from = |chain: &str| get("/s/open/1").header("X-Forwarded-For", chain);
    let spellings = [
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "::FFFF:c000:201",
        "6.6.6.6, 192.0.2.1",
        "0:0:0:0:0:ffff:192.0.2.1",
        "6.6.6.6, ::ffff:192.0.2.1, 127.0.0.9",
    ];
    assert_one_bucket(&lab, "door", 4, spellings.map(from));
    let of_network = [
        "2001:db8:1:2::1",
        "2001:db8:1:2::2",
        "2001:DB8:1:2:ffff:ffff:ffff:ffff",
        "2001:db8:1:2:1::",
        "2001:db8:1:2::9",
    ];
    assert_one_bucket(&lab, "door", 4, of_network.map(from));
    for other in ["192.0.2.2", "2001:db8:1:3::1", "2001:db8:1:1:ffff:ffff:ffff:ffff"] {
        lab.call(&from(other)).assert_ok().assert_told("door", 3);
    }
    // Without a readable word it is the proxy's own bucket.
    lab.call(&get("/s/open/1")).assert_ok().assert_told("door", 3);
    lab.call(&from("nonsense")).assert_ok().assert_told("door", 2);
}

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_is_the_same_client() {
    let dual = SocketAddr::from((Ipv6Addr::UNSPECIFIED, ports::free().port()));
    let lab = door(4).lab_before(Upstream::start(), |builder| builder.also_listen(dual));
    let plain = lab.gateway.address();
    let mapped = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
        SocketAddr::V6(_) => address,
    };
    let over_dual = SocketAddr::from(([127, 0, 0, 1], dual.port()));
    let mut left = 4;
    for (address, client) in
        [(plain, "127.0.0.1"), (over_dual, "127.0.0.1"), (mapped(over_dual), "127.0.0.1"), (mapped(plain), "127.0.0.1")]
    {
        left -= 1;
        let response = Client::connect(address).send(&get("/s/open/1")).assert_ok().assert_told("door", left);
        lab.gateway.line_of(&response.request_id()).assert(&[("client", client)]);
    }
    for address in [plain, over_dual, mapped(over_dual)] {
        Client::connect(address).send(&get("/s/open/1")).assert_over_quota();
    }
    // The machine's own IPv6 address is another client.
    let own = SocketAddr::from((Ipv6Addr::LOCALHOST, dual.port()));
    Client::connect(own).send(&get("/s/open/1")).assert_ok().assert_told("door", 3);
}

fn user(target: &str) -> Request {
    get(target).basic("ak_usr-1", &key_of("ak_usr-1"))
}

#[test]
fn spellings_of_a_path_and_methods_share_the_routes_bucket_or_are_refused() {
    let shop =
        Shop::default().quota("of-route", &per("route", 6), &["items"]).quota("own", &per("principal", 50), &["items"]);
    let lab = shop.lab();
    // No other spelling of a path of the route leads to it.
    for target in
        ["/s/items/1/", "/s//items/1", "/s/%69tems/1", "/s/Items/1", "/S/items/1", "/s/items/1%2f", "/s/./items/1"]
    {
        let response = lab.call(&user(target));
        assert!([400, 404].contains(&response.status), "{target}: {response}");
        response.assert_told_nothing();
    }
    let named = |method: &str, target: &str| request(method, target).basic("ak_usr-1", &key_of("ak_usr-1"));
    let ways = [
        user("/s/items/1"),
        user("/s/items/1?x=1"),
        named("HEAD", "/s/items/1"),
        user("http://gateway.local/s/items/1"),
        named("POST", "/s/items/2"),
        user("/s/things/%C3%A4"),
        user("/s/items/1?x=2"),
        named("POST", "/s/items/1"),
        user("/s/parcels/1/2/3"),
        user("http://gateway.local/s/things/1"),
        named("HEAD", "/s/things/1"),
    ];
    assert_one_bucket(&lab, "of-route", 6, ways);
    assert_eq!(lab.upstream.seen().len(), 6);
}

#[test]
fn credentials_tokens_and_spellings_of_one_account_share_its_bucket() {
    let accounts = Accounts::lab().credential("ak_second", "usr-1", "");
    let shop = Shop::default().quota("own", &per("principal", 7), &["items"]);
    let lab = shop.lab_before(Upstream::start(), |builder| builder.accounts(&accounts));
    let token = || {
        let response = lab.call(&login_request("/s", "usr-1")).assert_ok();
        response.json()["token"].as_str().expect("a token").to_owned()
    };
    let value = basic_value("ak_usr-1", &key_of("ak_usr-1"));
    let with = |scheme: &str, value: &str| get("/s/items/1").header("Authorization", &format!("{scheme}{value}"));
    let unpadded = with("Basic ", value.trim_end_matches('='));
    let (first, second) = (token(), token());
    assert_ne!(first, second);
    let ways = [
        with("Basic ", &value),
        with("basic ", &value),
        with("BASIC ", &value),
        get("/s/items/1").basic("ak_second", &key_of("ak_second")),
        get("/s/items/1").token(&first),
        get("/s/items/1").token(&second),
        with("token ", &first),
        get("/s/items/1").token(&token()),
        get("/s/items/1").basic("ak_second", &key_of("ak_second")).header("X-Forwarded-For", "192.0.2.1"),
        with("bAsIc ", &value),
    ];
    assert_one_bucket(&lab, "own", 7, ways);
    // What is no spelling of the credential is refused as none.
    for odd in [unpadded, get("/s/items/1").basic("AK_USR-1", &key_of("ak_usr-1")), with("Token  ", "x y")] {
        let response = lab.call(&odd);
        assert_eq!(response.status, 401, "{response}");
        response.assert_told_nothing();
    }
    lab.call(&get("/s/items/1").basic("ak_usr-2", &key_of("ak_usr-2"))).assert_ok().assert_told("own", 6);
}

#[test]
fn wrong_keys_with_anothers_id_cost_the_sender_and_never_the_victim() {
    const GUESSES: u32 = 1000;
    let shop = Shop::default()
        .quota("door", &per("address", GUESSES - 100).replace("1/h", "2/h"), &["arrival"])
        .quota("own", &per("principal", 3), &["items"])
        .quota("login", &per("login", 3), &["login"]);
    let lab = shop.lab_before(Upstream::start(), |builder| builder.server("trusted_proxies = [\"127.0.0.0/8\"]\n"));
    let mut client = lab.gateway.client();
    let statuses: Vec<u16> = (0..GUESSES)
        .map(|number| {
            let guess = get("/s/items/1").basic("ak_usr-1", &format!("guess-{number}"));
            client.send(&guess.header("X-Forwarded-For", "192.0.2.66")).status
        })
        .collect();
    let count = |status: u16| statuses.iter().filter(|known| **known == status).count();
    assert_eq!((count(401), count(429)), (900, 100), "the sender is stopped, and by its address");
    // The victim calls from somewhere else, and has all of its quota.
    let victim = |request: Request| lab.call(&request.header("X-Forwarded-For", "192.0.2.1"));
    victim(user("/s/items/1")).assert_ok().assert_told("own", 2);
    victim(login_request("/s", "usr-1")).assert_ok().assert_told("login", 2);
}
