//! UnregisterBroker, key 64, version 0.
//!
//! Behaviour (KIP-631): a broker is gone for good. It leaves every ISR, what it leads gets another leader, and its
//! registration ends; it stays a replica until its partitions are reassigned. As in Kafka it may be in service: a
//! broker that still runs registers anew. One that is not registered is BROKER_ID_NOT_REGISTERED.
//! Authorization: Alter on the cluster; else CLUSTER_AUTHORIZATION_FAILED.
//! Version notes: there is one.
//! Not done: nothing.

use bytes::Bytes;
use ottla_core::controller::{self, OperationError};
use ottla_core::ids::NodeId;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::authorize::{Operation, Resource};
use super::error_code::Refusal;
use super::forward::{self, AdminRequest};
use super::{Call, Reply};

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    forward::serve_directly::<UnregisterBrokerRequest>(call, body)
}

impl AdminRequest for UnregisterBrokerRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    async fn decide(&self, call: &Call) -> Result<UnregisterBrokerResponse, OperationError> {
        if !call.allows(Operation::Alter, Resource::Cluster, "") {
            return Ok(self.refuse(&Refusal::unauthorized(ResponseError::ClusterAuthorizationFailed)));
        }
        let operation = controller::Operation::UnregisterBroker(NodeId(self.broker_id.0));
        let reply = forward::ask(call, operation).await?;
        let controller::Reply::UnregisterBroker = reply else {
            unreachable!("UnregisterBroker answered by {reply:?}")
        };
        Ok(UnregisterBrokerResponse::default().with_error_message(None))
    }

    fn refuse(&self, refusal: &Refusal) -> UnregisterBrokerResponse {
        UnregisterBrokerResponse::default().with_error_code(refusal.code).with_error_message(refusal.text())
    }
}
