//! What a run of the policies' tests came to, as a JUnit report for CI.
//!
//! Called by `portcullis test --junit`. A suite for each policy file with a case for each call of each caller, one for what coverage
//! lacks where too much of it does, and one for the mutants; a mutant that no call could tell from the policy is skipped.

use std::fs::File;
use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::mutation::Fate;
use super::words::{against, who_and_what};
use super::{Findings, Judged};
use crate::cli::Stop;
use crate::cli::verdict::plain;

/// Writes the report.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(findings: &Findings<'_>, path: &Path) -> Result<(), Stop> {
    let failed = |error: &dyn std::fmt::Display| Stop::failed(format!("cannot write `{}`: {error}", path.display()));
    let file = File::create(path).map_err(|error| failed(&error))?;
    report(findings).serialize(file).map_err(|error| failed(&error))
}

fn report(findings: &Findings<'_>) -> Report {
    let mut report = Report::new("portcullis test");
    let mut files: Vec<&str> = Vec::new();
    for call in &findings.calls {
        if !files.contains(&&*call.test.location.file) {
            files.push(&call.test.location.file);
        }
    }
    for file in files {
        let mut suite = TestSuite::new(file);
        suite.add_test_cases(findings.calls.iter().filter(|call| &*call.test.location.file == file).map(case));
        report.add_test_suite(suite);
    }
    if findings.short {
        let mut suite = TestSuite::new("coverage");
        suite.add_test_cases(findings.coverage.missing.iter().map(|[realm, route, seen]| {
            TestCase::new(format!("{realm} {route}: {seen}"), failure("no test has it", ""))
        }));
        report.add_test_suite(suite);
    }
    let mut took = findings.took;
    if let Some(mutation) = &findings.mutation {
        let mut suite = TestSuite::new("mutants");
        suite.set_time(mutation.took);
        took += mutation.took;
        for trial in &mutation.trials {
            let status = match &trial.fate {
                Fate::Noticed => TestCaseStatus::success(),
                Fate::Survived(test) => failure("no test notices the change", &format!("add: {test}")),
                Fate::Indistinct => {
                    let mut skipped = TestCaseStatus::skipped();
                    skipped.set_message("the change makes no difference to any call");
                    skipped
                }
            };
            let mut case = TestCase::new(trial.name.as_str(), status);
            case.set_classname(trial.rule.to_string());
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.set_time(took);
    report
}

fn case(call: &Judged<'_>) -> TestCase {
    let place = call.test.location.to_string();
    let status = match &call.verdict.difference {
        None => TestCaseStatus::success(),
        Some(difference) => failure(&against(difference), &place),
    };
    let mut case = TestCase::new(plain(&who_and_what(call)), status);
    case.set_classname(place);
    case
}

fn failure(message: &str, description: &str) -> TestCaseStatus {
    let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
    failure.set_message(plain(message)).set_description(description);
    failure
}
