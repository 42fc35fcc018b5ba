//! Clocks that are wrong, in virtual time.

use proptest::prelude::*;

use super::*;

/// The truth at boot, and when the program was built: an hour before.
const TRUTH: i64 = 1_764_000_000_000_000;
const BUILT: i64 = TRUTH - HOUR;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A machine whose boot clock runs, and whose system's clock somebody may set.
struct Machine {
    judge: Judge,
    boot: u32,
    /// The truth at boot.
    truth: i64,
    /// Seconds since boot.
    up: i64,
    /// How far the system's clock is ahead of the truth.
    ahead: i64,
}

impl Machine {
    /// Boots with the clock this far ahead, and starts the agent ten seconds later.
    fn boots(memory: &Memory, boot: u32, truth: i64, ahead: i64) -> Machine {
        let mut machine = Machine {
            judge: Judge::new(
                Memory::default(),
                0,
                0,
                Reading {
                    boot_us: 0,
                    wall_us: 0,
                },
            ),
            boot,
            truth,
            up: 10,
            ahead,
        };
        machine.starts(memory);
        machine
    }

    fn starts(&mut self, memory: &Memory) {
        self.judge = Judge::new(memory.clone(), BUILT, self.boot, self.reading());
    }

    fn first(ahead: i64) -> Machine {
        Machine::boots(&Memory::default(), 1, TRUTH, ahead)
    }

    fn now(&self) -> i64 {
        self.truth + self.up * SECOND
    }

    fn reading(&self) -> Reading {
        Reading {
            boot_us: u64::try_from(self.up * SECOND).unwrap(),
            wall_us: self.now() + self.ahead,
        }
    }

    fn runs(&mut self, seconds: i64) -> &mut Machine {
        for _ in 0..seconds {
            self.up += 1;
            self.judge.look(self.reading());
        }
        self
    }

    /// As long as this, in steps of a minute.
    fn runs_minutes(&mut self, minutes: i64) -> &mut Machine {
        for _ in 0..minutes {
            self.up += 60;
            self.judge.look(self.reading());
        }
        self
    }

    fn hears(&mut self, word: Word) -> &mut Machine {
        let reading = self.reading();
        self.judge.look(reading);
        self.judge.hear(word, reading);
        self
    }

    fn is_synced(&mut self) -> &mut Machine {
        let (by, wall_us) = (By::Timesyncd, self.reading().wall_us);
        let fresh = true;
        self.hears(Word::Synced { by, wall_us, fresh })
    }

    /// NTP sets the clock right, and says so.
    fn sets_right(&mut self) -> &mut Machine {
        self.ahead = 0;
        self.is_synced()
    }

    fn memory(&mut self) -> Memory {
        self.judge.note(true).unwrap().clone()
    }

    /// How far what is believed is ahead of the truth, in seconds, and how far it is trusted.
    fn believes(&self) -> (i64, Trust) {
        let belief = self.judge.belief();
        let at = belief.at(self.reading().boot_us);
        ((at - self.now()).div_euclid(SECOND), belief.trust)
    }
}

/// What a gateway remembers that ran for an hour with a witness, and stopped; and the truth then.
fn remembered() -> (Memory, i64) {
    let mut machine = Machine::first(0);
    machine.is_synced();
    for _ in 0..60 {
        machine.runs_minutes(1).is_synced();
    }
    (machine.memory(), machine.now())
}

#[test]
fn a_clock_at_start_is_wrong_unverified_or_known() {
    use Trust::{Unverified as Maybe, Vouched, Wrong};
    let (ran, then) = remembered();
    let (no, ran) = (&Memory::default(), &ran);
    let year = 365 * DAY;
    for (what, memory, boot, away, ahead, expected) in [
        ("right, nobody says so", no, 1, 0, 0, Maybe),
        ("1970", no, 1, 0, -TRUTH, Wrong),
        ("before the build", no, 1, 0, -HOUR - MINUTE, Wrong),
        ("two minutes ahead", no, 1, 0, 2 * MINUTE, Maybe),
        ("three hours ahead", no, 1, 0, 3 * HOUR, Maybe),
        ("ten years ahead", no, 1, 0, 10 * year, Wrong),
        ("right, a new boot", ran, 2, 8 * HOUR, 0, Maybe),
        ("last shutdown", ran, 2, 8 * HOUR, -8 * HOUR - MINUTE, Wrong),
        ("an hour back", ran, 2, MINUTE, -HOUR, Wrong),
        ("ten years, new boot", ran, 2, HOUR, 10 * year, Wrong),
        ("a year without power", ran, 2, year, 0, Maybe),
        // The agent is restarted: the boot is known.
        ("right, same boot", ran, 1, MINUTE, 0, Vouched),
        ("three hours, same boot", ran, 1, MINUTE, 3 * HOUR, Vouched),
        ("ten years, same boot", ran, 1, MINUTE, 10 * year, Vouched),
        ("1970, same boot", ran, 1, MINUTE, -then, Vouched),
        // The id of the boot is that of the one before, and it is another: its uptime is less.
        ("a boot's id twice", ran, 1, -2 * HOUR, 4 * HOUR, Maybe),
    ] {
        let mut machine = if boot == 1 && memory != no {
            let mut same = Machine::boots(no, 1, TRUTH, ahead);
            same.up = (then + away - TRUTH) / SECOND;
            if same.up < 0 {
                (same.up, same.truth) = (5, then);
            }
            same.starts(memory);
            same
        } else {
            Machine::boots(memory, boot, then + away, ahead)
        };
        if memory == no {
            machine = Machine::first(ahead);
        }
        let (off, trust) = machine.believes();
        assert_eq!(trust, expected, "{what}");
        if trust == Vouched {
            assert_eq!(off, 0, "{what}");
        }
        // NTP comes late: whatever it was, it is right now.
        machine.runs(60).sets_right();
        assert_eq!(machine.believes(), (0, Vouched), "{what}");
    }
}

