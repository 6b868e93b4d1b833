//! Schemas of the responses we read.

use kafka_protocol::messages::ApiKey;

use super::admin;
use super::group_admin;
use super::groups;
use super::log_dirs;
use super::offsets;
use super::reassignments;
use super::schema::Kind::{Array, Struct, Structs};
use super::schema::{
    BOOL, BYTES, INT8, INT16, INT32, INT64, Message, STRING, UINT16, UUID, always, between, since, tagged,
    until,
};

/// The schema of a response, if it has been written down.
pub(super) fn find(key: i16) -> Option<&'static Message> {
    match ApiKey::try_from(key) {
        Ok(ApiKey::Produce) => Some(&PRODUCE),
        Ok(ApiKey::Fetch) => Some(&FETCH),
        Ok(ApiKey::ListOffsets) => Some(&LIST_OFFSETS),
        Ok(ApiKey::Metadata) => Some(&METADATA),
        Ok(ApiKey::ApiVersions) => Some(&API_VERSIONS),
        Ok(ApiKey::InitProducerId) => Some(&INIT_PRODUCER_ID),
        Ok(ApiKey::DescribeProducers) => Some(&DESCRIBE_PRODUCERS),
        Ok(ApiKey::AllocateProducerIds) => Some(&ALLOCATE_PRODUCER_IDS),
        Ok(ApiKey::CreateTopics) => Some(&CREATE_TOPICS),
        Ok(ApiKey::DeleteTopics) => Some(&DELETE_TOPICS),
        Ok(ApiKey::OffsetForLeaderEpoch) => Some(&OFFSET_FOR_LEADER_EPOCH),
        Ok(ApiKey::DescribeConfigs) => Some(&DESCRIBE_CONFIGS),
        Ok(ApiKey::CreatePartitions) => Some(&CREATE_PARTITIONS),
        Ok(ApiKey::IncrementalAlterConfigs) => Some(&INCREMENTAL_ALTER_CONFIGS),
        Ok(ApiKey::AlterPartitionReassignments) => Some(&reassignments::ALTER_RESPONSE),
        Ok(ApiKey::ListPartitionReassignments) => Some(&reassignments::LIST_RESPONSE),
        Ok(ApiKey::AlterReplicaLogDirs) => Some(&log_dirs::ALTER_RESPONSE),
        Ok(ApiKey::DescribeLogDirs) => Some(&log_dirs::DESCRIBE_RESPONSE),
        Ok(ApiKey::AssignReplicasToDirs) => Some(&log_dirs::ASSIGN_RESPONSE),
        Ok(ApiKey::DescribeQuorum) => Some(&DESCRIBE_QUORUM),
        Ok(ApiKey::AlterPartition) => Some(&ALTER_PARTITION),
        Ok(ApiKey::DescribeCluster) => Some(&DESCRIBE_CLUSTER),
        Ok(ApiKey::BrokerRegistration) => Some(&BROKER_REGISTRATION),
        Ok(ApiKey::BrokerHeartbeat) => Some(&BROKER_HEARTBEAT),
        Ok(key) => admin::response(key)
            .or_else(|| groups::response(key))
            .or_else(|| offsets::response(key))
            .or_else(|| group_admin::response(key)),
        Err(()) => None,
    }
}

const PRODUCE: Message = Message {
    flexible_from: 9,
    fields: &[
        always(
            "responses",
            Structs(&[
                until(12, "name", STRING),
                since(13, "topic_id", UUID),
                always(
                    "partition_responses",
                    Structs(&[
                        always("index", INT32),
                        always("error_code", INT16),
                        always("base_offset", INT64),
                        always("log_append_time_ms", INT64),
                        since(5, "log_start_offset", INT64),
                        since(
                            8,
                            "record_errors",
                            Structs(&[
                                since(8, "batch_index", INT32),
                                since(8, "batch_index_error_message", STRING),
                            ]),
                        ),
                        since(8, "error_message", STRING),
                        tagged(
                            0,
                            10,
                            "current_leader",
                            Struct(&[since(10, "leader_id", INT32), since(10, "leader_epoch", INT32)]),
                        ),
                    ]),
                ),
            ]),
        ),
        always("throttle_time_ms", INT32),
        tagged(
            0,
            10,
            "node_endpoints",
            Structs(&[
                since(10, "node_id", INT32),
                since(10, "host", STRING),
                since(10, "port", INT32),
                since(10, "rack", STRING),
            ]),
        ),
    ],
};

