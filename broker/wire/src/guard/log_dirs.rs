//! Schemas of what is asked and answered about log directories.

use super::schema::Kind::{Array, Structs};
use super::schema::{BOOL, INT16, INT32, INT64, Message, STRING, UUID, always, since};

pub(super) const ALTER_REQUEST: Message = Message {
    flexible_from: 2,
    fields: &[always(
        "dirs",
        Structs(&[
            always("path", STRING),
            always("topics", Structs(&[always("name", STRING), always("partitions", Array(&INT32))])),
        ]),
    )],
};

pub(super) const ALTER_RESPONSE: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        always(
            "results",
            Structs(&[
                always("topic_name", STRING),
                always(
                    "partitions",
                    Structs(&[always("partition_index", INT32), always("error_code", INT16)]),
                ),
            ]),
        ),
    ],
};

pub(super) const DESCRIBE_REQUEST: Message = Message {
    flexible_from: 2,
    fields: &[always("topics", Structs(&[always("topic", STRING), always("partitions", Array(&INT32))]))],
};

pub(super) const DESCRIBE_RESPONSE: Message = Message {
    flexible_from: 2,
    fields: &[
        always("throttle_time_ms", INT32),
        since(3, "error_code", INT16),
        always(
            "results",
            Structs(&[
                always("error_code", INT16),
                always("log_dir", STRING),
                always(
                    "topics",
                    Structs(&[
                        always("name", STRING),
                        always(
                            "partitions",
                            Structs(&[
                                always("partition_index", INT32),
                                always("partition_size", INT64),
                                always("offset_lag", INT64),
                                always("is_future_key", BOOL),
                            ]),
                        ),
                    ]),
                ),
                since(4, "total_bytes", INT64),
                since(4, "usable_bytes", INT64),
            ]),
        ),
    ],
};

pub(super) const ASSIGN_REQUEST: Message = Message {
    flexible_from: 0,
    fields: &[
        always("broker_id", INT32),
        always("broker_epoch", INT64),
        always(
            "directories",
            Structs(&[
                always("id", UUID),
                always(
                    "topics",
                    Structs(&[
                        always("topic_id", UUID),
                        always("partitions", Structs(&[always("partition_index", INT32)])),
                    ]),
                ),
            ]),
        ),
    ],
};

pub(super) const ASSIGN_RESPONSE: Message = Message {
    flexible_from: 0,
    fields: &[
        always("throttle_time_ms", INT32),
        always("error_code", INT16),
        always(
            "directories",
            Structs(&[
                always("id", UUID),
                always(
                    "topics",
                    Structs(&[
                        always("topic_id", UUID),
                        always(
                            "partitions",
                            Structs(&[always("partition_index", INT32), always("error_code", INT16)]),
                        ),
                    ]),
                ),
            ]),
        ),
    ],
};
