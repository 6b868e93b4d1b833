//! kcat, a client that nobody here wrote.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::command::{Answer, Program, program, wait_until};

/// How long kcat may take for a thousand records; a broker that does not answer must not block for ever.
const LIMIT: Duration = Duration::from_secs(60);
/// What librdkafka says of a name that a DNS server does not know, or did not a moment ago.
const UNRESOLVED: &str = "Host resolution failure";
/// How often it is asked again what is waited for.
const INTERVAL: Duration = Duration::from_millis(100);

/// kcat, run in the way that reaches a cluster.
#[derive(Debug, Clone)]
pub struct Kcat {
    executable: PathBuf,
    settings: Vec<String>,
}

/// A record as kcat shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A partition as a broker's metadata shows it to kcat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The broker that leads it, if one does.
    pub leader: Option<u32>,
    /// The brokers that hold it.
    pub replicas: BTreeSet<u32>,
    /// Those of them that are in sync.
    pub isr: BTreeSet<u32>,
}

impl Kcat {
    /// kcat by way of the script at `executable`.
    #[must_use]
    pub fn new(executable: PathBuf) -> Self {
        Self { executable, settings: Vec::new() }
    }

    /// The same with one more of librdkafka's settings, as `key=value`.
    #[must_use]
    pub fn with(&self, setting: &str) -> Self {
        let mut other = self.clone();
        other.settings.push(setting.to_owned());
        other
    }

    /// Produces `records` through the brokers that `bootstrap` names and waits for all of them to be
    /// acknowledged by every in-sync replica. It keeps trying while no broker can be reached, as applications do.
    pub fn produce(&self, bootstrap: &str, topic: &str, records: &[Record]) -> Result<()> {
        let lines: String =
            records.iter().map(|record| format!("{}\t{}\n", record.key, record.value)).collect();
        self.patient(bootstrap)
            .args(["-P", "-t", topic, "-K", "\t", "-X", "acks=all"])
            .stdin(lines)
            .read()
            .map(drop)
    }

    /// Produces one record to one partition and waits until every in-sync replica has acknowledged it.
    pub fn produce_to(&self, bootstrap: &str, topic: &str, partition: u32, value: &str) -> Result<()> {
        let words = ["-P", "-t", topic, "-p", &partition.to_string(), "-X", "acks=all"];
        self.program(bootstrap).args(words).stdin(format!("{value}\n")).read().map(drop)
    }

    /// Reads a topic from its beginning to its end, in no particular order of partitions. It keeps trying while no
    /// broker can be reached, as applications do: the name of a broker that was not there a moment ago stays
    /// unknown for as long as a DNS server remembers that (5 s with CoreDNS).
    pub fn consume(&self, bootstrap: &str, topic: &str) -> Result<Vec<Record>> {
        let text = self.read_topic(bootstrap, topic, &["-K", "\t"])?;
        text.lines()
            .map(|line| match line.split_once('\t') {
                Some((key, value)) => Ok(Record { key: key.to_owned(), value: value.to_owned() }),
                None => bail!("kcat shows a record without a key: {line:?}"),
            })
            .collect()
    }

    /// The values of a topic's records, in no particular order of partitions.
    pub fn consume_values(&self, bootstrap: &str, topic: &str) -> Result<Vec<String>> {
        Ok(self.read_topic(bootstrap, topic, &[])?.lines().map(str::to_owned).collect())
    }

    fn read_topic(&self, bootstrap: &str, topic: &str, options: &[&str]) -> Result<String> {
        let mut text = String::new();
        wait_until(&format!("kcat reads {topic}"), LIMIT, INTERVAL, || {
            let read = self
                .patient(bootstrap)
                .args(["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-u"])
                .args(["-X", "auto.offset.reset=earliest"])
                .args(options)
                .read();
            match read {
                Ok(read) => {
                    text = read;
                    Answer::Yes
                }
                // While it looks for the beginning kcat takes that for the end of a partition, whatever -E says.
                Err(error) if format!("{error:#}").contains(UNRESOLVED) => {
                    Answer::NotYet(format!("{error:#}"))
                }
                Err(error) => Answer::Never(format!("{error:#}")),
            }
        })?;
        Ok(text)
    }

    /// Whether a topic holds any record.
    pub fn holds_records(&self, bootstrap: &str, topic: &str) -> Result<bool> {
        let words = ["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-c", "1", "-f", "one"];
        Ok(!self.patient(bootstrap).args(words).read()?.is_empty())
    }

    /// The timestamp of the last record of a partition, in ms since 1970.
    pub fn last_timestamp(&self, bootstrap: &str, topic: &str, partition: u32) -> Result<i64> {
        let partition = partition.to_string();
        let words = ["-C", "-t", topic, "-p", &partition, "-o", "-1", "-c", "1", "-q", "-f", "%T"];
        self.program(bootstrap).args(words).read()?.trim().parse().context("a timestamp")
    }

    /// What kcat knows of the cluster, or of one topic, as JSON.
    pub fn metadata(&self, bootstrap: &str, topic: Option<&str>) -> Result<Value> {
        let mut program = self.program(bootstrap).args(["-L", "-J"]);
        if let Some(topic) = topic {
            program = program.args(["-t", topic]);
        }
        Ok(serde_json::from_str(&program.read()?)?)
    }

    /// What kcat knows of a topic's partitions, in order; none if there is no such topic.
    pub fn partitions(&self, bootstrap: &str, topic: &str) -> Result<Vec<Partition>> {
        partitions(&self.metadata(bootstrap, Some(topic))?)
    }

