//! The parts that work beside the agent's task: which of them do not work, and what follows from that. The list is one, for the
//! log, the health lane, `status`, `/healthz` and systemd's watchdog.
//!
//! librdkafka's threads are no part of it: they end with the process, and a producer that fails is rebuilt (`uplink`).

use std::time::{Duration, Instant};

use adapters::Source;
use serde_json::json;

use super::Agent;
use crate::process::parts::{Down, PartIs, PartNews};
use crate::process::supervisor;
use crate::status::PartStatus;

/// A part that does not work for longer than this makes the gateway unhealthy; a restart takes less.
const TOLERATED: Duration = Duration::from_secs(10);

impl Agent {
    /// Notices which parts have ended, has them started again, and tells of it; to be called every second or so.
    pub(super) fn look_after_parts(&mut self, now: Instant) {
        let mut news = self.sources.look_after(now);
        if !self.stopping {
            news.extend(self.serving.look_after(now));
        }
        for one in news {
            self.tell_of_part(&one, now);
        }
    }

    pub(super) fn start_sources(
        &mut self,
        sources: Vec<Result<Source, (String, String)>>,
        now: Instant,
    ) {
        for unopened in self.sources.start(sources, now) {
            self.tell_of_part(&unopened, now);
        }
    }

    fn tell_of_part(&mut self, news: &PartNews, now: Instant) {
        let (part, restarts) = (&news.part, news.restarts);
        match &news.now {
            PartIs::Down { reason, again_in } => {
                let restart_in_s = again_in.as_secs();
                tracing::error!(
                    part,
                    reason,
                    restarts,
                    restart_in_s,
                    "a part of the agent does not work; what has no receipt stays with its source; the part is started again; if it ends again and again, report this line"
                );
                let notice = json!({ "part": part, "up": false, "reason": reason, "restarts": restarts,
                    "restart_in_s": restart_in_s });
                self.notice("part", &notice, now);
            }
            PartIs::Mended => {
                tracing::info!(part, restarts, "a part of the agent works again");
                let notice = json!({ "part": part, "up": true, "restarts": restarts });
                self.notice("part", &notice, now);
            }
        }
    }

    /// The parts that do not work, and why.
    pub(super) fn parts_down(&self, now: Instant) -> Vec<PartStatus> {
        let parts = self.sources.down().chain(self.serving.down());
        let parts = parts.map(|down| status(&down, now));
        parts.chain(self.disk_down(now)).collect()
    }

    fn disk_down(&self, now: Instant) -> Option<PartStatus> {
        Some(PartStatus {
            part: "disk".into(),
            reason: self.disk.trouble()?.clone(),
            down_s: None,
            unhealthy: true,
            is_mended: !self.keeper.is_hung(now),
        })
    }

    /// Feeds systemd's watchdog, since the agent's loop turns, unless a part is dead that nobody mends: then a restart is due.
    pub(super) fn feed_watchdog(&mut self, now: Instant) {
        let parts = self.parts_down(now);
        let dead = parts.iter().find(|part| !part.is_mended);
        let was_starving = std::mem::replace(&mut self.starving, dead.is_some());
        match dead {
            None => supervisor::alive(),
            Some(PartStatus { part, reason, .. }) if !was_starving => tracing::error!(
                part,
                reason,
                "a part of the agent is dead and cannot be mended; systemd's watchdog is no longer fed, so that the agent is restarted; what has a receipt is on disk"
            ),
            Some(_) => {}
        }
    }
}

/// A source and the status server are always being mended: they are started again for ever.
fn status(down: &Down<'_>, now: Instant) -> PartStatus {
    let lasts = now.saturating_duration_since(down.since);
    PartStatus {
        part: down.part.to_owned(),
        reason: down.reason.to_owned(),
        down_s: Some(lasts.as_secs_f64()),
        unhealthy: lasts > TOLERATED,
        is_mended: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_no_illness_and_a_part_that_stays_down_is_one() {
        let begun = Instant::now();
        let down = Down {
            part: "source `press`",
            since: begun,
            reason: "it panicked",
        };
        let at = |seconds| status(&down, begun + Duration::from_secs(seconds));
        assert!(!at(10).unhealthy && at(11).unhealthy);
        assert!(at(1_000).is_mended, "the watchdog is still fed");
    }
}
