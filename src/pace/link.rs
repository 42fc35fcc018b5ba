//! Whether the cluster can be reached, and how long it could not. Whether it takes a topic is another question: while brokers
//! answer, the link is up.

use std::time::{Duration, Instant};

/// In flight for longer than this without any answer from a broker, the link counts as down, whatever the
/// connection looks like: brokers may hang, or a route swallow all packets.
const STALL: Duration = Duration::from_secs(5);
/// Of librdkafka (`statistics.interval.ms`).
const STATISTICS_EVERY: Duration = Duration::from_secs(1);
/// Outages shorter than this bring no fleet back at once: no spread, no ramp.
const BLIP: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    up: bool,
    since: Instant,
    /// Brokers answered what was sent before it.
    vouched: Instant,
    last_sent: Instant,
    /// How long the outage was that it came back from, and how much of its return was over when the link was lost again.
    outage: Duration,
    served: Duration,
    /// Of which that is no more than this: `replay.spread` and `replay.ramp`.
    returning: Duration,
    /// When it was lost last.
    lost: Instant,
    /// Down although connected: only an answer ends that.
    stalled: bool,
    /// A broker has answered since it counts as up.
    confirmed: bool,
}

/// A link that goes down again within this had not really come back.
const SETTLED: Duration = Duration::from_secs(15);

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Up { outage: Duration },
    Down,
}

impl Link {
    /// Taken to be up at first, so that a start costs no alarm a second; the first word from a broker,
    /// or its absence, tells. A return takes `returning`, or a fifth of the outage. With a backlog of this age the start is a return from an outage: a
    /// region that gets its power back starts as one, and a restart is over in seconds.
    #[must_use]
    pub(crate) fn new(returning: Duration, backlog: Duration, now: Instant) -> Link {
        Link {
            up: true,
            since: now,
            lost: now,
            served: Duration::ZERO,
            returning,
            outage: backlog,
            vouched: now,
            last_sent: now,
            stalled: false,
            confirmed: false,
        }
    }

    /// A return takes this long from now on.
    pub(crate) fn returns_within(&mut self, returning: Duration) {
        self.returning = returning;
    }

    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    #[must_use]
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// The outage that the link came back from, if it was long enough to matter for others.
    #[must_use]
    pub(crate) fn returned_from(&self) -> Option<Duration> {
        (self.up && self.outage >= BLIP).then_some(self.outage)
    }

