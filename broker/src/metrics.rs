//! What a node counts, as Prometheus text.

use std::path::Path;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::TABLE;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectoryLabel {
    directory: String,
}

/// Counters are cheap to bump: those of requests are looked up by the row of the API table, not by name.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Vec<Counter>,
    log_directories: Family<DirectoryLabel, Gauge>,
    /// Bytes of record batches appended.
    pub(crate) produced_bytes: Counter,
    /// Bytes of record batches sent to consumers.
    pub(crate) fetched_bytes: Counter,
    /// Partitions that this broker leads.
    pub(crate) partitions_led: Gauge,
    /// The offset of the newest metadata image.
    pub(crate) metadata_offset: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("ottla");
        let by_api = Family::<ApiLabel, Counter>::default();
        registry.register("requests", "Requests taken, by API", by_api.clone());
        let requests =
            TABLE.iter().map(|api| by_api.get_or_create(&ApiLabel { api: api.name }).clone()).collect();
        let produced_bytes = Counter::default();
        registry.register("produced_bytes", "Bytes of record batches appended", produced_bytes.clone());
        let fetched_bytes = Counter::default();
        registry.register(
            "fetched_bytes",
            "Bytes of record batches sent to consumers",
            fetched_bytes.clone(),
        );
        let partitions_led = Gauge::default();
        registry.register("partitions_led", "Partitions this broker leads", partitions_led.clone());
        let metadata_offset = Gauge::default();
        registry.register("metadata_offset", "Offset of the newest metadata image", metadata_offset.clone());
        let log_directories = Family::default();
        registry.register(
            "log_directory_online",
            "1 for each log directory that works, 0 for one that has failed",
            log_directories.clone(),
        );
        Arc::new(Self {
            registry,
            requests,
            log_directories,
            produced_bytes,
            fetched_bytes,
            partitions_led,
            metadata_offset,
        })
    }

    /// Counts a request of the API at this place of the table.
    pub(crate) fn count_request(&self, index: usize) {
        if let Some(counter) = self.requests.get(index) {
            counter.inc();
        }
    }

    /// Notes whether a log directory works.
    pub(crate) fn log_directory(&self, path: &Path, online: bool) {
        let label = DirectoryLabel { directory: path.display().to_string() };
        self.log_directories.get_or_create(&label).set(i64::from(online));
    }

    /// Everything, in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_its_counter() {
        let metrics = Metrics::new();
        metrics.count_request(0);
        let text = metrics.render();
        assert!(text.contains("ottla_requests_total{api=\"Produce\"} 1"), "{text}");
        for api in TABLE {
            assert!(text.contains(&format!("api=\"{}\"", api.name)), "{} is missing", api.name);
        }
    }
}
