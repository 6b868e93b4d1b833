//! The bytes of metadata records.
//!
//! A *batch*, the payload of one entry of the log:
//! ```text
//! version   u8 = 0
//! count     uvarint
//! count times:
//!   length  uvarint, of what follows for this record
//!   ordinal uvarint, Record::ordinal
//!   version uvarint, 0 but for what `release.rs` says
//!   fields  in the order written below; a list is a count and its elements
//!   tags    a tagged section (see `codec.rs`)
//! ```
//! An empty payload is the batch of no records. A field is only ever added as a tag; anything else needs a new version of that
//! record, gated by the feature `ottla.version`. `tests/fixtures` keeps the bytes of every release.

use bytes::Bytes;

use super::codec::{DecodeError, Reader, Tags, Writer};
use super::image::{ConfigResource, Endpoint, FeatureRange, Fencing, LeaderRecoveryState, Partition, Voter};
use super::record::{
    BrokerRegistrationChange, ConfigRecord, FeatureLevel, LeaderChange, PartitionChange, PartitionRecord,
    ProducerIds, Record, RegisterBroker, RemoveTopic, TopicRecord, UnregisterBroker, Voters,
};
use crate::ids::{
    BrokerEpoch, ClusterId, DirectoryId, IncarnationId, LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex,
    ProducerId, TopicId, TopicName,
};
use crate::release;

const BATCH_VERSION: u8 = 0;
/// See [`Record::ordinal`].
const PARTITION_CHANGE: u64 = 5;

type Decoded<T> = Result<T, DecodeError>;

impl Record {
    /// The bytes of a batch in the first format, which every release reads.
    pub fn encode_batch(records: &[Self]) -> Bytes {
        Self::encode_batch_at(release::LEVEL_FIRST, records)
    }

    /// The bytes of a batch at a level of [`release::FORMATS`].
    pub fn encode_batch_at(level: i16, records: &[Self]) -> Bytes {
        let mut writer = Writer::default();
        writer.raw(&[BATCH_VERSION]);
        writer.list(records, |writer, record| {
            let mut body = Writer::default();
            body.uvarint(record.ordinal());
            body.uvarint(version_at(level, record.ordinal()));
            record.write(&mut body);
            writer.bytes(&body.into_bytes());
        });
        writer.into_bytes().into()
    }

    /// Reads a batch.
    pub fn decode_batch(bytes: &[u8]) -> Decoded<Vec<Self>> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader = Reader::new(bytes);
        let version = reader.raw(1, "batch version")?[0];
        if version != BATCH_VERSION {
            return Err(DecodeError::UnknownVersion { what: "record batch", version: version.into() });
        }
        let records =
            reader.list("record batch", |reader| Self::read(&mut Reader::new(reader.bytes("record")?)))?;
        reader.finish("record batch")?;
        Ok(records)
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::RegisterBroker(record) => record.write(writer),
            Self::UnregisterBroker(record) => {
                write_node(writer, &record.node_id);
                writer.varint(record.epoch.0);
                writer.tags(Tags::none());
            }
            Self::Topic(record) => {
                writer.uuid(record.id.0);
                writer.text(record.name.as_str());
                writer.tags(Tags::none());
            }
            Self::Partition(record) => record.write(writer),
            Self::Config(record) => record.write(writer),
            Self::PartitionChange(record) => record.write(writer),
            Self::RemoveTopic(record) => {
                writer.uuid(record.id.0);
                writer.tags(Tags::none());
            }
            Self::FeatureLevel(record) => {
                writer.text(&record.name);
                writer.varint(record.level.into());
                writer.tags(Tags::none());
            }
            Self::ProducerIds(record) => {
                write_node(writer, &record.node_id);
                writer.varint(record.epoch.0);
                writer.varint(record.next.0);
                writer.tags(Tags::none());
            }
            Self::BrokerRegistrationChange(record) => {
                write_node(writer, &record.node_id);
                writer.varint(record.epoch.0);
                write_fencing(writer, record.fencing);
                let mut tags = Tags::none();
                tags.put_some(0, record.offline_directories.as_ref(), |writer, offline| {
                    writer.list(offline, write_directory);
                });
                writer.tags(tags);
            }
            Self::NoOp => writer.tags(Tags::none()),
            Self::ClusterId(id) => {
                writer.uuid(id.0);
                writer.tags(Tags::none());
            }
            Self::Voters(record) => {
                writer.list(&record.voters, write_voter);
                writer.list(&record.learners, write_voter);
                let mut tags = Tags::none();
                let observers = (!record.observers.is_empty()).then_some(&record.observers);
                tags.put_some(0, observers, |writer, observers| writer.list(observers, write_node));
                writer.tags(tags);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let ordinal = reader.uvarint("record ordinal")?;
        let version = reader.uvarint("record version")?;
        if version > version_at(release::level_max(), ordinal) {
            return Err(DecodeError::UnknownVersion { what: "metadata record", version });
        }
        let record = match ordinal {
            0 => Self::RegisterBroker(RegisterBroker::read(reader)?),
            1 => Self::UnregisterBroker(UnregisterBroker {
                node_id: read_node(reader)?,
                epoch: BrokerEpoch(reader.varint("broker epoch")?),
            }),
            2 => Self::Topic(TopicRecord { id: read_topic_id(reader)?, name: read_topic_name(reader)? }),
            3 => Self::Partition(PartitionRecord::read(reader)?),
            4 => Self::Config(ConfigRecord::read(reader)?),
            // A PartitionChange is nothing but tags after its key.
            PARTITION_CHANGE => return PartitionChange::read(reader).map(Self::PartitionChange),
            9 => Self::RemoveTopic(RemoveTopic { id: read_topic_id(reader)? }),
            12 => Self::FeatureLevel(FeatureLevel::read(reader)?),
            15 => Self::ProducerIds(ProducerIds {
                node_id: read_node(reader)?,
                epoch: BrokerEpoch(reader.varint("broker epoch")?),
                next: ProducerId(reader.varint("producer id")?),
            }),
            17 => Self::BrokerRegistrationChange(BrokerRegistrationChange::read(reader)?),
            20 => Self::NoOp,
            1000 => Self::ClusterId(ClusterId(reader.uuid("cluster id")?)),
            1001 => Self::Voters(Voters::read(reader)?),
            unknown => return Err(DecodeError::UnknownRecord { ordinal: unknown }),
        };
        // These read their own tags.
        if ordinal != 0 && ordinal != 17 && ordinal != 1001 {
            reader.tags(|_, _| Ok(()))?;
        }
        reader.finish("metadata record")?;
        Ok(record)
    }
}

