//! What a lane holds for the root: an event without its way in, and how it looks on the wire.

use std::sync::Arc;

use adapters::{Event, Origin, Outcome, Properties, Stamp};
use buffer::Kept;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

// Persisted in serde's packed form: add fields at the end, never reorder or remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub origin: Arc<Origin>,
    pub stamp: Stamp,
    pub mark: u64,
    pub payload: Bytes,
    /// Earlier versions pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<Arc<Properties>>,
}

impl From<Event> for Record {
    fn from(event: Event) -> Record {
        Record {
            origin: event.origin,
            stamp: event.stamp,
            mark: event.mark,
            payload: event.payload,
            properties: event.properties,
        }
    }
}

impl From<Record> for Event {
    fn from(record: Record) -> Event {
        Event {
            origin: record.origin,
            stamp: record.stamp,
            mark: record.mark,
            payload: record.payload,
            properties: record.properties,
        }
    }
}

impl Record {
    /// For a person to look at. A payload that is not text is in hexadecimal.
    #[must_use]
    pub(crate) fn to_json(&self, lane: &str, epoch: u32, sequence: u64) -> serde_json::Value {
        let text = str::from_utf8(&self.payload).ok();
        let hex = || {
            self.payload
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let hex = text.is_none().then(hex);
        let mut json = serde_json::json!({
            "lane": lane,
            "epoch": epoch,
            "seq": sequence,
            "mark": self.mark,
            "origin": *self.origin,
            "unix_us": self.stamp.unix_us,
            "payload": text,
            "payload_hex": hex,
        });
        if let Some(properties) = &self.properties {
            json["properties"] = serde_json::json!(**properties);
        }
        json
    }

    /// Media type of the payload: what the message says counts for more than what its source does.
    pub(crate) fn content_type(&self) -> Option<&str> {
        let own = self.properties.as_deref();
        let own = own.and_then(|properties| properties.content_type.as_deref());
        own.or(self.origin.content_type.as_deref())
    }

    /// The event's id: the same whenever the same event is offered or sent again.
    ///
    /// A 128-bit hash of gateway, source, subject, mark and payload, as a UUID of version 8 (RFC 9562).
    #[must_use]
    pub(crate) fn id(&self, gateway: &str) -> [u8; 36] {
        let mut hash = Xxh3::new();
        for part in [
            gateway.as_bytes(),
            self.origin.source.as_bytes(),
            self.origin.subject.as_bytes(),
        ] {
            hash.update(part);
            hash.update(&[0]);
        }
        hash.update(&self.mark.to_le_bytes());
        hash.update(&self.payload);
        uuid(hash.digest128())
    }
}

fn uuid(hash: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = (hash & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| ![8, 13, 18, 23].contains(place));
    for (nibble, place) in places.enumerate() {
        let digit = usize::from(bits.to_be_bytes()[nibble / 2] >> (4 * (1 - nibble % 2)) & 0xf);
        text[place] = DIGITS[digit];
    }
    text
}

impl buffer::Record for Record {
    /// What is the latest of: one subject of one device.
    fn key(&self) -> u64 {
        let origin = &self.origin;
        xxh3_64(
            [
                &origin.source,
                "\0",
                &origin.device,
                "\0",
                &origin.kind,
                "\0",
                &origin.subject,
            ]
            .concat()
            .as_bytes(),
        )
    }

    fn name(&self) -> &str {
        &self.origin.subject
    }

    fn surplus(&self) -> usize {
        let properties = self.properties.as_deref();
        self.origin.surplus() + properties.map_or(0, Properties::surplus)
    }
}

/// The receipt slip of a record; the gateway's own reports have none.
#[derive(Debug)]
pub(crate) struct Claim(pub Option<adapters::Claim>);

impl buffer::Claim for Claim {
    fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(adapters::Claim::is_awaited)
    }

