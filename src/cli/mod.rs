//! One file a verb, all over the same engine. Nothing here decides about a request.
//!
//! [`args`] says what can be typed, [`run`] does it and gives the exit code. `serve` and `demo` are
//! `main`'s, since they need the wiring.

pub mod account;
pub mod args;
pub mod check;
pub mod credential;
pub mod diff;
pub mod explain;
pub mod lockout;
mod log_record;
pub mod password;
pub mod reasons;
pub mod reload;
mod remote;
pub mod replay;
pub mod report;
pub mod routes;
pub mod schema;
pub mod test;
pub mod token;
pub mod verdict;
pub mod why;

use std::io::Write;

use clap::CommandFactory as _;

use self::args::Verb;

/// The exit codes: contract section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    Faults = 2,
    Denied = 3,
    Usage = 64,
    BadFiles = 65,
    Unavailable = 69,
}

/// What a verb comes to, or why it cannot be done: the line to print, and the code.
pub type Done = Result<Exit, Stop>;

/// A verb that cannot go on.
#[derive(Debug)]
pub struct Stop {
    /// For standard error.
    pub message: String,
    /// The exit code.
    pub exit: Exit,
}

impl Stop {
    /// A plain failure.
    #[must_use]
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), exit: Exit::Failed }
    }

    /// The message as it may stand in a terminal: it repeats names that somebody else may have chosen.
    #[must_use]
    pub fn shown(&self) -> String {
        self.message.split('\n').map(verdict::plain).collect::<Vec<_>>().join("\n")
    }

    /// A command line that asks for something impossible.
    #[must_use]
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), exit: Exit::Usage }
    }
}

/// A closed pipe (`… | head`) ends the output, not the world.
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { message: String::new(), exit: Exit::Ok };
        }
        Self::failed(error)
    }
}

/// Does what was typed. `serve` and `demo` do not come here.
///
/// # Errors
/// Why it cannot be done.
pub fn run(verb: &Verb, out: &mut dyn Write) -> Done {
    match verb {
        Verb::Serve(_) | Verb::Demo(_) => Err(Stop::failed("a gateway is started by `main`")),
        Verb::Check(args) => check::run(args, out),
        Verb::Routes(args) => routes::run(args, out),
        Verb::Explain(args) => explain::run(args, out),
        Verb::Test(args) => test::run(args, out),
        Verb::Diff(args) => diff::run(args, out),
        Verb::Replay(args) => replay::run(args, out),
        Verb::Why(args) => why::run(args, out),
        Verb::Schema(args) => schema::run(args, out),
        Verb::Reasons(args) => reasons::run(args, out),
        Verb::Password => password::run(out),
        Verb::Account(args) => account::run(args, out),
        Verb::Credential(args) => credential::run(args, out),
        Verb::Token(args) => token::run(args, out),
        Verb::Lockout(args) => lockout::run(args, out),
        Verb::Reload(args) => reload::run(args, out),
        Verb::Completions(args) => {
            // The generator panics where it cannot write, as into a closed pipe; memory takes everything.
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut args::Args::command(), "portcullis", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Ok)
        }
    }
}
