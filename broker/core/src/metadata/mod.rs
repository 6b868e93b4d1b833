//! The cluster's metadata: the records that change it and the image they build.
//!
//! Owns: [`image::Image`], the immutable picture that every broker and controller builds from committed
//! records; [`record::Record`], what such a record can say, and its bytes; [`delta::Delta`], what changed
//! between two images. Does not decide anything: `controller` makes records, `replay` here applies them, and
//! nothing else changes an image.

pub(crate) mod codec;
pub mod delta;
pub mod feed;
pub mod image;
pub mod record;
mod record_codec;
mod replay;

pub use codec::DecodeError;
pub use replay::ReplayError;

use crate::ids::TopicName;

/// Whether a topic belongs to the brokers themselves: clients may read it, and only tools that say so write it.
pub fn is_internal(topic: &TopicName) -> bool {
    matches!(topic.as_str(), "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}
