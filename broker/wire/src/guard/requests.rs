//! Schemas of the requests we read.

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

/// The schema of a request, if it has been written down.
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
        Ok(ApiKey::AlterPartitionReassignments) => Some(&reassignments::ALTER_REQUEST),
        Ok(ApiKey::ListPartitionReassignments) => Some(&reassignments::LIST_REQUEST),
        Ok(ApiKey::AlterReplicaLogDirs) => Some(&log_dirs::ALTER_REQUEST),
        Ok(ApiKey::DescribeLogDirs) => Some(&log_dirs::DESCRIBE_REQUEST),
        Ok(ApiKey::AssignReplicasToDirs) => Some(&log_dirs::ASSIGN_REQUEST),
        Ok(ApiKey::DescribeQuorum) => Some(&DESCRIBE_QUORUM),
        Ok(ApiKey::AlterPartition) => Some(&ALTER_PARTITION),
        Ok(ApiKey::DescribeCluster) => Some(&DESCRIBE_CLUSTER),
        Ok(ApiKey::BrokerRegistration) => Some(&BROKER_REGISTRATION),
        Ok(ApiKey::BrokerHeartbeat) => Some(&BROKER_HEARTBEAT),
        Ok(key) => admin::request(key)
            .or_else(|| groups::request(key))
            .or_else(|| offsets::request(key))
            .or_else(|| group_admin::request(key)),
        Err(()) => None,
    }
}

const PRODUCE: Message = Message {
    flexible_from: 9,
    fields: &[
        always("transactional_id", STRING),
        always("acks", INT16),
        always("timeout_ms", INT32),
        always(
            "topic_data",
            Structs(&[
                until(12, "name", STRING),
                since(13, "topic_id", UUID),
                always("partition_data", Structs(&[always("index", INT32), always("records", BYTES)])),
            ]),
        ),
    ],
};

const FETCH: Message = Message {
    flexible_from: 12,
    fields: &[
        tagged(0, 12, "cluster_id", STRING),
        until(14, "replica_id", INT32),
        tagged(
            1,
            15,
            "replica_state",
            Struct(&[since(15, "replica_id", INT32), since(15, "replica_epoch", INT64)]),
        ),
        always("max_wait_ms", INT32),
        always("min_bytes", INT32),
        always("max_bytes", INT32),
        always("isolation_level", INT8),
        since(7, "session_id", INT32),
        since(7, "session_epoch", INT32),
        always(
            "topics",
            Structs(&[
                until(12, "topic", STRING),
                since(13, "topic_id", UUID),
                always(
                    "partitions",
                    Structs(&[
                        always("partition", INT32),
                        since(9, "current_leader_epoch", INT32),
                        always("fetch_offset", INT64),
                        since(12, "last_fetched_epoch", INT32),
                        since(5, "log_start_offset", INT64),
                        always("partition_max_bytes", INT32),
                        tagged(0, 17, "replica_directory_id", UUID),
                        tagged(1, 18, "high_watermark", INT64),
                    ]),
                ),
            ]),
        ),
        since(
            7,
            "forgotten_topics_data",
            Structs(&[
                between(7, 12, "topic", STRING),
                since(13, "topic_id", UUID),
                since(7, "partitions", Array(&INT32)),
            ]),
        ),
        since(11, "rack_id", STRING),
    ],
};

const LIST_OFFSETS: Message = Message {
    flexible_from: 6,
    fields: &[
        always("replica_id", INT32),
        since(2, "isolation_level", INT8),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        since(4, "current_leader_epoch", INT32),
                        always("timestamp", INT64),
                    ]),
                ),
            ]),
        ),
        since(10, "timeout_ms", INT32),
    ],
};

const OFFSET_FOR_LEADER_EPOCH: Message = Message {
    flexible_from: 4,
    fields: &[
        since(3, "replica_id", INT32),
        always(
            "topics",
            Structs(&[
                always("topic", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition", INT32),
                        always("current_leader_epoch", INT32),
                        always("leader_epoch", INT32),
                    ]),
                ),
            ]),
        ),
    ],
};

const METADATA: Message = Message {
    flexible_from: 9,
    fields: &[
        always("topics", Structs(&[since(10, "topic_id", UUID), always("name", STRING)])),
        since(4, "allow_auto_topic_creation", BOOL),
        between(8, 10, "include_cluster_authorized_operations", BOOL),
        since(8, "include_topic_authorized_operations", BOOL),
    ],
};

const API_VERSIONS: Message = Message {
    flexible_from: 3,
    fields: &[since(3, "client_software_name", STRING), since(3, "client_software_version", STRING)],
};

