//! Kafka's ProducerPerformance: the one client of both products.

use std::ffi::OsString;

use anyhow::{Context, Result};

use crate::command::program;
use crate::faults::cluster::{Cluster, TOPIC};
use crate::kafka::Kafka;

/// Of each record.
const RECORD_BYTES: u32 = 1024;

/// What it says at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Performance {
    /// Records a second.
    pub records_per_second: f64,
    /// The 99th percentile of the time to an acknowledgement.
    pub p99_ms: f64,
}

/// Sends so many records, of which the first do not count, as fast as it can or so many a second.
pub fn run(kafka: &Kafka, records: u64, warm_up: u64, per_second: Option<u64>) -> Result<Performance> {
    let mut words = kafka.client_words("org.apache.kafka.tools.ProducerPerformance");
    let throughput = per_second.map_or_else(|| "-1".to_owned(), |rate| rate.to_string());
    let options = [
        ("--bootstrap-server", Cluster::bootstrap()),
        ("--topic", TOPIC.to_owned()),
        ("--num-records", (records + warm_up).to_string()),
        ("--warmup-records", warm_up.to_string()),
        ("--record-size", RECORD_BYTES.to_string()),
        ("--throughput", throughput),
    ];
    words.extend(options.into_iter().flat_map(|(option, value)| [OsString::from(option), value.into()]));
    words.push("--command-property".into());
    words.extend(["acks=all", "enable.idempotence=false"].map(OsString::from));
    let said = program("java").args(words).read()?;
    parse(&said).with_context(|| format!("the producer says: {said}"))
}

/// So many records, in 10^9 bytes.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a figure, not a count")]
pub fn gigabytes(records: u64) -> f64 {
    (records * u64::from(RECORD_BYTES)) as f64 / 1e9
}

fn parse(said: &str) -> Result<Performance> {
    // The last line is about everything but the warm-up.
    let line = said.lines().rev().find(|line| line.contains("99th")).context("no summary")?;
    let before = |unit: &str| -> Result<f64> {
        let head = line.split(unit).next().unwrap_or_default();
        head.rsplit([' ', ','])
            .find(|word| !word.is_empty())
            .context("no number")?
            .parse()
            .context(unit.to_owned())
    };
    Ok(Performance { records_per_second: before(" records/sec")?, p99_ms: before(" ms 99th")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_summary_is_read() {
        let said = "1 records sent, 1.0 records/sec (0.00 MB/sec), 1.0 ms avg latency, 1.0 ms max latency.\n\
                    100000 records sent, 12345.678901 records/sec (12.06 MB/sec), 12.30 ms avg latency, 345.00 ms max \
                    latency, 1 ms 50th, 2 ms 95th, 31 ms 99th, 44 ms 99.9th.\n";
        assert_eq!(parse(said).unwrap(), Performance { records_per_second: 12_345.678_901, p99_ms: 31.0 });
        assert!(parse("nothing").is_err());
    }
}
