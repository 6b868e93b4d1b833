//! A crash after every single operation of the disk.

use ottla_sim::disk::{CrashKind, SimDisk};
use ottla_sim::rng::Rng;

use crate::model::{Crashed, Model, Step, draw_step};

const STEPS: usize = 24;

fn script(seed: u64) -> Vec<Step> {
    let mut rng = Rng::new(seed).fork("script");
    (0..STEPS).map(|_| draw_step(&mut rng)).collect()
}

fn run(model: &mut Model, script: &[Step]) -> Result<(), Crashed> {
    if model.log.is_none() {
        model.create()?;
    }
    script.iter().try_for_each(|step| model.step(*step))
}

/// Runs a script that crashes after `operations`; recovers, perhaps crashing again while it does; then
/// goes on, and loses all that was not synced, to see that recovery was honest.
fn crash_once(seed: u64, script: &[Step], operations: u64, kind: CrashKind, is_future: bool) -> bool {
    let mut rng = Rng::new(seed ^ operations);
    let disk = SimDisk::new(rng.fork("disk"));
    let mut model = Model::new(disk.clone(), is_future);
    disk.crash_after(operations);
    let crashed = run(&mut model, script).is_err();
    let mut disk = disk.crash(kind);
    if rng.permille(500) {
        disk.crash_after(rng.below(12));
    }
    while model.recover(disk.clone()).is_err() {
        disk =
            disk.crash(*rng.pick(&[CrashKind::Process, CrashKind::PowerAllLost, CrashKind::PowerSomeLost]));
    }
    // Recovery itself has synced what it kept.
    let disk = disk.crash(CrashKind::PowerAllLost);
    model.recover(disk.clone()).unwrap();
    run(&mut model, &[Step::Append(5), Step::Sync, Step::Append(2), Step::Checkpoint]).unwrap();
    let disk = disk.crash(CrashKind::PowerSomeLost);
    model.recover(disk).unwrap();
    crashed
}

/// Every operation of every script, for one kind of crash.
fn crash_everywhere(kind: CrashKind, seeds: std::ops::Range<u64>, is_future: bool) {
    for seed in seeds {
        let script = script(seed);
        let mut operations = 0;
        loop {
            let crashed = std::panic::catch_unwind(|| crash_once(seed, &script, operations, kind, is_future));
            match crashed {
                Ok(true) => operations += 1,
                Ok(false) => break,
                Err(panic) => {
                    eprintln!("seed {seed}, crash after {operations} operations, {kind:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        assert!(operations > 50, "the script of seed {seed} does nothing");
    }
}

#[test]
fn what_was_flushed_survives_a_power_loss_that_takes_all_else() {
    crash_everywhere(CrashKind::PowerAllLost, 0..3, false);
}

#[test]
fn what_was_flushed_survives_a_power_loss_that_keeps_some_and_tears_some() {
    crash_everywhere(CrashKind::PowerSomeLost, 0..5, false);
}

#[test]
fn what_was_flushed_survives_a_crash_of_the_process() {
    crash_everywhere(CrashKind::Process, 0..3, false);
}

#[test]
fn a_log_that_keeps_its_own_recovery_point_survives_them_all() {
    crash_everywhere(CrashKind::PowerAllLost, 10..12, true);
    crash_everywhere(CrashKind::PowerSomeLost, 10..14, true);
    crash_everywhere(CrashKind::Process, 10..12, true);
}
