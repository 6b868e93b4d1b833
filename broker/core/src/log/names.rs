//! The names of logs' directories and of segments' files.

use uuid::Uuid;

use crate::ids::{Offset, PartitionIndex, TopicId, TopicName, TopicPartition};

pub(super) const EPOCHS: &str = "leader-epoch-checkpoint";
pub(super) const METADATA: &str = "partition.metadata";
pub(super) const TRUNCATION: &str = "truncation-checkpoint";
pub(super) const RECOVERY_POINT: &str = "recovery-point";
pub(super) const DAMAGE: &str = "damage-checkpoint";
pub(super) const SNAPSHOT: &str = "snapshot";
const DAMAGED: &str = "-damaged";
const FUTURE: &str = "-future";

/// The name of a replica's directory: `<topic>-<partition>`.
pub fn directory_name(topic: &TopicName, partition: PartitionIndex) -> String {
    format!("{topic}-{partition}")
}

/// Reads [`directory_name`]'s form; `None` for a name of another form, such as one being removed.
pub fn parse_directory_name(name: &str) -> Option<(TopicName, PartitionIndex)> {
    let (topic, partition) = name.rsplit_once('-')?;
    let index: i32 = partition.parse().ok().filter(|index| *index >= 0)?;
    // Only the form we write: no sign, no leading zeros.
    if index.to_string() != partition {
        return None;
    }
    Some((TopicName::parse(topic).ok()?, PartitionIndex(index)))
}

/// The name a directory gets before it is removed: Kafka's `<topic>-<partition>.<unique>-delete`. A start
/// that finds a name ending in `-delete` removes it.
pub fn removal_name(directory: &str, unique: Uuid) -> String {
    aside(directory, unique, "-delete")
}

/// The name a directory gets that nobody wants but that holds records: Kafka's `<topic>-<partition>.<unique>-stray`.
/// No start touches it; a person looks at it and removes it.
pub(super) fn stray_name(directory: &str, unique: Uuid) -> String {
    aside(directory, unique, "-stray")
}

/// The name that a damaged log gets while its partition is copied anew:
/// `<topic>-<partition>.<topic id>.<recovery point>-damaged`. A start finds it by [`parse_damaged_name`].
pub(super) fn damaged_name(topic: &TopicName, id: TopicPartition, recovery_point: Offset) -> String {
    // Of a long name the topic's is cut and not the partition, which is read again.
    let topic_id = id.topic_id.0.simple();
    let rest = format!("-{}.{topic_id}.{:020}{DAMAGED}", id.partition, recovery_point.0);
    let topic = topic.to_string();
    format!("{}{rest}", &topic[..topic.len().min(255 - rest.len())])
}

/// Whose log a directory holds that is named `<topic>-<partition>.<topic id>.<recovery point>-damaged`, and how far it was
/// durable.
pub fn parse_damaged_name(name: &str) -> Option<(TopicPartition, Offset)> {
    let (rest, point) = name.strip_suffix(DAMAGED)?.rsplit_once('.')?;
    let recovery_point = point.parse().ok().filter(|offset: &i64| format!("{offset:020}") == point)?;
    let (directory, topic_id) = rest.rsplit_once('.')?;
    let topic_id = Uuid::try_parse(topic_id).ok().filter(|id| id.simple().to_string() == topic_id)?;
    let (_, partition) = parse_directory_name(directory)?;
    Some((TopicPartition { topic_id: TopicId(topic_id), partition }, Offset(recovery_point)))
}

/// The name of a log that is to take the place of its replica's log in another directory: Kafka's
/// `<topic>-<partition>.<unique>-future`. A start finds it by [`parse_future_name`].
pub fn future_name(topic: &TopicName, partition: PartitionIndex, unique: Uuid) -> String {
    // Of a long name the topic's is cut and not the partition, which is read again.
    let rest = format!("-{partition}.{}{FUTURE}", unique.simple());
    let topic = topic.to_string();
    format!("{}{rest}", &topic[..topic.len().min(255 - rest.len())])
}

