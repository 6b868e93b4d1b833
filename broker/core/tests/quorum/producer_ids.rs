//! Producer ids: no two brokers ever get the same one, whoever is the active controller.

use ottla_core::controller::OperationError;
use ottla_core::controller::operation::{AllocateProducerIds, Operation, ProducerIdBlock, Reply};
use ottla_core::ids::{BrokerEpoch, NodeId, ProducerId};

use ottla_sim::disk::CrashKind;

use crate::rig::Cluster;

fn allocate(
    cluster: &mut Cluster,
    broker: NodeId,
    epoch: BrokerEpoch,
) -> Result<ProducerIdBlock, OperationError> {
    let active = cluster.wait_active();
    let request = AllocateProducerIds { node_id: broker, epoch };
    let reply = cluster.call(active, Operation::AllocateProducerIds(request))?;
    let Reply::AllocateProducerIds(block) = reply else { panic!("answered by {reply:?}") };
    Ok(block)
}

#[test]
fn blocks_follow_each_other_over_controllers_and_a_restart_of_all() {
    let mut cluster = Cluster::started(3);
    let active = cluster.wait_active();
    let epoch = cluster.broker_up(active, NodeId(11));
    let first = |cluster: &mut Cluster, epoch| allocate(cluster, NodeId(11), epoch).unwrap().first;
    assert_eq!(first(&mut cluster, epoch), ProducerId(0));
    assert_eq!(first(&mut cluster, epoch), ProducerId(1_000));
    let active = cluster.wait_active();
    cluster.stop(active, CrashKind::PowerAllLost);
    assert_eq!(first(&mut cluster, epoch), ProducerId(2_000));
    for id in cluster.ids().into_iter().filter(|id| *id != active) {
        cluster.stop(id, CrashKind::PowerAllLost);
    }
    for id in cluster.ids() {
        cluster.start(id);
    }
    assert_eq!(first(&mut cluster, epoch), ProducerId(3_000));
}

#[test]
fn a_registration_that_is_over_gets_none() {
    let mut cluster = Cluster::started(1);
    let active = cluster.wait_active();
    let epoch = cluster.broker_up(active, NodeId(11));
    for (broker, epoch) in [(NodeId(11), BrokerEpoch(epoch.0 - 1)), (NodeId(12), epoch)] {
        assert_eq!(allocate(&mut cluster, broker, epoch).map_err(|error| error.code()), Err(77));
    }
    assert_eq!(allocate(&mut cluster, NodeId(11), epoch).unwrap().first, ProducerId(0));
}