    /// For how long it has been back from that outage: a link that is lost again meanwhile begins no new return.
    #[must_use]
    pub(crate) fn back_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since) + self.served
    }

    /// Down, although its brokers are connected as far as can be seen.
    #[must_use]
    pub(crate) fn is_stalled(&self) -> bool {
        !self.up && self.stalled
    }

    /// Something was handed over.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// The cluster has something.
    pub(crate) fn delivered(&mut self, now: Instant) -> Option<Change> {
        self.vouched = now;
        self.rise(now)
    }

    /// A broker answered some request since the statistics before these, whatever it said: which one is not known, so that
    /// what was sent meanwhile may be unanswered.
    pub(crate) fn answered(&mut self, now: Instant) -> Option<Change> {
        let before = now.checked_sub(STATISTICS_EVERY).unwrap_or(now);
        self.vouched = self.vouched.max(before);
        self.rise(now)
    }

    /// A broker is connected (`true`), or none can be reached.
    pub(crate) fn connected(&mut self, connected: bool, now: Instant) -> Option<Change> {
        match connected {
            true if self.stalled => None,
            true => self.rise(now),
            false => self.fall(now, false),
        }
    }

    /// Looks at the age of the oldest record in flight.
    pub(crate) fn watch(
        &mut self,
        in_flight_since: Option<Instant>,
        now: Instant,
    ) -> Option<Change> {
        // With nothing in flight any more no answer has to come: a connection has to do.
        self.stalled &= in_flight_since.is_some();
        // What waits longer than what was answered waits for one broker, not for the link.
        let unanswered = self.last_sent > self.vouched;
        let waiting = in_flight_since.filter(|_| unanswered);
        let waiting = waiting.map(|since| since.max(self.vouched));
        let stalled = waiting.is_some_and(|since| now.saturating_duration_since(since) > STALL);
        if self.up && stalled {
            self.fall(now, true)
        } else {
            None
        }
    }

    fn rise(&mut self, now: Instant) -> Option<Change> {
        if self.up && self.confirmed {
            return None;
        }
        if self.up {
            self.confirmed = true;
            return Some(Change::Up {
                outage: Duration::ZERO,
            });
        }
        let lasted = now.saturating_duration_since(self.since);
        let own = now.saturating_duration_since(self.lost);
        let is_returning = self.served < self.returning.min(self.outage / 5);
        // Nor does a blip end one: its backlog takes some two and a half times the outage.
        let is_blip = own < BLIP && self.served / 3 < self.outage;
        let goes_on = is_returning || is_blip;
        *self = Link {
            up: true,
            since: now,
            vouched: now,
            outage: if goes_on { self.outage.max(own) } else { own },
            served: if goes_on { self.served } else { Duration::ZERO },
            stalled: false,
            confirmed: true,
            ..self.clone()
        };
        Some(Change::Up { outage: lasted })
    }

    fn fall(&mut self, now: Instant, stalled: bool) -> Option<Change> {
        if !self.up {
            return None;
        }
        // A relapse goes on with the outage that it returned from.
        let relapse =
            self.returned_from().is_some() && now.saturating_duration_since(self.since) < SETTLED;
        let since = if relapse {
            self.since.checked_sub(self.outage).unwrap_or(now)
        } else {
            now
        };
        let served = self.back_for(now);
        *self = Link {
            up: false,
            since,
            lost: now,
            served,
            stalled,
            confirmed: false,
            ..self.clone()
        };
        Some(Change::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn the_link_goes_down_when_no_broker_answers_and_up_when_one_does() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        let mut link = Link::new(MINUTE, Duration::ZERO, begun);
        assert!(link.is_up(), "nothing speaks against it yet");
        assert_eq!(
            link.connected(true, at(1)),
            Some(Change::Up {
                outage: Duration::ZERO
            })
        );
        assert_eq!(
            link.returned_from(),
            None,
            "a start without a backlog is no return"
        );
        let restarted =
            |seconds| Link::new(MINUTE, Duration::from_secs(seconds), begun).returned_from();
        assert_eq!((restarted(4), restarted(60)), (None, Some(MINUTE)));
        link.sent(at(2));
        assert_eq!(link.watch(Some(at(2)), at(6)), None);
        assert_eq!(link.watch(Some(at(2)), at(8)), Some(Change::Down));
        assert_eq!(
            link.connected(true, at(9)),
            None,
            "a connection alone does not end a stall"
        );
        let mut emptied = link.clone();
        assert_eq!(emptied.watch(None, at(10)), None);
        assert!(
            emptied.connected(true, at(11)).is_some(),
            "unless nothing is in flight any more"
        );
        assert_eq!(
            link.delivered(at(20)),
            Some(Change::Up {
                outage: Duration::from_secs(12)
            })
        );
        assert_eq!(link.returned_from(), Some(Duration::from_secs(12)));
        // A topic that takes nothing is no link that carries nothing.
        for second in 21..25 {
            link.sent(at(second));
            assert_eq!(link.answered(at(second)), None);
            assert_eq!(link.watch(Some(at(20)), at(second)), None);
        }
        // Nor is a broker that hangs, while another has answered what was sent last.
        link.sent(at(24));
        assert_eq!(link.delivered(at(24)), None);
        assert_eq!(link.watch(Some(at(20)), at(30)), None);
        assert_eq!(link.connected(false, at(30)), Some(Change::Down));
        assert_eq!(link.connected(false, at(31)), None);
        assert_eq!(
            link.connected(true, at(40)),
            Some(Change::Up {
                outage: Duration::from_secs(32)
            })
        );
    }

    #[test]
    fn a_blip_after_a_return_ends_no_return_and_a_later_one_is_none() {
        let begun = Instant::now();
        // Seconds away, back, and away again for a second; whether what waited still counts as a backlog.
        for (away, back, still) in [
            (20, 2, true),
            (20, 50, true),
            (20, 70, false),
            (4, 5, false),
        ] {
            let at = |seconds: u64| begun + Duration::from_secs(seconds);
            let mut link = Link::new(MINUTE, Duration::ZERO, begun);
            link.connected(false, at(0));
            link.connected(true, at(away));
            link.connected(false, at(away + back));
            link.connected(true, at(away + back + 1));
            let expected = still.then(|| Duration::from_secs(away));
            assert_eq!(link.returned_from(), expected, "{away}, {back}");
        }
    }
}
