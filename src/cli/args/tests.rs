//! The examples in the help of each verb.

use clap::{Command, CommandFactory as _, Parser as _};

use super::Args;
use crate::cli;

/// Verbs that do something, each with the words that lead to it.
fn leaves(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
    let path = format!("{path} {}", command.get_name()).trim().to_owned();
    let below: Vec<&Command> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
    if below.is_empty() {
        found.push((path, command.get_after_help().map(ToString::to_string).unwrap_or_default()));
    } else {
        below.into_iter().for_each(|below| leaves(below, &path, found));
    }
}

/// The words of the example's call of ours, as a shell would split them. No example has a quote inside of a word.
fn words(line: &str) -> Vec<String> {
    let line = line.rsplit(" | ").next().unwrap();
    let line = line.split(" # ").next().unwrap().rsplit(" && ").next().unwrap().split(" > ").next().unwrap();
    let line = &line[line.find("portcullis ").unwrap()..];
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn each_verb_shows_an_example_that_it_takes() {
    let mut verbs = Vec::new();
    leaves(&Args::command(), "", &mut verbs);
    assert!(verbs.len() > 20, "{verbs:?}");
    for (verb, help) in verbs {
        let (_, examples) = help.split_once("xample").unwrap_or_else(|| panic!("{verb} shows no example: {help}"));
        let joined = examples.replace("\\\n", "");
        let lines: Vec<&str> = joined.lines().filter(|line| line.starts_with("  ")).collect();
        assert!(!lines.is_empty(), "{verb} shows no example: {help}");
        for line in lines {
            let words = words(line);
            assert!(words.join(" ").starts_with(&verb), "{verb} shows another verb: {line}");
            assert!(Args::try_parse_from(&words).is_ok(), "{words:?} is not taken");
        }
    }
}

#[test]
fn no_example_is_broken_by_the_width_of_the_help() {
    let mut verbs = Vec::new();
    leaves(&Args::command(), "", &mut verbs);
    let examples = verbs.iter().flat_map(|(_, help)| help.lines()).filter(|line| line.starts_with("  "));
    let long: Vec<&str> = examples.filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:?}");
}

/// A pipe that nobody reads any more.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_completions_without_a_word() {
    let args = Args::try_parse_from(["portcullis", "completions", "bash"]).unwrap();
    let stop = cli::run(&args.verb, &mut Closed).unwrap_err();
    assert_eq!((stop.exit, &*stop.message), (cli::Exit::Ok, ""));
}
