//! The real binary as a child process: started, watched, asked, and killed by its id when the test is done. Its
//! stdout is the access log, its stderr the operational log; both are printed when the test fails.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

use crate::harness::builder::Place;
use crate::harness::client::Client;
use crate::harness::lines::Line;
use crate::harness::metrics::Metrics;
use crate::harness::ports;
use crate::harness::request::{Request, get, request};
use crate::harness::response::Response;
use crate::harness::wait::{PATIENCE, eventually};

/// The binary that was built with the tests.
pub(crate) const BUILT: &str = env!("CARGO_BIN_EXE_portcullis");

/// Names another binary than the one built with the tests: the soak measures a release build.
const BINARY_VARIABLE: &str = "PORTCULLIS_BINARY";
const ACCESS_LOG: &str = "access.log";
const OPERATIONAL_LOG: &str = "stderr.log";
const SHOWN_LINES: usize = 60;

/// How a verb ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// The exit code; -1 for a signal.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From start to end.
    pub(crate) took: Duration,
}

/// A running gateway; it ends with this value.
pub(crate) struct Gateway {
    process: Child,
    place: Place,
    printed: AtomicBool,
}

impl Gateway {
    /// Starts `serve` and waits until the admin listener answers 200 on `ready`.
    pub(crate) fn serve(place: Place, ready: &str) -> Self {
        Self::launch(place, &["serve", "-c", "gateway.toml"], ready)
    }

    /// Starts `demo` with these options, which needs no file and prints its introduction where access lines go.
    pub(crate) fn demo(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place { dir, proxy: ports::free(), admin: ports::free(), environment: Vec::new() };
        let (listen, admin) = (place.proxy.to_string(), place.admin.to_string());
        Self::launch(place, &[&["demo", "--listen", &listen, "--admin", &admin], options].concat(), "/readyz")
    }

    fn launch(place: Place, words: &[&str], ready: &str) -> Self {
        let process = command(&place, words)
            .stdin(Stdio::null())
            .stdout(log(place.dir.path(), ACCESS_LOG))
            .stderr(log(place.dir.path(), OPERATIONAL_LOG))
            .spawn()
            .expect("the binary was built with the tests");
        let mut gateway = Self { process, place, printed: AtomicBool::new(false) };
        eventually(&format!("the gateway answers {ready}"), PATIENCE * 2, || {
            let ended = gateway.process.try_wait().expect("the process is ours");
            assert!(ended.is_none(), "the gateway ended: {ended:?}");
            // A start tries its ports first: a connection of that moment ends without an answer.
            let answer = Client::try_connect(gateway.place.admin)?.try_send(&get(ready)).ok()?;
            (answer.status == 200).then_some(())
        });
        gateway
    }

    /// Waits until the proxy listener takes connections.
    pub(crate) fn taking_connections(self) -> Self {
        eventually("the proxy listener is open", PATIENCE, || TcpStream::connect(self.place.proxy).ok().map(drop));
        self
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("the process is ours").is_none()
    }

