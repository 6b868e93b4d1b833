//! A few requests of Kafka's protocol, written by hand: what a client may do behind the operator's back and
//! kcat cannot. Versions without flexible encoding, but for requests that have no other: there lengths are one more
//! than they say, and nothing is tagged.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The request `CreateTopics`, version 2.
#[must_use]
pub fn create_topic(
    name: &str,
    partitions: u32,
    replication_factor: u16,
    configs: &[(&str, &str)],
) -> Request {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_text(&mut body, name);
    body.extend(partitions.to_be_bytes());
    body.extend(replication_factor.to_be_bytes());
    put_count(&mut body, 0);
    put_count(&mut body, i32::try_from(configs.len()).unwrap_or(i32::MAX));
    for (key, value) in configs {
        put_text(&mut body, key);
        put_text(&mut body, value);
    }
    put_timeout(&mut body);
    body.push(0);
    Request { key: 19, version: 2, body }
}

/// What an answer to [`create_topic`] says.
pub fn created(answer: &[u8]) -> Result<()> {
    let mut rest = answer.get(8..).context("an answer that is too short")?;
    let _name = take_text(&mut rest)?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}: {}", take_text(&mut rest).unwrap_or_default());
    Ok(())
}

/// The request `Produce`, version 3, of one record without a key to partition 0; all in-sync replicas acknowledge.
#[must_use]
pub fn produce(topic: &str, value: &[u8]) -> Request {
    const ACKS: i16 = -1;
    let batch = batch_of_one(value);
    let mut body = Vec::new();
    body.extend((-1_i16).to_be_bytes());
    body.extend(ACKS.to_be_bytes());
    put_timeout(&mut body);
    put_count(&mut body, 1);
    put_text(&mut body, topic);
    put_count(&mut body, 1);
    put_count(&mut body, 0);
    body.extend(u32::try_from(batch.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend(batch);
    Request { key: 0, version: 3, body }
}

/// What an answer to [`produce`] says.
pub fn produced(answer: &[u8]) -> Result<()> {
    let mut rest = answer.get(4..).context("an answer that is too short")?;
    let _topic = take_text(&mut rest)?;
    rest = rest.get(8..).context("an answer without a partition")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}");
    Ok(())
}

/// A record batch of format 2 with one record of fewer than 32 bytes, so that every length is one byte.
#[must_use]
pub fn batch_of_one(value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(31)];
    let zigzag = |number: usize| u8::try_from(number * 2).unwrap_or_default();
    // Attributes, time and offset deltas, no key, the value, no headers.
    let mut record = vec![0, 0, 0, 1, zigzag(value.len())];
    record.extend(value);
    record.push(0);
    let mut checked = Vec::new();
    checked.extend([0; 2]); // attributes
    checked.extend([0; 4]); // last offset delta
    checked.extend([0; 8]); // base timestamp
    checked.extend([0; 8]); // max timestamp
    checked.extend([0xff; 14]); // producer id and epoch, base sequence: none
    checked.extend(1_u32.to_be_bytes());
    checked.push(zigzag(record.len()));
    checked.extend(record);
    let mut batch = vec![0; 8];
    batch.extend(u32::try_from(checked.len() + 9).unwrap_or_default().to_be_bytes());
    batch.extend([0xff; 4]); // leader epoch: the leader's to say
    batch.push(2); // magic
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// The checksum of Castagnoli, bit by bit: a few hundred bytes at most.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// The request `DeleteTopics`, version 1.
#[must_use]
pub fn delete_topic(name: &str) -> Request {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_text(&mut body, name);
    put_timeout(&mut body);
    Request { key: 20, version: 1, body }
}

/// The request `IncrementalAlterConfigs`, version 0, that sets a key of a topic.
#[must_use]
pub fn set_topic_config(topic: &str, key: &str, value: &str) -> Request {
    const TOPIC: u8 = 2;
    const SET: u8 = 0;
    let mut body = Vec::new();
    put_count(&mut body, 1);
    body.push(TOPIC);
    put_text(&mut body, topic);
    put_count(&mut body, 1);
    put_text(&mut body, key);
    body.push(SET);
    put_text(&mut body, value);
    body.push(0);
    Request { key: 44, version: 0, body }
}

/// The request `DescribeConfigs`, version 1, for one key of a topic.
#[must_use]
pub fn describe_topic_config(topic: &str, key: &str) -> Request {
    const TOPIC: u8 = 2;
    let mut body = Vec::new();
    put_count(&mut body, 1);
    body.push(TOPIC);
    put_text(&mut body, topic);
    put_count(&mut body, 1);
    put_text(&mut body, key);
    body.push(0);
    Request { key: 32, version: 1, body }
}

/// The metadata log, as requests name it.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The request `DescribeQuorum`, version 0 (flexible).
#[must_use]
pub fn describe_quorum() -> Request {
    let mut body = vec![NOTHING_TAGGED, ONE];
    put_compact_text(&mut body, METADATA_TOPIC);
    body.push(ONE);
    body.extend([0; 4]); // partition 0
    body.extend([NOTHING_TAGGED; 3]);
    Request { key: 55, version: 0, body }
}

/// Who leads the quorum, as an answer to [`describe_quorum`] says.
pub fn quorum_leader(answer: &[u8]) -> Result<u32> {
    let mut rest = quorum_partition(answer)?;
    u32::try_from(take_i32(&mut rest)?).context("nobody leads the quorum")
}

/// Who the quorum's voters are, as an answer to [`describe_quorum`] says.
pub fn quorum_voters(answer: &[u8]) -> Result<BTreeSet<u32>> {
    // Behind the leader, its epoch and the high watermark.
    let mut rest = quorum_partition(answer)?.get(16..).context("an answer without voters")?;
    let [length] = take(&mut rest)?;
    (1..length)
        .map(|_| {
            let voter = take_i32(&mut rest)?;
            // Its end offset; nothing tagged.
            take::<9>(&mut rest)?;
            u32::try_from(voter).context("a voter's id")
        })
        .collect()
}

/// What an answer to [`describe_quorum`] says of the partition, without errors.
fn quorum_partition(answer: &[u8]) -> Result<&[u8]> {
    let mut rest = answer.get(1..).context("an answer that is too short")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}");
    rest = rest.get(METADATA_TOPIC.len() + 7..).context("an answer without a partition")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}");
    Ok(rest)
}