/// The newest version of a kind of record at a level.
fn version_at(level: i16, ordinal: u64) -> u64 {
    u64::from(level > release::LEVEL_FIRST && ordinal == PARTITION_CHANGE)
}

impl FeatureLevel {
    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let (name, level) = (reader.text("feature name")?, reader.number("feature level")?);
        let level_max = release::level_max();
        if name == release::FORMATS && level > level_max {
            return Err(DecodeError::LaterLevel { level, level_max });
        }
        Ok(Self { name, level })
    }
}

impl Voters {
    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut record = Self {
            voters: reader.list("voters", read_voter)?,
            learners: reader.list("learners", read_voter)?,
            observers: Vec::new(),
        };
        reader.tags(|tag, field| {
            if tag == 0 {
                record.observers = field.list("observers", read_node)?;
            }
            Ok(())
        })?;
        Ok(record)
    }
}

impl BrokerRegistrationChange {
    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut record = Self {
            node_id: read_node(reader)?,
            epoch: BrokerEpoch(reader.varint("broker epoch")?),
            fencing: read_fencing(reader)?,
            offline_directories: None,
        };
        reader.tags(|tag, field| {
            if tag == 0 {
                record.offline_directories = Some(field.list("offline directories", read_directory)?);
            }
            Ok(())
        })?;
        Ok(record)
    }
}

