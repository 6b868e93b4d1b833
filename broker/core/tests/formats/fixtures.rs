//! The bytes of each release. A file here never changes: what 0.1.0 wrote, every later release reads. A new
//! release that writes other bytes adds a file of its own.

use ottla_core::ids::{MetadataOffset, Term};
use ottla_core::metadata::feed::{decode_feed, encode_feed};
use ottla_core::metadata::record::{FeatureLevel, Record};
use ottla_core::quorum::message::Envelope;
use ottla_core::quorum::snapshot;
use ottla_core::release::{FORMATS, LEVEL_FIRST};

use crate::samples;

const RELEASE: &str = include_str!("fixtures/0.1.0.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The lines `name hex` that this release writes.
fn written() -> Vec<(String, String)> {
    let records = samples::records().into_iter().map(|(name, record)| {
        (format!("record/{name}"), hex(&Record::encode_batch(std::slice::from_ref(&record))))
    });
    let messages = samples::messages()
        .into_iter()
        .map(|(name, message)| (format!("message/{name}"), hex(&message.encode())));
    let payload = Record::encode_batch(&[Record::NoOp]);
    let feed = encode_feed([(MetadataOffset(300), Term(4), &payload)].into_iter());
    let others =
        [("snapshot".to_owned(), hex(&snapshot::encode(&samples::image()))), ("feed".to_owned(), hex(&feed))];
    records.chain(messages).chain(others).collect()
}

fn kept() -> Vec<(String, String)> {
    let line = |line: &str| line.split_once(' ').map(|(name, hex)| (name.to_owned(), hex.to_owned()));
    RELEASE.lines().map(|text| line(text).unwrap()).collect()
}

#[test]
fn this_release_writes_the_bytes_that_are_kept() {
    let (written, kept) = (written(), kept());
    if written != kept {
        let lines: String = written.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
        panic!("the bytes differ from those of 0.1.0; this release writes:\n{lines}");
    }
}

#[test]
fn the_bytes_that_are_kept_can_be_read() {
    let kept = kept();
    let of = |name: String| bytes(&kept.iter().find(|(kept, _)| *kept == name).unwrap().1);
    for (name, record) in samples::records() {
        assert_eq!(Record::decode_batch(&of(format!("record/{name}"))), Ok(vec![record]), "{name}");
    }
    for (name, message) in samples::messages() {
        assert_eq!(Envelope::decode(&of(format!("message/{name}"))), Ok(message), "{name}");
    }
    assert_eq!(snapshot::decode(&of("snapshot".to_owned())), Ok(samples::image()));
    assert_eq!(decode_feed(&of("feed".to_owned())).unwrap()[0].offset, MetadataOffset(300));
}

#[test]
fn a_record_of_a_later_release_is_named() {
    let batch = [0, 1, 4, 0xe9, 0x2e, 0, 0];
    let error = Record::decode_batch(&batch).unwrap_err();
    assert_eq!(error.to_string(), "metadata record 5993 is not known to this release");
}

#[test]
fn a_version_of_a_record_of_a_later_release_is_refused() {
    let (_, change) = samples::records().into_iter().find(|(name, _)| *name == "PartitionChange").unwrap();
    let records = [Record::NoOp, change];
    let bytes = Record::encode_batch_at(LEVEL_FIRST, &records);
    assert_eq!(Record::decode_batch(&bytes), Ok(records.to_vec()));
    let error = Record::decode_batch(&Record::encode_batch_at(LEVEL_FIRST + 1, &records)).unwrap_err();
    assert_eq!(error.to_string(), "version 1 of metadata record is not known to this release");
}

#[test]
fn a_level_of_formats_that_this_release_does_not_know_is_not_followed() {
    let text =
        "the cluster runs ottla.version at level 2, and this release reads up to 1: start a later release";
    let finalised = |level| Record::FeatureLevel(FeatureLevel { name: FORMATS.to_owned(), level });
    let read = |level| Record::decode_batch(&Record::encode_batch(&[finalised(level)]));
    assert_eq!(read(LEVEL_FIRST), Ok(vec![finalised(LEVEL_FIRST)]));
    assert_eq!(read(LEVEL_FIRST + 1).unwrap_err().to_string(), text);
    let mut image = samples::image();
    image.replay(MetadataOffset(300), &finalised(LEVEL_FIRST + 1)).unwrap();
    let error = snapshot::decode(&snapshot::encode(&image)).unwrap_err();
    assert_eq!(error.in_full(), format!("the snapshot cannot be read: {text}"));
}

#[test]
fn a_tag_of_a_later_release_is_skipped() {
    let (_, record) = samples::records().into_iter().find(|(name, _)| *name == "RemoveTopic").unwrap();
    let mut bytes = Record::encode_batch(std::slice::from_ref(&record)).to_vec();
    assert_eq!(bytes.pop(), Some(0), "it ends with an empty tagged section");
    bytes.extend([1, 9, 2, 0xaa, 0xbb]);
    bytes[2] += 4;
    assert_eq!(Record::decode_batch(&bytes), Ok(vec![record]));
}
