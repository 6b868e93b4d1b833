//! Sends raft messages: one task for each address, each with a short queue and one connection, on which they
//! follow each other without waiting for answers. A message that does not fit is dropped, as raft allows: what
//! a peer missed is sent again when it answers. None overtakes another.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ottla_client::{Answer, ClientError, Connection, HostPort, Options};
use ottla_core::config::Address;
use ottla_core::ids::ClusterId;
use ottla_core::quorum::Peer;
use ottla_core::quorum::machine::Outgoing;
use ottla_wire::private::RaftMessageRequest;
use tokio::sync::mpsc;
use tracing::{debug, info};
use uuid::Uuid;

/// Messages that wait for one peer. Raft's own window is of this order.
const QUEUE_MAX: usize = 256;

/// Messages that a peer has not yet said it took. Entries of a round trip or two; more would only wait in its
/// queue instead of here, where they can be dropped.
const IN_FLIGHT_MAX: usize = 32;

/// The pause after a peer could not be reached; an election waits for nobody.
const RETRY_BACKOFF: Duration = Duration::from_millis(100);

/// A peer that has been silent so long is connected to anew.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The senders to all controllers this one has written to.
pub(crate) struct RaftSenders {
    cluster_id: ClusterId,
    node_id: u32,
    directory_id: Uuid,
    senders: BTreeMap<Address, mpsc::Sender<RaftMessageRequest>>,
}

impl RaftSenders {
    pub(crate) fn new(me: &Peer, cluster_id: ClusterId) -> Self {
        let node_id = u32::try_from(me.node_id.0).expect("node ids are not negative");
        Self { cluster_id, node_id, directory_id: me.directory_id.0, senders: BTreeMap::new() }
    }

    /// Sends, soon and perhaps.
    pub(crate) fn send(&mut self, outgoing: Outgoing) {
        let message = RaftMessageRequest {
            cluster_id: self.cluster_id.to_string(),
            from_node_id: self.node_id,
            from_directory_id: self.directory_id,
            to_directory_id: outgoing.to.0,
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
    let mut reached = true;
    while let Some(message) = queue.recv().await {
        let Err(error) = deliver(&address, message, &mut queue, &mut reached).await else { return };
        if std::mem::replace(&mut reached, false) {
            info!(%address, %error, "controller cannot be reached");
        }
        // What waited is old by now; raft sends anew what still matters.
        while queue.try_recv().is_ok() {}
        tokio::time::sleep(RETRY_BACKOFF).await;
    }
}

/// Sends over one connection until that ends, which is an error, or until there will be nothing more to send.
async fn deliver(
    address: &HostPort,
    first: RaftMessageRequest,
    queue: &mut mpsc::Receiver<RaftMessageRequest>,
    reached: &mut bool,
) -> Result<(), ClientError> {
    let options = Options {
        client_id: "ottla-raft".to_owned(),
        connect_timeout: REQUEST_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        ..Options::default()
    };
    let connection = Connection::connect(address, &options).await?;
    let mut in_flight = VecDeque::from([connection.submit(first).await?]);
    loop {
        // Cancel-safe: recv is, and an answer that was not there yet is waited for again.
        tokio::select! {
            message = queue.recv(), if in_flight.len() < IN_FLIGHT_MAX => match message {
                Some(message) => in_flight.push_back(connection.submit(message).await?),
                None => return Ok(()),
            },
            answered = oldest(&mut in_flight), if !in_flight.is_empty() => {
                answered?;
                in_flight.pop_front();
                if !std::mem::replace(reached, true) {
                    info!(%address, "controller is reached again");
                }
            }
        }
    }
}

async fn oldest(in_flight: &mut VecDeque<Answer<RaftMessageRequest>>) -> Result<(), ClientError> {
    match in_flight.front_mut() {
        Some(answer) => answer.wait().await.map(|_| ()),
        None => Ok(()),
    }
}