/// The request `AddRaftVoter`, version 0 (flexible), with the one listener where the voter is reached.
#[must_use]
pub fn add_voter(id: u32, directory: [u8; 16], listener: &str, host: &str, port: u16) -> Request {
    let mut body = vec![NOTHING_TAGGED, NULL];
    put_timeout(&mut body);
    body.extend(id.to_be_bytes());
    body.extend(directory);
    body.push(ONE);
    put_compact_text(&mut body, listener);
    put_compact_text(&mut body, host);
    body.extend(port.to_be_bytes());
    body.extend([NOTHING_TAGGED; 2]);
    Request { key: 80, version: 0, body }
}

/// The request `RemoveRaftVoter`, version 0 (flexible).
#[must_use]
pub fn remove_voter(id: u32, directory: [u8; 16]) -> Request {
    let mut body = vec![NOTHING_TAGGED, NULL];
    body.extend(id.to_be_bytes());
    body.extend(directory);
    body.push(NOTHING_TAGGED);
    Request { key: 81, version: 0, body }
}

/// What an answer to [`add_voter`] or [`remove_voter`] says.
pub fn voters_changed(answer: &[u8]) -> Result<()> {
    // Behind what is tagged and the throttle.
    let mut rest = answer.get(5..).context("an answer that is too short")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}: {}", take_compact_text(&mut rest)?);
    Ok(())
}

/// The request `AlterPartitionReassignments`, version 0 (flexible): these replicas for one partition, in that order.
#[must_use]
pub fn reassign(topic: &str, partition: u32, replicas: &[u32]) -> Request {
    let mut body = vec![NOTHING_TAGGED];
    put_timeout(&mut body);
    body.push(ONE);
    put_compact_text(&mut body, topic);
    body.push(ONE);
    body.extend(partition.to_be_bytes());
    body.push(compact_length(replicas.len()));
    replicas.iter().for_each(|replica| body.extend(replica.to_be_bytes()));
    body.extend([NOTHING_TAGGED; 3]);
    Request { key: 45, version: 0, body }
}

