//! Who does the harm: each fault from its beginning to its end, at times and to victims that the seed decides.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::catalogue::Fault;
use super::chance::Chance;
use super::cluster::{Cluster, NODES};
use super::load::PARTITIONS;
use super::network::{self, Cut, From};
use crate::attached::Attached;
use crate::command::{Answer, wait_until};
use crate::strace;

/// How long one is dead, paused or cut off: less than a session of 9 s, or so long that others lead.
const AWAY_SHORT_MS: std::ops::Range<u64> = 500..9_000;
const AWAY_LONG_MS: std::ops::Range<u64> = 9_500..14_000;
/// How long a disk or a link is bad.
const BAD_MS: std::ops::Range<u64> = 3_000..9_000;
/// How long all replicas may take to be in sync again between two steps of a fault.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// Of a slow link: much less than the load, which is some 200 KB/s to each follower.
const SLOW_KILOBITS: u64 = 256;
/// How long a packet to or from a node that is far away takes.
const FAR_MS: std::ops::Range<u64> = 20..400;
/// How far off a wall clock is set, at most: by seconds as often as by hours.
const CLOCK_OFF_SECONDS_MAX: [u64; 3] = [60, 3_600, 86_400];
/// How long it may take until a record is stamped by a clock that was set, and how far from it it may be.
const STAMP_LIMIT: Duration = Duration::from_secs(10);
const STAMP_OFF_MS: u64 = 15_000;
const INTERVAL: Duration = Duration::from_millis(100);

/// Does the harm and undoes it. Says what was done.
pub fn strike(fault: Fault, cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    let partition = u32::try_from(chance.below(u64::from(PARTITIONS)))?;
    let leader = cluster.leader(partition)?;
    match fault {
        Fault::Steady => {
            thread::sleep(Duration::from_secs(5));
            Ok("nothing".to_owned())
        }
        Fault::KillLeader => kill(cluster, chance, leader),
        Fault::KillController => {
            let controller = cluster.controller()?;
            kill(cluster, chance, controller)
        }
        Fault::KillAll => kill_all(cluster, chance),
        Fault::PauseLeader => pause(cluster, chance, leader),
        Fault::PauseFollower => {
            let follower = chance.one_of(&Cluster::others(leader)).context("there are others")?;
            pause(cluster, chance, follower)
        }
        Fault::PauseController => {
            let controller = cluster.controller()?;
            pause(cluster, chance, controller)
        }
        Fault::PartitionLeader => {
            let from = if chance.coin() { From::Brokers } else { From::All };
            cut(leader, Cut::Both, from, chance)
        }
        Fault::PartitionAsymmetric => {
            let how = if chance.coin() { Cut::Deaf } else { Cut::Mute };
            cut(leader, how, From::Brokers, chance)
        }
        Fault::SlowLink => slow_link(chance, leader),
        Fault::FarLink => move_away(cluster, chance, leader),
        Fault::RollingRestart => roll(cluster, chance),
        Fault::DiskFull => fill(cluster, chance, leader),
        Fault::SyncError => fail_syncs(cluster, chance, leader),
        Fault::SlowDisk => slow_syncs(cluster, chance, leader),
        Fault::PowerLoss => lose_power(cluster, chance),
        Fault::Reassign => reassign(cluster, chance),
        Fault::Voters => change_voters(cluster, chance),
        Fault::ClockJump => jump(cluster, chance, partition, leader),
    }
}

fn away(chance: &mut Chance) -> Duration {
    if chance.below(3) == 0 { chance.millis(AWAY_SHORT_MS) } else { chance.millis(AWAY_LONG_MS) }
}

fn kill(cluster: &mut Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    let time = away(chance);
    cluster.kill(victim)?;
    thread::sleep(time);
    cluster.spawn(victim)?;
    Ok(format!("broker {victim} is dead for {time:.1?}"))
}

fn kill_all(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    cluster.kill_all()?;
    let order = spawn_all(cluster, chance)?;
    Ok(format!("all are killed and start again as {order}"))
}

/// All nodes, another one first each time.
fn some_order(chance: &mut Chance) -> Result<Vec<u32>> {
    let first = chance.one_of(&NODES).context("there are nodes")?;
    Ok([first].into_iter().chain(Cluster::others(first)).collect())
}