    /// Waits until the brokers of `bootstrap` show a topic's partitions as they are `wanted`, and returns these.
    pub fn wait_for_partitions(
        &self,
        bootstrap: &str,
        topic: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&[Partition]) -> bool,
    ) -> Result<Vec<Partition>> {
        let mut found = Vec::new();
        wait_until(&format!("{topic}: {what}"), limit, INTERVAL, || {
            Answer::from(self.partitions(bootstrap, topic).and_then(|seen| {
                ensure!(wanted(&seen), "{bootstrap} shows {seen:?}");
                found = seen;
                Ok(())
            }))
        })?;
        Ok(found)
    }

    /// kcat that goes on while no broker can be reached, until its time is over.
    fn patient(&self, bootstrap: &str) -> Program {
        self.program(bootstrap)
            // That no broker can be reached for a moment is no reason to give up (-E), nor that none has told of
            // the topic within 5 s (-m, s).
            .args(["-E", "-m", &LIMIT.as_secs().to_string()])
            // Else it looks again for a broker that was away only after up to 10 s.
            .args(["-X", "reconnect.backoff.max.ms=500"])
    }

    fn program(&self, bootstrap: &str) -> Program {
        program("timeout")
            .arg(LIMIT.as_secs().to_string())
            .arg(&self.executable)
            .args(["-b", bootstrap])
            .args(self.settings.iter().flat_map(|setting| ["-X", setting]))
    }
}

fn partitions(metadata: &Value) -> Result<Vec<Partition>> {
    let ids = |brokers: &Value| {
        let brokers = brokers.as_array().into_iter().flatten();
        brokers.map(|broker| Ok(serde_json::from_value(broker["id"].clone())?)).collect::<Result<_>>()
    };
    let mut found = Vec::new();
    for (index, partition) in metadata["topics"][0]["partitions"].as_array().into_iter().flatten().enumerate()
    {
        ensure!(partition["partition"] == index, "a partition is not told: {metadata}");
        found.push(Partition {
            // -1 stands for nobody.
            leader: serde_json::from_value(partition["leader"].clone()).ok(),
            replicas: ids(&partition["replicas"])?,
            isr: ids(&partition["isrs"])?,
        });
    }
    Ok(found)
}

/// `count` records whose keys repeat, so that order within a key can be checked.
#[must_use]
pub fn records(count: usize) -> Vec<Record> {
    const KEYS: usize = 97;
    (0..count)
        .map(|number| Record { key: format!("customer-{}", number % KEYS), value: format!("order {number}") })
        .collect()
}

/// The same, told apart from those of other rounds by a `mark` at the beginning of each value.
#[must_use]
pub fn marked_records(count: usize, mark: &str) -> Vec<Record> {
    let records = records(count).into_iter();
    records.map(|record| Record { value: format!("{mark} {}", record.value), ..record }).collect()
}

/// Fails unless `read` is what was `written`: each record once, and in order within each key.
pub fn compare(written: &[Record], read: &[Record]) -> Result<()> {
    let by_key = |records: &[Record]| {
        // The sort is stable: within a key the order stays as it was.
        let mut sorted = records.to_vec();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        sorted
    };
    let (written, read) = (by_key(written), by_key(read));
    if written.len() != read.len() {
        bail!("{} records were written and {} read back", written.len(), read.len());
    }
    match written.iter().zip(&read).find(|(written, read)| written != read) {
        Some((written, read)) => bail!("written {written:?}, but read in its place {read:?}"),
        None => Ok(()),
    }
}

/// Those of the `written` records that were not `read` at all. A client that sends again what it got no answer
/// to may write a record twice, so repetitions do not count.
#[must_use]
pub fn lost(written: &[Record], read: &[Record]) -> Vec<Record> {
    let read: BTreeSet<&Record> = read.iter().collect();
    written.iter().filter(|record| !read.contains(record)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_from_partitions_in_any_order_are_the_same_but_a_changed_order_within_a_key_is_not() {
        let written = records(200);
        let mut other_order = written.clone();
        other_order.sort_by(|a, b| b.key.cmp(&a.key));
        assert!(compare(&written, &other_order).is_ok());
        other_order.swap(0, 1);
        assert_eq!(other_order[0].key, other_order[1].key);
        assert!(compare(&written, &other_order).is_err());
    }

    #[test]
    fn partitions_are_read_from_the_metadata_and_minus_one_leads_nothing() {
        let metadata = r#"{"topics":[{"topic":"t","partitions":[
            {"partition":0,"leader":2,"replicas":[{"id":2},{"id":1}],"isrs":[{"id":2}]},
            {"partition":1,"leader":-1,"replicas":[{"id":1}],"isrs":[{"id":1}]}]}]}"#;
        let [first, second] = &partitions(&serde_json::from_str(metadata).unwrap()).unwrap()[..] else {
            panic!("two partitions were told");
        };
        assert_eq!((first.leader, second.leader), (Some(2), None));
        assert_eq!((&first.replicas, &first.isr), (&BTreeSet::from([1, 2]), &BTreeSet::from([2])));
        assert_eq!(partitions(&serde_json::json!({ "topics": [] })).unwrap(), []);
    }

    #[test]
    fn a_lost_and_a_repeated_record_are_found() {
        let written = records(200);
        assert!(compare(&written, &written[1..]).is_err());
        let mut repeated = written.clone();
        repeated.push(written[7].clone());
        assert!(compare(&written, &repeated).is_err());
        assert!(lost(&written, &repeated).is_empty());
        assert_eq!(lost(&written, &written[1..]), written[..1]);
    }
}
