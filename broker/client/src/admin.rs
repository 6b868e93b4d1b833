//! A connection to whichever broker of a cluster answers.

use std::sync::{Arc, Mutex, PoisonError};

use ottla_wire::protocol::Request;

use crate::{ClientError, Connection, HostPort, Options};

/// Sends requests that any broker can serve.
///
/// One connection is kept; when it has ended, the next request makes a new one,
/// starting with the first bootstrap address. A request that was sent is never
/// repeated here: only the caller knows whether doing it twice is harmless.
#[derive(Debug)]
pub struct Admin {
    bootstrap: Vec<HostPort>,
    options: Options,
    current: Mutex<Option<Arc<Connection>>>,
}

impl Admin {
    /// Connects to the first bootstrap address that answers.
    ///
    /// # Errors
    /// If none does, or none was given.
    pub async fn connect(bootstrap: &[HostPort], options: Options) -> Result<Self, ClientError> {
        let admin = Self { bootstrap: bootstrap.to_vec(), options, current: Mutex::new(None) };
        admin.connection().await?;
        Ok(admin)
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// If no broker can be reached, or as [`Connection::request`].
    pub async fn request<R: Request>(&self, request: R) -> Result<R::Response, ClientError> {
        self.connection().await?.request(request).await
    }

    /// The live connection, made anew if the last one has ended.
    ///
    /// # Errors
    /// If no bootstrap address answers.
    pub async fn connection(&self) -> Result<Arc<Connection>, ClientError> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        // Callers that find it ended at the same time may each connect; the last one
        // is kept and the others end with their requests.
        let fresh = Arc::new(self.dial().await?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    fn live(&self) -> Option<Arc<Connection>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|connection| connection.closed().is_none()).map(Arc::clone)
    }

    async fn dial(&self) -> Result<Connection, ClientError> {
        let mut last = ClientError::NoAddress;
        for address in &self.bootstrap {
            match Connection::connect(address, &self.options).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::debug!(%address, %error, "bootstrap address does not answer");
                    last = error;
                }
            }
        }
        match self.bootstrap.len() {
            0 | 1 => Err(last),
            count => Err(ClientError::NoneAnswers { count, last: Box::new(last) }),
        }
    }
}
