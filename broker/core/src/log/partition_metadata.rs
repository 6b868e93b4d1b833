//! `partition.metadata`: which topic a directory belongs to (KIP-516).
//!
//! ```text
//! version: 0
//! topic_id: AAAAAAAAAAAAAAAAAAAAAQ
//! ```

use crate::ids::TopicId;

pub(super) fn render(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// The topic id; `None` if the text is torn or not of this form.
pub(super) fn parse(text: &str) -> Option<TopicId> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "version: 0" {
        return None;
    }
    lines.next()?.strip_prefix("topic_id: ")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_text_is_kafkas_and_a_torn_one_is_refused() {
        let id = TopicId(Uuid::from_u128(1));
        let text = render(id);
        assert_eq!(text, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(parse(&text), Some(id));
        assert_eq!(parse(&format!("{text}\n")), Some(id));
        for length in 0..text.len() {
            assert_eq!(parse(&text[..length]), None, "{length}");
        }
        assert_eq!(parse("version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"), None);
    }
}
