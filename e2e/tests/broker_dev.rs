//! `ottla dev` and kcat: whatever the codec, what was written is read back, also after a restart and after a crash.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::command::{Answer, wait_until};
use e2e::kcat::{self, Record};
use e2e::lane::broker::{self, story};

/// Kafka's codecs, and the number that a batch's attributes carry after kcat has sent it.
const CODECS: [(&str, usize); 5] = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

/// Records that compress well, of which some batches take more than one block of every codec.
fn records() -> Vec<Record> {
    kcat::records(3000)
        .into_iter()
        .map(|record| Record { value: format!("{} {}", record.value, "lorem ipsum ".repeat(20)), ..record })
        .collect()
}

/// The codec of each batch in a segment file, read as the format's description has it.
fn codecs(segment: &Path) -> Result<Vec<usize>> {
    let bytes = fs::read(segment).with_context(|| format!("read {}", segment.display()))?;
    let mut found = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let header: &[u8; 23] = rest.first_chunk().context("a segment that ends in a header")?;
        let length = u32::from_be_bytes(header[8..12].try_into()?);
        found.push(usize::from(header[22] & 7));
        rest = rest.get(12 + usize::try_from(length)?..).context("a segment that ends in a batch")?;
    }
    Ok(found)
}

#[test]
fn records_of_every_codec_are_read_back_also_after_a_restart() -> Result<()> {
    story("dev-codecs", |bench| {
        let mut server = bench.dev("data")?;
        server.start()?;
        let records = records();
        for (codec, number) in CODECS {
            broker::create_topic(server.address(), codec, 1, &[])?;
            let kcat = bench.kcat.with(&format!("compression.codec={codec}")).with("linger.ms=50");
            kcat.produce(server.address(), codec, &records)
                .with_context(|| format!("produce with {codec}"))?;
            let stored = codecs(&bench.path(&format!("data/{codec}-0/00000000000000000000.log")))?;
            ensure!(stored.iter().all(|stored| *stored == number), "{codec}: stored as {stored:?}");
        }
        let read_all = |address: &str| {
            CODECS.iter().try_for_each(|(codec, _)| {
                kcat::compare(&records, &bench.kcat.consume(address, codec)?)
                    .with_context(|| format!("read {codec}"))
            })
        };
        read_all(server.address())?;
        server.stop()?;
        server.start()?;
        read_all(server.address()).context("after a restart")?;
        server.stop()
    })
}

#[test]
fn everything_acknowledged_before_a_kill_is_there_after_it() -> Result<()> {
    story("dev-kill", |bench| {
        let mut server = bench.dev("data")?;
        server.start()?;
        broker::create_topic(server.address(), "orders", 3, &[])?;
        let before = kcat::records(2000);
        bench.kcat.produce(server.address(), "orders", &before)?;
        server.kill()?;
        server.start()?;
        kcat::compare(&before, &bench.kcat.consume(server.address(), "orders")?)?;
        server.stop()
    })
}

/// kcat names each delivered record with its offset at this verbosity.
const DELIVERED: &str = "Message delivered to partition";

#[test]
fn a_kill_in_the_middle_of_a_produce_loses_nothing_that_the_client_calls_delivered() -> Result<()> {
    story("dev-kill-under-produce", |bench| {
        let mut server = bench.dev("data")?;
        server.start()?;
        broker::create_topic(server.address(), "orders", 3, &[])?;
        let records = records();
        let said = bench.path("kcat.out");
        let output = fs::File::create(&said).context("make a file for kcat's output")?;
        let mut kcat = Command::new("timeout")
            .args(["120", "kcat", "-b", server.address(), "-P", "-t", "orders", "-K", "\t", "-vvv", "-E"])
            .args(["-X", "acks=all", "-X", "queue.buffering.max.messages=20", "-X", "linger.ms=0"])
            .args(["-X", "reconnect.backoff.ms=20", "-X", "reconnect.backoff.max.ms=100"])
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("share a file")?)
            .stderr(output)
            .spawn()
            .context("start kcat")?;
        let mut input = kcat.stdin.take().context("no standard input")?;
        let (before, after) = records.split_at(records.len() / 2);
        let lines = |records: &[Record]| -> String {
            records.iter().map(|record| format!("{}\t{}\n", record.key, record.value)).collect()
        };
        // kcat's queue is short, so that much of what it is given here it cannot have sent before the kill.
        input.write_all(lines(before).as_bytes()).context("write to kcat")?;
        let delivered = || fs::read_to_string(&said).unwrap_or_default().matches(DELIVERED).count();
        wait_until("kcat delivers", Duration::from_secs(60), Duration::from_millis(5), || {
            if delivered() > 100 { Answer::Yes } else { Answer::NotYet(format!("{} are", delivered())) }
        })?;
        server.kill()?;
        let at_kill = delivered();
        server.start()?;
        input.write_all(lines(after).as_bytes()).context("write to kcat")?;
        drop(input);
        let status = kcat.wait().context("wait for kcat")?;
        let said = fs::read_to_string(&said).context("read what kcat said")?;
        ensure!(status.success(), "kcat: {status}: {}", said.lines().last().unwrap_or_default());
        ensure!(at_kill < records.len(), "everything was delivered before the kill");
        let lost = kcat::lost(&records, &bench.kcat.consume(server.address(), "orders")?);
        ensure!(lost.is_empty(), "{} delivered records are lost: {lost:?}", lost.len());
        server.stop()
    })
}
