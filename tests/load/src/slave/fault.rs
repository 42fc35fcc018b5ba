//! What sick slaves say.

use std::time::Duration;

use super::frames;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Dead,
    /// The exception "illegal data address".
    Exception,
    /// The same, for register 7 alone.
    UnknownRegister,
    /// The exception "server device busy".
    Busy,
    WrongSum,
    Truncated,
    /// After the time-out, within the silence that follows it.
    Late,
    /// By up to half a second, so that it falls into later exchanges.
    VeryLate,
    /// The answer to the request before.
    Behind,
    Doubled,
    AnotherSlave,
    AnotherFunction,
    NoiseBefore,
    NoiseAfter,
    /// Bytes that mean nothing.
    Garbage,
    Echo,
    /// Each byte by itself, up to five milliseconds apart.
    Gaps,
}

impl Fault {
    /// All that can happen to one answer in some.
    pub const NOW_AND_THEN: [Fault; 15] = [
        Fault::Dead,
        Fault::Busy,
        Fault::WrongSum,
        Fault::Truncated,
        Fault::Late,
        Fault::VeryLate,
        Fault::Behind,
        Fault::Doubled,
        Fault::AnotherSlave,
        Fault::AnotherFunction,
        Fault::NoiseBefore,
        Fault::NoiseAfter,
        Fault::Garbage,
        Fault::Echo,
        Fault::Gaps,
    ];

    /// Pauses, and what is said after each.
    pub(super) fn say(
        self,
        asked: &[u8],
        mut good: Vec<u8>,
        previous: Vec<u8>,
        dice: &mut Dice,
    ) -> Vec<(Duration, Vec<u8>)> {
        let at_once = |bytes| vec![(Duration::ZERO, bytes)];
        match self {
            Fault::None => at_once(good),
            Fault::Dead => Vec::new(),
            Fault::Exception => at_once(frames::exception(asked, 2)),
            Fault::UnknownRegister => {
                let first = u16::from_be_bytes([asked[2], asked[3]]);
                let count = u16::from_be_bytes([asked[4], asked[5]]);
                let reads_it = (first..first.saturating_add(count)).contains(&7);
                at_once(if reads_it {
                    frames::exception(asked, 2)
                } else {
                    good
                })
            }
            Fault::Busy => at_once(frames::exception(asked, 6)),
            Fault::WrongSum => {
                let at = dice.index(good.len());
                good[at] ^= 1 << dice.below(8);
                at_once(good)
            }
            Fault::Truncated => {
                good.truncate(dice.index(good.len()));
                at_once(good)
            }
            Fault::Late => vec![(Duration::from_millis(150) + dice.time(30), good)],
            Fault::VeryLate => vec![(dice.time(500), good)],
            Fault::Behind => at_once(previous),
            Fault::Doubled => vec![(Duration::ZERO, good.clone()), (dice.time(2), good)],
            Fault::AnotherSlave => {
                let other = [&[asked[0] ^ 1], &asked[1..]].concat();
                at_once(frames::good(&other))
            }
            Fault::AnotherFunction => {
                let other = [&[asked[0], asked[1] ^ 7], &asked[2..]].concat();
                at_once(frames::good(&other))
            }
            Fault::NoiseBefore => at_once([dice.bytes(20), good].concat()),
            Fault::NoiseAfter => vec![(Duration::ZERO, good), (dice.time(100), dice.bytes(20))],
            Fault::Garbage => at_once(dice.bytes(40)),
            Fault::Echo => at_once([asked.to_vec(), good].concat()),
            Fault::Gaps => {
                let bytes = good.into_iter().map(|byte| vec![byte]);
                bytes.map(|byte| (dice.time(5), byte)).collect()
            }
        }
    }
}

/// Numbers that a seed decides (`SplitMix64`).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let count = 1 + self.below(most);
        let byte = |_| self.below(256).to_le_bytes()[0];
        (0..count).map(byte).collect()
    }

    /// Less than so many milliseconds.
    fn time(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most * 1000))
    }
}
