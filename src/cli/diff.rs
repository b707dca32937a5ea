//! `portcullis diff`: the decisions that differ between two sets of policies.
//!
//! It reads both sets, has `policy::difference` compare them, and writes what came out for people or for programs. It
//! compares nothing itself.

mod json;
#[cfg(test)]
mod tests;
mod text;

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::args::{DiffArgs, FailOn, Format};
use super::report;
use super::verdict::plain;
use super::{Done, Exit, Stop};
use crate::config::set::{self, PolicySet, SetError};
use crate::policy::difference::{Difference, Kind, Side, compare};

/// Runs the verb.
///
/// # Errors
/// A set that cannot be read, or an output that cannot be written.
pub fn run(args: &DiffArgs, out: &mut dyn Write) -> Done {
    let old = read("OLD", &args.old, args);
    let new = read("NEW", &args.new, args);
    let (old, new) = (old?, new?);
    let mut progress = Progress::default();
    let difference = compare(side(&old), side(&new), &mut |done, all| progress.tick(done, all)).ok_or_else(|| {
        let message = "the patterns of the two sets overlap in too many ways to compare them all";
        Stop::failed(format!("{message}; let fewer of them have parameters where others spell a segment out"))
    })?;
    progress.end();
    match args.format {
        Format::Text => text::write(&difference, out)?,
        Format::Json => json::write(args, [&old, &new], &difference, out)?,
    }
    Ok(if args.fail_on.iter().any(|kind| has(&difference, *kind)) { Exit::Denied } else { Exit::Ok })
}

fn side(set: &PolicySet) -> Side<'_> {
    Side { snapshot: &set.snapshot, upstreams: &set.upstreams }
}

/// Reads a set; its faults are printed with its name, as both sets may have some.
fn read(place: &str, name: &str, args: &DiffArgs) -> Result<PolicySet, Stop> {
    set::read(name, &args.config.config).map_err(|error| match error {
        SetError::Faults(faults) => {
            // Nobody may be reading; the exit code says it as well.
            let _ = writeln!(anstream::stderr(), "{place}, {}:", plain(name));
            let stop = report::stop(&faults);
            Stop { message: format!("{place} ({name}): {}", stop.message), ..stop }
        }
        SetError::Missing(message) => Stop { message: format!("{place} ({name}): {message}"), exit: Exit::BadFiles },
        SetError::NoGit(_) => Stop::failed(format!("{place} ({name}): {error}")),
    })
}

fn has(difference: &Difference, kind: FailOn) -> bool {
    let kinds: &[Kind] = match kind {
        FailOn::Widened => &[Kind::Widened],
        FailOn::Narrowed => &[Kind::Narrowed],
        FailOn::Rerouted => &[Kind::Rerouted],
        FailOn::Any => &[Kind::Widened, Kind::Narrowed, Kind::Rerouted],
    };
    kinds.iter().any(|kind| difference.count(*kind) > 0)
}

/// A bar for comparisons that take their time; on a terminal only.
struct Progress {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { begun: Instant::now(), bar: None }
    }
}

impl Progress {
    fn tick(&mut self, done: usize, all: usize) {
        if self.begun.elapsed() < Duration::from_millis(500) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::with_draw_target(Some(all as u64), ProgressDrawTarget::stderr_with_hz(10))
        });
        bar.set_position(done as u64);
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
