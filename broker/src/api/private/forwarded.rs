//! Forward, key 10003, version 0: an admin request of a client, from the broker that took it.
//!
//! Behaviour: the request is decided as if the client had sent it here, with the client's principal, id,
//! listener and host. Error code of the answer: NOT_CONTROLLER if another controller is active, so that the
//! broker asks that one; UNSUPPORTED_VERSION for a key or version this release does not take this way;
//! INVALID_REQUEST for a body that cannot be read. With code 0 the body is what the client gets.
//! Authorization: ClusterAction for the sender of the Forward, who vouches for the client; whatever the
//! client's request needs for the client.
//! Not done: nothing.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use ottla_wire::ResponseError;
use ottla_wire::error::DecodeError;
use ottla_wire::private::{ForwardRequest, ForwardResponse};
use ottla_wire::protocol::StrBytes;
use tracing::warn;

use super::serve;
use crate::api::forward::{nothing, serve_forwarded};
use crate::api::{Call, Principal, Reply, RequestContext, Scope, find};
use crate::server::listener::ListenerContext;

pub(crate) fn forward(call: Call, body: Bytes) -> Result<Reply, DecodeError> {
    serve(call, body, nothing, |call, request: ForwardRequest| async move { answer(call, request).await })
}

async fn answer(sender: Call, request: ForwardRequest) -> ForwardResponse {
    let (key, version) = (request.api_key, request.api_version);
    let takes = find(key).is_some_and(|api| api.serves(Scope::Controller) && api.versions.contains(&version));
    let body = request.body.clone();
    let call = as_sent_by_the_client(sender, request);
    match serve_forwarded(call, body).filter(|_| takes) {
        None => nothing(ResponseError::UnsupportedVersion.code()),
        Some(Ok(response)) => response.await,
        Some(Err(error)) => {
            // The broker has read the same bytes, so the two disagree about the protocol.
            warn!(api_key = key, api_version = version, %error, "forwarded request cannot be read");
            nothing(ResponseError::InvalidRequest.code())
        }
    }
}

/// The call as it would be if the client were connected here.
fn as_sent_by_the_client(sender: Call, request: ForwardRequest) -> Call {
    let host: IpAddr = request.client_host.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    Call {
        context: RequestContext {
            principal: Principal { kind: request.principal_type, name: request.principal_name },
            listener: Arc::new(ListenerContext { name: request.listener, scope: Scope::Broker }),
            client_id: StrBytes::from_string(request.client_id),
            peer: SocketAddr::new(host, 0),
        },
        key: request.api_key,
        version: request.api_version,
        ..sender
    }
}