const FETCH: Message = Message {
    flexible_from: 12,
    fields: &[
        always("throttle_time_ms", INT32),
        since(7, "error_code", INT16),
        since(7, "session_id", INT32),
        always(
            "responses",
            Structs(&[
                until(12, "topic", STRING),
                since(13, "topic_id", UUID),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        always("high_watermark", INT64),
                        always("last_stable_offset", INT64),
                        since(5, "log_start_offset", INT64),
                        tagged(
                            0,
                            12,
                            "diverging_epoch",
                            Struct(&[since(12, "epoch", INT32), since(12, "end_offset", INT64)]),
                        ),
                        tagged(
                            1,
                            12,
                            "current_leader",
                            Struct(&[since(12, "leader_id", INT32), since(12, "leader_epoch", INT32)]),
                        ),
                        tagged(
                            2,
                            12,
                            "snapshot_id",
                            Struct(&[always("end_offset", INT64), always("epoch", INT32)]),
                        ),
                        always(
                            "aborted_transactions",
                            Structs(&[always("producer_id", INT64), always("first_offset", INT64)]),
                        ),
                        since(11, "preferred_read_replica", INT32),
                        always("records", BYTES),
                    ]),
                ),
            ]),
        ),
        tagged(
            0,
            16,
            "node_endpoints",
            Structs(&[
                since(16, "node_id", INT32),
                since(16, "host", STRING),
                since(16, "port", INT32),
                since(16, "rack", STRING),
            ]),
        ),
    ],
};

const LIST_OFFSETS: Message = Message {
    flexible_from: 6,
    fields: &[
        since(2, "throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        always("timestamp", INT64),
                        always("offset", INT64),
                        since(4, "leader_epoch", INT32),
                    ]),
                ),
            ]),
        ),
    ],
};

const OFFSET_FOR_LEADER_EPOCH: Message = Message {
    flexible_from: 4,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("topic", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("error_code", INT16),
                        always("partition", INT32),
                        always("leader_epoch", INT32),
                        always("end_offset", INT64),
                    ]),
                ),
            ]),
        ),
    ],
};

const METADATA: Message = Message {
    flexible_from: 9,
    fields: &[
        since(3, "throttle_time_ms", INT32),
        always(
            "brokers",
            Structs(&[
                always("node_id", INT32),
                always("host", STRING),
                always("port", INT32),
                since(1, "rack", STRING),
            ]),
        ),
        since(2, "cluster_id", STRING),
        since(1, "controller_id", INT32),
        always(
            "topics",
            Structs(&[
                always("error_code", INT16),
                always("name", STRING),
                since(10, "topic_id", UUID),
                since(1, "is_internal", BOOL),
                always(
                    "partitions",
                    Structs(&[
                        always("error_code", INT16),
                        always("partition_index", INT32),
                        always("leader_id", INT32),
                        since(7, "leader_epoch", INT32),
                        always("replica_nodes", Array(&INT32)),
                        always("isr_nodes", Array(&INT32)),
                        since(5, "offline_replicas", Array(&INT32)),
                    ]),
                ),
                since(8, "topic_authorized_operations", INT32),
            ]),
        ),
        between(8, 10, "cluster_authorized_operations", INT32),
        since(13, "error_code", INT16),
    ],
};

const API_VERSIONS: Message = Message {
    flexible_from: 3,
    fields: &[
        always("error_code", INT16),
        always(
            "api_keys",
            Structs(&[always("api_key", INT16), always("min_version", INT16), always("max_version", INT16)]),
        ),
        since(1, "throttle_time_ms", INT32),
        tagged(
            0,
            3,
            "supported_features",
            Structs(&[
                since(3, "name", STRING),
                since(3, "min_version", INT16),
                since(3, "max_version", INT16),
            ]),
        ),
        tagged(1, 3, "finalized_features_epoch", INT64),
        tagged(
            2,
            3,
            "finalized_features",
            Structs(&[
                since(3, "name", STRING),
                since(3, "max_version_level", INT16),
                since(3, "min_version_level", INT16),
            ]),
        ),
        tagged(3, 3, "zk_migration_ready", BOOL),
    ],
};

const CREATE_TOPICS: Message = Message {
    flexible_from: 5,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                since(7, "topic_id", UUID),
                always("error_code", INT16),
                always("error_message", STRING),
                tagged(0, 5, "topic_config_error_code", INT16),
                since(5, "num_partitions", INT32),
                since(5, "replication_factor", INT16),
                since(
                    5,
                    "configs",
                    Structs(&[
                        since(5, "name", STRING),
                        since(5, "value", STRING),
                        since(5, "read_only", BOOL),
                        since(5, "config_source", INT8),
                        since(5, "is_sensitive", BOOL),
                    ]),
                ),
            ]),
        ),
    ],
};

