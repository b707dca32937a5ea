//! The gateway from outside: the real binary, a real redis-server and real upstream sockets, one file a theme. One
//! binary, because each one links everything again; every test has a gateway of its own or shares its file's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by panicking, and the harness is part of the tests"
)]

mod harness;

mod admin;
mod admin_abuse;
mod basic;
mod breaker;
mod cancel;
mod cases;
mod demo;
mod denials;
mod directory;
mod directory_remote;
mod every_reason;
mod explain;
mod explain_live;
mod explain_property;
mod explain_quotas;
mod failover;
mod faults;
mod forward;
mod known;
mod lockout;
mod login;
mod observe;
mod outage;
mod outage_network;
mod outage_server;
mod policy_tests;
mod quota;
mod quota_evasion;
mod quota_failover;
mod quota_headers;
mod quota_login;
mod quota_outage;
mod quota_pace;
mod quota_running;
mod quota_shared;
mod regressions;
mod reload;
mod reload_live;
mod reload_load;
mod reload_quotas;
mod replay;
mod replies;
mod revocation;
mod routes;
mod scope;
mod secrecy;
mod sessions;
mod shadow;
mod soak;
mod startup;
mod store_tls;
mod the_loop;
mod timing;
mod token;
mod unread_log;
mod unreadable;
mod watch;
mod why;
mod wire;
