//! What clients asked for and what came of it, as they wrote it down: one event a line, as JSON.
//!
//! | field | what |
//! |---|---|
//! | `kind` | `invoke`: about to be asked; `ok`: done; `fail`: surely not done; `info`: nobody knows; `end`: the client is through |
//! | `process` | the client |
//! | `time_ms` | when, by the clock of the machine |
//! | `operation` | `send` or `poll` |
//! | `partition` | of the topic, of which there is one in a run |
//! | `value` | of the record sent; unique in a run |
//! | `offset` | of a send that is `ok` |
//! | `records` | of a poll that is `ok`: offset and value of each, in the order in which they were read |
//! | `high_watermark` | of the partition as the reader knew it then, if it did |
//!
//! Kafka's VerifiableProducer writes lines of its own kind, which are read as the same events; of what it is about to
//! send it says nothing.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The client.
    pub process: String,
    /// When, in milliseconds of the machine's clock.
    pub time_ms: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A record is about to be sent.
    Sending {
        /// Its value.
        value: String,
    },
    /// A record was acknowledged.
    Sent {
        /// Where it lies.
        partition: u32,
        /// And at which offset.
        offset: u64,
        /// Its value.
        value: String,
    },
    /// A record was surely not written.
    Refused {
        /// Its value.
        value: String,
    },
    /// A record was not acknowledged, and may have been written.
    Unknown {
        /// Its value.
        value: String,
        /// Why.
        error: String,
    },
    /// Records were read.
    Read {
        /// Of which partition.
        partition: u32,
        /// Their offsets and values, in the order in which they came.
        records: Vec<(u64, String)>,
        /// The partition's high watermark as the reader knew it.
        high_watermark: Option<u64>,
    },
    /// Nothing could be read.
    NotRead {
        /// Why.
        error: String,
    },
    /// The client has nothing more to say.
    End,
}

/// Reads what a client wrote. Lines that are not JSON are its library's.
pub fn parse(process: &str, text: &str) -> Result<Vec<Event>> {
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| {
            event(process, line).with_context(|| format!("a history says {line:?}")).transpose()
        })
        .collect()
}

fn event(process: &str, line: &str) -> Result<Option<Event>> {
    let line: Value = serde_json::from_str(line)?;
    if let Some(name) = line["name"].as_str() {
        return verifiable(process, name, &line);
    }
    let text = |field: &str| line[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    let number = |field: &str| line[field].as_u64().with_context(|| format!("no {field}"));
    let partition = || Ok::<_, anyhow::Error>(u32::try_from(number("partition")?)?);
    let what = match (text("kind")?.as_str(), line["operation"].as_str()) {
        ("invoke", Some("send")) => What::Sending { value: text("value")? },
        ("ok", Some("send")) => {
            What::Sent { partition: partition()?, offset: number("offset")?, value: text("value")? }
        }
        ("fail", Some("send")) => What::Refused { value: text("value")? },
        ("info", Some("send")) => What::Unknown { value: text("value")?, error: text("error")? },
        ("ok", Some("poll")) => What::Read {
            partition: partition()?,
            records: serde_json::from_value(line["records"].clone()).context("records")?,
            high_watermark: line["high_watermark"].as_u64(),
        },
        ("info", Some("poll")) => What::NotRead { error: text("error")? },
        ("end", None) => What::End,
        (kind, operation) => anyhow::bail!("an unknown event: {kind} {operation:?}"),
    };
    Ok(Some(Event { process: text("process")?, time_ms: number("time_ms")?, what }))
}

/// A line of Kafka's VerifiableProducer.
fn verifiable(process: &str, name: &str, line: &Value) -> Result<Option<Event>> {
    let text = |field: &str| line[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"));
    let number = |field: &str| line[field].as_u64().with_context(|| format!("no {field}"));
    let what = match name {
        "producer_send_success" => What::Sent {
            partition: u32::try_from(number("partition")?)?,
            offset: number("offset")?,
            value: text("value")?,
        },
        "producer_send_error" => What::Unknown { value: text("value")?, error: text("exception")? },
        "shutdown_complete" => What::End,
        _ => return Ok(None),
    };
    Ok(Some(Event { process: process.to_owned(), time_ms: number("timestamp")?, what }))
}

/// Of the acknowledgements that `process` got in each partition: the longest time in milliseconds from one to the next.
#[must_use]
pub fn gaps_ms(events: &[Event], process: &str) -> BTreeMap<u32, u64> {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    let mut longest: BTreeMap<u32, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.process == process) {
        if let What::Sent { partition, .. } = event.what {
            let before = last.insert(partition, event.time_ms).unwrap_or(event.time_ms);
            let gap = longest.entry(partition).or_default();
            *gap = (*gap).max(event.time_ms.saturating_sub(before));
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_clients_are_read_and_those_of_their_libraries_are_not() {
        let text = r#"%3|1795366095.1|FAIL|rdkafka#producer-1| it cannot connect
{"kind": "invoke", "process": "a", "operation": "send", "partition": 1, "value": "a.0", "time_ms": 5}
{"kind": "ok", "offset": 7, "process": "a", "operation": "send", "partition": 1, "value": "a.0", "time_ms": 6}
{"kind": "ok", "process": "a", "operation": "poll", "partition": 1, "records": [[7, "a.0"]], "high_watermark": 8, "time_ms": 9}
{"kind": "end", "process": "a", "time_ms": 10}
{"timestamp":11,"name":"startup_complete"}
{"timestamp":12,"name":"producer_send_success","key":null,"value":"0.3","partition":2,"offset":4,"topic":"t"}"#;
        let events = parse("b", text).unwrap();
        let sent = What::Sent { partition: 1, offset: 7, value: "a.0".to_owned() };
        assert_eq!(events[1], Event { process: "a".to_owned(), time_ms: 6, what: sent });
        let records = vec![(7, "a.0".to_owned())];
        assert_eq!(events[2].what, What::Read { partition: 1, records, high_watermark: Some(8) });
        let sent = What::Sent { partition: 2, offset: 4, value: "0.3".to_owned() };
        assert_eq!(events[4..], [Event { process: "b".to_owned(), time_ms: 12, what: sent }]);
        assert!(parse("a", r#"{"kind": "odd", "process": "a", "time_ms": 5}"#).is_err());
    }

    #[test]
    fn the_longest_gap_is_told_of_each_partition() {
        let sent = |partition: u32, time_ms: u64| Event {
            process: "a".to_owned(),
            time_ms,
            what: What::Sent { partition, offset: time_ms, value: format!("{partition}.{time_ms}") },
        };
        let events = [sent(0, 10), sent(1, 12), sent(1, 50), sent(0, 400), sent(1, 401)];
        assert_eq!(gaps_ms(&events, "a"), BTreeMap::from([(0, 390), (1, 351)]));
        assert_eq!(gaps_ms(&events, "b"), BTreeMap::new());
    }
}
