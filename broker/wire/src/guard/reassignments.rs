//! Schemas of what is asked and answered about moves of replicas.

use super::schema::Kind::{Array, Structs};
use super::schema::{BOOL, INT16, INT32, Message, STRING, always, since};

pub(super) const ALTER_REQUEST: Message = Message {
    flexible_from: 0,
    fields: &[
        always("timeout_ms", INT32),
        since(1, "allow_replication_factor_change", BOOL),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[always("partition_index", INT32), always("replicas", Array(&INT32))]),
                ),
            ]),
        ),
    ],
};

pub(super) const ALTER_RESPONSE: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        since(1, "allow_replication_factor_change", BOOL),
        always("error_code", INT16),
        always("error_message", STRING),
        always(
            "responses",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("error_code", INT16),
                        always("error_message", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) const LIST_REQUEST: Message = Message {
    flexible_from: 0,
    fields: &[
        always("timeout_ms", INT32),
        always("topics", Structs(&[always("name", STRING), always("partition_indexes", Array(&INT32))])),
    ],
};

pub(super) const LIST_RESPONSE: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always("error_message", STRING),
        always(
            "topics",
            Structs(&[
                always("name", STRING),
                always(
                    "partitions",
                    Structs(&[
                        always("partition_index", INT32),
                        always("replicas", Array(&INT32)),
                        always("adding_replicas", Array(&INT32)),
                        always("removing_replicas", Array(&INT32)),
                    ]),
                ),
            ]),
        ),
    ],
};
