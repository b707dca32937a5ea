//! An operational log that nobody reads: requests go on, and what was lost is told as soon as somebody does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::harness::client::Client;
use crate::harness::gateway::BUILT;
use crate::harness::ports;
use crate::harness::request::get;
use crate::harness::wait::{PATIENCE, eventually};

/// More lines than any pipe holds: one takes 64 KiB, and each line is longer than 100 bytes.
const REQUESTS: usize = 2000;

#[test]
fn a_log_that_nobody_reads_holds_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let realm = |path: &str| {
        format!(
            "[realm]\nname = \"a\"\nbase = \"/a\"\nroles = [\"user\"]\nschemes = [\"basic\"]\nupstream = \"lab\"\n\
             [[route]]\nname = \"r\"\nmatch = \"GET {path}\"\nallow = [\"user\"]\n"
        )
    };
    let (proxy, admin) = (ports::free(), ports::free());
    write("live.toml", &realm("/open"));
    // It disagrees about every request below.
    write("candidate.toml", &realm("/other"));
    write("accounts.toml", "");
    let settings = format!(
        "[server]\nlisten = [\"{proxy}\"]\nadmin = \"{admin}\"\naccess_log = \"access.log\"\n\
         [directory]\nurl = \"file:accounts.toml\"\n[upstreams.lab]\nservers = [\"127.0.0.1:1\"]\n\
         [policies]\ninclude = [\"live.toml\"]\ncandidate = [\"candidate.toml\"]\nsample = 1.0\n"
    );
    write("gateway.toml", &settings);
    let mut command = Command::new(BUILT);
    command.args(["serve", "-c", "gateway.toml"]).current_dir(folder.path()).stderr(Stdio::piped());
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut client = eventually("it listens", PATIENCE * 2, || Client::try_connect(proxy));
    for _ in 0..REQUESTS {
        assert_eq!(client.send(&get("/a/open")).status, 400);
    }
    let log = process.stderr.take().unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(log).lines().map_while(Result::ok);
        lines.filter(|line| line.contains("were lost")).try_for_each(|line| told.send(line))
    });
    // The first line that goes through again is the one after the reader has made room.
    eventually("what was lost is told", PATIENCE, || {
        client.send(&get("/a/open"));
        heard.try_recv().ok()
    });
    process.kill().unwrap();
    process.wait().unwrap();
}
