//! `portcullis test`: the policies' own tests, how much of the policies they judge, and what they would not notice.
//!
//! `judge` holds one call against its test, `coverage` counts, `mutation` changes one rule after another, `words` and `junit`
//! write what came of it. A running gateway is not asked; every decision is the ladder's.

mod coverage;
mod judge;
mod junit;
mod mutation;
#[cfg(test)]
mod survivors;
#[cfg(test)]
mod tests;
mod words;

use std::io::Write;
use std::time::{Duration, Instant};

use self::coverage::Coverage;
use self::judge::{Verdict, judge};
use self::mutation::Mutation;
use super::args::{Format, TestArgs};
use super::report::load_or_stop;
use super::{Done, Exit};
use crate::config::load::Config;
use crate::config::policy_file::PolicyTest;
use crate::policy::rehearsal::Call;

/// One call of one test, with what came of it.
struct Judged<'c> {
    test: &'c PolicyTest,
    /// `ROLE:ACCOUNT` or `anonymous`.
    caller: &'c str,
    call: &'c Call,
    verdict: Verdict,
}

/// Everything that a run came to.
struct Findings<'c> {
    calls: Vec<Judged<'c>>,
    coverage: Coverage,
    /// Less of the policies is covered than was asked for.
    short: bool,
    /// Mutants were asked for.
    mutate: bool,
    /// What became of them; not tried where a test fails.
    mutation: Option<Mutation>,
    /// Of the tests alone.
    took: Duration,
}

impl<'c> Findings<'c> {
    fn failed(&self) -> impl Iterator<Item = &Judged<'c>> {
        self.calls.iter().filter(|call| call.verdict.difference.is_some())
    }

    /// A run without a single call has shown nothing.
    fn good(&self) -> bool {
        let mutants_good = match &self.mutation {
            Some(mutation) => mutation.survivors().next().is_none(),
            None => !self.mutate,
        };
        !self.calls.is_empty() && self.failed().next().is_none() && !self.short && mutants_good
    }
}

/// Runs the verb.
///
/// # Errors
/// Bad files, or an output that cannot be written.
pub fn run(args: &TestArgs, out: &mut dyn Write) -> Done {
    let config = load_or_stop(&args.config.config)?;
    let findings = find(&config, args);
    if let Some(path) = &args.junit {
        junit::write(&findings, path)?;
    }
    match args.format {
        Format::Text => words::text(&findings, out)?,
        Format::Json => words::json(&findings, out)?,
    }
    Ok(if findings.good() { Exit::Ok } else { Exit::Failed })
}

fn find<'c>(config: &'c Config, args: &TestArgs) -> Findings<'c> {
    let start = Instant::now();
    let mut calls = Vec::new();
    for test in &config.tests {
        for (caller, call) in &test.calls {
            let verdict = judge(config, &config.snapshot, test, call);
            calls.push(Judged { test, caller, call, verdict });
        }
    }
    let took = start.elapsed();
    let coverage = coverage::of(config, &calls);
    let short = args.min_coverage.is_some_and(|least| coverage.percent() < usize::from(least));
    let passed = calls.iter().all(|call| call.verdict.difference.is_none());
    let mutation = (args.mutate && passed && !calls.is_empty()).then(|| mutation::tried(config, &calls));
    Findings { calls, coverage, short, mutate: args.mutate, mutation, took }
}
