//! The verbs about policies: what they hold, what they decide, what an edit of them would change.
//!
//! Called by `cli::routes`, `explain`, `why`, `test`, `diff`, `replay`, `reasons` and `schema`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{ConfigArgs, Format};

/// `routes`
#[derive(Debug, ClapArgs)]
pub struct RoutesArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Only what needs no credential.
    #[arg(long)]
    pub public: bool,
    /// Only what this role may call.
    #[arg(long)]
    pub role: Option<String>,
    /// Only paths that contain this text.
    #[arg(long)]
    pub path: Option<String>,
    /// Only what goes to this upstream.
    #[arg(long)]
    pub upstream: Option<String>,
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `explain`
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// Who calls: ROLE:ACCOUNT, credential:ID or anonymous.
    #[arg(long = "as", value_name = "WHO", default_value = "anonymous")]
    pub caller: String,
    /// The caller's place in the tree, root first, when no file knows the account.
    #[arg(long, value_name = "A/B/C")]
    pub lineage: Option<String>,
    /// How it authenticates: basic or token; by default as the route takes it.
    #[arg(long, value_name = "SCHEME")]
    pub scheme: Option<String>,
    /// From which address it calls.
    #[arg(long, default_value = "127.0.0.1")]
    pub client: IpAddr,
    /// GET, POST, …
    pub method: String,
    /// Path and query as the client sends them.
    pub path: String,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub judged: JudgedArgs,
}

/// `test`
#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Fail below this share. Counted on each route: every role and an anonymous caller tried, one permit, one refusal.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_coverage: Option<u8>,
    /// Change one rule after another, and fail if the tests do not notice one.
    #[arg(long)]
    pub mutate: bool,
    /// Write a JUnit report, too.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// How the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `diff`
#[derive(Debug, ClapArgs)]
pub struct DiffArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// What is in effect.
    #[arg(value_name = "OLD")]
    pub old: String,
    /// What is to come.
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Exit with 3 if there is such a change; may be repeated.
    #[arg(long, value_enum, value_name = "KIND")]
    pub fail_on: Vec<FailOn>,
    /// How the changes are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `diff --fail-on`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Something passes, or passes more often, that did not.
    Widened,
    /// Something does not pass any more, or less often.
    Narrowed,
    /// Something goes elsewhere.
    Rerouted,
    /// Any of these.
    Any,
}

/// `replay`
#[derive(Debug, ClapArgs)]
pub struct ReplayArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// An access log; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub log: PathBuf,
    /// The settings that the log was written under. They tell which headers and parameters were asked for then, which no
    /// line holds, so that more lines can be judged.
    #[arg(long, value_name = "FILE")]
    pub was: Option<PathBuf>,
    /// How the differences are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `why`
#[derive(Debug, ClapArgs)]
pub struct WhyArgs {
    /// The request's id, as its answer and its access line have it.
    #[arg(value_name = "REQUEST-ID")]
    pub request_id: String,
    /// The access log that it stands in; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub log: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub judged: JudgedArgs,
}

/// By what a request is judged.
#[derive(Clone, Debug, ClapArgs)]
pub struct JudgedArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Ask a running gateway by its admin listener, like http://127.0.0.1:8081, instead of the files.
    #[arg(long, value_name = "URL")]
    pub live: Option<String>,
    /// A file with its admin token; by default $PORTCULLIS_ADMIN_TOKEN, then the settings' admin_token.
    #[arg(long, value_name = "FILE", requires = "live")]
    pub admin_token_file: Option<PathBuf>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `schema`
#[derive(Debug, ClapArgs)]
pub struct SchemaArgs {
    /// Whose schema.
    pub of: SchemaOf,
}

/// `schema gateway|policy|accounts`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// gateway.toml
    Gateway,
    /// A policy file.
    Policy,
    /// accounts.toml
    Accounts,
}

/// `reasons`
#[derive(Debug, ClapArgs)]
pub struct ReasonsArgs {
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = ReasonsFormat::Text)]
    pub format: ReasonsFormat,
}

/// How the reasons are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReasonsFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A table for documents.
    Markdown,
}
