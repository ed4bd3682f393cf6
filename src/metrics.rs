//! What is counted, for Prometheus. Label sets are closed: no query and no client ever becomes a label.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The counters and gauges; cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Fetches of feeds, by how they ended.
    pub fetches: Family<Fetch, Counter>,
    /// Keys whose last fetch failed, by why.
    pub failing: Family<Failing, Gauge>,
    /// Keys with a copy.
    pub copies: Gauge,
    /// Those of them that are past their freshness lifetime.
    pub stale: Gauge,
    /// The whitelist in force.
    pub generation: Gauge,
    /// Codes on it.
    pub extensions: Gauge,
    /// Is the file as it is now in force? 1 or 0.
    pub reload_succeeded: Gauge,
    /// When it was loaded, in seconds since 1970.
    pub loaded: Gauge,
}

/// A fetch that ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Fetch {
    /// Which feed.
    pub feed: &'static str,
    /// `changed`, `unchanged` or why it failed.
    pub outcome: &'static str,
}

/// A reason to fail.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Failing {
    /// As the outcome of a fetch.
    pub outcome: &'static str,
}

impl Metrics {
    /// Writes everything in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// Never, for a string takes all there is.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("catalog_proxy");
        registry.register("fetches", "Fetches of feeds by outcome", self.fetches.clone());
        registry.register("failing_keys", "Keys whose last fetch failed, by outcome", self.failing.clone());
        registry.register("cached_keys", "Keys with a copy", self.copies.clone());
        registry.register("stale_keys", "Keys with a copy past its freshness lifetime", self.stale.clone());
        registry.register("whitelist_generation", "The whitelist in force", self.generation.clone());
        registry.register("whitelist_extensions", "Codes on the whitelist", self.extensions.clone());
        let help = "Whether the whitelist file as it is now is in force";
        registry.register("whitelist_reload_succeeded", help, self.reload_succeeded.clone());
        let help = "When the whitelist in force was loaded";
        registry.register_with_unit("whitelist_loaded_timestamp", help, Unit::Seconds, self.loaded.clone());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_open_metrics() {
        let metrics = Metrics::default();
        metrics.fetches.get_or_create(&Fetch { feed: "packages", outcome: "shrunk" }).inc();
        metrics.copies.set(3);
        let text = metrics.encode().expect("text");
        assert!(
            text.contains("catalog_proxy_fetches_total{feed=\"packages\",outcome=\"shrunk\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("catalog_proxy_cached_keys 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
