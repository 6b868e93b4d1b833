//! Schemas of what administrators' tools ask and are answered, both ways: one message beside the other.

use kafka_protocol::messages::ApiKey;

use super::schema::Kind::{Array, Nullable, Struct, Structs};
use super::schema::{
    BOOL, Field, INT8, INT16, INT32, Message, STRING, UINT16, UUID, always, since, tagged, until,
};

/// The schema of a request.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn request(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::ElectLeaders => Some(&ELECT_LEADERS),
        ApiKey::UnregisterBroker => Some(&UNREGISTER_BROKER),
        ApiKey::UpdateFeatures => Some(&UPDATE_FEATURES),
        ApiKey::AddRaftVoter => Some(&ADD_RAFT_VOTER),
        ApiKey::RemoveRaftVoter => Some(&REMOVE_RAFT_VOTER),
        ApiKey::UpdateRaftVoter => Some(&UPDATE_RAFT_VOTER),
        ApiKey::DescribeTopicPartitions => Some(&DESCRIBE_TOPIC_PARTITIONS),
        _ => None,
    }
}

/// The schema of a response.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka's other keys are not of this kind")]
pub(super) fn response(key: ApiKey) -> Option<&'static Message> {
    match key {
        ApiKey::ElectLeaders => Some(&ELECTED_LEADERS),
        ApiKey::UnregisterBroker | ApiKey::AddRaftVoter | ApiKey::RemoveRaftVoter => Some(&CHANGED),
        ApiKey::UpdateFeatures => Some(&UPDATED_FEATURES),
        ApiKey::UpdateRaftVoter => Some(&UPDATED_RAFT_VOTER),
        ApiKey::DescribeTopicPartitions => Some(&DESCRIBED_TOPIC_PARTITIONS),
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

const UNREGISTER_BROKER: Message = Message { flexible_from: 0, fields: &[always("broker_id", INT32)] };

/// Of what is done or not.
const CHANGED: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("error_message", STRING),
    ],
};

const CURSOR: &[Field] = &[always("topic_name", STRING), always("partition_index", INT32)];

const DESCRIBE_TOPIC_PARTITIONS: Message = Message {
    flexible_from: 0,
    fields: &[
        always("topics", Structs(&[always("name", STRING)])),
        always("response_partition_limit", INT32),
        always("cursor", Nullable(CURSOR)),
    ],
};

const DESCRIBED_TOPIC_PARTITIONS: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("error_code", INT16),
                always("name", STRING),
                always("topic_id", UUID),
                always("is_internal", BOOL),
                always(
                    "partitions",
                    Structs(&[
                        always("error_code", INT16),
                        always("partition_index", INT32),
                        always("leader_id", INT32),
                        always("leader_epoch", INT32),
                        always("replica_nodes", Array(&INT32)),
                        always("isr_nodes", Array(&INT32)),
                        always("eligible_leader_replicas", Array(&INT32)),
                        always("last_known_elr", Array(&INT32)),
                        always("offline_replicas", Array(&INT32)),
                    ]),
                ),
                always("topic_authorized_operations", INT32),
            ]),
        ),
        always("next_cursor", Nullable(CURSOR)),
    ],
};

const LISTENER: &[Field] = &[always("name", STRING), always("host", STRING), always("port", UINT16)];

const ADD_RAFT_VOTER: Message = Message {
    flexible_from: 0,
    fields: &[
        always("cluster_id", STRING),
        always("timeout_ms", INT32),
        always("voter_id", INT32),
        always("voter_directory_id", UUID),
        always("listeners", Structs(LISTENER)),
    ],
};

const REMOVE_RAFT_VOTER: Message = Message {
    flexible_from: 0,
    fields: &[always("cluster_id", STRING), always("voter_id", INT32), always("voter_directory_id", UUID)],
};

const UPDATE_RAFT_VOTER: Message = Message {
    flexible_from: 0,
    fields: &[
        always("cluster_id", STRING),
        always("current_leader_epoch", INT32),
        always("voter_id", INT32),
        always("voter_directory_id", UUID),
        always("listeners", Structs(LISTENER)),
        always(
            "k_raft_version_feature",
            Struct(&[always("min_supported_version", INT16), always("max_supported_version", INT16)]),
        ),
    ],
};

const UPDATED_RAFT_VOTER: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        tagged(
            0,
            0,
            "current_leader",
            Struct(&[
                always("leader_id", INT32),
                always("leader_epoch", INT32),
                always("host", STRING),
                always("port", INT32),
            ]),
        ),
    ],
};

const UPDATE_FEATURES: Message = Message {
    flexible_from: 0,
    fields: &[
        always("timeout_ms", INT32),
        always(
            "feature_updates",
            Structs(&[
                always("feature", STRING),
                always("max_version_level", INT16),
                until(0, "allow_downgrade", BOOL),
                since(1, "upgrade_type", INT8),
            ]),
        ),
        since(1, "validate_only", BOOL),
    ],
};

const UPDATED_FEATURES: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("error_message", STRING),
        until(
            1,
            "results",
            Structs(&[
                always("feature", STRING),
                always("error_code", INT16),
                always("error_message", STRING),
            ]),
        ),
    ],
};
