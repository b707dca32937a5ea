//! The watch over the files: however a file is edited, the gateway takes it over whole and by itself; what is broken is
//! told once and changes nothing (contract sections 3 and 10).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::accounts::key_of;
use crate::harness::builder::SECRET;
use crate::harness::jwt::Forgery;
use crate::harness::lab::{LAB_POLICY, Lab};
use crate::harness::request::get;
use crate::harness::wait::{PATIENCE, eventually};

/// The policy of the lab with another name for the route of orders, by which it is told from the others.
fn named(route: &str) -> String {
    LAB_POLICY.replacen("name = \"orders\"", &format!("name = \"{route}\""), 1)
}

fn path(lab: &Lab, name: &str) -> PathBuf {
    lab.gateway.folder().join(name)
}

/// The route that takes an order now, as its access line has it.
#[track_caller]
fn route_now(lab: &Lab) -> String {
    let response = lab.call(&get("/orders/1").basic("ak_alice", &key_of("ak_alice"))).assert_ok();
    lab.gateway.line_of(&response.request_id()).text("route")
}

/// Waits until that route is in effect, without having asked for it.
#[track_caller]
fn await_route(lab: &Lab, route: &str) {
    eventually(&format!("the route {route} is in effect"), PATIENCE, || (route_now(lab) == route).then_some(()));
    assert_eq!(lab.gateway.degraded(), [""; 0]);
}

/// Waits until the gateway says that its files were refused, and asserts that it goes on.
#[track_caller]
fn await_refusal(lab: &Lab) {
    eventually("readiness says so", PATIENCE, || (lab.gateway.degraded() == ["stale policy"]).then_some(()));
    lab.gateway.admin_get("/readyz").assert_ok();
    assert_eq!(lab.gateway.metrics().sum("portcullis_policy_stale", &[]), 1.0);
}

#[test]
fn every_way_of_editing_a_file_is_noticed() {
    let lab = Lab::start();
    let file = path(&lab, "lab.toml");
    lab.gateway.replace_file("lab.toml", &named("renamed-over"));
    await_route(&lab, "renamed-over");
    fs::write(&file, named("in-place")).unwrap();
    await_route(&lab, "in-place");
    // An editor that keeps the old file and writes a new one.
    fs::rename(&file, path(&lab, "lab.toml~")).unwrap();
    thread::sleep(Duration::from_millis(100));
    fs::write(&file, named("written-anew")).unwrap();
    await_route(&lab, "written-anew");
    fs::remove_file(&file).unwrap();
    symlink(path(&lab, "lab.toml~"), &file).unwrap();
    await_route(&lab, "in-place");
    assert_eq!(lab.gateway.reloads("faults"), 0.0, "no moment in between was taken for a state");
}

#[test]
fn a_mounted_volume_that_swaps_its_link_is_taken_over_as_one() {
    let lab = Lab::start();
    let volume = |name: &str, text: &str| {
        fs::create_dir(path(&lab, name)).unwrap();
        fs::write(path(&lab, name).join("lab.toml"), text).unwrap();
    };
    volume("..2026_01", &named("first"));
    symlink("..2026_01", path(&lab, "..data")).unwrap();
    symlink("..data/lab.toml", path(&lab, "next.tmp")).unwrap();
    fs::rename(path(&lab, "next.tmp"), path(&lab, "lab.toml")).unwrap();
    await_route(&lab, "first");
    for (folder, route) in [("..2026_02", "second"), ("..2026_03", "third")] {
        volume(folder, &named(route));
        symlink(folder, path(&lab, "..data_tmp")).unwrap();
        fs::rename(path(&lab, "..data_tmp"), path(&lab, "..data")).unwrap();
        await_route(&lab, route);
    }
    fs::remove_dir_all(path(&lab, "..2026_01")).unwrap();
    assert_eq!(lab.gateway.reloads("applied"), 3.0);
}

#[test]
fn a_file_that_is_still_being_written_is_left_alone() {
    let lab = Lab::start();
    // Cut where a half would be a policy as well, one without the last routes.
    let pieces: Vec<String> = named("whole").split_inclusive("\n\n").map(str::to_owned).collect();
    assert!(pieces.len() > 8);
    // A machine that stops the writer for longer than a file has to rest proves nothing, so that is tried again.
    let steady = (0..5).any(|_| {
        let (applied, refused) = (lab.gateway.reloads("applied"), lab.gateway.reloads("faults"));
        let mut file = fs::File::create(path(&lab, "lab.toml")).unwrap();
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        for piece in &pieces {
            file.write_all(piece.as_bytes()).unwrap();
            longest = longest.max(last.elapsed());
            last = Instant::now();
            thread::sleep(Duration::from_millis(150));
        }
        let seen = (lab.gateway.reloads("applied"), lab.gateway.reloads("faults"));
        longest < Duration::from_millis(300) && {
            assert_eq!(seen, (applied, refused), "a half of it was read");
            true
        }
    });
    assert!(steady, "the machine is too busy to write steadily");
    await_route(&lab, "whole");
}

