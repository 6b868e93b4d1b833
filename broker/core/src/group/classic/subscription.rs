//! What a consumer says it is subscribed to (`ConsumerProtocolSubscription`).
//!
//! ```text
//! version i16, count i32, then so many topics: i16 length and the name; what follows is nobody's here
//! ```

use crate::ids::TopicName;

/// The protocol type of consumers.
pub(super) const CONSUMER: &str = "consumer";

/// The topics of a subscription; none if it is not one. Names that no topic has are left out.
pub(super) fn topics(subscription: &[u8]) -> Option<Vec<TopicName>> {
    let (version, rest) = subscription.split_first_chunk()?;
    let (count, mut rest) = rest.split_first_chunk()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let mut topics = Vec::new();
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, name) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, after) = name.split_at_checked(length)?;
        topics.extend(TopicName::parse(std::str::from_utf8(name).ok()?));
        rest = after;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_whatever_follows() {
        let said = [0, 1, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 255, 255, 255, 255];
        let names: Vec<String> = topics(&said).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "bc"]);
    }

    #[test]
    fn what_is_cut_or_absurd_is_no_subscription() {
        for said in [
            &[][..],
            &[0, 1],
            &[0, 1, 0, 0, 0, 1],
            &[0, 1, 127, 255, 255, 255, 0, 0],
            &[255, 255, 0, 0, 0, 0],
        ] {
            assert_eq!(topics(said), None, "{said:?}");
        }
    }
}
