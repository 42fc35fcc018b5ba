//! Intents: what events are for, and what follows for their lane and their way out.

use std::time::Duration;

use adapters::{Size, Span};
use buffer::{Keep, LaneDisk, LaneId, LaneSettings, Order, WhenFull};

use crate::config::Profile;
use crate::config::{
    CoalesceKind, CompressionKind, ExpectedSection, File, FullPolicy, IntentSection, OrderKind,
};
use crate::number;
use crate::template::Template;

/// Each intent is a lane with memory and a sync of its own.
pub(crate) const INTENTS_MAX: usize = 16;

/// The lane of the gateway's own reports.
pub(crate) const HEALTH: &str = "health";
/// Where an event goes that names no intent and matches no route.
pub(crate) const CATCH_ALL: &str = "diagnostic";

#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub name: String,
    pub topic: Template,
    pub key: Template,
    pub lane: LaneSettings,
    pub disk: LaneDisk,
    /// Gets a copy of every event during an outage.
    pub history: Option<String>,
    /// Before all others, on a connection of its own.
    pub urgent: bool,
    pub weight: u32,
    pub sending: Sending,
    /// Limits of the replay of this intent alone.
    pub replay_events_per_s: Option<u32>,
    pub replay_bytes_per_s: Option<u64>,
    /// What its sources are expected to give.
    pub expected: Option<ExpectedSection>,
}

/// How records are batched; intents that agree in it, and in urgency, share a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    pub compression: CompressionKind,
    pub linger: Duration,
    pub batch: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Intents(Vec<Intent>);

impl Intents {
    /// The built-in intents as the file changes them, and those that it adds. The file was checked.
    #[must_use]
    pub(crate) fn new(file: &File) -> Intents {
        let profile = file.memory.profile;
        let mut sections = built_in();
        for section in &mut sections {
            section.memory = section.memory.map(|size| Size(profile.of(size.0)));
        }
        for section in &file.intent {
            if let Some(known) = sections.iter_mut().find(|known| known.name == section.name) {
                overlay(known, section);
            } else {
                let mut fresh = blank(&section.name, &format!("tidegate.{}", section.name));
                fresh.memory = fresh.memory.map(|size| Size(profile.of(size.0)));
                overlay(&mut fresh, section);
                sections.push(fresh);
            }
        }
        Intents(
            sections
                .iter()
                .take(INTENTS_MAX)
                .map(|section| meant(section, profile))
                .collect(),
        )
    }

    #[must_use]
    pub(crate) fn id(&self, name: &str) -> Option<LaneId> {
        let index = self.0.iter().position(|intent| intent.name == name)?;
        u8::try_from(index).ok().map(LaneId)
    }

    #[must_use]
    pub(crate) fn get(&self, lane: LaneId) -> &Intent {
        self.0
            .get(lane.index())
            .expect("lane ids are made from the list of intents")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LaneId, &Intent)> {
        self.0
            .iter()
            .enumerate()
            .filter_map(|(index, intent)| Some((LaneId(u8::try_from(index).ok()?), intent)))
    }

