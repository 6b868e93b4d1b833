//! The small HTTP endpoint of a node: probes, what it runs, restart safety, metrics. Read-only.
//!
//! Not done: authentication; so nothing here changes anything or shows a secret, and a NetworkPolicy
//! keeps strangers out.

mod routes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::node::Node;
use crate::server::refusals::Refusals;

/// More connections than probes, an operator and a few scrapers need.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// A client that sends its request slower than this is closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, node: Arc<Node>, mut shutdown: watch::Receiver<bool>) {
    info!(address = ?listener.local_addr().ok(), "serving http");
    let mut connections = JoinSet::new();
    let mut refusals = Refusals::default();
    loop {
        // Cancel-safe: accept, join_next and wait_for all are.
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(connection(stream, Arc::clone(&node)));
                }
                Ok(_) => {
                    if let Some(closed) = refusals.another(Instant::now()) {
                        warn!(limit = CONNECTIONS_MAX, closed, "too many http connections: new ones are closed");
                    }
                }
                Err(error) => {
                    if let Some(times) = refusals.another(Instant::now()) {
                        warn!(%error, times, "no http connection can be accepted for now");
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = stopped(&mut shutdown) => return,
        }
    }
}

/// Returns when this node stops, or when nobody is left who could say so.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _nobody_left = shutdown.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, node: Arc<Node>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(respond(&node, &request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "http connection ended");
    }
}

async fn respond(node: &Node, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let answer = routes::answer(node, request.method(), request.uri().path(), request.uri().query()).await;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = answer.status;
    let kind = hyper::header::HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
