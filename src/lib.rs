//! Portcullis: the gateway in front of the UCaaS and CPaaS APIs.
//!
//! # The map
//!
//! 1. [`proxy::edge`] and [`proxy::intake`] turn bytes into a request head: one canonical path, one
//!    client address, at most one credential.
//! 2. [`proxy::admit`] asks [`policy::ladder::decide`]. The core answers *permit*, *deny* or *ask*. On *ask*
//!    the shell finds out (who is this? where does that account stand?) and asks again.
//! 3. A permit goes to [`proxy::forward`] or [`proxy::builtin`], a denial to [`proxy::respond`].
//! 4. [`proxy::finish`] writes one access line and one metric record, whatever happened.
//!
//! Deliberately absent: [`policy`] does no I/O and reads no clock. Nothing outside `policy` decides. Nothing
//! outside [`problem`] knows a status code for a refusal.
//!
//! # The floors
//!
//! A module uses only modules of a lower floor; modules of one floor are strangers. A test walks the
//! sources and holds them to it, and to the doors below. The list is in reading order, bottom up.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`reason`] | the closed list of reasons that everything is keyed by |
//! | 1 | [`policy`] | the pure core: facts, routes, access, the ladder |
//! | 2 | [`telemetry`] | metrics, access log, operational log, request ids |
//! | 3 | [`problem`] | what the client sees of a refusal |
//! | 3 | [`store`] | what gateways share: sessions, revocations, lock-outs, news; in memory or in Redis |
//! | 4 | [`config`] | operators' files in, compiled things out |
//! | 5 | [`directory`] | accounts and credentials: of a file, of the store's server, or asked for by https |
//! | 5 | [`limits`] | how much: quotas, local and shared, and running requests |
//! | 5 | [`upstream`] | upstream name → the server whose turn it is; breakers |
//! | 6 | [`identity`] | credential → identity: API keys, tokens known here, sessions; login, lock-out |
//! | 7 | [`proxy`] | ONE REQUEST walks its files |
//! | 7 | [`cli`] | one file a verb, all over the same engine |
//! | 8 | [`admin`] | the operators' listener: health, metrics, sessions and their end, reload |
//! | 9 | [`app`] | wiring |
//! | 10 | [`demo`] | the shipped policies with fresh accounts, sample upstreams and a sample directory |
//!
//! Doors: only `store` names `redis`; only `proxy`, `admin`, `app` and `demo` name `pingora`; `policy` names
//! neither, nor tokio, serde, tracing, the file system, the environment or a clock.

pub mod reason;

pub mod policy;

pub mod telemetry;

pub mod problem;
pub mod store;

pub mod config;

pub mod directory;
pub mod limits;
pub mod upstream;

pub mod identity;

pub mod cli;
pub mod proxy;

pub mod admin;

pub mod app;

pub mod demo;
