//! Kafka's own Java producer and consumer: what one writes, with any codec, the other reads, in order.
//!
//! The producer runs with its defaults, and so as an idempotent one. Not possible until there are consumer groups: a
//! consumer that subscribes. So it is given its partition and its first offset.

use anyhow::{Context, Result, ensure};
use e2e::kafka::Kafka;
use e2e::kcat::{self, Record};
use e2e::lane::broker::{self, story};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const RECORDS: usize = 2000;

fn produce(kafka: &Kafka, address: &str, topic: &str, options: &[&str], records: &[Record]) -> Result<()> {
    let lines: String = records.iter().map(|record| format!("{}\t{}\n", record.key, record.value)).collect();
    kafka
        .tool(PRODUCER)
        .args(["--bootstrap-server", address, "--topic", topic, "--reader-property", "parse.key=true"])
        .args(["--command-property", "acks=all"])
        .args(options)
        .stdin(lines)
        .read()
        .map(drop)
}

/// Reads `count` records of a partition from `offset` on; fails if they do not come.
fn consume(kafka: &Kafka, address: &str, topic: &str, offset: &str, count: usize) -> Result<Vec<Record>> {
    let text = kafka
        .tool(CONSUMER)
        .args(["--bootstrap-server", address, "--topic", topic, "--partition", "0", "--offset", offset])
        .args(["--max-messages", &count.to_string(), "--timeout-ms", "30000"])
        .args(["--formatter-property", "print.key=true"])
        .read()?;
    let records = text.lines().map(|line| {
        let (key, value) = line.split_once('\t').with_context(|| format!("no key in {line:?}"))?;
        Ok(Record { key: key.to_owned(), value: value.to_owned() })
    });
    records.collect()
}

#[test]
fn what_the_java_producer_writes_with_any_codec_the_java_consumer_and_kcat_read() -> Result<()> {
    story("java-clients", |bench| {
        let kafka = bench.kafka()?;
        let mut server = bench.dev("data")?;
        server.start()?;
        let written = kcat::records(RECORDS);
        for codec in CODECS {
            broker::create_topic(server.address(), codec, 1, &[])?;
            let options = ["--compression-codec", codec];
            produce(&kafka, server.address(), codec, &options, &written)
                .with_context(|| format!("produce with {codec}"))?;
        }
        server.stop()?;
        server.start()?;
        for codec in CODECS {
            let read = consume(&kafka, server.address(), codec, "earliest", RECORDS)
                .with_context(|| format!("consume {codec}"))?;
            ensure!(read == written, "{codec}: what is read is not what was written, in order");
            kcat::compare(&written, &bench.kcat.consume(server.address(), codec)?)?;
        }
        let middle = consume(&kafka, server.address(), "zstd", "1500", RECORDS - 1500)?;
        ensure!(middle == written[1500..], "from the middle of a compressed batch");
        server.stop()
    })
}

#[test]
fn the_java_consumer_reads_what_kcat_writes() -> Result<()> {
    story("java-consumer", |bench| {
        let kafka = bench.kafka()?;
        let mut server = bench.dev("data")?;
        server.start()?;
        broker::create_topic(server.address(), "orders", 1, &[])?;
        let written = kcat::records(RECORDS);
        let (plain, compressed) = written.split_at(RECORDS / 2);
        bench.kcat.produce(server.address(), "orders", plain)?;
        bench.kcat.with("compression.codec=zstd").produce(server.address(), "orders", compressed)?;
        let read = consume(&kafka, server.address(), "orders", "earliest", RECORDS)?;
        ensure!(read == written, "what is read is not what was written, in order");
        server.stop()
    })
}
