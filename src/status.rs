//! What the agent shows of itself: a snapshot, made when somebody asks.

mod answer;

mod ask;

mod connections;

mod host;

mod meter;

mod metrics;

mod section;

mod serve;

mod table;

mod words;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use ask::{Ask, Order};
pub(crate) use meter::Meter;
pub(crate) use section::{StatusSection, StatusSettings};
pub(crate) use serve::{Port, Serving, ask, listen, order};
pub(crate) use table::table;
pub(crate) use words::words;

use crate::process::flash::Life;

/// Everything an operator may ask for, at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub gateway: String,
    pub version: String,
    pub epoch: u32,
    pub uptime_s: f64,
    #[serde(default)]
    pub clock: ClockStatus,
    #[serde(default)]
    pub config: ConfigStatus,
    pub link: LinkStatus,
    pub lanes: Vec<LaneStatus>,
    pub sources: Vec<SourceStatus>,
    /// Parts of the agent that do not work.
    #[serde(default)]
    pub parts: Vec<PartStatus>,
    /// What keeps the disk from taking what must be kept, or from being read.
    pub disk_error: Option<String>,
    pub flash: FlashStatus,
    /// Events larger than their lane can hold, dropped; all lanes together.
    pub too_large: u64,
    /// Events that asked for an intent that does not exist.
    pub unknown_intents: u64,
    /// Subjects whose topic template could not be filled in.
    pub fallback_topics: u64,
}

/// What became of the configuration that was delivered last, and which one runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    /// `received`, `rejected`, `proving`, `kept`, `returned` or `unproven`.
    pub state: String,
    pub why: Option<String>,
    /// SHA-256 of the file that was delivered last, and of that which runs.
    pub attempted: String,
    pub effective: String,
    /// SHA-256 of the layers of what was delivered last; nothing where it has none.
    #[serde(default)]
    pub attempted_layers: String,
    /// SHA-256 of the file that `tidegate config return` goes back to, if there is one.
    #[serde(default)]
    pub before: Option<String>,
    /// `fleet.serial` of each, and who signed it, where that is asked for.
    #[serde(default)]
    pub attempted_serial: Option<u64>,
    #[serde(default)]
    pub attempted_signer: Option<String>,
    #[serde(default)]
    pub effective_serial: Option<u64>,
    #[serde(default)]
    pub effective_signer: Option<String>,
    /// What has yet to prove itself.
    pub open: Vec<String>,
    /// How it was delivered: `file` (dropped) or `url` (pulled).
    #[serde(default)]
    pub by: String,
    /// SHA-256 of the file that was dropped last.
    #[serde(default)]
    pub file: String,
    /// Why the last pull brought nothing; none where it went well, or nothing is pulled.
    #[serde(default)]
    pub pull_error: Option<String>,
}

/// What is believed of the time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ClockStatus {
    /// `vouched for`, `unverified` or `wrong`.
    pub trust: String,
    /// Who vouches for it: `systemd-timesyncd`, `chrony`, `ntp`, `cluster`, or one of them before `an earlier start`.
    pub by: Option<String>,
    /// Seconds by which the system's clock is ahead of the time that events are given.
    pub system_clock_off_s: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LinkStatus {
    pub up: bool,
    /// How long it has been so.
    pub since_s: f64,
    pub brokers: String,
    /// What the brokers asked us to wait in the last second, at most.
    pub throttled_ms: u64,
    /// The least round trip of a request to a broker, once known.
    pub round_trip_ms: Option<f64>,
    /// Bytes a second, before compression, delivered in the best of the last ten seconds of sending.
    pub goodput: f64,
    /// The same that a client quota was found to allow, if there is one.
    pub quota: Option<f64>,
    /// `[[link.budget]]`, as of now.
    #[serde(default)]
    pub budgets: Vec<BudgetStatus>,
    /// Topics that the cluster does not take, and why.
    pub blocked: Vec<(String, String)>,
    /// How many more there are than are named.
    #[serde(default)]
    pub blocked_more: u64,
    /// Which cluster it is and was, where the brokers began to belong to another one since the start.
    #[serde(default)]
    pub other_cluster: Option<String>,
}

/// Bytes on the wire in the hour, day or month that it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BudgetStatus {
    pub per: String,
    pub bytes: u64,
    pub used: u64,
    /// All but what is kept for urgent intents.
    pub is_used_up: bool,
}

/// What is written to the flash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FlashStatus {
    /// Bytes written by the agent since its start, as the kernel counts them.
    pub written_bytes: u64,
    /// Since the day began on the buffer's clock, and since the buffer was made; as of the last mark.
    pub today_bytes: u64,
    pub ever_bytes: u64,
    /// Bytes written for each byte that was kept, compressed; none while nothing was kept.
    pub write_amplification: Option<f64>,
    /// What an eMMC says of itself.
    pub life: Option<Life>,
}

