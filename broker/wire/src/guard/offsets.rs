//! Schemas of offsets that are committed, fetched and deleted, both ways.

use kafka_protocol::messages::ApiKey;

use super::schema::Kind::{Array, Structs};
use super::schema::{BOOL, INT16, INT32, INT64, Message, STRING, UUID, always, between, since, until};

/// The schema of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn request(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::OffsetCommit => Some(&OFFSET_COMMIT),
        ApiKey::OffsetFetch => Some(&OFFSET_FETCH),
        ApiKey::OffsetDelete => Some(&OFFSET_DELETE),
        _ => None,
    }
}

/// The schema of a response.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn response(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::OffsetCommit => Some(&OFFSET_COMMIT_RESPONSE),
        ApiKey::OffsetFetch => Some(&OFFSET_FETCH_RESPONSE),
        ApiKey::OffsetDelete => Some(&OFFSET_DELETE_RESPONSE),
        _ => None,
    }
}

const OFFSET_COMMIT: Message = Message {
    flexible_from: 8,
    fields: &[
        always("group_id", STRING),
        always("generation_id_or_member_epoch", INT32),
        always("member_id", STRING),
        since(7, "group_instance_id", STRING),
        until(4, "retention_time_ms", INT64),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("committed_offset", INT64),
                        since(6, "committed_leader_epoch", INT32),
                        always("committed_metadata", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};

const OFFSET_COMMIT_RESPONSE: Message = Message {
    flexible_from: 8,
    fields: &[
        since(3, "throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                until(9, "name", STRING),
                since(10, "topic_id", UUID),
                always(
                    "partitions",
                    Structs(&[always("partition_index", INT32), always("error_code", INT16)]),
                ),
            ]),
        ),
    ],
};

const OFFSET_FETCH: Message = Message {
    flexible_from: 6,
    fields: &[
        until(7, "group_id", STRING),
        until(
            7,
            "topics",
            Structs(&[until(7, "name", STRING), until(7, "partition_indexes", Array(&INT32))]),
        ),
        since(
            8,
            "groups",
            Structs(&[
                since(8, "group_id", STRING),
                since(9, "member_id", STRING),
                since(9, "member_epoch", INT32),
                since(
                    8,
                    "topics",
                    Structs(&[since(8, "name", STRING), since(8, "partition_indexes", Array(&INT32))]),
                ),
            ]),
        ),
        since(7, "require_stable", BOOL),
    ],
};

const OFFSET_FETCH_RESPONSE: Message = Message {
    flexible_from: 6,
    fields: &[
        since(3, "throttle_time_ms", INT32),
        until(
            7,
            "topics",
            Structs(&[
                until(7, "name", STRING),
                until(
                    7,
                    "partitions",
                    Structs(&[
                        until(7, "partition_index", INT32),
                        until(7, "committed_offset", INT64),
                        between(5, 7, "committed_leader_epoch", INT32),
                        until(7, "metadata", STRING),
                        until(7, "error_code", INT16),
                    ]),
                ),
            ]),
        ),
        between(2, 7, "error_code", INT16),
        since(
            8,
            "groups",
            Structs(&[
                since(8, "group_id", STRING),
                since(
                    8,
                    "topics",
                    Structs(&[
                        between(8, 9, "name", STRING),
                        since(10, "topic_id", UUID),
                        since(
                            8,
                            "partitions",
                            Structs(&[
                                since(8, "partition_index", INT32),
                                since(8, "committed_offset", INT64),
                                since(8, "committed_leader_epoch", INT32),
                                since(8, "metadata", STRING),
                                since(8, "error_code", INT16),
                            ]),
                        ),
                    ]),
                ),
                since(8, "error_code", INT16),
            ]),
        ),
    ],
};

const OFFSET_DELETE: Message = Message {
    flexible_from: i16::MAX,
    fields: &[
        always("group_id", STRING),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always("partitions", Structs(&[always("partition_index", INT32)])),
            ]),
        ),
    ],
};

const OFFSET_DELETE_RESPONSE: Message = Message {
    flexible_from: i16::MAX,
    fields: &[
        always("error_code", INT16),
        always("throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[always("partition_index", INT32), always("error_code", INT16)]),
                ),
            ]),
        ),
    ],
};
