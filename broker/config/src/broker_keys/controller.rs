//! The metadata quorum, registration of brokers, and what the controller decides by itself.

use crate::key::{ConfigType, Key, Validator};

pub(super) const KEYS: &[Key] = &[
    Key::list(
        "controller.quorum.bootstrap.servers",
        "",
        "Controllers to ask for the current quorum, as HOST:PORT. Enough of them that one answers; all is best.",
    )
    .high(),
    Key::list(
        "controller.quorum.voters",
        "",
        "Kafka's older, static list of controllers, as ID@HOST:PORT. Ottla's quorum is always a dynamic one: the list is read as controller.quorum.bootstrap.servers, and `storage format` takes the voters of a new cluster.",
    ),
    Key::list("controller.listener.names", "", "The listeners that controllers use. A controller serves the first; a broker needs its name to connect.").high(),
    Key::boolean("controller.quorum.auto.join.enable", "false", "Whether a controller that is caught up adds itself to the voters.")
        .inert("a controller whose volume was lost always replaces its old vote once it has caught up")
        .low(),
    Key::int("controller.quorum.election.timeout.ms", "1000", "How long a controller waits for a leader before it starts an election. Each waits up to twice as long, at random, and no two equally long.")
        .at_least(10).inert("each of up to five controllers draws from 1 to 2 seconds, each of nine up to 2.7"),
    Key::int("controller.quorum.election.backoff.max.ms", "1000", "The longest random wait before another election.")
        .inert("each attempt draws another election timeout")
        .low(),
    Key::int("controller.quorum.fetch.timeout.ms", "2000", "How long a controller may be without word from a majority before it looks for a new leader.")
        .inert("the election timeout does this"),
    Key::int("controller.quorum.request.timeout.ms", "2000", "How long a node waits for a controller's answer.").at_least(1),
    Key::int("controller.quorum.append.linger.ms", "25", "How long metadata records wait to be written together.")
        .at_least(0)
        .inert("records that arrive during a write are written together with the next, without waiting")
        .low(),
    Key::int("controller.quorum.retry.backoff.ms", "20", "The wait before a failed request to a controller is repeated.").at_least(0).low(),
    Key::int("broker.heartbeat.interval.ms", "500", "How often a broker tells the controller that it lives.").at_least(1),
    Key::int("broker.session.timeout.ms", "4000", "How long the controller waits for a heartbeat before it takes a broker out of service and moves its leaders. It does so at once where connections to that broker are refused, and to no other.")
        .at_least(1)
        .high(),
    Key::int("initial.broker.registration.timeout.ms", "60000", "How long a starting broker tries to register with the controller before it gives up and stops.").at_least(1).inert("a broker tries until it succeeds"),
    Key::boolean("controlled.shutdown.enable", "true", "Whether a broker moves its leaders away before it stops.").inert("a broker always moves its leaders away before it stops"),
    Key::long("metadata.log.max.record.bytes.between.snapshots", "20971520", "After how many bytes of new metadata a snapshot is written.").at_least(1),
    Key::long("metadata.log.max.snapshot.interval.ms", "3600000", "After how long a snapshot is written if anything changed; 0 goes by size alone.").at_least(0).inert("snapshots are written by size alone"),
    Key::long("metadata.max.retention.bytes", "104857600", "How many bytes of old metadata log and snapshots are kept.")
        .inert("the metadata log is cut behind each snapshot"),
    Key::long("metadata.max.retention.ms", "604800000", "How long old metadata log and snapshots are kept.")
        .inert("the metadata log is cut behind each snapshot"),
    Key::int("metadata.max.idle.interval.ms", "500", "How often the controller writes an empty record so that lag can be measured.")
        .at_least(0)
        .low().inert("no empty records are written"),
    Key::int("metadata.log.segment.bytes", "1073741824", "The size of a file of the metadata log.").inert("the metadata log has its own format").low(),
    Key::boolean("auto.leader.rebalance.enable", "true", "Whether leadership goes back to the preferred replicas by itself."),
    Key::long("leader.imbalance.check.interval.seconds", "300", "How often leadership is compared with the preferred one.").at_least(1),
    Key::unset("create.topic.policy.class.name", ConfigType::Class, "A Java class that may refuse new topics.").default_only("Ottla loads no Java classes").low(),
    Key::unset("alter.config.policy.class.name", ConfigType::Class, "A Java class that may refuse changed configs.").default_only("Ottla loads no Java classes").low(),
    Key::int("num.partitions", "1", "How many partitions a new topic gets when its creator does not say.").at_least(1),
    Key::int("default.replication.factor", "1", "How many replicas a new topic's partitions get when its creator does not say.")
        .valid(Validator::Between(1, 32_767)),
    Key::boolean("auto.create.topics.enable", "true", "Whether asking for an unknown topic creates it, where the client allows it too.").high(),
    Key::boolean("delete.topic.enable", "true", "Whether topics can be deleted.").high(),
];
