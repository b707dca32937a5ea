//! What the tests stand on: a real gateway process, real upstream sockets, a real redis-server and a client that
//! sees every byte. Called by every test file; deliberately without tokio and without a word of the gateway's code.

pub(crate) mod accounts;
pub(crate) mod builder;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod ensemble;
pub(crate) mod envelope;
pub(crate) mod fleet;
pub(crate) mod gateway;
pub(crate) mod jwt;
pub(crate) mod lab;
pub(crate) mod ledger;
pub(crate) mod lines;
pub(crate) mod metrics;
pub(crate) mod mint;
pub(crate) mod ports;
pub(crate) mod pressure;
pub(crate) mod redis;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod seed;
pub(crate) mod sentinel;
pub(crate) mod shop;
pub(crate) mod toxic;
pub(crate) mod trial;
pub(crate) mod upstream;
pub(crate) mod wait;

mod self_test;
