//! InitProducerId, key 22, versions 0–5: an idempotent producer begins (KIP-98).
//!
//! Behaviour: rule 36. Without a transactional id the answer is a producer id that was never given out before, with
//! epoch 0, also to a producer that names one it had: it raises its epoch by itself (KIP-360). While the controller
//! has given this broker no ids, COORDINATOR_LOAD_IN_PROGRESS, which makes clients ask again.
//! Authorization: IdempotentWrite on the cluster, or, as in Kafka since 2.8 (KIP-679), Write on any topic.
//! Version notes: 3 brings the producer's id and epoch; 4 and 5 bring error codes of transactions.
//! Not done: transactions. A transactional id is refused with UNSUPPORTED_VERSION, which clients take as final, until
//! there is a coordinator. Version 6 (KIP-939) is not stable in Kafka 4.3 either.

use std::time::Duration;

use bytes::Bytes;
use ottla_core::ids::ProducerId;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::messages::{self, InitProducerIdRequest, InitProducerIdResponse};

use super::authorize::{Operation, Resource};
use super::{Call, Reply};

/// "None", as a producer's id and as its epoch.
const NONE: i64 = -1;

/// How long a producer waits for the first block of ids, which takes the controller a few milliseconds. Its
/// connection waits with it.
const WAIT_MAX: Duration = Duration::from_secs(2);

pub(crate) fn serve(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    let request: InitProducerIdRequest = ottla_wire::request::decode_body(call.version, body)?;
    if let Err(error) = check(&call, &request) {
        return Ok(call.answer::<InitProducerIdRequest>(&refused(error)));
    }
    Ok(Reply::Later(Box::pin(async move {
        let next = tokio::time::timeout(WAIT_MAX, call.node.producer_ids.next()).await;
        let response = match next.ok().flatten() {
            Some(ProducerId(id)) => InitProducerIdResponse::default()
                .with_producer_id(messages::ProducerId(id))
                .with_producer_epoch(0),
            None => refused(ResponseError::CoordinatorLoadInProgress),
        };
        call.encode::<InitProducerIdRequest>(&response)
    })))
}

fn check(call: &Call, request: &InitProducerIdRequest) -> Result<(), ResponseError> {
    if let Some(transactional_id) = &request.transactional_id {
        if !call.allows(Operation::Write, Resource::TransactionalId, transactional_id) {
            return Err(ResponseError::TransactionalIdAuthorizationFailed);
        }
    } else if !may_be_idempotent(call) {
        return Err(ResponseError::ClusterAuthorizationFailed);
    }
    if (request.producer_id.0 == NONE) != (i64::from(request.producer_epoch) == NONE) {
        return Err(ResponseError::InvalidRequest);
    }
    match request.transactional_id.as_ref().map(|id| id.as_str()) {
        None => Ok(()),
        Some("") => Err(ResponseError::InvalidRequest),
        Some(_) => Err(ResponseError::UnsupportedVersion),
    }
}

fn may_be_idempotent(call: &Call) -> bool {
    let image = call.node.image();
    call.allows(Operation::IdempotentWrite, Resource::Cluster, "")
        || image.topic_ids.keys().any(|name| call.allows(Operation::Write, Resource::Topic, name.as_str()))
}

fn refused(error: ResponseError) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id(messages::ProducerId(NONE))
        .with_producer_epoch(-1)
}

#[cfg(test)]
mod tests {
    use ottla_core::controller::operation::ProducerIdBlock;
    use ottla_wire::protocol::StrBytes;

    use super::*;
    use crate::api::Scope;
    use crate::api::authorize::Authorizer;
    use crate::api::tests::rig::{ask, node};
    use crate::drive::producer_ids::ProducerIds;

    async fn init(ids: ProducerIds, request: InitProducerIdRequest) -> (i16, i64, i16) {
        let mut node = node(Authorizer::AllowAll);
        std::sync::Arc::get_mut(&mut node).expect("nobody else has it").producer_ids = ids;
        let answer = ask(&node, Scope::Broker, 4, &request).await;
        (answer.error_code, answer.producer_id.0, answer.producer_epoch)
    }

    fn with(producer_id: i64, epoch: i16) -> InitProducerIdRequest {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id(messages::ProducerId(producer_id))
            .with_producer_epoch(epoch)
    }

    #[tokio::test]
    async fn every_producer_gets_an_id_of_its_own_with_epoch_0() {
        let ids = ProducerIds::of(ProducerIdBlock { first: ProducerId(4_000), count: 1_000 });
        assert_eq!(init(ids.clone(), with(-1, -1)).await, (0, 4_000, 0));
        assert_eq!(init(ids, with(4_000, 3)).await, (0, 4_001, 0));
    }

    #[tokio::test]
    async fn transactions_and_contradictions_are_refused() {
        let named = |id| with(-1, -1).with_transactional_id(Some(StrBytes::from_static_str(id).into()));
        let table = [(named("a"), 35), (named(""), 42), (with(7, -1), 42), (with(-1, 0), 42)];
        for (request, code) in table {
            assert_eq!(init(ProducerIds::none(), request.clone()).await, (code, -1, -1), "{request:?}");
        }
    }

    #[tokio::test]
    async fn without_ids_clients_are_told_to_ask_again() {
        assert_eq!(init(ProducerIds::none(), with(-1, -1)).await, (14, -1, -1));
    }
}