    fn resolve(self, kept: Kept) {
        let outcome = match kept {
            Kept::Stored | Kept::Delivered => Outcome::Kept,
            Kept::Dropped => Outcome::Dropped,
        };
        if let Some(claim) = self.0 {
            claim.resolve(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte, so that no change of an enum or a struct changes what is on disk unnoticed.
    #[test]
    fn a_record_on_disk_is_frozen() {
        for (adapter, quality, hex) in [
            (
                "mqtt",
                "good",
                "a400a900000161730263612f6203616404616b05a16174617606616907f6080001a20019010201030207034200ff",
            ),
            (
                "modbus",
                "bad",
                "a400a900010161730263612f6203616404616b05a16174617606616907f6080101a20019010201030207034200ff",
            ),
            (
                "inference",
                "good",
                "a400a900020161730263612f6203616404616b05a16174617606616907f6080001a20019010201030207034200ff",
            ),
            (
                "gateway",
                "good",
                "a400a900030161730263612f6203616404616b05a16174617606616907f6080001a20019010201030207034200ff",
            ),
        ] {
            let origin: Origin = serde_json::from_value(serde_json::json!({
                "adapter": adapter, "source": "s", "subject": "a/b", "device": "d", "kind": "k",
                "tags": { "t": "v" }, "intent": "i", "content_type": null, "quality": quality
            }))
            .unwrap();
            let record = Record {
                origin: Arc::new(origin),
                stamp: Stamp {
                    unix_us: 258,
                    unsynced_boot_us: Some(3),
                    ..Stamp::default()
                },
                mark: 7,
                payload: Bytes::from_static(b"\x00\xff"),
                properties: None,
            };
            let bytes = buffer::encoded(&record).unwrap();
            let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, hex, "{adapter}");
        }
    }

    /// What an earlier version reads of it is all but the properties, which it passes over.
    #[test]
    fn properties_on_disk_are_frozen_and_passed_over_by_earlier_versions() {
        #[derive(Deserialize)]
        struct Earlier {
            origin: Arc<Origin>,
            stamp: Stamp,
            mark: u64,
            payload: Bytes,
        }
        let properties = Properties {
            headers: vec![("h".into(), "t".into())],
            content_type: Some("c".into()),
            expiry_s: Some(5),
        };
        let bytes = buffer::encoded(&properties).unwrap();
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, "a300818261686174016163 0205".replace(' ', ""));
        let record = Record {
            origin: Arc::new(Origin::nowhere()),
            stamp: Stamp::default(),
            mark: 7,
            payload: Bytes::new(),
            properties: Some(Arc::new(properties)),
        };
        let bytes = buffer::encoded(&record).unwrap();
        let whole: Record = buffer::decoded(&bytes).unwrap();
        assert_eq!(whole, record);
        let earlier: Earlier = buffer::decoded(&bytes).unwrap();
        assert_eq!(
            (earlier.origin, earlier.stamp),
            (record.origin, record.stamp)
        );
        assert_eq!((earlier.mark, earlier.payload), (7, Bytes::new()));
    }

    /// The last two fields are only there where no witness vouched for the time, and earlier versions pass over them.
    #[test]
    fn a_stamp_on_disk_is_frozen() {
        for (boot, is_wrong, hex) in [
            (None, None, "a20019010201f6"),
            (Some(7), Some(true), "a40019010201f6020703f5"),
            (None, Some(false), "a30019010201f603f4"),
        ] {
            let stamp = Stamp {
                unix_us: 258,
                unsynced_boot_us: None,
                boot: boot.and_then(std::num::NonZeroU32::new),
                is_wrong,
            };
            let bytes = buffer::encoded(&stamp).unwrap();
            let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, hex);
        }
    }

    #[test]
    fn ids_are_uuids_that_differ_by_what_they_are_made_from() {
        let origin: Origin = serde_json::from_value(serde_json::json!({
            "adapter": "mqtt", "source": "plant", "subject": "a/b", "device": "", "kind": "", "tags": {},
            "intent": null, "content_type": null, "quality": "good"
        }))
        .unwrap();
        let stamp = Stamp {
            unix_us: 0,
            ..Stamp::default()
        };
        let record = Record {
            origin: Arc::new(origin),
            stamp,
            mark: 7,
            payload: Bytes::from_static(b"1"),
            properties: None,
        };
        let id = String::from_utf8(record.id("gw").to_vec()).unwrap();
        assert_eq!(id, "a8b6554c-79b2-84f5-8cc2-56d476e0b59b");
        let later = Record {
            stamp: Stamp {
                unix_us: 9,
                ..stamp
            },
            ..record.clone()
        };
        assert_eq!(
            later.id("gw"),
            record.id("gw"),
            "the time of arrival is not part of it"
        );
        assert_ne!(
            Record {
                mark: 8,
                ..record.clone()
            }
            .id("gw"),
            record.id("gw")
        );
        assert_ne!(record.id("other"), record.id("gw"));
    }
}