    #[must_use]
    pub(crate) fn names(&self) -> String {
        self.0
            .iter()
            .map(|intent| intent.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[must_use]
    pub(crate) fn on_disk(&self) -> Vec<LaneDisk> {
        self.0.iter().map(|intent| intent.disk.clone()).collect()
    }

    /// For each lane, the one that gets a copy of its events during an outage.
    #[must_use]
    pub(crate) fn histories(&self) -> Vec<Option<LaneId>> {
        let history = |intent: &Intent| self.id(intent.history.as_deref()?);
        self.0.iter().map(history).collect()
    }

    #[must_use]
    pub(crate) fn lanes(&self) -> Vec<LaneSettings> {
        self.0.iter().map(|intent| intent.lane.clone()).collect()
    }
}

/// A name that can be a directory, a metric label and part of a topic.
#[must_use]
pub(crate) fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(legal)
}

const MIB: u64 = 1 << 20;
/// What a lane holds beyond its memory while its disk writes.
const BURST: u64 = 2 * MIB;

fn blank(name: &str, topic: &str) -> IntentSection {
    IntentSection {
        name: name.into(),
        topic: Some(topic.into()),
        key: Some("{device}".into()),
        order: Some(OrderKind::InOrder),
        persist_after: Some(Span(Duration::from_secs(2))),
        commit_every: Some(Span(Duration::from_millis(500))),
        budget: Some(Size(256 * MIB)),
        memory: Some(Size(2 * MIB)),
        when_full: Some(FullPolicy::DropOldest),
        coalesce: None,
        history: None,
        max_age: None,
        keep: None,
        urgent: Some(false),
        weight: Some(2),
        compression: Some(CompressionKind::Zstd),
        linger: Some(Span(Duration::from_millis(5))),
        batch: Some(Size(256 * 1024)),
        events_per_s: None,
        bytes_per_s: None,
        expected: None,
        survive_outage: None,
    }
}

/// The table of DESIGN section 2, as README shows it.
fn built_in() -> Vec<IntentSection> {
    let critical = IntentSection {
        order: Some(OrderKind::LiveFirst),
        persist_after: Some(Span(Duration::ZERO)),
        commit_every: Some(Span(Duration::ZERO)),
        budget: Some(Size(64 * MIB)),
        memory: Some(Size(MIB)),
        when_full: Some(FullPolicy::Refuse),
        urgent: Some(true),
        compression: Some(CompressionKind::None),
        linger: Some(Span(Duration::ZERO)),
        batch: Some(Size(64 * 1024)),
        ..blank("critical", "tidegate.critical")
    };
    let state = IntentSection {
        persist_after: Some(Span(Duration::from_secs(1))),
        when_full: Some(FullPolicy::CoalesceLatest),
        weight: Some(4),
        ..blank("state", "tidegate.state")
    };
    let feature = IntentSection {
        budget: Some(Size(512 * MIB)),
        ..blank("feature", "tidegate.feature")
    };
    let diagnostic = IntentSection {
        budget: Some(Size(1024 * MIB)),
        weight: Some(1),
        ..blank(CATCH_ALL, "tidegate.diagnostic")
    };
    let health = IntentSection {
        key: Some("{gateway}".into()),
        budget: Some(Size(16 * MIB)),
        memory: Some(Size(256 * 1024)),
        weight: Some(8),
        ..blank(HEALTH, "tidegate.health")
    };
    vec![critical, state, feature, diagnostic, health]
}

fn overlay(base: &mut IntentSection, change: &IntentSection) {
    macro_rules! take {
        ($($field:ident),*) => { $(if change.$field.is_some() { base.$field.clone_from(&change.$field); })* };
    }
    take!(
        topic,
        key,
        order,
        persist_after,
        commit_every,
        budget,
        memory,
        when_full,
        coalesce,
        history,
        max_age,
        keep,
        urgent,
        weight
    );
    take!(
        compression,
        linger,
        batch,
        events_per_s,
        bytes_per_s,
        expected,
        survive_outage
    );
}

fn meant(section: &IntentSection, profile: Profile) -> Intent {
    let parse = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or("{device}");
        Template::parse(text)
            .or_else(|_| Template::parse("tidegate.unrouted"))
            .expect("a template without fields parses")
    };
    let span = |span: Option<Span>| span.map_or(Duration::ZERO, |span| span.0);
    let when_full = match section.when_full {
        Some(FullPolicy::Refuse) => WhenFull::Refuse,
        Some(FullPolicy::DropNewest) => WhenFull::DropNewest,
        Some(FullPolicy::CoalesceLatest) => WhenFull::CoalesceLatest,
        Some(FullPolicy::DropOldest) | None => WhenFull::DropOldest,
    };
    let budget = section.budget.map_or(MIB, |size| size.0);
    Intent {
        name: section.name.clone(),
        disk: LaneDisk {
            name: section.name.clone(),
            budget,
            when_full,
            coalesce: section.coalesce == Some(CoalesceKind::Latest),
            max_age: section.max_age.map(|age| age.0),
            keep: section.keep.map(|keep| Keep {
                age: keep.age.0,
                bytes: keep.size.0,
            }),
        },
        history: section.history.clone(),
        topic: parse(&section.topic),
        key: parse(&section.key),
        lane: LaneSettings {
            order: match section.order {
                Some(OrderKind::LiveFirst) => Order::LiveFirst,
                Some(OrderKind::InOrder) | None => Order::InOrder,
            },
            when_full,
            persist_after: span(section.persist_after),
            commit_every: span(section.commit_every),
            budget,
            keeps: section.keep.is_some(),
            bulk: !section.urgent.unwrap_or(false),
            memory: section
                .memory
                .map_or(1 << 20, |size| number::in_memory(size.0)),
            burst: number::in_memory(profile.of(BURST)),
        },
        urgent: section.urgent.unwrap_or(false),
        weight: section.weight.unwrap_or(1),
        sending: Sending {
            compression: section.compression.unwrap_or(CompressionKind::None),
            linger: span(section.linger),
            batch: section.batch.map_or(64 * 1024, |size| size.0),
        },
        replay_events_per_s: section.events_per_s.filter(|rate| *rate > 0),
        replay_bytes_per_s: section
            .bytes_per_s
            .map(|rate| rate.0)
            .filter(|rate| *rate > 0),
        expected: section.expected,
    }
}
