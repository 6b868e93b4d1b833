//! The names that groups and their members have.

use std::fmt;
use std::sync::Arc;

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// The name of a group (`group.id`). Any text but an empty one; offsets alone may be kept under that.
    GroupId
);
text!(
    /// What the coordinator calls a member: it is new with every process that joins.
    MemberId
);
text!(
    /// What a static member calls itself, over its restarts (`group.instance.id`, KIP-345).
    InstanceId
);

impl GroupId {
    /// The partition of a topic with so many that keeps this group (rule 69): Java's hash of the name in UTF-16, its
    /// sign bit cleared.
    pub fn partition(&self, partitions: u32) -> u32 {
        let hash = self
            .0
            .encode_utf16()
            .fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        (hash & i32::MAX).cast_unsigned() % partitions.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_kept_where_kafka_keeps_it() {
        // Java: "".hashCode() = 0, "a" = 97, "group" = 98629247, "polygenelubricants" = Integer.MIN_VALUE, and the last
        // one, outside the basic plane, 1772899.
        for (name, hash) in
            [("", 0), ("a", 97), ("group", 98_629_247), ("polygenelubricants", 0), ("\u{1F600}", 1_772_899)]
        {
            assert_eq!(GroupId::from(name).partition(1_000_000_007), hash, "{name}");
            assert_eq!(GroupId::from(name).partition(50), hash % 50, "{name}");
        }
    }
}