#[test]
fn a_second_of_wrong_time_changes_nothing_and_a_time_that_stands_is_taken() {
    for witness in [false, true] {
        for jump in [
            -TRUTH,
            -HOUR,
            -2 * SECOND,
            2 * SECOND,
            HOUR,
            40 * DAY,
            3650 * DAY,
        ] {
            let mut machine = Machine::first(0);
            if witness {
                machine.is_synced();
            }
            let before = machine.runs(60).believes();
            machine.ahead = jump;
            for _ in 0..10 {
                assert_eq!(machine.runs(1).believes(), before, "{jump}");
            }
            assert!(machine.judge.verdict().holds_against_wall());
            machine.ahead = 0;
            assert_eq!(machine.runs(1).believes(), before);
            assert!(!machine.judge.verdict().holds_against_wall());
            // It stands: in the end it is believed, and nobody vouches for it, unless it cannot be right.
            machine.ahead = jump;
            machine.runs_minutes(if witness { 59 } else { 4 });
            assert_eq!(machine.believes(), before, "{jump}");
            machine.runs_minutes(3);
            let least = if witness { -2 * SECOND } else { -HOUR };
            let can_be = jump >= least && jump < AWAY;
            let then = if can_be {
                (jump / SECOND, Trust::Unverified)
            } else {
                before
            };
            assert_eq!(machine.believes(), then, "{jump}");
        }
    }
}

#[test]
fn a_glitch_of_ten_years_poisons_no_memory() {
    let (memory, then) = remembered();
    // Even a witness may say so for a moment.
    let mut machine = Machine::boots(&memory, 2, then + HOUR, 0);
    machine.is_synced().runs(60);
    machine.ahead = 3650 * DAY;
    machine.is_synced().runs(1);
    assert_eq!(machine.believes().1, Trust::Vouched);
    let glitch = machine.memory();
    machine.sets_right().runs(60);
    assert_eq!(machine.believes(), (0, Trust::Vouched));
    for memory in [&glitch, &machine.memory()] {
        let next = Machine::boots(memory, 3, then + 2 * HOUR, 0);
        assert_eq!(next.believes(), (0, Trust::Unverified), "{memory:?}");
    }
    // What was trusted for long is given up for a witness that says otherwise.
    let mut machine = Machine::boots(&memory, 2, then + HOUR, 300 * DAY);
    machine.is_synced().runs_minutes(30);
    machine.sets_right().runs_minutes(30);
    let next = Machine::boots(&machine.memory(), 3, then + 3 * HOUR, 0);
    assert_eq!(next.believes(), (0, Trust::Unverified));
}

#[test]
fn a_word_is_about_the_time_at_which_it_was_said() {
    let by = By::Chrony;
    let earlier = |wall_us| Word::Synced {
        by,
        wall_us,
        fresh: false,
    };
    // Synchronised before the agent began, and not touched since.
    let mut machine = Machine::first(0);
    let now = machine.now();
    assert_eq!(
        machine.hears(earlier(now - 5 * SECOND)).believes(),
        (0, Trust::Vouched)
    );
    // Synchronised, and then set back: the word lies ahead. Or it is days old.
    for (ahead, said) in [(-MINUTE, 0), (0, -2 * DAY)] {
        let mut machine = Machine::first(ahead);
        let word = earlier(machine.now() + said);
        assert_eq!(machine.hears(word).believes().1, Trust::Unverified);
    }
    // Set forth by an hour after chrony had it right, and before it was asked again.
    let mut machine = Machine::first(0);
    machine.is_synced().runs(60);
    let wall_us = machine.now();
    machine.ahead = HOUR;
    let word = Word::Synced {
        by,
        wall_us,
        fresh: true,
    };
    assert_eq!(machine.runs(10).hears(word).believes(), (0, Trust::Vouched));
    // A word a day, and it is worth something; without one it is not.
    let mut machine = Machine::first(0);
    machine.is_synced().runs_minutes(24 * 60);
    assert_eq!(machine.believes(), (0, Trust::Vouched));
    machine.runs_minutes(2);
    assert_eq!(machine.believes(), (0, Trust::Unverified));
}

