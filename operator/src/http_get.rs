//! One small GET against a node's HTTP endpoint: bounded in time and size.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// A node on the same network answers in milliseconds; one that takes longer is treated as silent.
const TIME_MAX: Duration = Duration::from_secs(2);
/// The answers are small JSON objects.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens.
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    /// The other side does not speak HTTP as it should.
    #[error("cannot exchange a request")]
    Exchange(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("cannot write the request")]
    Request(#[from] hyper::http::Error),
    /// The body broke off or is too long.
    #[error("cannot read the body: {0}")]
    Body(String),
    /// It took too long.
    #[error("no answer within {TIME_MAX:?}")]
    Time,
}

/// Fetches a path of a node.
///
/// # Errors
/// When the node does not answer in time and in full. A status other than 200 is an answer.
pub async fn get(host: IpAddr, port: u16, path: &str) -> Result<(StatusCode, Bytes), HttpError> {
    timeout(TIME_MAX, exchange(host, port, path)).await.map_err(|_| HttpError::Time)?
}

async fn exchange(host: IpAddr, port: u16, path: &str) -> Result<(StatusCode, Bytes), HttpError> {
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, "node")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| HttpError::Body(error.to_string()))?.to_bytes();
        Ok((status, body))
    };
    // The connection is driven beside the exchange and dropped with it: no task outlives the call.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        result = &mut answer => result,
        driven = connection => {
            driven?;
            answer.await
        }
    }
}