const CREATE_TOPICS: Message = Message {
    flexible_from: 5,
    fields: &[
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always("num_partitions", INT32),
                always("replication_factor", INT16),
                always(
                    "assignments",
                    Structs(&[always("partition_index", INT32), always("broker_ids", Array(&INT32))]),
                ),
                always("configs", Structs(&[always("name", STRING), always("value", STRING)])),
            ]),
        ),
        always("timeout_ms", INT32),
        always("validate_only", BOOL),
    ],
};

const DELETE_TOPICS: Message = Message {
    flexible_from: 4,
    fields: &[
        since(6, "topics", Structs(&[since(6, "name", STRING), since(6, "topic_id", UUID)])),
        until(5, "topic_names", Array(&STRING)),
        always("timeout_ms", INT32),
    ],
};

const DESCRIBE_CONFIGS: Message = Message {
    flexible_from: 4,
    fields: &[
        always(
            "resources",
            Structs(&[
                always("resource_type", INT8),
                always("resource_name", STRING),
                always("configuration_keys", Array(&STRING)),
            ]),
        ),
        always("include_synonyms", BOOL),
        since(3, "include_documentation", BOOL),
    ],
};

const CREATE_PARTITIONS: Message = Message {
    flexible_from: 2,
    fields: &[
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always("count", INT32),
                always("assignments", Structs(&[always("broker_ids", Array(&INT32))])),
            ]),
        ),
        always("timeout_ms", INT32),
        always("validate_only", BOOL),
    ],
};

const INCREMENTAL_ALTER_CONFIGS: Message = Message {
    flexible_from: 1,
    fields: &[
        always(
            "resources",
            Structs(&[
                always("resource_type", INT8),
                always("resource_name", STRING),
                always(
                    "configs",
                    Structs(&[
                        always("name", STRING),
                        always("config_operation", INT8),
                        always("value", STRING),
                    ]),
                ),
            ]),
        ),
        always("validate_only", BOOL),
    ],
};

const DESCRIBE_QUORUM: Message = Message {
    flexible_from: 0,
    fields: &[always(
        "topics",
        Structs(&[
            always("topic_name", STRING),
            always("partitions", Structs(&[always("partition_index", INT32)])),
        ]),
    )],
};

const ALTER_PARTITION: Message = Message {
    flexible_from: 0,
    fields: &[
        always("broker_id", INT32),
        always("broker_epoch", INT64),
        always(
            "topics",
            Structs(&[
                always("topic_id", UUID),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("leader_epoch", INT32),
                        until(2, "new_isr", Array(&INT32)),
                        since(
                            3,
                            "new_isr_with_epochs",
                            Structs(&[since(3, "broker_id", INT32), since(3, "broker_epoch", INT64)]),
                        ),
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
        always("include_cluster_authorized_operations", BOOL),
        since(1, "endpoint_type", INT8),
        since(2, "include_fenced_brokers", BOOL),
    ],
};

const BROKER_REGISTRATION: Message = Message {
    flexible_from: 0,
    fields: &[
        always("broker_id", INT32),
        always("cluster_id", STRING),
        always("incarnation_id", UUID),
        always(
            "listeners",
            Structs(&[
                always("name", STRING),
                always("host", STRING),
                always("port", UINT16),
                always("security_protocol", INT16),
            ]),
        ),
        always(
            "features",
            Structs(&[
                always("name", STRING),
                always("min_supported_version", INT16),
                always("max_supported_version", INT16),
            ]),
        ),
        always("rack", STRING),
        since(1, "is_migrating_zk_broker", BOOL),
        since(2, "log_dirs", Array(&UUID)),
        since(3, "previous_broker_epoch", INT64),
    ],
};

const BROKER_HEARTBEAT: Message = Message {
    flexible_from: 0,
    fields: &[
        always("broker_id", INT32),
        always("broker_epoch", INT64),
        always("current_metadata_offset", INT64),
        always("want_fence", BOOL),
        always("want_shut_down", BOOL),
        tagged(0, 1, "offline_log_dirs", Array(&UUID)),
    ],
};

const INIT_PRODUCER_ID: Message = Message {
    flexible_from: 2,
    fields: &[
        always("transactional_id", STRING),
        always("transaction_timeout_ms", INT32),
        since(3, "producer_id", INT64),
        since(3, "producer_epoch", INT16),
    ],
};

const ALLOCATE_PRODUCER_IDS: Message =
    Message { flexible_from: 0, fields: &[always("broker_id", INT32), always("broker_epoch", INT64)] };

const DESCRIBE_PRODUCERS: Message = Message {
    flexible_from: 0,
    fields: &[always(
        "topics",
        Structs(&[always("name", STRING), always("partition_indexes", Array(&INT32))]),
    )],
};
