//! Operators' files in, compiled things out.
//!
//! [`load::load`] reads `gateway.toml` and every file it names, reports all faults at once, and gives
//! settings, a policy snapshot and its tests. Raw types end here; nothing behind this module sees TOML.

pub mod block;
pub mod cold;
mod compile;
mod compile_charges;
mod compile_fields;
mod compile_quota;
mod compile_route;
mod compile_test;
mod contradictions;
pub mod diag;
mod gateway_bounds;
mod gateway_directory;
mod gateway_file;
mod gateway_services;
mod gateway_store;
mod gateway_tls;
mod gateway_token;
pub mod load;
mod overlaps;
pub mod plain_file;
pub mod policy_file;
pub mod rate;
mod raw;
mod realms;
pub mod rest;
pub mod schema;
pub mod secret;
pub mod set;
pub mod settings;
pub mod spanned;
pub mod value;
pub mod watched;
mod wording;

#[cfg(test)]
mod tests;
