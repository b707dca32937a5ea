//! argv → a verb; exit codes.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use portcullis::app::App;
use portcullis::cli::args::{Args, Verb};
use portcullis::cli::{self, Exit, Stop, report};
use portcullis::demo;
use portcullis::telemetry::init::start_log;

// Measured against the system's and jemalloc: benches/README.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Args::try_parse() {
        Ok(args) => run(&args.verb),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Help and errors are clap's own text; nothing better could be done if printing fails.
            let _ = error.print();
            Ok(exit)
        }
    };
    let exit = done.unwrap_or_else(|stop| {
        if !stop.message.is_empty() {
            // Nobody may be reading; the exit code says it as well.
            let _ = writeln!(std::io::stderr(), "portcullis: {}", stop.shown());
        }
        stop.exit
    });
    ExitCode::from(exit as u8)
}

fn run(verb: &Verb) -> Result<Exit, Stop> {
    let app = match verb {
        Verb::Serve(args) => {
            let (loaded, watched) = report::read_watched(&args.config.config);
            let loaded = loaded.map_err(|faults| {
                let stop = report::stop(&faults);
                Stop { message: format!("not started: {}", stop.message), ..stop }
            })?;
            start_log(&loaded.config.settings.server.log);
            for warning in loaded.warnings.iter() {
                tracing::warn!("{warning}");
            }
            let app = App::build(loaded.config, loaded.records, loaded.followed).map_err(Stop::failed)?;
            app.reloading_from(&args.config.config, watched)
        }
        Verb::Demo(args) => {
            start_log("warn");
            demo::build(args)?
        }
        Verb::Check(_)
        | Verb::Routes(_)
        | Verb::Explain(_)
        | Verb::Test(_)
        | Verb::Diff(_)
        | Verb::Replay(_)
        | Verb::Why(_)
        | Verb::Schema(_)
        | Verb::Reasons(_)
        | Verb::Password
        | Verb::Account(_)
        | Verb::Credential(_)
        | Verb::Token(_)
        | Verb::Lockout(_)
        | Verb::Reload(_)
        | Verb::Completions(_) => return cli::run(verb, &mut anstream::stdout()),
    };
    app.run().map_err(Stop::failed)?;
    Ok(Exit::Ok)
}
