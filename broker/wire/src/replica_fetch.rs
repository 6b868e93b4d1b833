//! What our followers add to Kafka's Fetch.
//!
//! A fetch's offset says how much a follower has; where acknowledgements are synced, its leader also needs to know how
//! much of that is durable, and if a follower cannot take more, as on a full disk, producers should not have to wait
//! until its leader sees that it stands still. These are tagged fields of ours on each partition of the request,
//! which whoever does not know them skips:
//!
//! | tag | field | form |
//! |---|---|---|
//! | 10000 | flushed offset: the end of what is durable | 8 bytes, big-endian |
//! | 10001 | no room: the follower had no room for something that it was given | nothing |

use bytes::Bytes;

use crate::messages::fetch_request::FetchPartition;

/// Kafka's own tags count up from 0.
const FLUSHED_OFFSET_TAG: i32 = 10_000;
const NO_ROOM_TAG: i32 = 10_001;

/// The partition with the offset up to which the follower's log is durable.
#[must_use]
pub fn with_flushed_offset(mut partition: FetchPartition, offset: i64) -> FetchPartition {
    let bytes = Bytes::copy_from_slice(&offset.to_be_bytes());
    partition.unknown_tagged_fields.insert(FLUSHED_OFFSET_TAG, bytes);
    partition
}

/// The offset up to which the follower's log is durable; `None` if the request does not say so, or not in this form.
#[must_use]
pub fn flushed_offset(partition: &FetchPartition) -> Option<i64> {
    let bytes = partition.unknown_tagged_fields.get(&FLUSHED_OFFSET_TAG)?;
    Some(i64::from_be_bytes(bytes.as_ref().try_into().ok()?))
}

/// The partition, saying that the follower had no room for something that it was given, and has none now.
#[must_use]
pub fn without_room(mut partition: FetchPartition) -> FetchPartition {
    partition.unknown_tagged_fields.insert(NO_ROOM_TAG, Bytes::new());
    partition
}

/// Whether the follower had no room for something that it was given, and has none now.
#[must_use]
pub fn lacks_room(partition: &FetchPartition) -> bool {
    partition.unknown_tagged_fields.contains_key(&NO_ROOM_TAG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::FetchRequest;
    use crate::messages::fetch_request::FetchTopic;
    use crate::protocol::StrBytes;

    #[test]
    fn what_is_ours_travels_with_its_partition() {
        let partition = with_flushed_offset(FetchPartition::default().with_partition(3), 77);
        let full = without_room(with_flushed_offset(FetchPartition::default().with_partition(4), 78));
        let topic = FetchTopic::default().with_partitions(vec![partition, full]);
        let request = FetchRequest::default().with_topics(vec![topic]);
        let client_id = StrBytes::from_static_str("test");
        let frame = crate::request::encode(18, 1, &client_id, &request).expect("it can be encoded");
        // Behind the length comes the header.
        let mut body = frame.slice(4..);
        crate::request::RequestHeader::decode(&mut body).expect("a header");
        let read: FetchRequest = crate::request::decode_body(18, body).expect("it can be decoded");
        let said: Vec<(Option<i64>, bool)> = read.topics[0]
            .partitions
            .iter()
            .map(|partition| (flushed_offset(partition), lacks_room(partition)))
            .collect();
        assert_eq!(said, [(Some(77), false), (Some(78), true)]);
    }

    #[test]
    fn what_is_not_said_or_not_eight_bytes_is_nothing() {
        let mut partition = FetchPartition::default();
        assert_eq!(flushed_offset(&partition), None);
        partition.unknown_tagged_fields.insert(FLUSHED_OFFSET_TAG, Bytes::from_static(b"1234567"));
        assert_eq!(flushed_offset(&partition), None);
    }
}