    /// The proxy listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.place.proxy
    }

    /// A new connection to the proxy listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.place.proxy)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn call(&self, request: &Request) -> Response {
        self.client().send(request)
    }

    /// A GET of the admin listener under its own name.
    #[track_caller]
    pub(crate) fn admin_get(&self, path: &str) -> Response {
        Client::connect(self.place.admin).send(&get(path).host(&self.place.admin.to_string()))
    }

    /// The admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.place.admin
    }

    /// A JSON request to the admin listener under its own name, as its verbs send it.
    #[track_caller]
    pub(crate) fn admin_json(&self, method: &str, path: &str, body: &Value) -> Response {
        let request = request(method, path).host(&self.place.admin.to_string()).json(body);
        Client::connect(self.place.admin).send(&request)
    }

    /// Runs a verb in the gateway's directory, beside the running gateway.
    pub(crate) fn verb(&self, words: &[&str]) -> Exit {
        let started = Instant::now();
        let output = command(&self.place, words).stdin(Stdio::null()).output().expect("the binary was built");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Exit { code: output.status.code().unwrap_or(-1), stdout, stderr, took: started.elapsed() }
    }

    /// Sends a signal: `-HUP` and the like.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        let done = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(done.success(), "kill {signal} {id}");
    }

    /// A file of its directory.
    #[track_caller]
    pub(crate) fn read_file(&self, name: &str) -> String {
        fs::read_to_string(self.place.dir.path().join(name)).expect("a file in our own directory")
    }

    /// What `/readyz` calls degraded.
    #[track_caller]
    pub(crate) fn degraded(&self) -> Vec<String> {
        let ready = self.admin_get("/readyz").json();
        let listed = ready["degraded"].as_array().unwrap_or_else(|| panic!("no list in {ready}"));
        listed.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// What the process has in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// How many files and connections it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("the process runs").count()
    }

    /// How many reloads came to this.
    #[track_caller]
    pub(crate) fn reloads(&self, result: &str) -> f64 {
        self.metrics().sum("portcullis_policy_reloads_total", &[("result", result)])
    }

    /// The revision of the policies in effect.
    #[track_caller]
    pub(crate) fn revision(&self) -> String {
        let policy = self.admin_get("/policy").assert_ok().json();
        policy["revision"].as_str().expect("a revision").to_owned()
    }

    /// How long the process has kept a core busy, to a hundredth of a second.
    pub(crate) fn worked(&self) -> Duration {
        let stat = self.proc("stat");
        // The second field is the name in parentheses and may hold anything.
        let fields = stat.rsplit_once(") ").expect("a name in parentheses").1.split(' ');
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("clock ticks")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Its threads: the name, the nice value and the scheduling policy of each, as proc(5) numbers them.
    pub(crate) fn threads(&self) -> Vec<(String, i32, u32)> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("the process runs");
        let read = |task: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            Some((name.to_owned(), fields.get(16)?.parse().ok()?, fields.get(38)?.parse().ok()?))
        };
        tasks.filter_map(read).collect()
    }

    /// Lets it open nothing at or above this descriptor from now on (`None`: no limit), and gives the limit that was.
    pub(crate) fn limit_files(&self, below: Option<u64>) -> Option<u64> {
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // It has our hard limit, and keeps it.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let was = prlimit(Some(process), Resource::Nofile, Rlimit { current: below, maximum });
        was.expect("the process is ours").current
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.process.id())).expect("the process runs")
    }

    /// A scrape of `/metrics`.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_get("/metrics").assert_ok().text())
    }

    /// All access lines, once there are at least `count`.
    #[track_caller]
    pub(crate) fn access_lines(&self, count: usize) -> Vec<Line> {
        eventually(&format!("{count} access lines"), PATIENCE, || {
            Some(self.lines()).filter(|lines| lines.len() >= count)
        })
    }

    /// The one access line of a request.
    #[track_caller]
    pub(crate) fn line_of(&self, request_id: &str) -> Line {
        eventually(&format!("an access line of {request_id}"), PATIENCE, || {
            let mut own = self.lines().into_iter().filter(|line| line.text("request_id") == request_id);
            let first = own.next();
            assert!(own.next().is_none(), "{request_id} has two access lines");
            first
        })
    }

    /// The access log as it stands.
    pub(crate) fn stdout(&self) -> String {
        read(self.place.dir.path(), ACCESS_LOG)
    }

    /// The operational log as it stands.
    pub(crate) fn stderr(&self) -> String {
        read(self.place.dir.path(), OPERATIONAL_LOG)
    }

    /// The directory it was started in.
    pub(crate) fn folder(&self) -> &Path {
        self.place.dir.path()
    }

    /// Replaces a file of its directory in one step, as an editor or a ConfigMap does.
    pub(crate) fn replace_file(&self, name: &str, text: &str) {
        let path = self.place.dir.path();
        fs::write(path.join("next.tmp"), text).expect("a file in our own directory");
        fs::rename(path.join("next.tmp"), path.join(name)).expect("a rename in our own directory");
    }

    /// Shows the logs, once, where the failed test's output goes.
    pub(crate) fn print_logs(&self) {
        if self.printed.swap(true, Ordering::Relaxed) {
            return;
        }
        eprintln!("--- gateway {} in {}", self.place.proxy, self.place.dir.path().display());
        for name in [OPERATIONAL_LOG, ACCESS_LOG] {
            let text = read(self.place.dir.path(), name);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {name}, last lines\n{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
        }
    }

    fn lines(&self) -> Vec<Line> {
        let text = self.stdout();
        // A line without its end is still being written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| Line::parse(line.trim_end()))
            .collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if thread::panicking() {
            self.print_logs();
            self.place.dir.disable_cleanup(true);
        }
    }
}

/// Runs a verb to its end.
pub(crate) fn run(place: &Place, words: &[&str], input: &str) -> Exit {
    let started = Instant::now();
    let dir = place.dir.path();
    let mut process = command(place, words)
        .stdin(Stdio::piped())
        .stdout(log(dir, ACCESS_LOG))
        .stderr(log(dir, OPERATIONAL_LOG))
        .spawn()
        .expect("the binary was built with the tests");
    // A verb that reads nothing may be gone before this is written.
    drop(process.stdin.take().expect("a pipe").write_all(input.as_bytes()));
    let deadline = started + PATIENCE;
    let status = loop {
        if let Some(status) = process.try_wait().expect("the process is ours") {
            break status;
        }
        if Instant::now() > deadline {
            drop(process.kill());
            drop(process.wait());
            panic!("portcullis {words:?} did not end; stderr:\n{}", read(dir, OPERATIONAL_LOG));
        }
        thread::sleep(Duration::from_millis(5));
    };
    let took = started.elapsed();
    Exit { code: status.code().unwrap_or(-1), stdout: read(dir, ACCESS_LOG), stderr: read(dir, OPERATIONAL_LOG), took }
}

/// Runs a verb that needs no gateway's directory.
pub(crate) fn run_alone(words: &[&str], input: &str) -> Exit {
    let dir = tempfile::tempdir().expect("a directory");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    run(&Place { dir, proxy: nowhere, admin: nowhere, environment: Vec::new() }, words, input)
}

/// What `portcullis password` makes of a password.
pub(crate) fn password_record(password: &str) -> String {
    let exit = run_alone(&["password"], &format!("{password}\n"));
    assert_eq!(exit.code, 0, "{exit:?}");
    let record = exit.stdout.trim().to_owned();
    assert!(record.starts_with("$argon2id$"), "{exit:?}");
    record
}

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os(BINARY_VARIABLE).unwrap_or_else(|| BUILT.into()));
    command.args(words).current_dir(place.dir.path()).env_remove("PORTCULLIS_TOKEN_KEY");
    command.envs(place.environment.iter().map(|(name, value)| (name, value)));
    command
}

fn log(dir: &Path, name: &str) -> Stdio {
    Stdio::from(File::create(dir.join(name)).expect("a log in our own directory"))
}

fn read(dir: &Path, name: &str) -> String {
    String::from_utf8_lossy(&fs::read(dir.join(name)).expect("a log in our own directory")).into_owned()
}