#[test]
fn faults_are_told_once_and_end_with_the_files_they_are_in() {
    let lab = Lab::start();
    let revision = lab.gateway.revision();
    let told = || lab.gateway.stderr().matches("lab.toml:1:").count();
    lab.gateway.replace_file("lab.toml", "nonsense");
    await_refusal(&lab);
    assert_eq!((told(), route_now(&lab).as_str()), (1, "orders"), "{}", lab.gateway.stderr());
    let reads = lab.gateway.reloads("faults");
    // The same again is read, and is no news.
    lab.gateway.replace_file("lab.toml", "nonsense");
    eventually("it is read", PATIENCE, || (lab.gateway.reloads("faults") > reads).then_some(()));
    assert_eq!(told(), 1, "{}", lab.gateway.stderr());
    lab.gateway.replace_file("lab.toml", "nonsense = ");
    eventually("other faults are told", PATIENCE, || (told() == 2).then_some(()));
    assert!(lab.gateway.metrics().sum("portcullis_policy_stale", &[]) == 1.0);
    lab.gateway.replace_file("lab.toml", LAB_POLICY);
    eventually("the files say what is in effect", PATIENCE, || lab.gateway.degraded().is_empty().then_some(()));
    assert_eq!((lab.gateway.revision(), lab.gateway.reloads("applied")), (revision, 0.0), "nothing was swapped");
    assert!(lab.gateway.stderr().contains("nothing changed"), "{}", lab.gateway.stderr());
    assert_eq!(lab.gateway.metrics().sum("portcullis_policy_stale", &[]), 0.0);
}

#[test]
fn a_file_that_is_empty_or_cannot_be_read_keeps_the_old_policies() {
    let lab = Lab::start();
    let (file, kept) = (path(&lab, "lab.toml"), path(&lab, "kept"));
    fs::copy(&file, &kept).unwrap();
    let make: [(&str, &dyn Fn()); 4] = [
        ("emptied", &|| drop(fs::File::create(&file).unwrap())),
        ("unreadable", &|| {
            fs::set_permissions(&file, fs::Permissions::from_mode(0o0)).unwrap();
            // Nothing is unreadable to a superuser but what is no file.
            if fs::read(&file).is_ok() {
                fs::remove_file(&file).unwrap();
                fs::create_dir(&file).unwrap();
            }
        }),
        ("leads to itself", &|| symlink("lab.toml", &file).unwrap()),
        ("gone", &|| ()),
    ];
    for signal in [true, false] {
        for (what, make) in &make {
            let before = lab.gateway.stderr().len();
            // What stood there has to go first for a folder or a link; nobody may take that for the state that is meant.
            let gone_first = !["emptied", "unreadable"].contains(what);
            if gone_first {
                fs::remove_file(&file).unwrap();
            }
            make();
            if signal {
                lab.gateway.signal("-HUP");
            }
            await_refusal(&lab);
            let log = lab.gateway.stderr();
            let faults = log[before..].lines().filter(|line| line.contains("lab.toml")).count();
            // Where the watch was quicker than the signal, the answer to that is a second line.
            assert!(faults == 1 || signal && faults == 2, "{what}: {log}");
            assert_eq!(route_now(&lab), "orders", "{what}");
            drop(fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)));
            fs::copy(&kept, path(&lab, "next.tmp")).unwrap();
            fs::rename(path(&lab, "next.tmp"), &file).unwrap();
            eventually("all is well again", PATIENCE, || lab.gateway.degraded().is_empty().then_some(()));
        }
    }
    assert_eq!(lab.gateway.reloads("applied"), 0.0);
}

#[test]
fn secrets_are_watched_and_so_is_what_a_refused_file_names() {
    let lab = Lab::with(|builder| {
        builder.without_keys().token("keys = [{ id = \"file\", secret = { file = \"key\" } }]").file("key", SECRET)
    });
    let token = lab.login("alice");
    lab.call(&get("/orders/1").token(&token)).assert_ok();
    // Another key under the same id: what the old one signed is a forgery now.
    lab.gateway.replace_file("key", "another-secret-0123456789abcdef-0123456789abcdef");
    eventually("the new key is in effect", PATIENCE, || {
        (lab.call(&get("/orders/1").token(&token)).status == 401).then_some(())
    });
    assert_eq!(*Forgery::of(&lab.login("bob")).head("kid"), "file");
    // A file that nobody read until now, and that is not there yet.
    let settings = lab.gateway.read_file("gateway.toml");
    lab.gateway.replace_file("gateway.toml", &settings.replacen("include = [", "include = [\"more.toml\", ", 1));
    await_refusal(&lab);
    assert!(lab.gateway.stderr().contains("cannot read `more.toml`"), "{}", lab.gateway.stderr());
    let more = "[realm]\nname = \"more\"\nbase = \"/more\"\nroles = [\"user\"]\nschemes = [\"basic\"]\nupstream = \"lab\"\n\
        [[route]]\nname = \"more\"\nmatch = \"GET /now\"\npublic = true\n";
    lab.gateway.replace_file("more.toml", more);
    eventually("the realm is there", PATIENCE, || (lab.call(&get("/more/now")).status == 200).then_some(()));
    assert_eq!(lab.gateway.degraded(), [""; 0]);
    // Accounts are followed for themselves, but a reload that they refused waits for them.
    let accounts = lab.gateway.read_file("accounts.toml");
    lab.gateway.replace_file("accounts.toml", "nonsense");
    lab.gateway.replace_file("lab.toml", &named("with-accounts"));
    eventually("accounts refuse it", PATIENCE, || {
        lab.gateway.degraded().contains(&"stale policy".to_owned()).then_some(())
    });
    lab.gateway.replace_file("accounts.toml", &accounts);
    await_route(&lab, "with-accounts");
}