/// Which partition of its topic a directory holds that is named `<topic>-<partition>.<unique>-future`.
pub fn parse_future_name(name: &str) -> Option<PartitionIndex> {
    let (directory, unique) = name.strip_suffix(FUTURE)?.rsplit_once('.')?;
    let named = Uuid::try_parse(unique).is_ok_and(|id| id.simple().to_string() == unique);
    parse_directory_name(directory).filter(|_| named).map(|(_, partition)| partition)
}

fn aside(directory: &str, unique: Uuid, suffix: &str) -> String {
    // Kafka cuts the topic's name so that the whole stays below 255 bytes.
    let room = 255 - ".".len() - suffix.len() - 32;
    let kept = &directory[..directory.len().min(room)];
    format!("{kept}.{}{suffix}", unique.simple())
}

pub(super) fn log_file(base: Offset) -> String {
    format!("{:020}.log", base.0)
}

pub(super) fn index_file(base: Offset) -> String {
    format!("{:020}.index", base.0)
}

pub(super) fn time_index_file(base: Offset) -> String {
    format!("{:020}.timeindex", base.0)
}

/// The file that holds the producers as they were when the log ended here.
pub(super) fn snapshot_file(end: Offset) -> String {
    format!("{:020}.{SNAPSHOT}", end.0)
}

/// A segment's file: its base offset and its suffix.
pub(super) fn parse_segment_file(name: &str) -> Option<(Offset, &str)> {
    let (digits, suffix) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), suffix))
}

pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_are_kafkas() {
        let topic = TopicName::parse("my-topic").unwrap();
        assert_eq!(directory_name(&topic, PartitionIndex(12)), "my-topic-12");
        assert_eq!(parse_directory_name("my-topic-12"), Some((topic, PartitionIndex(12))));
        for bad in ["topic", "topic-", "-1", "topic-01", "topic-+1", "topic-99999999999", "t.0123-delete"] {
            assert_eq!(parse_directory_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_removal_fits_and_is_no_log() {
        let long = format!("{}-3", "x".repeat(249));
        let name = removal_name(&long, Uuid::from_u128(7));
        assert!(name.len() <= 255 && name.ends_with("-delete"));
        assert_eq!(parse_directory_name(&name), None);
    }

    #[test]
    fn the_name_of_a_damaged_log_fits_says_whose_it_is_and_is_no_log() {
        let id = TopicPartition { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionIndex(12) };
        for topic in ["a", "a.b-c", &"x".repeat(249)] {
            let name = damaged_name(&TopicName::parse(topic).unwrap(), id, Offset(42));
            assert!(name.len() <= 255, "{name}");
            assert_eq!(parse_damaged_name(&name), Some((id, Offset(42))));
            assert_eq!(parse_directory_name(&name), None);
        }
        let simple = Uuid::from_u128(7).simple().to_string();
        let point = "00000000000000000042";
        for bad in ["a-1-damaged", "a-1.S.P-stray", "a.S.P-damaged", "a-1.S.42-damaged", "a-1.P-damaged"] {
            let bad = bad.replace('S', &simple).replace('P', point);
            assert_eq!(parse_damaged_name(&bad), None, "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_future_log_fits_says_which_partition_it_is_of_and_is_no_log() {
        for topic in ["a", "a.b-c", &"x".repeat(249)] {
            let name = future_name(&TopicName::parse(topic).unwrap(), PartitionIndex(12), Uuid::from_u128(7));
            assert!(name.len() <= 255, "{name}");
            assert_eq!(parse_future_name(&name), Some(PartitionIndex(12)));
            assert_eq!(parse_directory_name(&name), None);
        }
        for bad in ["a-1-future", "a-1.7-future", "a.00000000000000000000000000000007-future", "a-1"] {
            assert_eq!(parse_future_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn segment_files_have_twenty_digits() {
        assert_eq!(log_file(Offset(42)), "00000000000000000042.log");
        assert_eq!(parse_segment_file("00000000000000000042.timeindex"), Some((Offset(42), "timeindex")));
        assert_eq!(parse_segment_file("42.log"), None);
        assert_eq!(parse_segment_file(EPOCHS), None);
    }
}
