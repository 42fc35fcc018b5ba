//! What is remembered of the time between starts, in the state directory.

use serde::{Deserialize, Serialize};

/// Boots whose offset is remembered: more than a backlog spans on a gateway that does not restart all day.
const BOOTS_MAX: usize = 32;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// The latest time that a witness vouched for, for long enough, in microseconds since 1970, and its boot.
    pub(super) trusted_us: i64,
    pub(super) trusted_boot: u32,
    /// The latest time that was believed, vouched for or not.
    pub(super) seen_us: i64,
    /// The latest of the boots that a witness vouched for, the last one last.
    pub(super) boots: Vec<Boot>,
}

/// What a witness vouched for in one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    pub(super) number: u32,
    /// The boot clock when a witness last vouched for the offset.
    pub(super) at_us: u64,
    pub(super) offset_us: i64,
}

impl Memory {
    pub(super) fn of(&self, boot: u32) -> Option<Boot> {
        self.boots
            .iter()
            .copied()
            .find(|known| known.number == boot)
    }

    /// Remembers what was vouched for in a boot.
    pub(super) fn vouched(&mut self, one: Boot) {
        self.boots.retain(|known| known.number != one.number);
        if self.boots.len() >= BOOTS_MAX {
            self.boots.remove(0);
        }
        self.boots.push(one);
    }

    pub(super) fn forget(&mut self, boot: u32) {
        self.boots.retain(|known| known.number != boot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_an_earlier_version_is_read_and_boots_are_bounded() {
        assert_eq!(
            serde_json::from_str::<Memory>("{}").unwrap(),
            Memory::default()
        );
        let mut memory = Memory::default();
        for boot in 0..100 {
            let (at_us, offset_us) = (1, i64::from(boot));
            memory.vouched(Boot {
                number: boot,
                at_us,
                offset_us,
            });
        }
        assert_eq!(memory.boots.len(), BOOTS_MAX);
        assert_eq!(memory.of(99).unwrap().offset_us, 99);
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    }
}
