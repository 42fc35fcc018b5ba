//! Intents: what events are for, and what follows for their lane and their way out.

use std::time::Duration;

use adapters::{Size, Span};
use buffer::{Keep, LaneDisk, LaneId, LaneSettings, Order, WhenFull};

use super::file::File;
use super::intent::{CoalesceKind, ExpectedSection, FullPolicy, IntentSection, OrderKind};
use super::memory::Profile;
use crate::drain::{Expired, LaneAddress, Template};
use crate::ingest::{Routes, Rule};
use crate::pace::LanePace;
use crate::pace::number;
use crate::uplink::{CompressionKind, Sending};

/// Each intent is a lane with memory and a sync of its own.
pub(super) const INTENTS_MAX: usize = 16;

/// The lane of the gateway's own reports.
pub(crate) const HEALTH: &str = "health";
/// Where an event goes that names no intent and matches no route.
pub(super) const CATCH_ALL: &str = "diagnostic";

/// An intent, as each part of the agent wants to know it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intent {
    pub name: String,
    pub address: LaneAddress,
    pub lane: LaneSettings,
    pub disk: LaneDisk,
    pub pace: LanePace,
    pub sending: Sending,
    /// Gets a copy of every event during an outage.
    pub history: Option<String>,
    /// What its sources are expected to give.
    pub expected: Option<ExpectedSection>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intents(Vec<Intent>);

