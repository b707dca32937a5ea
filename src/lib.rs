//! Portcullis.
pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod directory;
pub mod identity;
pub mod policy;
pub mod problem;
pub mod proxy;
pub mod reason;
pub mod store;
pub mod telemetry;
pub mod upstream;
