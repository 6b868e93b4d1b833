//! What our brokers add to Kafka's BrokerHeartbeat.
//!
//! A broker says which of its replicas have logs that are damaged, so that the controller no longer counts on them. That
//! is a tagged field of ours, which whoever does not know it skips:
//!
//! | tag | field | form |
//! |---|---|---|
//! | 10000 | damaged logs | for each the topic's id, 16 bytes, and the partition, 4 bytes, big-endian |

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::messages::BrokerHeartbeatRequest;

/// Kafka's own tags count up from 0.
const DAMAGED_LOGS_TAG: i32 = 10_000;

const ENTRY_SIZE: usize = 20;

/// The heartbeat with the broker's damaged logs: topics and partitions.
#[must_use]
pub fn with_damaged_logs(
    mut request: BrokerHeartbeatRequest,
    logs: impl Iterator<Item = (Uuid, i32)>,
) -> BrokerHeartbeatRequest {
    let mut bytes = BytesMut::new();
    for (topic, partition) in logs {
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(&partition.to_be_bytes());
    }
    if !bytes.is_empty() {
        request.unknown_tagged_fields.insert(DAMAGED_LOGS_TAG, bytes.freeze());
    }
    request
}

/// The broker's damaged logs; none if the request does not say so. What is not of this form ends them.
pub fn damaged_logs(request: &BrokerHeartbeatRequest) -> impl Iterator<Item = (Uuid, i32)> + '_ {
    let bytes: &[u8] = request.unknown_tagged_fields.get(&DAMAGED_LOGS_TAG).map_or(&[], Bytes::as_ref);
    bytes.chunks_exact(ENTRY_SIZE).filter_map(|entry| {
        let (topic, partition) = entry.split_first_chunk::<16>()?;
        Some((Uuid::from_bytes(*topic), i32::from_be_bytes(partition.try_into().ok()?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::StrBytes;

    #[test]
    fn the_damaged_logs_travel_with_the_heartbeat() {
        let logs = [(Uuid::from_u128(1 << 100), 0), (Uuid::from_u128(7), i32::MAX)];
        let request = with_damaged_logs(BrokerHeartbeatRequest::default(), logs.into_iter());
        let client_id = StrBytes::from_static_str("test");
        let frame = crate::request::encode(1, 1, &client_id, &request).expect("it can be encoded");
        // Behind the length comes the header.
        let mut body = frame.slice(4..);
        crate::request::RequestHeader::decode(&mut body).expect("a header");
        let read: BrokerHeartbeatRequest = crate::request::decode_body(1, body).expect("it can be decoded");
        assert_eq!(damaged_logs(&read).collect::<Vec<_>>(), logs);
    }

    #[test]
    fn what_is_not_said_or_cut_short_is_nothing() {
        let none = with_damaged_logs(BrokerHeartbeatRequest::default(), std::iter::empty());
        assert!(none.unknown_tagged_fields.is_empty(), "a sound broker says what Kafka's does");
        assert_eq!(damaged_logs(&none).count(), 0);
        let mut short = none;
        short.unknown_tagged_fields.insert(DAMAGED_LOGS_TAG, Bytes::from_static(&[1; ENTRY_SIZE + 19]));
        assert_eq!(damaged_logs(&short).count(), 1);
    }
}
