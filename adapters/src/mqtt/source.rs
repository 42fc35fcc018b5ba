//! From a publish to an event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tracing::{error, info, warn};

use super::allowed::Allowed;
use super::few::Few;
use super::packet::{Message, PACKET_BYTES_MAX};
use super::retained::Retained;
use super::section::{MqttSection, SubscribeSection};
use super::{MqttError, RETAINED};
use crate::origins::Origins;
use crate::topic::{Pattern, PatternError};
use crate::{AdapterKind, Event, Origin, Quality, SourceStats, Stamp};

/// The tag of an event that no subscription matches, as [`RETAINED`] a name that no level of a topic can have: a `[[route]]` may
/// ask for both.
const UNMATCHED: &str = "tg-unmatched";

#[derive(Debug)]
pub(super) struct Source {
    name: String,
    subscriptions: Vec<(Pattern, SubscribeSection)>,
    allowed: Allowed,
    /// By topic.
    origins: Origins<Box<[u8]>>,
    /// Marks messages that come without a packet identifier.
    unnumbered: u64,
    /// Topics of messages that were too large to be read.
    too_large: Few,
    /// Topics that no filter matches.
    unmatched: Few,
    /// Retained messages that were left out, and topics of the old ones.
    repeated: u64,
    old: u64,
    told_old: Few,
}

impl Source {
    /// `origin_bytes` of the origins of topics are remembered.
    pub(super) fn new(section: &MqttSection, origin_bytes: usize) -> Result<Source, MqttError> {
        let parse =
            |s: &SubscribeSection| Ok::<_, MqttError>((Pattern::parse(&s.topic)?, s.clone()));
        let subscriptions = section
            .subscribe
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Source {
            name: section.name.clone(),
            subscriptions,
            allowed: Allowed::new(&section.name, &section.headers),
            origins: Origins::new(origin_bytes),
            unnumbered: 0,
            too_large: Few::default(),
            unmatched: Few::default(),
            repeated: 0,
            old: 0,
            told_old: Few::default(),
        })
    }

    /// A message that the broker had kept is not taken: it is counted, and one that is older than what came is told of.
    pub(super) fn leave_out(&mut self, message: &Message, is: Retained) {
        if is != Retained::Old {
            self.repeated += 1;
            return;
        }
        self.old += 1;
        if self.told_old.is_news(&message.topic) {
            let topic = String::from_utf8_lossy(&message.topic);
            info!(source = %self.name, topic = %topic, "a retained message is left out, as a newer one of its topic came before it; whoever publishes the newer ones may retain them");
        }
    }

    /// Retained messages that were left out: those that were seen before, and those that were old.
    pub(super) fn left_out(&self) -> (u64, u64) {
        (self.repeated, self.old)
    }

    /// `is_retained` says that the broker kept it for us; `mark` is `None` for a message that is delivered at most once.
    pub(super) fn event(
        &mut self,
        message: &Message,
        is_retained: bool,
        mark: Option<u64>,
        stamp: Stamp,
        stats: &SourceStats,
    ) -> Event {
        let topic = &message.topic[..];
        let mark = mark.unwrap_or_else(|| {
            self.unnumbered += 1;
            // Its second stands for the run of the agent in which the count began.
            self.unnumbered ^ (stamp.unix_us.unsigned_abs() << 20)
        });
        let (name, subscriptions) = (&self.name, &self.subscriptions);
        let learn = || origin(name, subscriptions, &String::from_utf8_lossy(topic));
        let origin = if is_retained {
            // Each comes once: it is not remembered.
            let mut origin = learn();
            origin.tags.insert(RETAINED.to_owned(), "true".to_owned());
            Arc::new(origin)
        } else {
            self.origins.of(topic, learn, |_| topic.into())
        };
        if origin.tags.contains_key(UNMATCHED) {
            self.tell_unmatched(&message.topic, stats);
        }
        let payload = if message.left_out > 0 {
            self.tell_too_large(message);
            stand_in(message.left_out)
        } else {
            // The network's read buffer is shared: a payload that waits must not hold all of it.
            Bytes::copy_from_slice(&message.payload)
        };
        Event {
            origin,
            stamp,
            mark,
            payload,
            properties: self.allowed.of(message, stats),
        }
    }

    /// Nothing is lost, but nobody has said what it is: a filter was taken out of the configuration while the broker has messages
    /// for it, or the broker sends what nobody asked for.
    fn tell_unmatched(&mut self, topic: &[u8], stats: &SourceStats) {
        stats.errors.fetch_add(1, Ordering::Relaxed);
        if self.unmatched.is_news(topic) {
            let topic = String::from_utf8_lossy(topic);
            warn!(source = %self.name, topic = %topic, "the broker sent a message that no [[mqtt.subscribe]] matches; it goes where a [[route]] says, else where events without an intent go, and counts as an error of the source; add the filter, or have the broker send no such messages");
        }
    }

    fn tell_too_large(&mut self, message: &Message) {
        if self.too_large.is_news(&message.topic) {
            let topic = String::from_utf8_lossy(&message.topic);
            error!(source = %self.name, topic = %topic, bytes = message.left_out, most = PACKET_BYTES_MAX, "a message is larger than is read; it and others of its topic that are so large are acknowledged and dropped, and count in their lane as too_large; send it in parts");
        }
    }
}

/// A payload that no lane can hold, for one of so many bytes that was not read: its lane drops it as too large, with its topic, and
/// counts it. Nobody looks at its zeros, so that they are not in memory: the kernel gives none before it is touched. It is no
/// longer than what is read otherwise, as a broker may say any length.
fn stand_in(bytes: usize) -> Bytes {
    vec![0; bytes.min(PACKET_BYTES_MAX as usize)].into()
}

/// What an event of `topic` is to the source of `section`.
///
/// # Errors
/// When a subscription has no filter.
pub fn origin_of(section: &MqttSection, topic: &str) -> Result<Origin, PatternError> {
    let parse = |one: &SubscribeSection| Ok((Pattern::parse(&one.topic)?, one.clone()));
    let subscriptions = section.subscribe.iter().map(parse);
    let subscriptions: Vec<_> = subscriptions.collect::<Result<_, PatternError>>()?;
    Ok(origin(&section.name, &subscriptions, topic))
}

fn origin(name: &str, subscriptions: &[(Pattern, SubscribeSection)], topic: &str) -> Origin {
    let matched = subscriptions
        .iter()
        .find_map(|(pattern, s)| Some((pattern.capture(topic)?, s)));
    let is_matched = matched.is_some();
    let (captured, subscription) = matched.map_or((Vec::new(), None), |(c, s)| (c, Some(s)));
    let mut origin = Origin {
        adapter: AdapterKind::Mqtt,
        source: name.to_owned(),
        subject: topic.to_owned(),
        device: subscription
            .and_then(|s| s.device.clone())
            .unwrap_or_default(),
        kind: subscription
            .and_then(|s| s.kind.clone())
            .unwrap_or_default(),
        tags: subscription.map_or_else(BTreeMap::new, |s| s.tags.clone()),
        intent: subscription.and_then(|s| s.intent.clone()),
        content_type: subscription.and_then(|s| s.content_type.clone()),
        quality: Quality::Good,
    };
    for (name, text) in captured {
        match name {
            "device" => text.clone_into(&mut origin.device),
            "kind" => text.clone_into(&mut origin.kind),
            tag => {
                origin.tags.insert(tag.to_owned(), text.to_owned());
            }
        }
    }
    if !is_matched {
        let tags = &mut origin.tags;
        tags.insert(UNMATCHED.to_owned(), "true".to_owned());
    }
    origin
}