/// One lane. `recovered + accepted = delivered + dropped + buffered`, always.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LaneStatus {
    pub name: String,
    pub recovered: u64,
    pub accepted: u64,
    pub delivered: u64,
    pub buffered: u64,
    pub refused: u64,
    pub dropped: Vec<(String, u64)>,
    pub in_flight: u64,
    pub disk_bytes: u64,
    pub memory_bytes: u64,
    /// Bytes of blocks written since the start.
    pub stored_bytes: u64,
    /// Age of the oldest event that waits; on disk it may be a generation younger.
    pub oldest_s: f64,
    /// Over the last second.
    pub accepted_per_s: f64,
    pub delivered_per_s: f64,
    /// Why it does not send what it has, in words.
    pub waits: Option<String>,
    /// Events a second that it takes in on average, over ten minutes, and the bytes of one: as it is in memory, and on disk,
    /// compressed, once some were stored.
    #[serde(default)]
    pub usual_per_s: f64,
    #[serde(default)]
    pub event_bytes: u64,
    #[serde(default)]
    pub event_stored_bytes: Option<u64>,
    /// Seconds until nothing is left, at the rate of the last minute; none while it does not become less.
    pub drained_in_s: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    pub name: String,
    pub connected: bool,
    pub received: u64,
    pub refused: u64,
    pub errors: u64,
    pub last_error: String,
    /// How often it was started again because it had ended by itself.
    #[serde(default)]
    pub restarts: u64,
    /// Why it does not run, if it does not.
    #[serde(default)]
    pub down: Option<String>,
    /// Why nothing is taken from it, in words: its lane has no room in memory until the disk has written.
    #[serde(default)]
    pub paused: Option<String>,
    /// How often that was so since the start, and for how long in all.
    #[serde(default)]
    pub pauses: u64,
    #[serde(default)]
    pub paused_s: f64,
    /// Bytes that were heard before an answer and belong to none (Modbus).
    #[serde(default)]
    pub skipped_bytes: u64,
    /// Slaves that were asked, by address (Modbus).
    #[serde(default)]
    pub slaves: Vec<SlaveStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SlaveStatus {
    pub slave: u8,
    /// Whether it counts as one that answers: it is not silent, and its line is there.
    pub answers: bool,
    /// Reads of its groups that it answered, also with a refusal, and those that it did not, since the start.
    pub answered: u64,
    pub failed: u64,
}

/// A part of the agent that does not work: a source's task, the status server, the disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PartStatus {
    pub part: String,
    pub reason: String,
    /// How long it has been so, where that is known.
    pub down_s: Option<f64>,
    /// It has been so for too long to be left alone.
    pub unhealthy: bool,
    /// It is being started again; the agent is restarted for one that is not.
    pub is_mended: bool,
}

impl LaneStatus {
    pub(crate) fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }
}

impl Snapshot {
    /// No more waits than arrives in a second: what is left is on its way.
    #[cfg(feature = "demo")]
    pub(crate) fn has_caught_up(&self) -> bool {
        self.lanes.iter().all(|lane| {
            let waiting = u32::try_from(lane.buffered).map_or(f64::INFINITY, f64::from);
            waiting <= lane.accepted_per_s.max(1.0)
        })
    }

    /// Everything that was accepted is delivered or dropped.
    #[cfg(feature = "demo")]
    pub(crate) fn is_drained(&self) -> bool {
        self.lanes.iter().all(|lane| lane.buffered == 0)
    }

    /// What a heartbeat says: enough to see from afar what is wrong.
    #[must_use]
    pub(crate) fn heartbeat(&self) -> Value {
        let lanes = self.lanes.iter().map(|lane| {
            let dropped = lane.dropped_in_all();
            let report = json!({ "accepted": lane.accepted, "delivered": lane.delivered, "buffered": lane.buffered,
                "refused": lane.refused, "dropped": dropped, "disk_bytes": lane.disk_bytes, "oldest_s": lane.oldest_s,
                "delivered_per_s": lane.delivered_per_s, "drained_in_s": lane.drained_in_s, "waits": lane.waits });
            (lane.name.clone(), report)
        });
        let down: Vec<&str> = self
            .sources
            .iter()
            .filter(|s| !s.connected)
            .map(|s| s.name.as_str())
            .collect();
        json!({ "uptime_s": self.uptime_s, "link_up": self.link.up, "lanes": lanes.collect::<serde_json::Map<_, _>>(),
            "sources_down": down, "parts_down": self.parts, "disk_error": self.disk_error, "clock": self.clock, "config": self.config, "flash": self.flash })
    }

    /// Why it is not well enough to be left alone: a line for each part of the agent that has not worked for too long. An outage
    /// of the link is not an illness.
    pub(crate) fn illnesses(&self) -> impl Iterator<Item = String> {
        let ill = self.parts.iter().filter(|part| part.unhealthy);
        ill.map(|part| format!("{}: {}", part.part, part.reason))
    }
}
