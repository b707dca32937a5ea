//! Portcullis.
pub mod config;
pub mod directory;
pub mod policy;
pub mod problem;
pub mod reason;
pub mod store;
pub mod telemetry;
