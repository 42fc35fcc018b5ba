//! What a gateway does to its buffer, at random, with a journal of what it promised. Here every number is the
//! sequence of its record.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use tidegate_buffer::{Kept, Keys, LaneDisk, LaneSettings, Order, WhenFull};

use super::dice::Dice;
use crate::bench::{Bench, LANE, lane, settings};

/// What the lane of the worker of `seed` does when it is full, and in which order it sends.
pub(crate) fn policy(seed: usize) -> (LaneSettings, LaneDisk) {
    let (order, full, budget) = [
        (Order::InOrder, WhenFull::Refuse, 64 << 20),
        (Order::InOrder, WhenFull::DropOldest, 1 << 20),
        (Order::LiveFirst, WhenFull::Refuse, 1 << 20),
        (Order::InOrder, WhenFull::CoalesceLatest, 1 << 20),
    ][seed % 4];
    let settings = settings(order, full, budget);
    let disk = LaneDisk {
        coalesce: seed % 8 == 7,
        ..lane(&settings)
    };
    (settings, disk)
}

struct Worker {
    bench: Bench,
    in_flight: Vec<(u64, u64)>,
    journal: File,
    dice: Dice,
}

impl Worker {
    fn open(root: &Path, seed: usize, journal: File) -> Worker {
        let (settings, disk) = policy(seed);
        let bench = Bench::open_as(root, &settings, disk, &Keys::default());
        let dice = Dice::new(seed as u64 + bench.number);
        Worker {
            bench,
            in_flight: Vec::new(),
            journal,
            dice,
        }
    }

    fn step(&mut self) {
        let count = 1 + self.dice.below(60);
        match self.dice.below(12) {
            0..4 => {
                for _ in 0..count {
                    let size = 50 + self.dice.below(1500);
                    if self.bench.append(size).is_err() {
                        break;
                    }
                }
            }
            4..7 => self.bench.commit(),
            7..9 => {
                let sent = self.bench.send(count);
                self.in_flight.extend(sent);
            }
            9 => {
                let sent: Vec<_> = self.in_flight.drain(..).collect();
                self.bench.deliver(&sent);
            }
            10 => self.bench.mark(),
            _ if self.dice.one_in(2) => {
                self.bench.lanes.resend(LANE);
                self.in_flight.clear();
            }
            _ => self.bench.outage = !self.bench.outage,
        }
        self.bench.now += Duration::from_millis(self.dice.below(700) as u64);
    }

    /// In one write, so that it is there whole or not.
    fn say(&mut self) {
        let mut said = String::new();
        for (number, kept) in self.bench.receipts.take() {
            let word = match kept {
                Kept::Stored => "stored",
                Kept::Delivered => "delivered",
                Kept::Dropped => "dropped",
            };
            writeln!(said, "{word} {number} {number} 1").unwrap();
        }
        for number in self.bench.delivered.drain(..) {
            writeln!(said, "delivered {number} {number} 1").unwrap();
        }
        for drop in self.bench.lanes.take_drops(LANE) {
            let (first, last, count) = (drop.first, drop.last, drop.count);
            writeln!(said, "dropped {first} {last} {count}").unwrap();
        }
        self.journal.write_all(said.as_bytes()).unwrap();
    }

    fn end_well(mut self) -> File {
        self.bench.commit();
        self.bench.mark();
        self.say();
        self.bench.disk.close().unwrap();
        self.journal
    }
}

#[test]
#[ignore = "the process that the tests of kills and power cuts begin"]
fn works_until_it_is_done_or_killed() {
    let Some(directory) = std::env::var_os("TIDEGATE_WORK") else {
        return;
    };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    let (seed, steps) = (number("TIDEGATE_SEED"), number("TIDEGATE_STEPS"));
    let (directory, mut options) = (Path::new(&directory), File::options());
    let journal = options
        .create(true)
        .append(true)
        .open(directory.join("journal"));
    let root = directory.join("state");
    std::fs::create_dir_all(&root).unwrap();
    let mut worker = Worker::open(&root, seed, journal.unwrap());
    worker.journal.write_all(b"begun 0 0 0\n").unwrap();
    for _ in 0..steps {
        worker.step();
        worker.say();
        if worker.dice.one_in(40) {
            worker = Worker::open(&root, seed, worker.end_well());
        }
    }
    worker.end_well();
}
