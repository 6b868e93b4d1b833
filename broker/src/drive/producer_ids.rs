//! Gives out producer ids, and asks the controller for more of them.
//!
//! One task owns the blocks. It asks for the first one when the first producer comes, so that brokers which have no
//! idempotent producers take no ids.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use ottla_core::config::BrokerConfig;
use ottla_core::controller::operation::{AllocateProducerIds, ProducerIdBlock};
use ottla_core::ids::{BrokerEpoch, NodeId, ProducerId};
use ottla_core::producer_ids::ProducerIdBlocks;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;

use crate::node::BrokerStatus;
use crate::peer::ControllerClient;

/// So many producers may wait for a block. Each is a request that is being answered; more wait for their turn.
const WAITING_MAX: usize = 1_000;

/// How long one attempt to get a block lasts. The next one has the broker's newest epoch.
const ATTEMPT: Duration = Duration::from_secs(1);

/// The pause after an attempt that brought nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// The way to ask for ids.
#[derive(Debug, Clone)]
pub(crate) struct ProducerIds {
    asks: mpsc::Sender<oneshot::Sender<ProducerId>>,
}

impl ProducerIds {
    /// Begins to give out ids, on a broker; asks for none yet.
    pub(crate) fn start(
        config: &BrokerConfig,
        controllers: &ControllerClient,
        status: &watch::Receiver<BrokerStatus>,
    ) -> Self {
        if !config.roles.is_broker() {
            return Self::none();
        }
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let (controllers, status) = (controllers.clone(), status.clone());
        let source = Source { node_id: config.node_id, controllers, status };
        // It ends with the last way to ask it.
        tokio::spawn(
            Giver { asked, source, blocks: ProducerIdBlocks::default(), waiting: VecDeque::new() }.run(),
        );
        Self { asks }
    }

    /// None to give out, for a node that is no broker.
    pub(crate) fn none() -> Self {
        let (asks, _) = mpsc::channel(1);
        Self { asks }
    }

    /// Gives out this block and no other.
    #[cfg(test)]
    pub(crate) fn of(block: ProducerIdBlock) -> Self {
        let (asks, mut asked) = mpsc::channel::<oneshot::Sender<ProducerId>>(1);
        tokio::spawn(async move {
            for id in block.ids() {
                let Some(asker) = asked.recv().await else { return };
                let _gave_up = asker.send(ProducerId(id));
            }
        });
        Self { asks }
    }

    /// An id that nobody else has, once there is one.
    pub(crate) async fn next(&self) -> Option<ProducerId> {
        let (ask, answer) = oneshot::channel();
        self.asks.send(ask).await.ok()?;
        answer.await.ok()
    }
}

/// Whom the blocks come from.
#[derive(Clone)]
struct Source {
    node_id: NodeId,
    controllers: ControllerClient,
    status: watch::Receiver<BrokerStatus>,
}

impl Source {
    async fn block(self) -> Option<ProducerIdBlock> {
        let block = self.try_once().await;
        if block.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
        block
    }

    async fn try_once(&self) -> Option<ProducerIdBlock> {
        let epoch = BrokerEpoch(self.status.borrow().broker_epoch?);
        let request = AllocateProducerIds { node_id: self.node_id, epoch };
        match self.controllers.allocate_producer_ids(request, ATTEMPT).await {
            Ok(block) => Some(block),
            Err(error) => {
                debug!(%error, "no producer ids");
                None
            }
        }
    }
}

type Fetch = Pin<Box<dyn Future<Output = Option<ProducerIdBlock>> + Send>>;

struct Giver {
    asked: mpsc::Receiver<oneshot::Sender<ProducerId>>,
    source: Source,
    blocks: ProducerIdBlocks,
    waiting: VecDeque<oneshot::Sender<ProducerId>>,
}

impl Giver {
    async fn run(mut self) {
        let mut fetch: Option<Fetch> = None;
        let mut was_asked = false;
        loop {
            self.give();
            if was_asked && fetch.is_none() && self.blocks.wants_block() {
                fetch = Some(Box::pin(self.source.clone().block()));
            }
            let fetched = async {
                match &mut fetch {
                    Some(fetch) => fetch.await,
                    None => pending().await,
                }
            };
            // Cancel-safe: recv is, and the fetch outlives the arm that polls it.
            tokio::select! {
                ask = self.asked.recv(), if self.waiting.len() < WAITING_MAX => {
                    let Some(ask) = ask else { return };
                    was_asked = true;
                    self.waiting.push_back(ask);
                }
                block = fetched => {
                    fetch = None;
                    if let Some(block) = block {
                        debug!(first = block.first.0, count = block.count, "a block of producer ids");
                        self.blocks.add(block);
                    }
                    self.waiting.retain(|ask| !ask.is_closed());
                }
            }
        }
    }

    fn give(&mut self) {
        while let Some(ask) = self.waiting.pop_front() {
            if ask.is_closed() {
                continue;
            }
            let Some(id) = self.blocks.take() else {
                self.waiting.push_front(ask);
                return;
            };
            // One that gave up meanwhile takes its id with it.
            let _gave_up = ask.send(id);
        }
    }
}
