//! Sparing the flash, and how worn it is.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How much longer than usual bulk lanes wait for their commits at most.
const SPARE_MAX: f64 = 20.0;
/// Levels of sysfs between a partition and its device.
const LEVELS: usize = 6;

/// How many times as long as usual bulk lanes wait for their commits, when of a day's budget of bytes `today` are
/// used up and `passed` of the day has passed: as often as ever while less is used than has passed, then less.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a ratio")]
pub(crate) fn spare(budget: Option<u64>, today: u64, passed: f64) -> f64 {
    let Some(budget) = budget else {
        return 1.0;
    };
    let used = today as f64 / budget.max(1) as f64;
    let ahead = (used - passed) / (1.0 - passed).max(0.01);
    1.0 + (SPARE_MAX - 1.0) * ahead.clamp(0.0, 1.0)
}

/// What an eMMC says of its own wear (JEDEC eMMC 5.1, extended CSD bytes 267 to 269).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Percent of its life that are used up, at least, of the worse of its two types of memory.
    pub used_percent: u8,
    /// 1 normal, 2 over 80 % of the reserved blocks are used, 3 over 90 %; 0 not said.
    pub reserve: u8,
}

impl Life {
    /// Of the device under `path`, where it says so.
    #[must_use]
    pub(crate) fn of(path: &Path) -> Option<Life> {
        let device = fs::metadata(path).ok()?.st_dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Life::in_sysfs(&PathBuf::from(format!("/sys/dev/block/{major}:{minor}")))
    }

    fn in_sysfs(block: &Path) -> Option<Life> {
        let block = block.canonicalize().ok()?;
        let places = block.ancestors().take(LEVELS);
        let mut places = places.flat_map(|place| [place.to_owned(), place.join("device")]);
        let device = places.find(|place| place.join("life_time").is_file())?;
        let read = |name: &str| fs::read_to_string(device.join(name)).ok();
        let reserve = read("pre_eol_info").and_then(|text| hex(text.trim()));
        parse(&read("life_time")?, reserve.unwrap_or(0))
    }

    /// Time to order another one.
    #[must_use]
    pub(crate) fn is_short(self) -> bool {
        self.used_percent >= 80 || self.reserve >= 2
    }
}

/// Two numbers, each the used tenths of life and one more: `0x01` is up to 10 %, `0x0b` is beyond the end.
fn parse(life_time: &str, reserve: u8) -> Option<Life> {
    let tenths = life_time.split_whitespace().filter_map(hex).max()?;
    (1..=11).contains(&tenths).then(|| Life {
        used_percent: (tenths - 1) * 10,
        reserve,
    })
}

fn hex(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_put_off_as_a_days_budget_is_used_up_too_soon() {
        for (used, passed, factor) in [
            (0, 0.0, 1.0),
            (40, 0.5, 1.0),
            (50, 0.5, 1.0),
            (75, 0.5, 10.5),
            (100, 0.9, 20.0),
            (300, 0.1, 20.0),
        ] {
            let got = spare(Some(100), used, passed);
            assert!(
                (got - factor).abs() < 1e-6,
                "{used} of 100 at {passed}: {got}"
            );
        }
        assert!((spare(None, 1 << 40, 0.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_emmc_says_how_worn_it_is() {
        let life = |used_percent, reserve| {
            Some(Life {
                used_percent,
                reserve,
            })
        };
        for (text, reserve, expected) in [
            ("0x01 0x01\n", 1, life(0, 1)),
            ("0x02 0x09\n", 2, life(80, 2)),
            ("0x0b 0x01\n", 3, life(100, 3)),
            ("0x00 0x00\n", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(parse(text, reserve), expected, "{text:?}");
        }
    }

    #[test]
    fn it_is_found_beside_the_device_of_a_partition() {
        let sysfs = tempfile::tempdir().unwrap();
        let card = sysfs.path().join("mmc0/mmc0:0001");
        let partition = card.join("block/mmcblk0/mmcblk0p2");
        fs::create_dir_all(&partition).unwrap();
        assert_eq!(Life::in_sysfs(&partition), None);
        fs::write(card.join("life_time"), "0x03 0x02\n").unwrap();
        fs::write(card.join("pre_eol_info"), "0x01\n").unwrap();
        assert_eq!(
            Life::in_sysfs(&partition),
            Some(Life {
                used_percent: 20,
                reserve: 1
            })
        );
    }
}
