//! Private RPCs between Ottla's nodes, on the controller listener only.
//!
//! They use Kafka's frames and headers (request header 2, response header 1) with
//! keys from 10000, so that one codec and one connection type serve both. Each
//! message has its own versions, and ends in a tag buffer whose unknown tags are
//! skipped: a newer node can add a field without an older one noticing.
//!
//! To add a message: a key in [`PrivateKey`], a file with request and response
//! that implement `Fields`, and one `private_message!` line each. The types then
//! implement the same traits as Kafka's own, so [`crate::request`],
//! [`crate::response`] and the client carry them unchanged.

mod codec;
mod fetch_metadata;
mod forward;
mod raft_message;
mod restart_safety;

pub use fetch_metadata::{
    FetchMetadataRequest, FetchMetadataResponse, FetchMetadataSnapshotRequest, FetchMetadataSnapshotResponse,
    LeaderHint, SnapshotDescriptor,
};
pub use forward::{ForwardRequest, ForwardResponse};
pub use raft_message::{RaftMessageRequest, RaftMessageResponse};
pub use restart_safety::{RestartReason, RestartSafetyRequest, RestartSafetyResponse};

use kafka_protocol::protocol::VersionRange;

/// Keys of the private RPCs. Numbers are written once and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum PrivateKey {
    /// One raft message between two controllers.
    RaftMessage = 10_000,
    /// A broker or learner pulls committed metadata.
    FetchMetadata = 10_001,
    /// A chunk of a metadata snapshot.
    FetchMetadataSnapshot = 10_002,
    /// A client's admin request with its principal, from a broker to the active controller.
    Forward = 10_003,
    /// A broker asks the active controller whether others may be restarted.
    RestartSafety = 10_004,
}

impl PrivateKey {
    /// Every private key.
    pub const ALL: [Self; 5] = [
        Self::RaftMessage,
        Self::FetchMetadata,
        Self::FetchMetadataSnapshot,
        Self::Forward,
        Self::RestartSafety,
    ];

    /// The key as it stands on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The key of this number, if there is one.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.code() == code)
    }

    /// The versions this release can read and write.
    #[must_use]
    pub const fn versions(self) -> VersionRange {
        match self {
            Self::RaftMessage
            | Self::FetchMetadata
            | Self::FetchMetadataSnapshot
            | Self::Forward
            | Self::RestartSafety => VersionRange { min: 0, max: 0 },
        }
    }
}

/// Implements the message traits for a type with [`codec::Fields`]. The orphan rule
/// forbids saying this once for all of them.
macro_rules! private_message {
    ($message:ty, $key:expr, header $header:literal) => {
        impl kafka_protocol::protocol::Message for $message {
            const VERSIONS: kafka_protocol::protocol::VersionRange = $key.versions();
            const DEPRECATED_VERSIONS: Option<kafka_protocol::protocol::VersionRange> = None;
        }

        impl kafka_protocol::protocol::HeaderVersion for $message {
            fn header_version(_version: i16) -> i16 {
                $header
            }
        }

        impl kafka_protocol::protocol::Encodable for $message {
            fn encode<B: kafka_protocol::protocol::buf::ByteBufMut>(
                &self,
                out: &mut B,
                version: i16,
            ) -> anyhow::Result<()> {
                crate::private::codec::encode(self, &$key, version, out)
            }

            fn compute_size(&self, version: i16) -> anyhow::Result<usize> {
                crate::private::codec::size(self, &$key, version)
            }
        }

        impl kafka_protocol::protocol::Decodable for $message {
            fn decode<B: kafka_protocol::protocol::buf::ByteBuf>(
                input: &mut B,
                version: i16,
            ) -> anyhow::Result<Self> {
                crate::private::codec::decode(&$key, version, input)
            }
        }
    };
    ($key:expr, $request:ty => $response:ty) => {
        crate::private::private_message!($request, $key, header 2);
        crate::private::private_message!($response, $key, header 1);

        impl kafka_protocol::protocol::Request for $request {
            const KEY: i16 = $key.code();
            type Response = $response;
        }
    };
}
use private_message;

#[cfg(test)]
mod tests;
