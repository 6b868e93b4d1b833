//! Committed metadata never changes and never vanishes (Raft, figure 3: state machine safety).
//!
//! An entry counts as committed when any node applied it. From then on its offset has that term and those
//! bytes on every node, in every life; and the picture built up to that offset is the same everywhere,
//! whether it came from entries or from a snapshot.

use std::collections::BTreeMap;

use ottla_core::ids::{MetadataOffset, NodeId, Term, TopicPartition};
use ottla_core::metadata::image::Image;

use super::{Rule, Violation};

/// What was applied first at each offset.
#[derive(Debug, Default)]
pub struct Committed {
    entries: BTreeMap<MetadataOffset, (Term, Vec<u8>)>,
    images: BTreeMap<MetadataOffset, Image>,
}

impl Committed {
    /// A node applied an entry.
    pub fn applied(
        &mut self,
        node: NodeId,
        offset: MetadataOffset,
        term: Term,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        let Some((first_term, first_bytes)) = self.entries.get(&offset) else {
            self.entries.insert(offset, (term, bytes.to_vec()));
            return Ok(());
        };
        if (*first_term, first_bytes.as_slice()) == (term, bytes) {
            return Ok(());
        }
        let text = format!(
            "node {node} applies offset {offset} of term {term} ({} bytes); it was committed with term {first_term} ({} bytes)",
            bytes.len(),
            first_bytes.len()
        );
        Err(Violation::new(Rule::CommittedMetadata, text))
    }

    /// A node shows a picture.
    pub fn shows(&mut self, node: NodeId, image: &Image) -> Result<(), Violation> {
        let Some(first) = self.images.get(&image.offset) else {
            self.images.insert(image.offset, image.clone());
            return Ok(());
        };
        if first == image {
            return Ok(());
        }
        let text = format!("node {node} shows another image at offset {} than was seen there", image.offset);
        Err(Violation::new(Rule::CommittedMetadata, text))
    }

    /// The highest committed offset.
    pub fn last(&self) -> MetadataOffset {
        let applied = self.entries.last_key_value().map(|(offset, _)| *offset);
        let shown = self.images.last_key_value().map(|(offset, _)| *offset);
        applied.max(shown).unwrap_or_default()
    }

    /// The pictures that were shown from this one on, in order.
    pub fn shown_since(&self, offset: MetadataOffset) -> impl Iterator<Item = &Image> {
        self.images.range(offset..).map(|(_, image)| image)
    }

    /// The newest picture anybody showed.
    pub fn newest(&self) -> Option<&Image> {
        self.images.last_key_value().map(|(_, newest)| newest)
    }

    /// The partitions whose every replica is on one node, as of the newest picture anybody showed.
    pub fn partitions_only_on(&self, node: NodeId) -> Vec<TopicPartition> {
        let Some((_, newest)) = self.images.last_key_value() else { return Vec::new() };
        let mut found = Vec::new();
        for topic in newest.topics.values() {
            let only = topic.partitions.iter().filter(|(_, partition)| partition.replicas == [node]);
            found.extend(only.map(|(index, _)| TopicPartition { topic_id: topic.id, partition: *index }));
        }
        found
    }

    /// Whether every partition that has a replica on a node and others elsewhere has another one in sync, as of the
    /// newest picture anybody showed.
    pub fn spares(&self, node: NodeId) -> bool {
        let Some((_, newest)) = self.images.last_key_value() else { return true };
        newest.topics.values().flat_map(|topic| topic.partitions.values()).all(|partition| {
            let is_one_of_several = partition.replicas.len() > 1 && partition.replicas.contains(&node);
            !is_one_of_several || partition.isr.iter().any(|member| *member != node)
        })
    }

    /// At the end, when every node has been given time: none may have less than was ever committed.
    pub fn must_reach_last(&self, node: NodeId, applied: MetadataOffset) -> Result<(), Violation> {
        if applied >= self.last() {
            return Ok(());
        }
        let text = format!("node {node} ends at offset {applied}, and {} was committed", self.last());
        Err(Violation::new(Rule::CommittedMetadata, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_entry_at_a_committed_offset_is_seen() {
        let mut committed = Committed::default();
        committed.applied(NodeId(1), MetadataOffset(1), Term(1), b"a").unwrap();
        committed.applied(NodeId(2), MetadataOffset(1), Term(1), b"a").unwrap();
        assert!(committed.applied(NodeId(2), MetadataOffset(1), Term(2), b"a").is_err());
        assert!(committed.applied(NodeId(3), MetadataOffset(1), Term(1), b"b").is_err());
    }

    #[test]
    fn another_image_and_a_vanished_tail_are_seen() {
        let mut committed = Committed::default();
        let image = Image { offset: MetadataOffset(3), term: Term(1), ..Image::default() };
        committed.shows(NodeId(1), &image).unwrap();
        committed.shows(NodeId(2), &image.clone()).unwrap();
        let other = Image { features: [("a".to_owned(), 1i16)].into_iter().collect(), ..image };
        assert!(committed.shows(NodeId(2), &other).is_err());
        assert!(committed.must_reach_last(NodeId(1), MetadataOffset(2)).is_err());
        committed.must_reach_last(NodeId(1), MetadataOffset(3)).unwrap();
    }
}
