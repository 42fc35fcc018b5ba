//! When a window is open: the five fields of crontab(5), as the minutes that they name.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::{ToSpan, Zoned};

/// Minutes in local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// From Sunday, 0.
    weekdays: u64,
    /// The day of the month, or of the week, is given: if both are, either will do.
    by_day: bool,
    by_weekday: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum CronError {
    #[error(
        "`{0}` does not have five fields: minute, hour, day of the month, month, day of the week, such as \"* 22-5 * * *\""
    )]
    Fields(String),
    #[error(
        "`{part}` is no {field}; use {from} to {to}, `*`, ranges like 1-5, lists like 1,3, steps like */2"
    )]
    Part {
        part: String,
        field: &'static str,
        from: u32,
        to: u32,
    },
    #[error("`{0}` is never open")]
    Never(String),
}

struct Field {
    name: &'static str,
    from: u32,
    to: u32,
    /// Names of the values from `from` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        from: 0,
        to: 59,
        names: &[],
    },
    Field {
        name: "hour",
        from: 0,
        to: 23,
        names: &[],
    },
    Field {
        name: "day of the month",
        from: 1,
        to: 31,
        names: &[],
    },
    Field {
        name: "month",
        from: 1,
        to: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "day of the week",
        from: 0,
        to: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// Steps of [`Cron::opens_after`]: days of more than four years, hours of a day, minutes of an hour.
const STEPS_MAX: usize = 4 * 366 + 24 + 60;

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(CronError::Fields(text.into()));
        };
        let mut weekdays = FIELDS[4].set(weekday)?;
        weekdays |= weekdays >> 7; // 7 is Sunday as well
        let cron = Cron {
            minutes: FIELDS[0].set(minute)?,
            hours: FIELDS[1].set(hour)?,
            days: FIELDS[2].set(day)?,
            months: FIELDS[3].set(month)?,
            weekdays,
            by_day: !day.starts_with('*'),
            by_weekday: !weekday.starts_with('*'),
        };
        // From a Sunday in a leap year on.
        let from = DateTime::constant(2024, 2, 25, 0, 0, 0, 0).in_tz("UTC");
        match from.ok().and_then(|from| cron.opens_after(&from)) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(text.into())),
        }
    }
}

impl Field {
    fn set(&self, text: &str) -> Result<u64, CronError> {
        let mut set = 0;
        for part in text.split(',') {
            let wrong = || CronError::Part {
                part: part.into(),
                field: self.name,
                from: self.from,
                to: self.to,
            };
            set |= self.part(part).ok_or_else(wrong)?;
        }
        Ok(set)
    }

    /// A range may go past the end: `22-5` are the hours of a night.
    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: u32 = step.parse().ok().filter(|step| *step > 0)?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.from, self.to),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if part.contains('/') => (self.value(range)?, self.to),
            None => (self.value(range)?, self.value(range)?),
        };
        let size = self.to - self.from + 1;
        let length = (last + size - first) % size;
        let at = |offset: u32| self.from + (first - self.from + offset) % size;
        let offsets = (0..=length).filter(|offset| offset % step == 0);
        Some(offsets.fold(0, |set, offset| set | 1 << at(offset)))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        let named = self.names.iter().position(|name| **name == lower);
        let value = match named {
            Some(index) => self.from + u32::try_from(index).ok()?,
            None => text.parse().ok()?,
        };
        (self.from..=self.to).contains(&value).then_some(value)
    }
}

impl Cron {
    pub(crate) fn is_open(&self, time: &Zoned) -> bool {
        self.has_day(time) && has(self.hours, time.hour()) && has(self.minutes, time.minute())
    }

    fn has_day(&self, time: &Zoned) -> bool {
        let day = has(self.days, time.day());
        let weekday = has(self.weekdays, time.weekday().to_sunday_zero_offset());
        let right = if self.by_day && self.by_weekday {
            day || weekday
        } else {
            day && weekday
        };
        right && has(self.months, time.month())
    }

    /// The first minute after that of `time` in which it is open.
    pub(crate) fn opens_after(&self, time: &Zoned) -> Option<Zoned> {
        let minute = |time: &Zoned| time.with().second(0).subsec_nanosecond(0).build();
        let mut time = minute(&time.checked_add(1.minute()).ok()?).ok()?;
        for _ in 0..STEPS_MAX {
            if !self.has_day(&time) {
                time = time.tomorrow().ok()?.start_of_day().ok()?;
            } else if !has(self.hours, time.hour()) {
                let hour = time.with().minute(0).build().ok()?;
                time = hour.checked_add(1.hour()).ok()?;
            } else if has(self.minutes, time.minute()) {
                return Some(time);
            } else {
                time = time.checked_add(1.minute()).ok()?;
            }
        }
        None
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set & 1 << value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        text.parse::<DateTime>().unwrap().to_zoned(zone).unwrap()
    }

    #[test]
    fn a_window_is_open_in_the_minutes_that_it_names() {
        let table = [
            ("* 22-5 * * *", "2026-11-25T23:10", true),
            ("* 22-5 * * *", "2026-11-25T05:59", true),
            ("* 22-5 * * *", "2026-11-25T06:00", false),
            ("*/15 * * * *", "2026-11-25T06:30", true),
            ("*/15 * * * *", "2026-11-25T06:31", false),
            ("* * * * sat,sun", "2026-11-28T12:00", true),
            ("* * * * 6-7", "2026-11-29T12:00", true),
            ("* * * * mon-fri", "2026-11-29T12:00", false),
            ("* * 1 * mon", "2026-11-30T12:00", true),
            ("* * 1 jan-mar *", "2026-02-01T12:00", true),
        ];
        for (cron, time, open) in table {
            let parsed: Cron = cron.parse().unwrap();
            assert_eq!(parsed.is_open(&at(time)), open, "{cron} at {time}");
        }
    }

    #[test]
    fn it_opens_at_the_next_minute_that_it_names_also_when_clocks_change() {
        let table = [
            ("0 22 * * *", "2026-11-25T22:00:30", "2026-11-26T22:00"),
            ("* 2 * * *", "2026-03-28T23:00", "2026-03-30T02:00"),
            ("30 1 29 2 *", "2026-03-01T00:00", "2028-02-29T01:30"),
        ];
        for (cron, time, opens) in table {
            let parsed: Cron = cron.parse().unwrap();
            assert_eq!(parsed.opens_after(&at(time)), Some(at(opens)), "{cron}");
        }
    }

    #[test]
    fn what_is_no_window_is_said_with_what_would_be_right() {
        let table = [
            ("22-5", "does not have five fields"),
            ("* 24 * * *", "`24` is no hour; use 0 to 23"),
            ("* * * * fry", "`fry` is no day of the week"),
            ("*/0 * * * *", "`*/0` is no minute"),
            ("* * 30 2 *", "is never open"),
        ];
        for (text, message) in table {
            let error = text.parse::<Cron>().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