impl Intents {
    /// The built-in intents as the file changes them, and those that it adds. The file was checked.
    #[must_use]
    pub(crate) fn new(file: &File) -> Intents {
        let profile = file.memory.profile;
        let mut sections = built_in();
        for change in &file.intent {
            if !sections.iter().any(|known| known.name == change.name) {
                let topic = format!("tidegate.{}", change.name);
                sections.push(blank(&change.name, &topic));
            }
        }
        for section in &mut sections {
            section.memory = section.memory.map(|size| Size(profile.of(size.0)));
            let change = file.intent.iter().find(|one| one.name == section.name);
            if file.link.is_metered() {
                gather(section, change);
            }
            if let Some(change) = change {
                overlay(section, change);
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
    pub(super) fn on_disk(&self) -> Vec<LaneDisk> {
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

    #[must_use]
    pub(crate) fn paces(&self) -> Vec<LanePace> {
        self.0.iter().map(|intent| intent.pace.clone()).collect()
    }

    #[must_use]
    pub(crate) fn sendings(&self) -> Vec<Sending> {
        self.0.iter().map(|intent| intent.sending.clone()).collect()
    }

    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<LaneAddress> {
        self.0.iter().map(|intent| intent.address.clone()).collect()
    }

    /// The rules of a checked file.
    #[must_use]
    pub(crate) fn routes(&self, file: &File) -> Routes {
        let known = |name| self.id(name).expect("a checked rule names an intent");
        let rules = file.route.iter();
        Routes {
            names: self.0.iter().map(|intent| intent.name.clone()).collect(),
            rules: rules
                .map(|rule| Rule::new(rule, known(&rule.intent)))
                .collect(),
            catch_all: known(CATCH_ALL),
        }
    }
}

/// A name that can be a directory, a metric label and part of a topic.
#[must_use]
pub(super) fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(legal)
}

const MIB: u64 = 1 << 20;
/// What a lane holds beyond its memory while its disk writes.
const BURST: u64 = 2 * MIB;
/// How long an event lingers on a link that is paid for by the byte.
const METERED: Duration = Duration::from_secs(5);

fn blank(name: &str, topic: &str) -> IntentSection {
    IntentSection {
        name: name.into(),
        topic: Some(topic.into()),
        key: Some("{device}".into()),
        tombstones: Some(false),
        expired: None,
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
        linger: Some(Span(Duration::from_millis(20))),
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
        linger: Some(Span(Duration::from_millis(200))),
        ..blank("feature", "tidegate.feature")
    };
    let diagnostic = IntentSection {
        budget: Some(Size(1024 * MIB)),
        weight: Some(1),
        linger: Some(Span(Duration::from_secs(1))),
        ..blank(CATCH_ALL, "tidegate.diagnostic")
    };
    let health = IntentSection {
        key: Some("{gateway}".into()),
        budget: Some(Size(16 * MIB)),
        memory: Some(Size(256 * 1024)),
        weight: Some(8),
        linger: Some(Span(Duration::from_secs(1))),
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
        tombstones,
        expired,
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

/// On a link that is paid for by the byte. What lingers waits as much longer in memory, or it would be written to disk before it is
/// sent; what the file says of either counts for more.
fn gather(section: &mut IntentSection, change: Option<&IntentSection>) {
    let urgent = change.and_then(|change| change.urgent).or(section.urgent);
    let lingers = change.is_some_and(|change| change.linger.is_some());
    if urgent == Some(true) || lingers {
        return;
    }
    let stays = change.and_then(|change| change.persist_after);
    let most = match stays {
        Some(Span(stays)) if !stays.is_zero() => stays / 2,
        _ => METERED,
    };
    section.linger = section.linger.max(Some(Span(most.min(METERED))));
    section.persist_after = section.persist_after.map(|after| Span(after.0 + METERED));
}

const WHOLE: &str = "every intent begins with all defaults";

/// `section` has all that a lane needs: it is one of [`blank`]'s, with changes that were checked.
fn meant(section: &IntentSection, profile: Profile) -> Intent {
    let when_full = WhenFull::from(section.when_full.expect(WHOLE));
    let order = Order::from(section.order.expect(WHOLE));
    let (name, budget) = (section.name.clone(), section.budget.expect(WHOLE).0);
    let urgent = section.urgent.expect(WHOLE);
    Intent {
        address: address(section, urgent),
        disk: LaneDisk {
            name: name.clone(),
            budget,
            when_full,
            coalesce: section.coalesce == Some(CoalesceKind::Latest),
            max_age: section.max_age.map(|age| age.0),
            keep: section.keep.map(|keep| Keep {
                age: keep.age.0,
                bytes: keep.size.0,
            }),
        },
        lane: LaneSettings {
            order,
            when_full,
            persist_after: section.persist_after.expect(WHOLE).0,
            commit_every: section.commit_every.expect(WHOLE).0,
            budget,
            keeps: section.keep.is_some(),
            bulk: !urgent,
            memory: number::in_memory(section.memory.expect(WHOLE).0),
            record: number::in_memory(profile.record().min(budget / 4)),
            burst: number::in_memory(profile.of(BURST)),
        },
        pace: LanePace {
            name: name.clone(),
            urgent,
            in_order: order == Order::InOrder,
            linger: section.linger.expect(WHOLE).0,
            weight: section.weight.expect(WHOLE),
            events_per_s: section.events_per_s.filter(|rate| *rate > 0),
            bytes_per_s: section
                .bytes_per_s
                .map(|rate| rate.0)
                .filter(|rate| *rate > 0),
        },
        sending: Sending {
            urgent,
            compression: section.compression.expect(WHOLE),
            batch: section.batch.expect(WHOLE).0,
        },
        history: section.history.clone(),
        expected: section.expected,
        name,
    }
}

fn address(section: &IntentSection, urgent: bool) -> LaneAddress {
    let parse = |text: &Option<String>| {
        Template::parse(text.as_deref().expect(WHOLE)).unwrap_or_else(|_| Template::unreadable())
    };
    let linger = section.linger.expect(WHOLE).0;
    LaneAddress {
        name: section.name.clone(),
        topic: parse(&section.topic),
        key: parse(&section.key),
        tombstones: section.tombstones.expect(WHOLE),
        expired: match section.expired {
            Some(expired) if !urgent => expired,
            None if !urgent => Expired::Drop,
            Some(_) | None => Expired::Mark,
        },
        lingers_s: linger.as_secs() + u64::from(linger.subsec_nanos() > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn on_a_metered_link_what_is_not_urgent_lingers_for_seconds_unless_the_file_says_how_long() {
        let state = |more: &str| format!("[[intent]]\nname = \"state\"\n{more}\n");
        let metered = "[link]\nmetered = true\n";
        let budget = "[[link.budget]]\nper = \"month\"\nbytes = \"1 GiB\"\n";
        // Milliseconds of linger, and in memory.
        for (text, expected) in [
            (String::new(), (20, 1000)),
            (metered.to_owned(), (5000, 6000)),
            (budget.to_owned(), (5000, 6000)),
            (format!("[link]\nmetered = false\n{budget}"), (20, 1000)),
            (metered.to_owned() + &state("linger = \"1s\""), (1000, 1000)),
            (
                metered.to_owned() + &state("persist_after = \"3s\""),
                (1500, 3000),
            ),
            (
                metered.to_owned() + &state("persist_after = \"0s\""),
                (5000, 0),
            ),
            (metered.to_owned() + &state("urgent = true"), (20, 1000)),
        ] {
            let intents = Settings::of(&text).intents;
            let one = intents.get(intents.id("state").unwrap());
            let millis = (
                one.pace.linger.as_millis(),
                one.lane.persist_after.as_millis(),
            );
            assert_eq!(millis, expected, "{text}");
            let urgent = intents.get(intents.id("critical").unwrap());
            assert_eq!(urgent.lane.persist_after, Duration::ZERO, "{text}");
        }
    }
}
