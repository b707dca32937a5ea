//! Stage 0a: one connection, before any request on it.
//!
//! It counts connections. Per-connection limits and the PROXY protocol belong here once they are built.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use prometheus::IntGauge;

use super::edge::Edge;
use crate::telemetry::metrics::Counted;

/// What the listeners hand connections to.
pub struct Front {
    edge: Arc<Edge>,
    connections: IntGauge,
}

impl Front {
    /// In front of the edge.
    #[must_use]
    pub fn new(edge: Edge, connections: IntGauge) -> Self {
        Self { edge: Arc::new(edge), connections }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _counted = Counted::new(&self.connections);
        self.edge.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.edge.cleanup().await;
    }
}
