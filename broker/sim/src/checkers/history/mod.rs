//! What clients saw, checked as a whole: a history of operations and the rules of Jepsen's Kafka workload.
//!
//! The history is language-neutral: JSON lines, one [`Entry`] each, in the order in which they happened.
//! The simulation writes one, and so does any test that drives real processes with any client; both are
//! judged by the same rules.
//!
//! An operation is an `invoke` entry and one of `ok` (it happened), `fail` (it certainly did not) and
//! `info` (nobody knows: a time-out). Values are unique over the whole history.
//!
//! Not done: the rules about transactions (G1a at read_committed beyond failed sends, precommitted and
//! fractured reads, G1c); they come with transactions.

mod rules;
#[cfg(test)]
mod tests;

use std::io::BufRead;

use serde::{Deserialize, Serialize};

pub use rules::check;

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may or may not have happened.
    Info,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// One record is sent; `ok` carries its offset if the acknowledgement had one.
    Send {
        /// The record's value.
        value: String,
        /// Its offset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
        /// Whether the producer promises that a value is written at most once.
        #[serde(default)]
        idempotent: bool,
    },
    /// Records are read; `ok` carries them.
    Poll {
        /// Offset and value of each record, as they came.
        #[serde(default)]
        records: Vec<(i64, String)>,
        /// The high watermark in the reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high_watermark: Option<i64>,
        /// Whether this read is part of the full read, from the log start on, that ends a test.
        #[serde(default, rename = "final")]
        is_final: bool,
    },
    /// The process starts to read somewhere anew; offsets may go back here.
    Assign,
    /// The end of the partition was asked for; `ok` carries it.
    ListOffsets {
        /// The offset after the last readable record.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end_exclusive: Option<i64>,
    },
    /// The partition's leader was asked for; `ok` carries it.
    Leader {
        /// Its node id.
        node: i32,
        /// Its leader epoch.
        epoch: i32,
    },
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the test began.
    #[serde(default)]
    pub time_ms: u64,
    /// Who: one process does one thing at a time.
    pub process: u32,
    /// How far it is.
    #[serde(rename = "type")]
    pub stage: Stage,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What is done.
    #[serde(flatten)]
    pub operation: Operation,
}

/// Why a text is no history.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The text could not be read.
    #[error("reading the history failed")]
    Io(#[from] std::io::Error),
    /// A line is no entry.
    #[error("line {line} of the history is no entry")]
    Entry {
        /// Which, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads a history from JSON lines. Empty lines are skipped.
pub fn read(text: impl BufRead) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            let entry = serde_json::from_str(&line);
            entries.push(entry.map_err(|source| ReadError::Entry { line: i + 1, source })?);
        }
    }
    Ok(entries)
}

/// Writes a history as JSON lines.
pub fn write(entries: &[Entry]) -> String {
    let lines = entries.iter().map(|entry| serde_json::to_string(entry).expect("an entry is plain data"));
    lines.map(|line| line + "\n").collect()
}