impl RegisterBroker {
    fn write(&self, writer: &mut Writer) {
        write_node(writer, &self.node_id);
        writer.uuid(self.incarnation_id.0);
        writer.list(&self.endpoints, write_endpoint);
        writer.list(&self.directories, write_directory);
        writer.list(&self.features, |writer, feature| {
            writer.text(&feature.name);
            writer.varint(feature.level_min.into());
            writer.varint(feature.level_max.into());
        });
        write_fencing(writer, self.fencing);
        let mut tags = Tags::none();
        tags.put_some(0, self.rack.as_ref(), |writer, rack| writer.text(rack));
        tags.put_some(1, self.epoch.as_ref(), |writer, epoch| writer.varint(epoch.0));
        let offline = Some(&self.offline_directories).filter(|offline| !offline.is_empty());
        tags.put_some(2, offline, |writer, offline| writer.list(offline, write_directory));
        writer.tags(tags);
    }

    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut record = Self {
            node_id: read_node(reader)?,
            incarnation_id: IncarnationId(reader.uuid("incarnation id")?),
            endpoints: reader.list("endpoints", read_endpoint)?,
            directories: reader.list("directories", read_directory)?,
            features: reader.list("features", |reader| {
                Ok(FeatureRange {
                    name: reader.text("feature name")?,
                    level_min: reader.number("feature level")?,
                    level_max: reader.number("feature level")?,
                })
            })?,
            fencing: read_fencing(reader)?,
            rack: None,
            epoch: None,
            offline_directories: Vec::new(),
        };
        reader.tags(|tag, field| {
            match tag {
                0 => record.rack = Some(field.text("rack")?),
                1 => record.epoch = Some(BrokerEpoch(field.varint("broker epoch")?)),
                2 => record.offline_directories = field.list("offline directories", read_directory)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}

impl PartitionRecord {
    fn write(&self, writer: &mut Writer) {
        let partition = &self.partition;
        writer.uuid(self.topic_id.0);
        writer.varint(self.index.0.into());
        writer.list(&partition.replicas, write_node);
        writer.list(&partition.directories, write_directory);
        writer.list(&partition.isr, write_node);
        writer.list(&partition.adding, write_node);
        writer.list(&partition.removing, write_node);
        writer.list(&partition.elr, write_node);
        writer.list(&partition.last_known_elr, write_node);
        writer.varint(partition.leader.map_or(-1, |leader| leader.0).into());
        writer.varint(partition.leader_epoch.0.into());
        writer.varint(partition.partition_epoch.0.into());
        write_recovery(writer, partition.recovery);
        writer.tags(Tags::none());
    }

    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            topic_id: read_topic_id(reader)?,
            index: PartitionIndex(reader.number("partition index")?),
            partition: Partition {
                replicas: reader.list("replicas", read_node)?,
                directories: reader.list("directories", read_directory)?,
                isr: reader.list("isr", read_node)?,
                adding: reader.list("adding replicas", read_node)?,
                removing: reader.list("removing replicas", read_node)?,
                elr: reader.list("elr", read_node)?,
                last_known_elr: reader.list("last known elr", read_node)?,
                leader: match reader.number::<i32>("leader")? {
                    -1 => None,
                    id => Some(NodeId(id)),
                },
                leader_epoch: LeaderEpoch(reader.number("leader epoch")?),
                partition_epoch: PartitionEpoch(reader.number("partition epoch")?),
                recovery: read_recovery(reader)?,
            },
        })
    }
}

impl PartitionChange {
    fn write(&self, writer: &mut Writer) {
        writer.uuid(self.topic_id.0);
        writer.varint(self.index.0.into());
        let nodes = |writer: &mut Writer, nodes: &Vec<NodeId>| writer.list(nodes, write_node);
        let mut tags = Tags::none();
        tags.put_some(0, self.isr.as_ref(), nodes);
        match self.leader {
            LeaderChange::Unchanged => {}
            LeaderChange::Nobody => tags.put(1, |writer| writer.varint(-1)),
            LeaderChange::Leader(leader) => tags.put(1, |writer| writer.varint(leader.0.into())),
        }
        tags.put_some(2, self.replicas.as_ref(), nodes);
        tags.put_some(3, self.removing.as_ref(), nodes);
        tags.put_some(4, self.adding.as_ref(), nodes);
        tags.put_some(5, self.recovery.as_ref(), |writer, recovery| write_recovery(writer, *recovery));
        tags.put_some(6, self.elr.as_ref(), nodes);
        tags.put_some(7, self.last_known_elr.as_ref(), nodes);
        tags.put_some(8, self.directories.as_ref(), |writer, directories| {
            writer.list(directories, write_directory);
        });
        writer.tags(tags);
    }

    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut record = Self {
            topic_id: read_topic_id(reader)?,
            index: PartitionIndex(reader.number("partition index")?),
            ..Self::default()
        };
        reader.tags(|tag, field| {
            match tag {
                0 => record.isr = Some(field.list("isr", read_node)?),
                1 => {
                    record.leader = match field.number::<i32>("leader")? {
                        -1 => LeaderChange::Nobody,
                        id => LeaderChange::Leader(NodeId(id)),
                    }
                }
                2 => record.replicas = Some(field.list("replicas", read_node)?),
                3 => record.removing = Some(field.list("removing replicas", read_node)?),
                4 => record.adding = Some(field.list("adding replicas", read_node)?),
                5 => record.recovery = Some(read_recovery(field)?),
                6 => record.elr = Some(field.list("elr", read_node)?),
                7 => record.last_known_elr = Some(field.list("last known elr", read_node)?),
                8 => record.directories = Some(field.list("directories", read_directory)?),
                _ => {}
            }
            Ok(())
        })?;
        reader.finish("metadata record")?;
        Ok(record)
    }
}