/// What an answer to [`reassign`] says.
pub fn reassigned(answer: &[u8], topic: &str) -> Result<()> {
    // Behind what is tagged and the throttle.
    let mut rest = answer.get(5..).context("an answer that is too short")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}");
    // No message, one topic, its name, one partition, its index.
    rest = rest.get(topic.len() + 8..).context("an answer without a partition")?;
    let code = take_i16(&mut rest)?;
    ensure!(code == 0, "error {code}");
    Ok(())
}

/// In flexible versions: a list of one.
const ONE: u8 = 2;
/// In flexible versions: a text or a list that is not there.
const NULL: u8 = 0;
/// In flexible versions, behind each structure.
const NOTHING_TAGGED: u8 = 0;

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    key: i16,
    version: i16,
    body: Vec<u8>,
}

impl Request {
    fn frame(&self) -> Vec<u8> {
        let mut message = Vec::new();
        message.extend(self.key.to_be_bytes());
        message.extend(self.version.to_be_bytes());
        message.extend(CORRELATION.to_be_bytes());
        put_text(&mut message, "behind-the-back");
        message.extend(&self.body);
        let mut frame = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        frame.extend(message);
        frame
    }
}

/// Sends a request to `address` (host:port) from this machine and returns the body of the answer.
pub fn send(address: &str, request: &Request) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("send at once")?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).context("limit the wait for an answer")?;
    exchange(&mut stream, request).with_context(|| format!("answer of {address} to key {}", request.key))
}

/// Sends a request on a connection and returns the body of the answer.
pub fn exchange(stream: &mut TcpStream, request: &Request) -> Result<Vec<u8>> {
    stream.write_all(&request.frame()).context("send the request")?;
    body_of(&read_frame(stream)?)
}

fn body_of(answer: &[u8]) -> Result<Vec<u8>> {
    ensure!(answer.get(..4) == Some(&CORRELATION.to_be_bytes()), "an answer to another request");
    Ok(answer[4..].to_vec())
}

/// How long a broker may take to answer one request.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Any number: one request is sent per connection, or the answer is awaited before the next.
const CORRELATION: u32 = 7;

/// Sends requests from inside a cluster's network.
#[derive(Debug, Clone)]
pub struct Wire {
    enter: PathBuf,
}

impl Wire {
    /// By way of the script `enter` of a site.
    #[must_use]
    pub fn new(enter: PathBuf) -> Self {
        Self { enter }
    }

    /// Sends a request to `address` (host:port) and returns the body of the answer.
    pub fn send(&self, address: &str, request: &Request) -> Result<Vec<u8>> {
        let (host, port) = address.split_once(':').context("an address without a port")?;
        let mut child = Command::new(&self.enter)
            .args(["timeout", "20", "busybox", "nc", host, port])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", Path::new("nc").display()))?;
        let mut input = child.stdin.take().context("no standard input")?;
        let mut output = child.stdout.take().context("no standard output")?;
        input.write_all(&request.frame()).context("send the request")?;
        let answer = read_frame(&mut output);
        drop(input);
        let _ = child.kill();
        child.wait().context("wait for nc")?;
        body_of(&answer.with_context(|| format!("answer of {address} to key {}", request.key))?)
    }
}

fn read_frame(input: &mut impl std::io::Read) -> Result<Vec<u8>> {
    let mut size = [0; 4];
    input.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    ensure!(size < 1 << 20, "an answer of {size} bytes");
    let mut body = vec![0; usize::try_from(size)?];
    input.read_exact(&mut body)?;
    Ok(body)
}

fn put_count(body: &mut Vec<u8>, count: i32) {
    body.extend(count.to_be_bytes());
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(text.as_bytes());
}

