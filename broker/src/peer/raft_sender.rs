//! Sends raft messages: one task for each address, each with a short queue. A message that does not fit is
//! dropped, as raft allows: what a peer missed is sent again when it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_client::{Connection, HostPort, Options};
use ottla_core::config::Address;
use ottla_core::ids::ClusterId;
use ottla_core::quorum::Peer;
use ottla_core::quorum::machine::Outgoing;
use ottla_core::quorum::message::Envelope;
use ottla_wire::private::RaftMessageRequest;
use tokio::sync::mpsc;
use tracing::{debug, info};

/// Messages that wait for one peer. Raft's own window is of this order.
const QUEUE_MAX: usize = 256;

/// The pause after a peer could not be reached; an election waits for nobody.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// A peer that has been silent so long is connected to anew.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The senders to all controllers this one has written to.
pub(crate) struct RaftSenders {
    cluster_id: ClusterId,
    node_id: u32,
    senders: BTreeMap<Address, mpsc::Sender<RaftMessageRequest>>,
}

impl RaftSenders {
    pub(crate) fn new(me: &Peer, cluster_id: ClusterId) -> Self {
        let node_id = u32::try_from(me.node_id.0).expect("node ids are not negative");
        Self { cluster_id, node_id, senders: BTreeMap::new() }
    }

    /// Sends, soon and perhaps.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        let envelope = Envelope::decode(&outgoing.bytes).expect("it was encoded here");
        let message = RaftMessageRequest {
            cluster_id: self.cluster_id.to_string(),
            from_node_id: self.node_id,
            from_directory_id: envelope.from.directory_id.0,
            to_directory_id: envelope.to.0,
            payload: outgoing.bytes,
        };
        let sender = self.senders.entry(outgoing.address.clone()).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(run(HostPort::new(outgoing.address.host, outgoing.address.port), queue));
            sender
        });
        if sender.try_send(message).is_err() {
            debug!("a raft message was dropped: its peer does not keep up");
        }
    }
}

/// Ends when the senders are dropped.
async fn run(address: HostPort, mut queue: mpsc::Receiver<RaftMessageRequest>) {
    let options = Options {
        client_id: "ottla-raft".to_owned(),
        connect_timeout: REQUEST_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        ..Options::default()
    };
    let mut connection: Option<Connection> = None;
    let mut reached = true;
    while let Some(message) = queue.recv().await {
        let sent = match &connection {
            Some(connection) => connection.request(message).await.map(|_| ()),
            None => match Connection::connect(&address, &options).await {
                Ok(made) => {
                    let sent = made.request(message).await.map(|_| ());
                    connection = Some(made);
                    sent
                }
                Err(error) => Err(error),
            },
        };
        match sent {
            Ok(()) => {
                if !std::mem::replace(&mut reached, true) {
                    info!(%address, "controller is reached again");
                }
            }
            Err(error) => {
                if std::mem::replace(&mut reached, false) {
                    info!(%address, %error, "controller cannot be reached");
                }
                connection = None;
                // What waited is old by now; raft sends anew what still matters.
                while queue.try_recv().is_ok() {}
                tokio::time::sleep(RETRY_BACKOFF).await;
            }
        }
    }
}
