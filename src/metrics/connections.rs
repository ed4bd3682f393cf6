//! Metrics of client connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the connections to all ports.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    open: Family<Label, Gauge>,
    accepted: Family<Label, Counter>,
}

/// Metrics of the connections to one port; cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Port {
    open: Gauge,
    accepted: Counter,
}

/// Guard of an open connection, which counts as open until the guard is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    port: &'static str,
}

impl ConnectionMetrics {
    /// Returns the metrics of a port.
    pub fn port(&self, port: &'static str) -> Port {
        let label = Label { port };
        Port {
            open: self.open.get_or_create_owned(&label),
            accepted: self.accepted.get_or_create_owned(&label),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open connections", self.open.clone());
        registry.register("connections_accepted", "Connections that were accepted", self.accepted.clone());
    }
}

impl Port {
    /// Counts an accepted connection.
    pub fn open(&self) -> OpenConnection {
        self.accepted.inc();
        self.open.inc();
        OpenConnection(self.open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
