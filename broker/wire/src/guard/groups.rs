//! Schemas of what members of groups ask and are answered, both ways: one message beside the other.

use kafka_protocol::messages::ApiKey;

use super::schema::Kind::{Array, Structs};
use super::schema::{BOOL, BYTES, INT8, INT16, INT32, Message, STRING, always, between, since, until};

/// The schema of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn request(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::FindCoordinator => Some(&FIND_COORDINATOR),
        ApiKey::JoinGroup => Some(&JOIN_GROUP),
        ApiKey::SyncGroup => Some(&SYNC_GROUP),
        ApiKey::Heartbeat => Some(&HEARTBEAT),
        ApiKey::LeaveGroup => Some(&LEAVE_GROUP),
        _ => None,
    }
}

/// The schema of a response.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn response(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::FindCoordinator => Some(&FIND_COORDINATOR_RESPONSE),
        ApiKey::JoinGroup => Some(&JOIN_GROUP_RESPONSE),
        ApiKey::SyncGroup => Some(&SYNC_GROUP_RESPONSE),
        ApiKey::Heartbeat => Some(&HEARTBEAT_RESPONSE),
        ApiKey::LeaveGroup => Some(&LEAVE_GROUP_RESPONSE),
        _ => None,
    }
}

const FIND_COORDINATOR: Message = Message {
    flexible_from: 3,
    fields: &[
        until(3, "key", STRING),
        since(1, "key_type", INT8),
        since(4, "coordinator_keys", Array(&STRING)),
    ],
};

const FIND_COORDINATOR_RESPONSE: Message = Message {
    flexible_from: 3,
    fields: &[
        since(1, "throttle_time_ms", INT32),
        until(3, "error_code", INT16),
        between(1, 3, "error_message", STRING),
        until(3, "node_id", INT32),
        until(3, "host", STRING),
        until(3, "port", INT32),
        since(
            4,
            "coordinators",
            Structs(&[
                since(4, "key", STRING),
                since(4, "node_id", INT32),
                since(4, "host", STRING),
                since(4, "port", INT32),
                since(4, "error_code", INT16),
                since(4, "error_message", STRING),
            ]),
        ),
    ],
};

const JOIN_GROUP: Message = Message {
    flexible_from: 6,
    fields: &[
        always("group_id", STRING),
        always("session_timeout_ms", INT32),
        since(1, "rebalance_timeout_ms", INT32),
        always("member_id", STRING),
        since(5, "group_instance_id", STRING),
        always("protocol_type", STRING),
        always("protocols", Structs(&[always("name", STRING), always("metadata", BYTES)])),
        since(8, "reason", STRING),
    ],
};

const JOIN_GROUP_RESPONSE: Message = Message {
    flexible_from: 6,
    fields: &[
        since(2, "throttle_time_ms", INT32),
        always("error_code", INT16),
        always("generation_id", INT32),
        since(7, "protocol_type", STRING),
        always("protocol_name", STRING),
        always("leader", STRING),
        since(9, "skip_assignment", BOOL),
        always("member_id", STRING),
        always(
            "members",
            Structs(&[
                always("member_id", STRING),
                since(5, "group_instance_id", STRING),
                always("metadata", BYTES),
            ]),
        ),
    ],
};

const SYNC_GROUP: Message = Message {
    flexible_from: 4,
    fields: &[
        always("group_id", STRING),
        always("generation_id", INT32),
        always("member_id", STRING),
        since(3, "group_instance_id", STRING),
        since(5, "protocol_type", STRING),
        since(5, "protocol_name", STRING),
        always("assignments", Structs(&[always("member_id", STRING), always("assignment", BYTES)])),
    ],
};

const SYNC_GROUP_RESPONSE: Message = Message {
    flexible_from: 4,
    fields: &[
        since(1, "throttle_time_ms", INT32),
        always("error_code", INT16),
        since(5, "protocol_type", STRING),
        since(5, "protocol_name", STRING),
        always("assignment", BYTES),
    ],
};

const HEARTBEAT: Message = Message {
    flexible_from: 4,
    fields: &[
        always("group_id", STRING),
        always("generation_id", INT32),
        always("member_id", STRING),
        since(3, "group_instance_id", STRING),
    ],
};

const HEARTBEAT_RESPONSE: Message =
    Message { flexible_from: 4, fields: &[since(1, "throttle_time_ms", INT32), always("error_code", INT16)] };

const LEAVE_GROUP: Message = Message {
    flexible_from: 4,
    fields: &[
        always("group_id", STRING),
        until(2, "member_id", STRING),
        since(
            3,
            "members",
            Structs(&[
                since(3, "member_id", STRING),
                since(3, "group_instance_id", STRING),
                since(5, "reason", STRING),
            ]),
        ),
    ],
};

const LEAVE_GROUP_RESPONSE: Message = Message {
    flexible_from: 4,
    fields: &[
        since(1, "throttle_time_ms", INT32),
        always("error_code", INT16),
        since(
            3,
            "members",
            Structs(&[
                since(3, "member_id", STRING),
                since(3, "group_instance_id", STRING),
                since(3, "error_code", INT16),
            ]),
        ),
    ],
};