/// Starts all nodes, in some order and not at once.
fn spawn_all(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    let order = some_order(chance)?;
    for id in &order {
        thread::sleep(chance.millis(0..1_500));
        cluster.spawn(*id)?;
    }
    Ok(format!("{order:?}"))
}

fn pause(cluster: &mut Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    let time = away(chance);
    cluster.signal(victim, "STOP")?;
    thread::sleep(time);
    cluster.signal(victim, "CONT")?;
    Ok(format!("broker {victim} is paused for {time:.1?}"))
}

fn cut(victim: u32, how: Cut, from: From, chance: &mut Chance) -> Result<String> {
    let time = away(chance);
    network::cut(victim, how, from, &Cluster::others(victim))?;
    thread::sleep(time);
    network::mend(victim)?;
    Ok(format!("broker {victim} is cut off ({how:?}, from {from:?}) for {time:.1?}"))
}

fn slow_link(chance: &mut Chance, victim: u32) -> Result<String> {
    let time = chance.millis(BAD_MS);
    network::slow(victim, SLOW_KILOBITS)?;
    thread::sleep(time);
    network::hurry(victim)?;
    Ok(format!("broker {victim} sends {SLOW_KILOBITS} kbit/s for {time:.1?}"))
}

fn move_away(cluster: &Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    let (time, delay) = (chance.millis(BAD_MS), chance.millis(FAR_MS));
    let wire = network::move_away(victim, delay, &cluster.path("wire.log"))?;
    thread::sleep(time);
    wire.come_back()?;
    Ok(format!("packets to and from broker {victim} take {delay:.1?}, more or less, for {time:.1?}"))
}

fn roll(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    let mut told = Vec::new();
    for id in NODES {
        let started = Instant::now();
        cluster.stop(id)?;
        told.push(format!("broker {id} stops in {:.1?}", started.elapsed()));
        thread::sleep(chance.millis(0..500));
        cluster.spawn(id)?;
        cluster.wait_until_whole(STEP_LIMIT)?;
    }
    Ok(told.join(", "))
}

fn fill(cluster: &mut Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    // Ours stops taking records while a twentieth is free; Kafka does when nothing is.
    const NEARLY_FULL_BYTES: u64 = 4 << 20;
    let leave = if chance.coin() { NEARLY_FULL_BYTES } else { 0 };
    let time = chance.millis(BAD_MS);
    cluster.disk(victim)?.fill(leave)?;
    thread::sleep(time);
    cluster.disk(victim)?.make_room()?;
    let mut told = format!("the disk of broker {victim} has {leave} bytes free for {time:.1?}");
    if leave == 0 {
        told.push_str(&revive(cluster, victim)?);
    }
    Ok(told)
}

/// Starts a node whose disk has failed and is well again.
fn revive(cluster: &mut Cluster, victim: u32) -> Result<String> {
    let ended = cluster.end(victim)?;
    cluster.spawn(victim)?;
    Ok(format!(", it {} and is started again", if ended { "has ended" } else { "runs on, is killed" }))
}

fn fail_syncs(cluster: &mut Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    let time = chance.millis(BAD_MS);
    let tracer = trace(cluster, victim, "error=EIO")?;
    thread::sleep(time);
    drop(tracer);
    let what = revive(cluster, victim)?;
    Ok(format!("syncs of broker {victim} fail for {time:.1?}{what}"))
}

fn slow_syncs(cluster: &mut Cluster, chance: &mut Chance, victim: u32) -> Result<String> {
    // One in three takes longer than a disk may before it has failed.
    let delay = if chance.below(3) == 0 { Duration::from_secs(12) } else { chance.millis(50..700) };
    let time = chance.millis(BAD_MS).max(delay);
    let mut tracer = trace(cluster, victim, &format!("delay_enter={}", delay.as_micros()))?;
    thread::sleep(time);
    let mut told = format!("syncs of broker {victim} take {delay:.1?} for {time:.1?}");
    if delay > Duration::from_secs(10) {
        drop(tracer);
        told.push_str(&revive(cluster, victim)?);
    } else {
        tracer.signal_and_wait("TERM", STEP_LIMIT)?;
    }
    Ok(told)
}

/// Does that to every sync of a node until it is dropped.
fn trace(cluster: &mut Cluster, victim: u32, injection: &str) -> Result<Attached> {
    let process = cluster.process(victim)?;
    strace::inject(process, "fdatasync,fsync", injection, None, &cluster.path(""))
}

