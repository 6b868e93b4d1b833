//! What validating a batch, guarding a request and writing a Fetch response cost.
//!
//! `cargo run --release -p ottla-wire --example validate_cost`

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla_wire::batch::compression::{Codec, Compression};
use ottla_wire::batch::validate::{TargetCompression, TopicSettings, validate};
use ottla_wire::batch::{BatchBuilder, TimestampType};
use ottla_wire::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use ottla_wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla_wire::messages::{FetchRequest, ProduceRequest};
use ottla_wire::request::RequestHeader;
use ottla_wire::{fetch_response, request, response};

const NOW: i64 = 1_700_000_000_000;
const MEASURE_FOR: Duration = Duration::from_millis(300);

/// Nanoseconds a call takes, the best of three rounds.
fn nanos(mut call: impl FnMut()) -> u128 {
    let round = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < MEASURE_FOR {
            for _ in 0..16 {
                call();
            }
            calls += 16;
        }
        start.elapsed().as_nanos() / calls
    };
    (0..3).map(|_| round(&mut call)).min().unwrap_or_default()
}

/// Text-like values, so that compression has something to do.
fn batch(codec: Codec, records: usize, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new().compression(Compression::of(codec));
    for record in 0..records {
        let value: Vec<u8> =
            format!("{{\"id\":{record},\"name\":\"customer-{}\"}}", record * 7919).into_bytes();
        let value: Vec<u8> = value.iter().copied().cycle().take(value_bytes).collect();
        let key = record.to_string();
        builder = builder.record(NOW, Some(key.as_bytes()), Some(&value));
    }
    match builder.build() {
        Ok((bytes, _)) => bytes.freeze(),
        Err(_) => Bytes::new(),
    }
}

fn validation() {
    println!("{:<34} {:>9} {:>10} {:>9} {:>9}", "validate", "bytes", "ns/batch", "ns/rec", "MB/s");
    let pass = TopicSettings::default();
    for (records, value_bytes) in [(1, 100), (16, 1_000), (150, 100), (1_000, 1_000)] {
        for codec in Codec::ALL {
            let bytes = batch(codec, records, value_bytes);
            let cost = nanos(|| {
                let _ = black_box(validate(black_box(&bytes), 13, &pass, NOW));
            });
            let payload = (records * value_bytes) as u128;
            println!(
                "{:<34} {:>9} {cost:>10} {:>9} {:>9}",
                format!("{records} x {value_bytes} B {codec:?}"),
                bytes.len(),
                cost / records as u128,
                payload * 1_000 / cost
            );
        }
    }
    let bytes = batch(Codec::None, 16, 1_000);
    let append_time = TopicSettings { timestamp_type: TimestampType::LogAppendTime, ..pass.clone() };
    let to = TargetCompression::To(Compression::Zstd { level: 3 });
    let recompress = TopicSettings { compression: to, ..pass };
    for (name, settings) in [("LogAppendTime", append_time), ("None to Zstd 3", recompress)] {
        let cost = nanos(|| {
            let _ = black_box(validate(black_box(&bytes), 13, &settings, NOW));
        });
        println!("{:<34} {:>9} {cost:>10}", format!("16 x 1000 B {name}"), bytes.len());
    }
}

fn messages() {
    println!("\n{:<34} {:>10}", "messages", "ns");
    let records = batch(Codec::None, 16, 1_000);
    for partitions in [1, 32] {
        let data = vec![PartitionProduceData::default().with_records(Some(records.clone())); partitions];
        let topic = TopicProduceData::default().with_partition_data(data);
        let produce = ProduceRequest::default().with_topic_data(vec![topic]);
        let Ok(frame) = request::encode(9, 1, &"bench".into(), &produce) else { return };
        let cost = nanos(|| {
            let mut body = frame.slice(4..);
            let _ = black_box(RequestHeader::decode(&mut body));
            let _ = black_box(request::decode_body::<ProduceRequest>(9, body));
        });
        println!("{:<34} {cost:>10}", format!("read Produce 9, {partitions} partitions"));

        let data = vec![PartitionData::default().with_records(Some(records.clone())); partitions];
        let topic = FetchableTopicResponse::default().with_partitions(data);
        let fetch = FetchResponse::default().with_responses(vec![topic]);
        let pieces = nanos(|| drop(black_box(fetch_response::encode(17, 1, &fetch))));
        let copied = nanos(|| drop(black_box(response::encode::<FetchRequest>(17, 1, &fetch))));
        println!("{:<34} {pieces:>10}", format!("write Fetch 17 in pieces, {partitions}"));
        println!("{:<34} {copied:>10}", format!("write Fetch 17 generated, {partitions}"));
    }
}

fn main() {
    validation();
    messages();
}