const DELETE_TOPICS: Message = Message {
    flexible_from: 4,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "responses",
            Structs(&[
                always("name", STRING),
                since(6, "topic_id", UUID),
                always("error_code", INT16),
                since(5, "error_message", STRING),
            ]),
        ),
    ],
};

const DESCRIBE_CONFIGS: Message = Message {
    flexible_from: 4,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "results",
            Structs(&[
                always("error_code", INT16),
                always("error_message", STRING),
                always("resource_type", INT8),
                always("resource_name", STRING),
                always(
                    "configs",
                    Structs(&[
                        always("name", STRING),
                        always("value", STRING),
                        always("read_only", BOOL),
                        always("config_source", INT8),
                        always("is_sensitive", BOOL),
                        always(
                            "synonyms",
                            Structs(&[
                                always("name", STRING),
                                always("value", STRING),
                                always("source", INT8),
                            ]),
                        ),
                        since(3, "config_type", INT8),
                        since(3, "documentation", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};

const CREATE_PARTITIONS: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "results",
            Structs(&[always("name", STRING), always("error_code", INT16), always("error_message", STRING)]),
        ),
    ],
};

const INCREMENTAL_ALTER_CONFIGS: Message = Message {
    flexible_from: 1,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "responses",
            Structs(&[
                always("error_code", INT16),
                always("error_message", STRING),
                always("resource_type", INT8),
                always("resource_name", STRING),
            ]),
        ),
    ],
};

const DESCRIBE_QUORUM: Message = Message {
    flexible_from: 0,
    fields: &[
        always("error_code", INT16),
        since(2, "error_message", STRING),
        always(
            "topics",
            Structs(&[
                always("topic_name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        since(2, "error_message", STRING),
                        always("leader_id", INT32),
                        always("leader_epoch", INT32),
                        always("high_watermark", INT64),
                        always(
                            "current_voters",
                            Structs(&[
                                always("replica_id", INT32),
                                since(2, "replica_directory_id", UUID),
                                always("log_end_offset", INT64),
                                since(1, "last_fetch_timestamp", INT64),
                                since(1, "last_caught_up_timestamp", INT64),
                            ]),
                        ),
                        always(
                            "observers",
                            Structs(&[
                                always("replica_id", INT32),
                                since(2, "replica_directory_id", UUID),
                                always("log_end_offset", INT64),
                                since(1, "last_fetch_timestamp", INT64),
                                since(1, "last_caught_up_timestamp", INT64),
                            ]),
                        ),
                    ]),
                ),
            ]),
        ),
        since(
            2,
            "nodes",
            Structs(&[
                since(2, "node_id", INT32),
                since(
                    2,
                    "listeners",
                    Structs(&[since(2, "name", STRING), since(2, "host", STRING), since(2, "port", UINT16)]),
                ),
            ]),
        ),
    ],
};

const ALTER_PARTITION: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always(
            "topics",
            Structs(&[
                always("topic_id", UUID),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        always("leader_id", INT32),
                        always("leader_epoch", INT32),
                        always("isr", Array(&INT32)),
                        always("leader_recovery_state", INT8),
                        always("partition_epoch", INT32),
                    ]),
                ),
            ]),
        ),
    ],
};

const DESCRIBE_CLUSTER: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("error_message", STRING),
        since(1, "endpoint_type", INT8),
        always("cluster_id", STRING),
        always("controller_id", INT32),
        always(
            "brokers",
            Structs(&[
                always("broker_id", INT32),
                always("host", STRING),
                always("port", INT32),
                always("rack", STRING),
                since(2, "is_fenced", BOOL),
            ]),
        ),
        always("cluster_authorized_operations", INT32),
    ],
};

const BROKER_REGISTRATION: Message = Message {
    flexible_from: 0,
    fields: &[always("throttle_time_ms", INT32), always("error_code", INT16), always("broker_epoch", INT64)],
};

const BROKER_HEARTBEAT: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("is_caught_up", BOOL),
        always("is_fenced", BOOL),
        always("should_shut_down", BOOL),
    ],
};

const INIT_PRODUCER_ID: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("producer_id", INT64),
        always("producer_epoch", INT16),
    ],
};

const ALLOCATE_PRODUCER_IDS: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("producer_id_start", INT64),
        always("producer_id_len", INT32),
    ],
};

const DESCRIBE_PRODUCERS: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        always("error_message", STRING),
                        always(
                            "active_producers",
                            Structs(&[
                                always("producer_id", INT64),
                                always("producer_epoch", INT32),
                                always("last_sequence", INT32),
                                always("last_timestamp", INT64),
                                always("coordinator_epoch", INT32),
                                always("current_txn_start_offset", INT64),
                            ]),
                        ),
                    ]),
                ),
            ]),
        ),
    ],
};
