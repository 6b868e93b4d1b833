//! The operator's own HTTP endpoint: is it alive, is it ready, and a few numbers.

use std::{
    convert::Infallible,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tracing::debug;

/// Where the kubelet asks.
pub const PORT: u16 = 8080;
/// Probes and a scraper; more at once would be somebody's mistake, and wait.
const CONNECTIONS_MAX: usize = 32;
/// A connection that does not ask and hear its answer in this time is dropped.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// The numbers of the operator.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Whether the Lease was read: the API server is reached, and the rights are there.
    pub lease_seen: AtomicBool,
    /// How many times both kinds have to be listed: once for each scope that is watched, from when this operator leads.
    pub lists_wanted: AtomicUsize,
    /// How many times they were: the custom resource definitions are there.
    pub lists_done: AtomicUsize,
    /// Whether this operator holds the Lease.
    pub leading: AtomicBool,
    /// Passes over clusters that went through.
    pub clusters_ok: AtomicU64,
    /// Passes over clusters that did not.
    pub clusters_failed: AtomicU64,
    /// Passes over the topics of a cluster that went through.
    pub topics_ok: AtomicU64,
    /// Passes over the topics of a cluster that did not.
    pub topics_failed: AtomicU64,
}

impl Vitals {
    /// Counts a pass over a cluster.
    pub fn count_cluster(&self, ok: bool) {
        if ok { &self.clusters_ok } else { &self.clusters_failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a pass over the topics of a cluster.
    pub fn count_topics(&self, ok: bool) {
        if ok { &self.topics_ok } else { &self.topics_failed }.fetch_add(1, Ordering::Relaxed);
    }

    fn render(&self) -> String {
        let mut text = String::new();
        text.push_str(
            "# HELP ottla_operator_reconciliations_total Passes over objects, by kind and result.\n",
        );
        text.push_str("# TYPE ottla_operator_reconciliations_total counter\n");
        for (kind, result, counter) in [
            ("KafkaCluster", "ok", &self.clusters_ok),
            ("KafkaCluster", "error", &self.clusters_failed),
            ("KafkaTopic", "ok", &self.topics_ok),
            ("KafkaTopic", "error", &self.topics_failed),
        ] {
            let count = counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "ottla_operator_reconciliations_total{{kind=\"{kind}\",result=\"{result}\"}} {count}"
            );
        }
        text.push_str("# HELP ottla_operator_leading Whether this operator holds the Lease.\n");
        text.push_str("# TYPE ottla_operator_leading gauge\n");
        let _ = writeln!(text, "ottla_operator_leading {}", u8::from(self.leading.load(Ordering::Relaxed)));
        text
    }

    /// An operator that waits for the Lease is ready: it is there to take over.
    fn why_not_ready(&self) -> Option<&'static str> {
        if !self.lease_seen.load(Ordering::Relaxed) {
            return Some("the Lease could not be read yet");
        }
        let listed = self.lists_done.load(Ordering::Relaxed) >= self.lists_wanted.load(Ordering::Relaxed);
        (!listed).then_some("KafkaClusters and KafkaTopics could not be listed yet")
    }

    fn answer(&self, path: &str) -> (StatusCode, String) {
        match path {
            "/livez" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match self.why_not_ready() {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
            "/metrics" => (StatusCode::OK, self.render()),
            _ => (StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        }
    }
}

/// Listens on every address, of both families where the kernel has both.
///
/// # Errors
/// When the port is taken.
pub async fn bind() -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await,
    }
}

/// Serves until dropped.
///
/// # Errors
/// When nothing can be accepted any more.
pub async fn serve(listener: TcpListener, vitals: &'static Vitals) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        // Both arms are cancel-safe: a connection is accepted whole or stays in the backlog.
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| async move {
                let (status, text) = vitals.answer(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(text)));
                *response.status_mut() = status;
                let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, plain);
                Ok::<_, Infallible>(response)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_TIME_MAX, connection).await {
                debug!(%error, "a probe's connection broke");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_ready_when_it_reached_what_it_works_with() {
        let vitals = Vitals::default();
        let ready = || vitals.answer("/readyz");
        assert_eq!(
            ready(),
            (StatusCode::SERVICE_UNAVAILABLE, "the Lease could not be read yet\n".to_owned())
        );
        vitals.lease_seen.store(true, Ordering::Relaxed);
        assert_eq!(ready().0, StatusCode::OK, "it waits for the Lease");
        vitals.lists_wanted.store(2, Ordering::Relaxed);
        vitals.lists_done.store(1, Ordering::Relaxed);
        assert!(ready().1.contains("could not be listed"));
        vitals.lists_done.store(2, Ordering::Relaxed);
        assert_eq!(ready().0, StatusCode::OK);
    }
}
