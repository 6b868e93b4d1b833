//! Bytes that nobody wrote.

use ottla_core::metadata::feed::decode_feed;
use ottla_core::metadata::record::Record;
use ottla_core::quorum::message::Envelope;
use ottla_core::quorum::snapshot;
use proptest::prelude::*;

use crate::samples;

fn read_as_everything(bytes: &[u8]) {
    // Whatever comes of it, it comes without a panic, and what is read can be written again.
    if let Ok(records) = Record::decode_batch(bytes) {
        assert_eq!(Record::decode_batch(&Record::encode_batch(&records)), Ok(records));
    }
    if let Ok(message) = Envelope::decode(bytes) {
        assert_eq!(Envelope::decode(&message.encode()), Ok(message));
    }
    let _refused = snapshot::decode(bytes).is_err();
    let _refused = decode_feed(bytes).is_err();
}

proptest! {
    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn good_bytes_with_a_few_changed_are_survived(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut: prop::sample::Index,
    ) {
        let mut all: Vec<Vec<u8>> =
            samples::records().iter().map(|(_, record)| Record::encode_batch(std::slice::from_ref(record)).to_vec()).collect();
        all.extend(samples::messages().iter().map(|(_, message)| message.encode().to_vec()));
        let mut bytes = which.get(&all).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_as_everything(&bytes);
        bytes.truncate(cut.index(bytes.len() + 1));
        read_as_everything(&bytes);
    }
}

#[test]
fn a_snapshot_with_one_bit_flipped_is_refused() {
    let good = snapshot::encode(&samples::image());
    for at in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        assert!(snapshot::decode(&bytes).is_err(), "byte {at}");
    }
}
