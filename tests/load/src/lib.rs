//! Numbered events in at one end, an account of them out at the other.

pub mod consume;
pub mod delay;

pub mod leaders;
pub mod mock;

pub mod play;

pub mod produce;
pub mod publish;

pub mod slave;
pub mod slaves;
pub mod unit;

#[cfg(feature = "peers")]
pub mod master;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The payload of every event: its number and when it was made.
#[derive(Debug, Serialize, Deserialize)]
pub struct Numbered {
    pub n: u64,
    /// Microseconds since 1970.
    pub t: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pad: String,
}

impl Numbered {
    /// About `size` bytes of JSON, which compress as telemetry does unless `noise` is asked for.
    #[must_use]
    pub fn new(n: u64, size: usize, noise: bool) -> Numbered {
        let length = size.saturating_sub(48);
        let telemetry = r"temperature=21.5;pressure=1013.2;humidity=45;state=running;mode=auto;"
            .bytes()
            .cycle();
        let mut state = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let letters = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'A' + state.to_le_bytes()[3] % 58
        });
        let pad: Vec<u8> = if noise {
            letters.take(length).collect()
        } else {
            telemetry.take(length).collect()
        };
        Numbered {
            n,
            t: unix_us(),
            pad: pad.into_iter().map(char::from).collect(),
        }
    }

    /// # Errors
    /// When the payload is not one of ours.
    pub fn parse(payload: &[u8]) -> Result<Numbered, serde_json::Error> {
        serde_json::from_slice(payload)
    }
}

#[must_use]
pub fn unix_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
