//! Kills and power cuts: a process works on a buffer until it is killed, or while `strace` records what it does to
//! its files; then whatever the disk may hold at that moment must open, with all that had a receipt.

pub(crate) mod dice;

mod drive;

mod ledger;

mod trace;

mod workload;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dice::Dice;
use drive::{Drive, Unsynced};
use ledger::Ledger;
use trace::Op;

use crate::harm::{Damage, hurt};

/// `name` from the environment, for the bars, or a number that suits a test.
fn rounds(name: &str, few: usize) -> usize {
    std::env::var(name).map_or(few, |text| text.parse().unwrap())
}

/// This test's binary as a process that works on the buffer in `directory`; its journal is beside it.
fn worker(mut command: Command, directory: &Path, seed: usize, steps: usize) -> Child {
    command
        .args([
            "--exact",
            "power::workload::works_until_it_is_done_or_killed",
            "--ignored",
        ])
        .env("TIDEGATE_WORK", directory)
        .env("TIDEGATE_SEED", seed.to_string())
        .env("TIDEGATE_STEPS", steps.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    command.spawn().unwrap()
}

fn myself() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// What a worker does to its files, from the beginning to the end.
fn record(directory: &Path, seed: usize, steps: usize) -> Vec<Op> {
    let log = directory.join("log");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qqq", "-y", "-s", "2097152", "-e", "signal=none"])
        .args(["-e", &format!("trace={}", trace::CALLS), "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap());
    let status = worker(strace, directory, seed, steps).wait().unwrap();
    assert!(status.success(), "the worker of seed {seed}: {status}");
    let log = String::from_utf8(fs::read(log).unwrap()).unwrap();
    trace::read(&log, &directory.join("state"), &directory.join("journal"))
}

#[test]
fn after_a_power_cut_at_any_moment_everything_with_a_receipt_is_there() {
    let mut cuts = rounds("TIDEGATE_CUTS", 200);
    let each = cuts.div_ceil(8).max(1);
    let mut kinds = std::collections::BTreeMap::new();
    for seed in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        let ops = record(directory.path(), seed, 120);
        let mut dice = Dice::new(seed as u64 + 1);
        for round in 0..each.min(cuts) {
            let unsynced = Unsynced::ALL[round % Unsynced::ALL.len()];
            // Half of them on a drive that is damaged as well.
            let damage = (round % 2 == 1).then(|| Damage::ALL[dice.below(Damage::ALL.len())]);
            let at = dice.below(ops.len() + 1);
            cut(
                &directory.path().join("state"),
                &ops[..at],
                seed,
                (unsynced, damage),
                &mut dice,
            );
            *kinds.entry(format!("{unsynced:?}")).or_insert(0) += 1;
            if let Some(damage) = damage {
                *kinds.entry(format!("{damage:?}")).or_insert(0) += 1;
            }
        }
        cuts -= each.min(cuts);
    }
    eprintln!("PowerCuts {kinds:?}");
}

fn cut(
    root: &Path,
    ops: &[Op],
    seed: usize,
    (unsynced, damage): (Unsynced, Option<Damage>),
    dice: &mut Dice,
) {
    let after = tempfile::tempdir().unwrap();
    Drive::after(root, ops).cut(after.path(), unsynced, dice);
    let ledger = Ledger::read(ops.iter().filter_map(Op::said));
    let what = format!(
        "seed {seed}, {} operations, {unsynced:?}, {damage:?}",
        ops.len()
    );
    let (file, place) = (dice.below(usize::MAX), dice.below(usize::MAX));
    ledger.check(after.path(), &workload::policy(seed), &what, |root| {
        damage.is_some_and(|damage| hurt(root, damage, file, place))
    });
}

#[test]
fn killed_again_and_again_a_buffer_keeps_everything_with_a_receipt() {
    let rounds = rounds("TIDEGATE_KILLS", 24);
    let mut dice = Dice::new(77);
    let mut slowest = Duration::ZERO;
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        // The first may be killed before it made them.
        fs::write(&journal, "").unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        for round in 0..rounds.div_ceil(4) {
            let mut child = worker(myself(), directory.path(), seed, usize::MAX);
            std::thread::park_timeout(Duration::from_micros(dice.below(150_000) as u64));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            assert!(
                status.code().is_none(),
                "it worked until it was killed: {status}"
            );
            let begun = Instant::now();
            let said = fs::read_to_string(&journal).unwrap();
            let ledger = Ledger::read(said.lines());
            let what = format!("seed {seed}, kill {round}");
            ledger.check_copy(
                &directory.path().join("state"),
                &workload::policy(seed),
                &what,
            );
            slowest = slowest.max(begun.elapsed());
        }
    }
    eprintln!("Kills {rounds}, slowest check {slowest:?}");
}
