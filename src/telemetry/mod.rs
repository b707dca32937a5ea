//! What operators see: metrics, the access log, the operational log, request ids.
//!
//! Nothing here decides or holds a secret. The names of all metrics stand in `names`, the fields of an
//! access line in `access_line`.

pub mod access_line;
pub mod access_log;
pub mod errors;
pub mod init;
pub mod meters;
pub mod metrics;
pub mod names;
pub mod request_id;
