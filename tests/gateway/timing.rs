//! What the time of a refusal tells: nothing. The resolver of a gateway that is built from files like any other, asked
//! in this process, so that neither a socket nor another process blurs a difference. Not in every run: the numbers mean
//! something only on a machine that is quiet.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use portcullis::app::App;
use portcullis::cli::report;
use portcullis::identity::login::LoginRequest;
use portcullis::policy::credential::{ApiKey, Presented};
use portcullis::policy::principal::Identity;
use portcullis::reason::Reason;
use serde_json::json;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

use crate::harness::accounts::{email, key_of};
use crate::harness::builder::SECRET;
use crate::harness::lab::builder;
use crate::harness::ports;
use crate::harness::upstream::Upstream;

/// Of each kind.
const SAMPLES: usize = 2000;

/// Before anything is measured: caches, branch predictors and the lock-out's entries are then equal.
const WARM_UP: usize = 50;

/// What Welch's t may be before two kinds count as told apart.
const BOUND: f64 = 4.5;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A gateway that nobody is served by.
fn gateway() -> App {
    let upstream = Upstream::start();
    let builder = builder().upstream("lab", upstream.address());
    let text = builder.toml(ports::free()).replace("env = \"PORTCULLIS_TOKEN_KEY\"", "file = \"key.txt\"");
    let place = builder.file("gateway.toml", &text).file("key.txt", SECRET).place();
    let loaded = report::read_all(&place.dir.path().join("gateway.toml"));
    let loaded = loaded.unwrap_or_else(|faults| panic!("{}", report::summary(&faults)));
    App::build(loaded.config, loaded.records, None).expect("a gateway")
}

fn runtime() -> Runtime {
    RuntimeBuilder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Nanoseconds of each kind, measured in turns; the order moves on with every turn, so that no kind always follows the
/// same other.
fn interleaved<const KINDS: usize>(app: &App, mut once: impl FnMut(usize)) -> [Vec<f64>; KINDS] {
    let runtime = runtime();
    let mut samples: [Vec<f64>; KINDS] = std::array::from_fn(|_| Vec::with_capacity(SAMPLES));
    for round in 0..WARM_UP + SAMPLES {
        if round % WARM_UP == 0 {
            // A hundred failures lock an e-mail, whatever the settings.
            runtime.block_on(app.gateway().resolver.lockout().clear_all()).expect("a store in memory");
        }
        for step in 0..KINDS {
            let kind = (round + step) % KINDS;
            let started = Instant::now();
            once(kind);
            let took = started.elapsed().as_nanos() as f64;
            if round >= WARM_UP {
                samples[kind].push(took);
            }
        }
    }
    samples
}

/// Welch's t of two samples.
fn welch(left: &[f64], right: &[f64]) -> f64 {
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let spread = |all: &[f64]| {
        let middle = mean(all);
        all.iter().map(|one| (one - middle).powi(2)).sum::<f64>() / (all.len() - 1) as f64 / all.len() as f64
    };
    (mean(left) - mean(right)) / (spread(left) + spread(right)).sqrt()
}

/// Asserts that no two kinds can be told apart: by all samples, and by those that nothing interrupted, since a few slow
/// ones would hide a difference.
fn assert_alike<const KINDS: usize>(names: [&str; KINDS], samples: &[Vec<f64>; KINDS]) {
    let mut all: Vec<f64> = samples.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let cut = all[all.len() * 9 / 10];
    let calm: Vec<Vec<f64>> =
        samples.iter().map(|kind| kind.iter().copied().filter(|one| *one <= cut).collect()).collect();
    for (name, kind) in names.iter().zip(&calm) {
        println!("{name}: {:.0} ns, the calm ones' mean", kind.iter().sum::<f64>() / kind.len() as f64);
    }
    let mut found = Vec::new();
    for left in 0..KINDS {
        for right in left + 1..KINDS {
            let (every, quiet) = (welch(&samples[left], &samples[right]), welch(&calm[left], &calm[right]));
            println!("{} and {}: t = {every:.2}, calm t = {quiet:.2}", names[left], names[right]);
            found.push((names[left], names[right], every, quiet));
        }
    }
    assert_eq!(found.len(), KINDS * (KINDS - 1) / 2);
    for (left, right, every, quiet) in found {
        assert!(every.abs() < BOUND && quiet.abs() < BOUND, "{left} and {right}: t = {every:.2}, calm t = {quiet:.2}");
    }
}

#[test]
fn welch_tells_samples_apart_that_differ_and_no_others() {
    let wave = |offset: f64| (0..2000).map(|n| f64::from(n % 100) + offset).collect::<Vec<_>>();
    assert!(welch(&wave(0.0), &wave(0.0)).abs() < 1e-9);
    assert!(welch(&wave(0.0), &wave(10.0)) < -BOUND);
}

#[test]
#[ignore = "soak: make soak"]
fn time_does_not_tell_an_unknown_api_id_from_a_wrong_key_or_one_that_is_almost_right() {
    let (app, runtime) = (gateway(), runtime());
    let right = key_of("ak_alice");
    let near = format!("{}~", &right[..right.len() - 1]);
    let wrong = "~".repeat(right.len());
    let kinds = [("ak_wrong", wrong.as_str()), ("ak_alice", wrong.as_str()), ("ak_alice", near.as_str())];
    let presented = kinds.map(|(id, key)| Presented::Basic(ApiKey::new(id, key.as_bytes())));
    let resolver = &app.gateway().resolver;
    let samples = interleaved(&app, |kind| {
        let found = runtime.block_on(resolver.resolve(&presented[kind], "lab", CLIENT));
        assert!(matches!(found, Identity::Invalid(_)), "{found:?}");
    });
    assert_alike(["an unknown id", "a wrong key", "a key that is almost right"], &samples);
}

#[test]
#[ignore = "soak: make soak"]
fn time_does_not_tell_an_unknown_email_from_a_wrong_password() {
    let (app, runtime) = (gateway(), runtime());
    let gateway = app.gateway();
    let live = gateway.live.load_full();
    let realm = live.snapshot.realms().iter().find(|realm| &*realm.name == "lab").expect("the realm");
    let bodies =
        [email("nobody"), email("alice")].map(|email| json!({ "email": email, "password": "wrong" }).to_string());
    let samples = interleaved(&app, |kind| {
        let request = LoginRequest {
            content_type: Some(b"application/json"),
            api_id: Some(b"ak_root"),
            body: bodies[kind].as_bytes(),
            client: CLIENT,
        };
        let refused = runtime.block_on(gateway.resolver.login(&gateway.passwords, realm, &request));
        assert_eq!(refused.map(|_| ()).map_err(|refusal| refusal.reason), Err(Reason::LoginFailed));
    });
    assert_alike(["an unknown e-mail", "a wrong password"], &samples);
}
