//! A few requests of Kafka's protocol, written by hand: what a client may do behind the operator's back and
//! kcat cannot. Only versions without flexible encoding.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The request `DeleteTopics`, version 1.
#[must_use]
pub fn delete_topic(name: &str) -> Request {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_text(&mut body, name);
    put_timeout(&mut body);
    Request { key: 20, version: 1, body }
}

/// The request `CreatePartitions`, version 0, that raises the partitions of a topic.
#[must_use]
pub fn raise_partitions(topic: &str, count: u32) -> Request {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_text(&mut body, topic);
    body.extend(count.to_be_bytes());
    put_count(&mut body, -1);
    put_timeout(&mut body);
    body.push(0);
    Request { key: 37, version: 0, body }
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

/// Any number: one request is sent per connection.
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
        let answer = answer.with_context(|| format!("answer of {address} to key {}", request.key))?;
        ensure!(answer.get(..4) == Some(&CORRELATION.to_be_bytes()), "an answer to another request");
        Ok(answer[4..].to_vec())
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

fn put_timeout(body: &mut Vec<u8>) {
    const MILLISECONDS: u32 = 15_000;
    body.extend(MILLISECONDS.to_be_bytes());
}
