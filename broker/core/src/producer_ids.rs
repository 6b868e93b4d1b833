//! The producer ids that a broker has to give out, block by block (KIP-730).
//!
//! The next block is asked for before the one in use ends, so that no producer waits for the controller.

use std::ops::Range;

use crate::controller::operation::ProducerIdBlock;
use crate::ids::ProducerId;

/// When so many ids or fewer are left of a block, another one is asked for: Kafka's tenth.
const LEFT_MIN: i64 = 100;

/// What a broker may give out. Each id is given once.
#[derive(Debug, Default)]
pub struct ProducerIdBlocks {
    current: Range<i64>,
    next: Option<Range<i64>>,
}

impl ProducerIdBlocks {
    /// The next id, unless all are given out.
    pub fn take(&mut self) -> Option<ProducerId> {
        if self.current.is_empty() {
            self.current = self.next.take()?;
        }
        self.current.next().map(ProducerId)
    }

    /// Whether another block is to be asked for.
    pub fn wants_block(&self) -> bool {
        self.next.is_none() && self.current.end - self.current.start <= LEFT_MIN
    }

    /// Takes a block that the controller gave to this broker. One that nobody asked for is left unused.
    pub fn add(&mut self, block: ProducerIdBlock) {
        if self.wants_block() {
            self.next = Some(block.ids());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: i64) -> ProducerIdBlock {
        ProducerIdBlock { first: ProducerId(first), count: ProducerIdBlock::COUNT }
    }

    #[test]
    fn ids_go_on_into_the_next_block_and_none_is_given_twice() {
        let mut blocks = ProducerIdBlocks::default();
        assert!(blocks.wants_block() && blocks.take().is_none());
        blocks.add(block(1_000));
        let mut given = Vec::new();
        for asked in 0..1_500 {
            if blocks.wants_block() && given.len() >= 900 {
                blocks.add(block(7_000));
            }
            given.push(blocks.take().unwrap_or_else(|| panic!("no id for {asked}")).0);
        }
        let expected: Vec<i64> = (1_000..2_000).chain(7_000..7_500).collect();
        assert_eq!(given, expected);
    }

    #[test]
    fn the_next_block_is_wanted_before_the_last_id_is_given() {
        let mut blocks = ProducerIdBlocks::default();
        blocks.add(block(0));
        let used = (1..).take_while(|_| blocks.take().is_some() && !blocks.wants_block()).count();
        assert_eq!(used, 899);
        blocks.add(block(5_000));
        assert!(!blocks.wants_block());
        blocks.add(block(9_000));
        assert_eq!(std::iter::from_fn(|| blocks.take()).last(), Some(ProducerId(5_999)));
    }
}
