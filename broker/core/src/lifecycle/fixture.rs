//! What tests of a broker's life begin with.

use uuid::Uuid;

use crate::controller::operation::RegisterBroker;
use crate::ids::{ClusterId, IncarnationId, NodeId};

/// The registration of broker 1, which has nothing.
pub(super) fn registration() -> RegisterBroker {
    RegisterBroker {
        node_id: NodeId(1),
        cluster_id: ClusterId(Uuid::nil()),
        incarnation_id: IncarnationId(Uuid::nil()),
        endpoints: Vec::new(),
        rack: None,
        directories: Vec::new(),
        features: Vec::new(),
        previous_epoch: None,
    }
}
