//! Schemas of what administrators ask of groups and are answered, both ways.

use kafka_protocol::messages::ApiKey;

use super::schema::Kind::{Array, Structs};
use super::schema::{BOOL, BYTES, INT16, INT32, Message, STRING, always, since};

/// The schema of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn request(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::DescribeGroups => Some(&DESCRIBE_GROUPS),
        ApiKey::ListGroups => Some(&LIST_GROUPS),
        ApiKey::DeleteGroups => Some(&DELETE_GROUPS),
        _ => None,
    }
}

/// The schema of a response.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn response(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::DescribeGroups => Some(&DESCRIBE_GROUPS_RESPONSE),
        ApiKey::ListGroups => Some(&LIST_GROUPS_RESPONSE),
        ApiKey::DeleteGroups => Some(&DELETE_GROUPS_RESPONSE),
        _ => None,
    }
}

const DESCRIBE_GROUPS: Message = Message {
    flexible_from: 5,
    fields: &[always("groups", Array(&STRING)), since(3, "include_authorized_operations", BOOL)],
};

const DESCRIBE_GROUPS_RESPONSE: Message = Message {
    flexible_from: 5,
    fields: &[
        since(1, "throttle_time_ms", INT32),
        always(
            "groups",
            Structs(&[
                always("error_code", INT16),
                since(6, "error_message", STRING),
                always("group_id", STRING),
                always("group_state", STRING),
                always("protocol_type", STRING),
                always("protocol_data", STRING),
                always(
                    "members",
                    Structs(&[
                        always("member_id", STRING),
                        since(4, "group_instance_id", STRING),
                        always("client_id", STRING),
                        always("client_host", STRING),
                        always("member_metadata", BYTES),
                        always("member_assignment", BYTES),
                    ]),
                ),
                since(3, "authorized_operations", INT32),
            ]),
        ),
    ],
};

const LIST_GROUPS: Message = Message {
    flexible_from: 3,
    fields: &[since(4, "states_filter", Array(&STRING)), since(5, "types_filter", Array(&STRING))],
};

const LIST_GROUPS_RESPONSE: Message = Message {
    flexible_from: 3,
    fields: &[
        since(1, "throttle_time_ms", INT32),
        always("error_code", INT16),
        always(
            "groups",
            Structs(&[
                always("group_id", STRING),
                always("protocol_type", STRING),
                since(4, "group_state", STRING),
                since(5, "group_type", STRING),
            ]),
        ),
    ],
};

const DELETE_GROUPS: Message =
    Message { flexible_from: 2, fields: &[always("groups_names", Array(&STRING))] };

const DELETE_GROUPS_RESPONSE: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        always("results", Structs(&[always("group_id", STRING), always("error_code", INT16)])),
    ],
};