#[test]
fn the_cluster_is_a_witness_where_no_other_speaks() {
    let broker = |machine: &Machine, ahead: i64, age_us| Word::Broker {
        wall_us: machine.now() + ahead,
        age_us,
    };
    // It says the same as the system's clock; slowly it says nothing.
    let mut machine = Machine::first(0);
    let slow = broker(&machine, 0, 1_500_000);
    assert_eq!(machine.hears(slow).believes().1, Trust::Unverified);
    let agrees = broker(&machine, -300_000, 400_000);
    assert_eq!(machine.hears(agrees).believes(), (0, Trust::Vouched));
    // Twice another time: it is the cluster's that is believed, also against 1970.
    for ahead in [3 * HOUR, -TRUTH] {
        let mut machine = Machine::first(ahead);
        let first = broker(&machine, 0, 1000);
        assert_ne!(machine.hears(first).believes().1, Trust::Vouched);
        let next = broker(machine.runs(5), 0, 1000);
        assert_eq!(machine.hears(next).believes(), (0, Trust::Vouched));
        assert!(machine.judge.verdict().holds_against_wall());
    }
    // Without a clock of its own, as a mock cluster, it is none.
    let mut machine = Machine::first(0);
    for wall_us in [1_234_000, 1_235_000] {
        machine.hears(Word::Broker { wall_us, age_us: 0 });
        assert_eq!(machine.believes(), (0, Trust::Unverified));
    }
    // Against a witness on the machine it says nothing.
    let mut machine = Machine::first(0);
    machine.is_synced();
    for _ in 0..3 {
        let wrong = broker(&machine, HOUR, 1000);
        machine.hears(wrong).runs(1);
    }
    assert_eq!(machine.believes(), (0, Trust::Vouched));
}

#[test]
fn a_time_that_the_cluster_refuses_is_wrong_until_it_takes_it_or_the_clock_is_set() {
    let mut machine = Machine::first(3 * HOUR);
    machine.hears(Word::Refused).runs(60);
    assert_eq!(machine.believes(), (3 * 3600, Trust::Wrong));
    machine.ahead = 0;
    assert_eq!(machine.runs(1).believes(), (0, Trust::Unverified));
    machine.hears(Word::Refused).hears(Word::Took);
    assert_eq!(machine.believes(), (0, Trust::Unverified));
    // A topic with limits of its own.
    machine.hears(Word::Refused);
    assert_eq!(
        machine.believes(),
        (0, Trust::Unverified),
        "it was taken just now"
    );
    machine.is_synced().hears(Word::Refused);
    assert_eq!(machine.believes(), (0, Trust::Vouched));
}

#[test]
fn the_note_is_written_once_a_witness_speaks_and_then_hourly() {
    let mut machine = Machine::first(0);
    assert!(machine.runs(60).judge.note(false).is_none());
    assert!(machine.is_synced().judge.note(false).is_some());
    for _ in 0..59 {
        assert!(
            machine
                .runs_minutes(1)
                .is_synced()
                .judge
                .note(false)
                .is_none()
        );
    }
    assert!(machine.runs_minutes(2).judge.note(false).is_some());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Runs(i64),
    Sets(i64),
    NtpSets,
    Restarts,
    Boots(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..600_i64).prop_map(Step::Runs),
        3 => (-4000..4000_i64).prop_map(|minutes| Step::Sets(minutes * MINUTE)),
        1 => Just(Step::Sets(-TRUTH / 2)),
        1 => Just(Step::Sets(3650 * DAY)),
        3 => Just(Step::NtpSets),
        1 => Just(Step::Restarts),
        1 => (0..48_i64).prop_map(Step::Boots),
    ]
}

proptest! {
    /// While NTP is right whenever it speaks, what is vouched for is right, whoever else sets the clock and however often.
    #[test]
    fn what_is_vouched_for_is_right(steps in proptest::collection::vec(step(), 1..60)) {
        let mut machine = Machine::first(0);
        let mut boot = 1;
        for step in steps {
            match step {
                Step::Runs(seconds) => { machine.runs(seconds); }
                Step::Sets(ahead) => { machine.ahead = ahead; machine.runs(1); }
                Step::NtpSets => { machine.sets_right(); }
                Step::Restarts => { let memory = machine.memory(); machine.starts(&memory); }
                Step::Boots(hours) => {
                    boot += 1;
                    let memory = machine.memory();
                    machine = Machine::boots(&memory, boot, machine.now() + hours * HOUR, machine.ahead);
                }
            }
            let (off, trust) = machine.believes();
            prop_assert!(trust != Trust::Vouched || off == 0, "{off} s");
        }
    }
}
