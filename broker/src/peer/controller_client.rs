//! Requests to the active controller.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_client::{ClientError, Connection, HostPort, Options};
use ottla_core::controller::operation::{AllocateProducerIds, ProducerIdBlock};
use ottla_core::ids::ProducerId;
use ottla_wire::ResponseError;
use ottla_wire::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, BrokerId};
use ottla_wire::private::{ForwardRequest, RestartSafetyRequest, RestartSafetyResponse};
use ottla_wire::protocol::Request;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::debug;

/// The pause before a request is tried again after a controller refused it or was not there.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);

/// How long a question about restart safety may take; probes and operators ask again.
const RESTART_SAFETY_TIMEOUT: Duration = Duration::from_secs(3);

/// Whom this node believes to be the active controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActiveController {
    /// Its address on the controller listener.
    pub(crate) address: HostPort,
}

/// No controller answered in time.
#[derive(Debug, thiserror::Error)]
#[error("no active controller answered within {} ms{}", .within.as_millis(), last_error(.last))]
pub(crate) struct NoController {
    within: Duration,
    last: Option<String>,
}

fn last_error(error: &Option<String>) -> String {
    error.as_ref().map(|error| format!(": {error}")).unwrap_or_default()
}

/// One connection to the active controller, made when it is first needed and again when it moves.
#[derive(Debug, Clone)]
pub(crate) struct ControllerClient {
    active: watch::Receiver<Option<ActiveController>>,
    connection: Arc<Mutex<Option<Arc<Connection>>>>,
    options: Options,
}

impl ControllerClient {
    /// Follows what the broker's lifecycle finds out about who is active.
    pub(crate) fn new(active: watch::Receiver<Option<ActiveController>>, options: Options) -> Self {
        Self { active, connection: Arc::new(Mutex::new(None)), options }
    }

    /// Forwards an admin request and returns the body of its response. Tries again while controllers
    /// change, until `within` is over.
    pub(crate) async fn forward(
        &self,
        request: ForwardRequest,
        within: Duration,
    ) -> Result<Bytes, NoController> {
        let refused = |response: &ottla_wire::private::ForwardResponse| response.error_code;
        self.request(request, within, refused).await.map(|response| response.body)
    }

    /// Asks whether all these brokers may be restarted at once; no reason against it is a yes.
    pub(crate) async fn restart_safety(
        &self,
        brokers: &[i32],
    ) -> Result<Vec<ottla_wire::private::RestartReason>, NoController> {
        let request = RestartSafetyRequest { brokers: brokers.to_vec() };
        let refused = |response: &RestartSafetyResponse| response.error_code;
        self.request(request, RESTART_SAFETY_TIMEOUT, refused).await.map(|response| response.reasons)
    }

    /// Asks for a block of producer ids. One that has no ids in it is no block.
    pub(crate) async fn allocate_producer_ids(
        &self,
        request: AllocateProducerIds,
        within: Duration,
    ) -> Result<ProducerIdBlock, NoController> {
        let request = AllocateProducerIdsRequest::default()
            .with_broker_id(BrokerId(request.node_id.0))
            .with_broker_epoch(request.epoch.0);
        let refused = |response: &AllocateProducerIdsResponse| response.error_code;
        let response = self.request(request, within, refused).await?;
        Ok(ProducerIdBlock {
            first: ProducerId(response.producer_id_start.0),
            count: u32::try_from(response.producer_id_len).unwrap_or_default(),
        })
    }

    async fn request<R: Request + Clone>(
        &self,
        request: R,
        within: Duration,
        error_code: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, NoController> {
        let deadline = Instant::now() + within;
        let mut last = None;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.try_once(request.clone())).await;
            match tried {
                Ok(Ok(response)) if error_code(&response) == 0 => return Ok(response),
                Ok(Ok(response)) => {
                    let error = ResponseError::try_from_code(error_code(&response));
                    last = Some(error.map_or_else(|| "an unknown error".to_owned(), |e| format!("{e:?}")));
                    self.connection.lock().await.take();
                }
                Ok(Err(error)) => {
                    debug!(%error, "the active controller did not answer");
                    last = Some(error);
                    self.connection.lock().await.take();
                }
                Err(_) => return Err(NoController { within, last }),
            }
            if Instant::now() + RETRY_BACKOFF >= deadline {
                return Err(NoController { within, last });
            }
            tokio::time::sleep(RETRY_BACKOFF).await;
        }
    }

    async fn try_once<R: Request>(&self, request: R) -> Result<R::Response, String> {
        let connection = self.connection().await?;
        connection.request(request).await.map_err(|error: ClientError| error.to_string())
    }

    async fn connection(&self) -> Result<Arc<Connection>, String> {
        let Some(active) = self.active.borrow().clone() else {
            return Err("no controller is known to be active".to_owned());
        };
        let mut held = self.connection.lock().await;
        if let Some(connection) =
            held.as_ref().filter(|c| c.address() == &active.address && c.closed().is_none())
        {
            return Ok(Arc::clone(connection));
        }
        let made = Connection::connect(&active.address, &self.options).await.map_err(|e| e.to_string())?;
        let made = Arc::new(made);
        *held = Some(Arc::clone(&made));
        Ok(made)
    }
}
