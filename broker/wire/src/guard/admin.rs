//! Schemas of what administrators' tools ask and are answered, both ways: one message beside the other.

use kafka_protocol::messages::ApiKey;

use super::schema::Kind::{Array, Structs};
use super::schema::{INT8, INT16, INT32, Message, STRING, always, since};

/// The schema of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn request(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::ElectLeaders => Some(&ELECT_LEADERS),
        _ => None,
    }
}

/// The schema of a response.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn response(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::ElectLeaders => Some(&ELECTED_LEADERS),
        _ => None,
    }
}

const ELECT_LEADERS: Message = Message {
    flexible_from: 2,
    fields: &[
        since(1, "election_type", INT8),
        always("topic_partitions", Structs(&[always("topic", STRING), always("partitions", Array(&INT32))])),
        always("timeout_ms", INT32),
    ],
};

const ELECTED_LEADERS: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        since(1, "error_code", INT16),
        always(
            "replica_election_results",
            Structs(&[
                always("topic", STRING),
                always(
                    "partition_result",
                    Structs(&[
                        always("partition_id", INT32),
                        always("error_code", INT16),
                        always("error_message", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};
