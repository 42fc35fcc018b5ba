//! A record as it goes out: a `CloudEvent` in Kafka's binary binding, with headers of our own.

use std::time::Instant;

use adapters::Trust;
use buffer::{LaneId, Next};
use jiff::Timestamp;

use super::Drain;
use crate::drain::address::Address;
use crate::ingest::Record;
use crate::uplink::{Message, Unsent};

impl Drain {
    pub(super) fn hand_over(
        &mut self,
        lane: LaneId,
        next: &Next<'_, Record>,
        replay: bool,
        address: &Address,
        now: Instant,
    ) -> Result<usize, Unsent> {
        let record = &next.placed.record;
        let (unix_us, trust) = self.clock.settled(record.stamp);
        let own = unix_us / 1000;
        let (timestamp, clamped) = self.timestamps.of(&address.topic, own, self.wall, now);
        let id = record.id(&self.gateway);
        self.write_time(unix_us);
        let (mut epoch, mut sequence) = (itoa::Buffer::new(), itoa::Buffer::new());
        let epoch = epoch.format(next.placed.epoch);
        let sequence = sequence.format(next.placed.sequence);
        let name = self.names.get(lane.index()).map_or("", String::as_str);
        let unverified = trust == Trust::Unverified;
        let bad = record.origin.quality == adapters::Quality::Bad;
        let properties = record.properties.as_deref();
        let expired = self.has_expired(lane, record);
        let retained = record.origin.tags.contains_key(adapters::mqtt::RETAINED);
        let headers = [
            ("ce_specversion", Some(b"1.0".as_slice())),
            ("ce_id", Some(&id)),
            ("ce_source", Some(address.source.as_bytes())),
            ("ce_type", Some(address.kind.as_bytes())),
            ("ce_time", Some(self.time.1.as_bytes())),
            ("ce_subject", Some(record.origin.subject.as_bytes())),
            ("tg-lane", Some(name.as_bytes())),
            ("tg-epoch", Some(epoch.as_bytes())),
            ("tg-seq", Some(sequence.as_bytes())),
            ("tg-replay", Some(if replay { b"true" } else { b"false" })),
            ("tg-clock", Some(clock(trust))),
            ("content-type", record.content_type().map(str::as_bytes)),
            ("tg-quality", bad.then_some(b"bad".as_slice())),
            ("tg-clamped", clamped.then_some(b"true".as_slice())),
            ("tg-unverified", unverified.then_some(b"true".as_slice())),
            ("tg-retained", retained.then_some(b"true".as_slice())),
            ("tg-expired", expired.then_some(b"true".as_slice())),
        ];
        let message = Message {
            lane,
            token: next.token,
            topic: &address.topic,
            key: &address.key,
            payload: (!self.is_tombstone(lane, record)).then_some(&record.payload[..]),
            timestamp,
            headers: &headers,
            more: properties.map_or(&[], |properties| &properties.headers[..]),
        };
        let bytes = self.uplink.send(&message, now)?;
        let doubt = self
            .timestamps
            .doubt(&address.topic, timestamp, self.wall, now);
        let doubt = doubt.map(|ahead| (address.topic.as_str(), ahead));
        self.timestamps
            .sent(lane, next.token, timestamp, doubt, now);
        Ok(bytes)
    }

    /// What a program wrote and nobody understood deletes nothing.
    fn is_tombstone(&self, lane: LaneId, record: &Record) -> bool {
        record.payload.is_empty()
            && record.origin.quality == adapters::Quality::Good
            && (self.addresses.lanes().get(lane.index())).is_some_and(|address| address.tombstones)
    }

    /// A batch of events shares the text.
    fn write_time(&mut self, unix_us: i64) {
        if self.time.0 != unix_us {
            let time = Timestamp::from_microsecond(unix_us);
            let time = time.unwrap_or(Timestamp::UNIX_EPOCH);
            self.time = (unix_us, time.to_string());
        }
    }
}

/// What `tg-clock` says.
fn clock(trust: Trust) -> &'static [u8] {
    match trust {
        Trust::Wrong => b"unsynced",
        Trust::Unverified | Trust::Vouched => b"synced",
    }
}
