//! What the agent believes of the time, and who vouches for it. Here the clocks are read and the witnesses asked, once a
//! second; what is made of it is decided in [`judge`], without a clock.

mod chrony;

mod judge;

mod memory;

mod ntp;

mod witness;

use adapters::{Clock, Trust, read_clocks};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use judge::{By, Word};

use judge::{Judge, Verdict};
use memory::Memory;
use witness::Witnesses;

pub(crate) struct Timekeeper {
    clock: Clock,
    judge: Judge,
    witnesses: Witnesses,
    /// What was last told.
    told: Verdict,
    /// A note is being written.
    noting: bool,
}

impl Timekeeper {
    /// Goes on from the note of an earlier start, if there is one. A clock that shows a time before `built_us` is wrong.
    pub(crate) fn new(note: Option<&str>, built_us: i64) -> Timekeeper {
        let boot = boot_number();
        let memory = note.map(serde_json::from_str::<Memory>).transpose();
        let memory = memory.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the note of the times that were trusted; a clock that is wrong is noticed less well until a witness vouches for it again");
            None
        });
        let judge = Judge::new(memory.unwrap_or_default(), built_us, boot, read_clocks());
        let clock = Clock::new(boot);
        let told = judge.verdict();
        let mut timekeeper = Timekeeper {
            clock,
            judge,
            witnesses: Witnesses::default(),
            told,
            noting: false,
        };
        timekeeper.look(&[]);
        timekeeper.tell_start();
        timekeeper
    }

    /// For whoever needs the time; it follows what is believed.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Compares the clocks and hears the witnesses, and what the cluster said; to be called every second. Returns what is
    /// believed now if that is another thing than before.
    pub(crate) fn look(&mut self, cluster: &[Word]) -> Option<Verdict> {
        // First the witnesses: a daemon sets the clock, and then says so.
        let words = self.witnesses.words();
        let reading = read_clocks();
        self.judge.look(reading);
        for word in words.iter().chain(cluster) {
            self.judge.hear(*word, reading);
        }
        self.clock.believe(self.judge.belief(), self.judge.boots());
        let verdict = self.judge.verdict();
        let news = !verdict.is_like(self.told);
        if news {
            tell(self.told, verdict);
            self.told = verdict;
        }
        news.then_some(verdict)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.judge.verdict()
    }

    /// What is to be on disk, if it is time to write that; `at_end` at the end.
    pub(crate) fn note(&mut self, at_end: bool) -> Option<String> {
        if self.noting && !at_end {
            return None;
        }
        let note = serde_json::to_string(self.judge.note(at_end)?).ok()?;
        self.noting = true;
        Some(note)
    }

    /// The last note was written, or could not be.
    pub(crate) fn noted(&mut self) {
        self.noting = false;
    }

    fn tell_start(&self) {
        match self.told.trust {
            Trust::Vouched if self.told.holds_against_wall() => tell(Verdict::default(), self.told),
            Trust::Vouched => {}
            Trust::Unverified => tracing::info!(
                "no witness vouches for the system's clock yet (systemd-timesyncd, chrony, an NTP server on this machine, or a topic with LogAppendTime); events are marked tg-unverified until one does"
            ),
            Trust::Wrong => tracing::warn!(
                "the system's clock is wrong: it shows a time before this program was built, before a time that was trusted here, or years after it; events keep their order and are marked, their times are corrected once the clock is right; set the clock or find out why NTP does not"
            ),
        }
    }
}

/// Tells a change of what is believed, once.
fn tell(before: Verdict, now: Verdict) {
    let off_s = now.wall_off_s;
    let by = now.by.map_or("nobody", |by| by.name());
    if now.holds_against_wall() && !before.holds_against_wall() {
        tracing::warn!(
            off_s,
            by,
            "the system's clock was set by this many seconds, and no witness vouches for that; events keep the time from before it; set the clock right, or find out who set it"
        );
    } else if now.trust == Trust::Wrong && before.trust != Trust::Wrong {
        tracing::warn!(
            "the cluster refuses events with this machine's time, so that the clock is ahead; events are marked and corrected once the clock is right; set the clock or find out why NTP does not"
        );
    } else if now.trust == Trust::Vouched && before.trust != Trust::Vouched {
        tracing::info!(
            by,
            changed_by_s = now.changed_by_s(before),
            "the clock is right, a witness says so; events that are not sent yet are corrected"
        );
    } else if now.trust == Trust::Unverified && before.trust == Trust::Vouched {
        tracing::warn!(
            changed_by_s = now.changed_by_s(before),
            "no witness vouches for the clock any more; events are marked tg-unverified; find out why NTP does not work"
        );
    } else {
        tracing::info!(
            by,
            trust = ?now.trust,
            changed_by_s = now.changed_by_s(before),
            "the time is now believed to be what the system's clock shows"
        );
    }
}

/// A number for this boot. Where the system does not name its boots it is one that no other start has, so that no stamp of
/// an earlier one is corrected by it.
fn boot_number() -> u32 {
    let id = buffer::boot_id().unwrap_or_else(|| {
        let reading = read_clocks();
        format!(
            "{} {} {}",
            std::process::id(),
            reading.boot_us,
            reading.wall_us
        )
    });
    low_half(xxh3_64(id.as_bytes())).max(1)
}

fn low_half(hash: u64) -> u32 {
    let [.., a, b, c, d] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}
