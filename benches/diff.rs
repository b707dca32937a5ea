//! How long `portcullis diff` takes over one realm of 5 000 routes, from the files to the last line.
//!
//! Three edits: none, a few routes, and every route, each of them in what all callers see; and one that moves every target, so
//! that requests can name two accounts. Each is tried once before it is measured: a bench of a wrong answer would measure nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, missing_docs, reason = "a bench fails loudly")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use portcullis::cli::args::{ConfigArgs, DiffArgs, Format};
use portcullis::cli::diff;

const ROUTES: usize = 5_000;
const ROUNDS: usize = 7;
/// What the verb is held to.
const BOUND: Duration = Duration::from_secs(2);

/// What an edit changes of a route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    /// Nothing.
    None,
    /// Another role comes in.
    Role,
    /// Another header has to be there.
    Header,
    /// The account is named in the query instead of the path.
    Target,
}

/// The policy with the first so many routes edited.
fn policy(edit: Edit, edited: usize) -> String {
    let mut text = "[realm]\nname = \"wide\"\nbase = \"/wide/v1\"\nschemes = [\"basic\", \"token\"]\nupstream = \"one\"\n\
                    roles = [\"administrator\", \"reseller\", \"customer\", \"user\"]\nquotas = [\"address\"]\n\
                    [quota.address]\nper = \"address\"\nrate = \"100/s\"\n[quota.standard]\nper = \"principal\"\nrate = \"50/s\"\n"
        .to_owned();
    for route in 0..ROUTES {
        let edit = if route < edited { edit } else { Edit::None };
        let pattern = match route % 3 {
            0 => format!("GET /things{route}/{{id}}"),
            1 => format!("GET /things{route}"),
            _ => format!("PATCH /things{route}/{{id}}/parts"),
        };
        let customer = if edit == Edit::Role { ", customer = \"below\"" } else { "" };
        let header = if edit == Edit::Header { ", \"X-New\"" } else { "" };
        let target = match (route % 3, edit) {
            (1, _) => "",
            (_, Edit::Target) => "target = \"query.id\"\n",
            (_, Edit::None | Edit::Role | Edit::Header) => "target = \"path.id\"\n",
        };
        let _ = write!(
            text,
            "[[route]]\nname = \"r{route}\"\nmatch = \"{pattern}\"\nheaders = [\"X-Api-Id\"{header}]\nquotas = [\"standard\"]\n\
             {target}allow = {{ administrator = \"subtree\", reseller = \"below\"{customer} }}\n"
        );
    }
    text
}

fn measure(folder: &Path, name: &str, summary: &str) -> Duration {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = ConfigArgs { config: "gateway.toml".into() };
    let args = DiffArgs { config, old: path("old.toml"), new: path(name), fail_on: Vec::new(), format: Format::Text };
    let mut out = Vec::new();
    let begun = Instant::now();
    diff::run(&args, &mut out).unwrap_or_else(|stop| panic!("{}", stop.message));
    let took = begun.elapsed();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().last(), Some(summary), "{name}");
    took
}

fn main() {
    let folder = std::env::temp_dir().join(format!("portcullis-bench-diff-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let cases = [
        ("nothing differs", Edit::None, 0, "no decision changes"),
        ("10 routes let another role in", Edit::Role, 10, "10 widened, 0 narrowed, 0 rerouted"),
        ("all let another role in", Edit::Role, ROUTES, "5000 widened, 0 narrowed, 0 rerouted"),
        ("all want another header", Edit::Header, ROUTES, "0 widened, 10000 narrowed, 0 rerouted"),
        ("all targets elsewhere", Edit::Target, ROUTES, "6666 widened, 6666 narrowed, 6666 rerouted"),
    ];
    fs::write(folder.join("old.toml"), policy(Edit::None, 0)).unwrap();
    for (place, (_, edit, edited, _)) in cases.iter().enumerate() {
        fs::write(folder.join(format!("new{place}.toml")), policy(*edit, *edited)).unwrap();
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        for (place, (.., summary)) in cases.iter().enumerate() {
            let took = measure(&folder, &format!("new{place}.toml"), summary);
            // The first round only warms up.
            times[place].extend((round > 0).then_some(took));
        }
    }
    fs::remove_dir_all(&folder).unwrap();
    println!("{:<32} {:>9} {:>9}", format!("{ROUTES} routes"), "median", "least");
    for ((name, ..), times) in cases.iter().zip(&mut times) {
        times.sort();
        let (median, least) = (times[ROUNDS / 2], times[0]);
        let held = if median < BOUND { "" } else { "  over 2 s" };
        println!("{name:<32} {:>6} ms {:>6} ms{held}", median.as_millis(), least.as_millis());
    }
}