/// The length of a text or a list of at most 126, in flexible versions.
fn compact_length(length: usize) -> u8 {
    u8::try_from(length + 1).unwrap_or_default()
}

fn put_compact_text(body: &mut Vec<u8>, text: &str) {
    body.push(compact_length(text.len()));
    body.extend(text.as_bytes());
}

fn put_timeout(body: &mut Vec<u8>) {
    const MILLISECONDS: u32 = 15_000;
    body.extend(MILLISECONDS.to_be_bytes());
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Result<[u8; BYTES]> {
    let (bytes, after) = rest.split_first_chunk().context("an answer that ends in a number")?;
    *rest = after;
    Ok(*bytes)
}

fn take_i16(rest: &mut &[u8]) -> Result<i16> {
    take(rest).map(i16::from_be_bytes)
}

fn take_i32(rest: &mut &[u8]) -> Result<i32> {
    take(rest).map(i32::from_be_bytes)
}

fn take_text(rest: &mut &[u8]) -> Result<String> {
    let length = usize::try_from(take_i16(rest)?).unwrap_or_default();
    take_bytes(rest, length)
}

fn take_compact_text(rest: &mut &[u8]) -> Result<String> {
    let [length] = take(rest)?;
    take_bytes(rest, usize::from(length).saturating_sub(1))
}

fn take_bytes(rest: &mut &[u8], length: usize) -> Result<String> {
    let (bytes, after) = rest.split_at_checked(length).context("an answer that ends in a text")?;
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_published_example() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_leader_of_the_quorum_is_found_behind_the_names() {
        let partition = [&[2][..], &[0; 4], &[0; 2], &[0, 0, 0, 3], b"epoch and so on"].concat();
        let answer = [&[0, 0, 0, 2, 19][..], METADATA_TOPIC.as_bytes(), &partition].concat();
        assert_eq!(quorum_leader(&answer).unwrap(), 3);
        assert!(quorum_leader(&[0, 0, 41]).is_err());
    }

    #[test]
    fn the_voters_of_the_quorum_are_found_behind_its_leader() {
        let numbers = [&[0, 0, 0, 3][..], &[0; 12]].concat();
        let voters = [&[3, 0, 0, 0, 1][..], &[0; 9], &[0, 0, 0, 3], &[0; 9]].concat();
        let partition = [&[2][..], &[0; 4], &[0; 2], &numbers, &voters].concat();
        let answer = [&[0, 0, 0, 2, 19][..], METADATA_TOPIC.as_bytes(), &partition].concat();
        assert_eq!(quorum_voters(&answer).unwrap(), BTreeSet::from([1, 3]));
        assert!(quorum_voters(&answer[..answer.len() - 1]).is_err());
    }

    #[test]
    fn a_change_of_voters_that_is_refused_says_why() {
        let answer = [&[0; 5][..], &[0, 42, 5], b"why?", &[0]].concat();
        assert_eq!(voters_changed(&answer).unwrap_err().to_string(), "error 42: why?");
        assert!(voters_changed(&[0; 9]).is_ok());
    }

    #[test]
    fn the_answer_to_a_reassignment_is_that_of_its_partition() {
        let answer = |code: u8| [&[0; 7][..], &[0, 2, 2, b'a', 2], &[0; 4], &[0, code, 0, 0, 0, 0]].concat();
        assert!(reassigned(&answer(0), "a").is_ok());
        assert_eq!(reassigned(&answer(85), "a").unwrap_err().to_string(), "error 85");
        assert_eq!(reassigned(&[0, 0, 0, 0, 0, 0, 41], "a").unwrap_err().to_string(), "error 41");
    }

    #[test]
    fn an_error_in_an_answer_is_told_with_its_message() {
        let answer = [&[0; 8][..], &[0, 1, b'a', 0, 36, 0, 4], b"why?"].concat();
        assert_eq!(created(&answer).unwrap_err().to_string(), "error 36: why?");
        let answer = [&[0; 8][..], &[0, 1, b'a', 0, 0, 0xff, 0xff]].concat();
        assert!(created(&answer).is_ok());
    }
}
