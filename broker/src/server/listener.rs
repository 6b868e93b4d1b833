//! Accepts connections on one listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::connection;
use super::refusals::Refusals;
use super::stream::Stream;
use crate::api::Scope;
use crate::node::Node;

/// After an error of `accept` (no descriptors left, for example) the next try waits so long.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What a connection knows of the listener it came in on.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    /// The listener's name: endpoints in replies are those of the same name (rule 11).
    pub(crate) name: String,
    /// Which column of the API table is served.
    pub(crate) scope: Scope,
}

/// How many connections are open on some listeners, and how many may be: as many as there are descriptors for.
#[derive(Debug)]
pub(crate) struct OpenConnections {
    open: Arc<AtomicUsize>,
    max: usize,
}

/// There are so many already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) limit: usize,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<AtomicUsize>);

impl OpenConnections {
    /// None yet, and never more than this.
    pub(crate) fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    /// One more, unless there are as many as there may be, or as the configuration allows.
    pub(crate) fn open(&self, configured_max: usize) -> Result<OpenConnection, TooMany> {
        let limit = self.max.min(configured_max);
        let add = |open: usize| (open < limit).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| TooMany { limit })?;
        Ok(OpenConnection(Arc::clone(&self.open)))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: TcpListener,
    context: Arc<ListenerContext>,
}

/// Binds `host:port`; an empty host is every address of both families.
pub(crate) async fn bind(host: &str, port: u16, context: ListenerContext) -> io::Result<Bound> {
    let listener = if host.is_empty() {
        match TcpListener::bind(("::", port)).await {
            Ok(listener) => listener,
            // A machine without IPv6.
            Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
        }
    } else {
        TcpListener::bind((host, port)).await?
    };
    Ok(Bound { listener, context: Arc::new(context) })
}

impl Bound {
    /// The address it listens on.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Whether `max.connections` is about this listener, and not about those that brokers and controllers meet
    /// on: clients that use up the number must not cut a broker off. A broker listener that is the only one is
    /// for clients too.
    fn is_counted(&self, node: &Node) -> bool {
        let config = &node.config;
        let brokers = config.listeners.iter().filter(|listener| listener.name != config.controller_listener);
        let is_inter_broker =
            config.inter_broker_listener.as_ref().is_some_and(|name| name.as_str() == self.context.name);
        self.context.scope == Scope::Broker && !(is_inter_broker && brokers.count() > 1)
    }

    /// Accepts until `shutdown`; returns when every connection has ended.
    pub(crate) async fn run(self, node: Arc<Node>, mut shutdown: watch::Receiver<bool>) {
        let name = self.context.name.clone();
        info!(listener = %name, address = ?self.listener.local_addr().ok(), "listening");
        let is_counted = self.is_counted(&node);
        let mut connections = JoinSet::new();
        let mut refusals = Refusals::default();
        loop {
            // Cancel-safe: accept, join_next and a watch's wait_for all are.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let counted = if is_counted {
                        node.connections.open(node.connections_max())
                    } else {
                        node.peer_connections.open(usize::MAX)
                    };
                    let counted = match counted {
                        Ok(counted) => counted,
                        Err(TooMany { limit }) => {
                            if let Some(closed) = refusals.another(Instant::now()) {
                                warn!(listener = %name, limit, closed, "too many connections: new ones are closed");
                            }
                            continue;
                        }
                    };
                    if let Err(error) = stream.set_nodelay(true) {
                        warn!(%peer, %error, "set_nodelay failed");
                    }
                    let serve = connection::serve(
                        Stream::Plain(stream),
                        Arc::clone(&self.context),
                        Arc::clone(&node),
                        peer,
                        shutdown.clone(),
                    );
                    connections.spawn(async move {
                        serve.await;
                        drop(counted);
                    });
                }
                Err(error) => {
                    if let Some(times) = refusals.another(Instant::now()) {
                        warn!(listener = %name, %error, times, "no connection can be accepted for now");
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}
