//! HTTP to a `kubectl proxy` on the same network: one connection per request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Where `kubectl proxy` listens, inside the site's network.
pub const PROXY_PORT: u16 = 8001;
/// The API server answers in milliseconds; a frozen one must not freeze us.
const LIMIT: Duration = Duration::from_secs(5);
/// A list of some hundred pods is far below this.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The API server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Api;

/// An answer of the API server that is not the one hoped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    NotFound,
    Conflict,
}

impl Api {
    /// An object or a list.
    pub(super) fn get(self, path: &str) -> Result<Value> {
        let (status, body) = exchange("GET", path, "", None)?;
        ensure!(status == 200, "GET {path}: {status} {body}");
        serde_json::from_str(&body).with_context(|| format!("parse the answer to GET {path}"))
    }

    /// Creates an object; one that is there already is `Conflict`.
    pub(super) fn create(self, path: &str, object: &Value) -> Result<Outcome> {
        self.write("POST", path, "application/json", object).map(|(outcome, _)| outcome)
    }

    /// Creates something whose answer matters, such as a token.
    pub(super) fn ask(self, path: &str, object: &Value) -> Result<Value> {
        match self.write("POST", path, "application/json", object)? {
            (Outcome::Done, answer) => Ok(answer),
            (outcome, _) => bail!("POST {path}: {outcome:?}"),
        }
    }

    /// Merges `change` into an object.
    pub(super) fn patch(self, path: &str, change: &Value) -> Result<Outcome> {
        self.write("PATCH", path, "application/merge-patch+json", change).map(|(outcome, _)| outcome)
    }

    /// Deletes an object; `options` say which one exactly and how.
    pub(super) fn delete(self, path: &str, options: &Value) -> Result<Outcome> {
        self.write("DELETE", path, "application/json", options).map(|(outcome, _)| outcome)
    }

    fn write(self, method: &str, path: &str, content: &str, body: &Value) -> Result<(Outcome, Value)> {
        let (status, answer) = exchange(method, path, content, Some(&body.to_string()))?;
        let outcome = match status {
            200..=299 => Outcome::Done,
            404 => Outcome::NotFound,
            409 => Outcome::Conflict,
            _ => bail!("{method} {path}: {status} {answer}"),
        };
        Ok((outcome, serde_json::from_str(&answer).unwrap_or_default()))
    }
}

fn exchange(method: &str, path: &str, content: &str, body: Option<&str>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", PROXY_PORT)).context("connect to kubectl proxy")?;
    stream.set_read_timeout(Some(LIMIT))?;
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: application/json\r\n\
         Content-Type: {content}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("read the answer")?;
    parse_answer(&answer)
}

/// Status and body of an HTTP/1.1 answer that was read to its end.
pub(super) fn parse_answer(answer: &[u8]) -> Result<(u16, String)> {
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("an answer without an end of its head")?;
    let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
    let status =
        head.split(' ').nth(1).and_then(|word| word.get(..3)).context("an answer without a status")?;
    let status: u16 = status.parse().context("a status that is no number")?;
    let rest = &answer[split + 4..];
    let body =
        if head.contains("\r\ntransfer-encoding: chunked") { join_chunks(rest)? } else { rest.to_vec() };
    Ok((status, String::from_utf8(body).context("an answer that is not text")?))
}

fn join_chunks(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|window| window == b"\r\n").context("a chunk without a size")?;
        let digits = std::str::from_utf8(&rest[..line]).context("a size that is not text")?;
        let size = usize::from_str_radix(digits.trim(), 16).context("a size that is no number")?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend(rest.get(..size).context("a chunk that is cut off")?);
        rest = rest.get(size + 2..).context("a chunk without an end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_chunks_is_joined() {
        let answer =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n";
        assert_eq!(parse_answer(answer).unwrap(), (200, "{\"a\":1}".to_owned()));
    }

    #[test]
    fn a_cut_off_answer_is_an_error() {
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"").is_err());
    }
}