impl ConfigRecord {
    fn write(&self, writer: &mut Writer) {
        let (kind, name) = match &self.resource {
            ConfigResource::Topic(name) => (2, name.to_string()),
            ConfigResource::Broker(id) => (4, id.to_string()),
            ConfigResource::BrokerDefault => (4, String::new()),
        };
        writer.uvarint(kind);
        writer.text(&name);
        writer.text(&self.name);
        writer.list(self.value.as_slice(), |writer, value| writer.text(value));
        writer.tags(Tags::none());
    }

    fn read(reader: &mut Reader<'_>) -> Decoded<Self> {
        let bad = DecodeError::BadValue { what: "config resource" };
        let kind = reader.uvarint("config resource")?;
        let resource = match (kind, reader.text("config resource")?.as_str()) {
            (2, name) => ConfigResource::Topic(TopicName::parse(name).map_err(|_| bad)?),
            (4, "") => ConfigResource::BrokerDefault,
            (4, id) => ConfigResource::Broker(NodeId(id.parse().map_err(|_| bad)?)),
            _ => return Err(bad),
        };
        let name = reader.text("config name")?;
        let mut values = reader.list("config value", |reader| reader.text("config value"))?;
        if values.len() > 1 {
            return Err(DecodeError::BadValue { what: "config value" });
        }
        Ok(Self { resource, name, value: values.pop() })
    }
}

fn write_node(writer: &mut Writer, node: &NodeId) {
    writer.varint(node.0.into());
}

fn read_node(reader: &mut Reader<'_>) -> Decoded<NodeId> {
    reader.number("node id").map(NodeId)
}

fn write_directory(writer: &mut Writer, directory: &DirectoryId) {
    writer.uuid(directory.0);
}

fn read_directory(reader: &mut Reader<'_>) -> Decoded<DirectoryId> {
    reader.uuid("directory id").map(DirectoryId)
}

fn read_topic_id(reader: &mut Reader<'_>) -> Decoded<TopicId> {
    reader.uuid("topic id").map(TopicId)
}

fn read_topic_name(reader: &mut Reader<'_>) -> Decoded<TopicName> {
    TopicName::parse(&reader.text("topic name")?).map_err(|_| DecodeError::BadValue { what: "topic name" })
}

fn write_endpoint(writer: &mut Writer, endpoint: &Endpoint) {
    writer.text(&endpoint.listener);
    writer.text(&endpoint.host);
    writer.uvarint(endpoint.port.into());
    writer.varint(endpoint.security_protocol.into());
}

fn read_endpoint(reader: &mut Reader<'_>) -> Decoded<Endpoint> {
    Ok(Endpoint {
        listener: reader.text("listener")?,
        host: reader.text("host")?,
        port: u16::try_from(reader.uvarint("port")?).map_err(|_| DecodeError::BadValue { what: "port" })?,
        security_protocol: reader.number("security protocol")?,
    })
}

fn write_voter(writer: &mut Writer, voter: &Voter) {
    write_node(writer, &voter.node_id);
    write_directory(writer, &voter.directory_id);
    writer.list(&voter.endpoints, write_endpoint);
    writer.tags(Tags::none());
}

fn read_voter(reader: &mut Reader<'_>) -> Decoded<Voter> {
    let voter = Voter {
        node_id: read_node(reader)?,
        directory_id: read_directory(reader)?,
        endpoints: reader.list("endpoints", read_endpoint)?,
    };
    reader.tags(|_, _| Ok(()))?;
    Ok(voter)
}

fn write_fencing(writer: &mut Writer, fencing: Fencing) {
    writer.uvarint(match fencing {
        Fencing::Fenced => 0,
        Fencing::Unfenced => 1,
        Fencing::InControlledShutdown => 2,
    });
}

fn read_fencing(reader: &mut Reader<'_>) -> Decoded<Fencing> {
    match reader.uvarint("fencing")? {
        0 => Ok(Fencing::Fenced),
        1 => Ok(Fencing::Unfenced),
        2 => Ok(Fencing::InControlledShutdown),
        _ => Err(DecodeError::BadValue { what: "fencing" }),
    }
}

fn write_recovery(writer: &mut Writer, recovery: LeaderRecoveryState) {
    writer.uvarint(match recovery {
        LeaderRecoveryState::Recovered => 0,
        LeaderRecoveryState::Recovering => 1,
    });
}

fn read_recovery(reader: &mut Reader<'_>) -> Decoded<LeaderRecoveryState> {
    match reader.uvarint("leader recovery state")? {
        0 => Ok(LeaderRecoveryState::Recovered),
        1 => Ok(LeaderRecoveryState::Recovering),
        _ => Err(DecodeError::BadValue { what: "leader recovery state" }),
    }
}