fn lose_power(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    // First the disks: what is written in the last moments of the processes is lost, too.
    for id in NODES {
        cluster.disk(id)?.stop_serving()?;
    }
    cluster.kill_all()?;
    for id in NODES {
        cluster.disk(id)?.power_off()?;
        cluster.disk(id)?.power_on()?;
    }
    let order = spawn_all(cluster, chance)?;
    Ok(format!("all lose power and start again as {order}"))
}

/// Kills the active controller and starts it again.
fn restart_controller(cluster: &mut Cluster) -> Result<String> {
    let controller = cluster.controller()?;
    cluster.kill(controller)?;
    cluster.spawn(controller)?;
    Ok(format!("controller {controller} dies"))
}

/// Takes a replica from each partition and gives it back in front of the others, so that it is to lead in the end.
fn reassign(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    let mut told = Vec::new();
    let fatal = chance.below(2 * u64::from(PARTITIONS));
    for partition in 0..PARTITIONS {
        let moved = chance.one_of(&NODES).context("there are nodes")?;
        let mut others = Cluster::others(moved);
        if chance.coin() {
            others.reverse();
        }
        cluster.reassign(partition, &others)?;
        if fatal == u64::from(partition) {
            told.push(restart_controller(cluster)?);
        }
        cluster.wait_for_replicas(partition, &others, STEP_LIMIT)?;
        cluster.wait_until_deleted(moved, partition, STEP_LIMIT)?;
        thread::sleep(chance.millis(0..1_000));
        let all: Vec<u32> = [moved].into_iter().chain(others).collect();
        cluster.reassign(partition, &all)?;
        cluster.wait_for_replicas(partition, &all, STEP_LIMIT)?;
        told.push(format!("partition {partition} is moved off broker {moved} and back"));
    }
    Ok(told.join(", "))
}

/// Takes each node from the metadata quorum and gives it back, so that two of three decide meanwhile.
fn change_voters(cluster: &mut Cluster, chance: &mut Chance) -> Result<String> {
    let order = some_order(chance)?;
    let fatal = chance.below(2 * u64::try_from(NODES.len())?);
    let mut told = Vec::new();
    for (step, id) in (0_u64..).zip(order) {
        cluster.remove_voter(id, STEP_LIMIT)?;
        if fatal == step {
            told.push(restart_controller(cluster)?);
        }
        thread::sleep(chance.millis(0..1_500));
        cluster.add_voter(id, STEP_LIMIT)?;
        told.push(format!("voter {id} leaves and joins"));
    }
    Ok(told.join(", "))
}

/// Sets the wall clock of one node or of all, twice, and then right again.
fn jump(cluster: &mut Cluster, chance: &mut Chance, partition: u32, leader: u32) -> Result<String> {
    let victims = if chance.coin() { vec![leader] } else { NODES.to_vec() };
    let mut told = Vec::new();
    for _ in 0..2 {
        for victim in &victims {
            let most = chance.one_of(&CLOCK_OFF_SECONDS_MAX).context("there are sizes")?;
            let size = i64::try_from(1 + chance.below(most))?;
            let ahead = if chance.coin() { size } else { -size };
            cluster.set_clock(*victim, ahead)?;
            if *victim == leader {
                // Else nothing was set, or whoever leads had lost its office for it.
                wait_for_stamp(cluster, partition, ahead)?;
            }
            told.push(format!("the clock of broker {victim} is off by {ahead} s"));
        }
        thread::sleep(chance.millis(BAD_MS) / 2);
    }
    victims.iter().try_for_each(|victim| cluster.set_clock(*victim, 0))?;
    wait_for_stamp(cluster, partition, 0)?;
    Ok(told.join(", "))
}

/// Waits until the records of a partition are stamped by a clock that is off by so much.
fn wait_for_stamp(cluster: &Cluster, partition: u32, ahead_seconds: i64) -> Result<()> {
    let what =
        format!("records of partition {partition} are stamped {ahead_seconds} s ahead of the true time");
    wait_until(&what, STAMP_LIMIT, INTERVAL, || {
        Answer::from(cluster.last_timestamp(partition).and_then(|stamp| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the time")?;
            let wanted = i64::try_from(now.as_millis())? + ahead_seconds * 1_000;
            ensure!(
                stamp.abs_diff(wanted) < STAMP_OFF_MS,
                "the last is stamped {stamp} ms and not {wanted} ms"
            );
            Ok(())
        }))
    })
}
