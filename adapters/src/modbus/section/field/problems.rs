//! What is wrong with a field, and what would be right.

use super::{FieldSection, TypeName};

/// Key and message.
type Problems = Vec<(String, String)>;

impl FieldSection {
    /// `most` registers or bits are read at once.
    pub(in crate::modbus::section) fn problems(
        &self,
        function: u8,
        most: u16,
        at: &str,
        problems: &mut Problems,
    ) {
        let kind = self.kind(function);
        self.place_problems(function, most, at, problems);
        self.scattered_problems(function, at, problems);
        self.scale_problems(kind, at, problems);
        self.meaning_problems(kind, at, problems);
    }

    fn place_problems(&self, function: u8, most: u16, at: &str, problems: &mut Problems) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        let (kind, registers) = (self.kind(function), self.registers(function));
        if function <= 2 && kind != TypeName::Bool {
            wrong(
                "type",
                "functions 1 and 2 read single bits; use \"bool\"".into(),
            );
        }
        if registers == 0 || self.addresses.is_empty() && registers > most {
            let key = if self.count.is_some() {
                "count"
            } else {
                "length"
            };
            wrong(
                key,
                format!(
                    "the field takes {registers} registers or bits; 1 to {most} can be read at once"
                ),
            );
        }
        if self.addresses.is_empty() && u32::from(self.address) + u32::from(registers) > 65_536 {
            let message = format!(
                "`{}` and what follows it goes past the last address, 65535",
                self.address
            );
            wrong("address", message);
        }
        if kind == TypeName::String && self.length.is_none() {
            wrong(
                "length",
                "missing; a string needs its number of registers".into(),
            );
        }
        if kind == TypeName::Bcd && self.length.is_some_and(|length| !(1..=4).contains(&length)) {
            wrong(
                "length",
                "a \"bcd\" has 1 to 4 registers, four digits each".into(),
            );
        }
        let (bit, bits) = (self.bit.unwrap_or(0), self.bits.unwrap_or(1));
        if kind == TypeName::Bits && (bits == 0 || u16::from(bit) + u16::from(bits) > 16) {
            let message =
                format!("bits {bit} and {bits} more do not lie within 16; use bit 0 to 15");
            wrong("bits", message);
        }
    }

    fn scattered_problems(&self, function: u8, at: &str, problems: &mut Problems) {
        if self.addresses.is_empty() {
            return;
        }
        let mut wrong = |message: String| problems.push((format!("{at}.addresses"), message));
        if function <= 2 {
            wrong("goes with functions 3 and 4; use `address` for a bit".into());
        }
        if self.written.is_some() {
            wrong("does not go with `address`; leave one of them out".into());
        }
        if self.count.is_some() {
            wrong("does not go with `count`; give each value a field of its own".into());
        }
        let (given, needed) = (self.addresses.len(), self.each(function));
        if given != usize::from(needed) {
            wrong(format!(
                "has {given} registers; the value takes {needed}, each is to be named, in the order of the value"
            ));
        }
    }

    fn scale_problems(&self, kind: TypeName, at: &str, problems: &mut Problems) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        let is_number = !matches!(kind, TypeName::Bool | TypeName::String | TypeName::Datetime)
            && self.flags.is_empty();
        for (key, is_given, is_finite) in [
            (
                "scale",
                self.scale.is_some(),
                self.scale.is_none_or(f64::is_finite),
            ),
            (
                "offset",
                self.offset.is_some(),
                self.offset.is_none_or(f64::is_finite),
            ),
            ("scale_from", self.scale_from.is_some(), true),
        ] {
            if is_given && !is_number {
                wrong(
                    key,
                    "goes with a field that is a number, without `flags`".into(),
                );
            } else if !is_finite {
                wrong(key, "must be a number that is finite".into());
            }
        }
        if self.scale.is_some() && self.scale_from.is_some() {
            let message =
                "does not go with `scale`: the device says the scale; leave one of them out";
            wrong("scale_from", message.into());
        }
        let is_scaled = self.scale.is_some() || self.offset.is_some() || self.scale_from.is_some();
        let is_whole = is_number && !matches!(kind, TypeName::F32 | TypeName::F64);
        if self.json.is_some() && (is_scaled || !is_whole) {
            let message = "goes with a whole number that has no `scale`, `scale_from`, `offset` or `flags`; \
                           other numbers have the digits of a double";
            wrong("json", message.into());
        }
    }

    fn meaning_problems(&self, kind: TypeName, at: &str, problems: &mut Problems) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        let is_number = !matches!(kind, TypeName::String | TypeName::Datetime);
        for (key, given) in [
            ("deadband", self.deadband),
            ("deadband_percent", self.deadband_percent),
        ] {
            if given.is_some_and(|band| !is_number || !band.is_finite() || band < 0.0) {
                wrong(
                    key,
                    "a deadband is 0 or more, of a field that is a number".into(),
                );
            }
        }
        for value in self.names.keys().filter(|key| key.parse::<i64>().is_err()) {
            wrong("names", format!("`{value}` is not a whole number"));
        }
        let bits = u32::from(self.each(3)) * 16;
        for bit in self.flags.keys() {
            if !bit.parse().is_ok_and(|bit: u32| bit < bits) {
                wrong(
                    "flags",
                    format!(
                        "`{bit}` is not a bit of the field; use 0 to {}",
                        bits.saturating_sub(1)
                    ),
                );
            }
        }
        let is_whole = matches!(
            kind,
            TypeName::U16 | TypeName::U32 | TypeName::U64 | TypeName::Bcd
        );
        if self.rate_per.is_some_and(|per| per.0.is_zero()) {
            wrong("rate_per", "must be over 0".into());
        }
        for (key, given) in [
            ("flags", !self.flags.is_empty()),
            ("rate_per", self.rate_per.is_some()),
        ] {
            if given && (!is_whole || self.count.is_some()) {
                wrong(
                    key,
                    "goes with one \"u16\", \"u32\", \"u64\" or \"bcd\"".into(),
                );
            }
        }
        if self.format.is_some() && kind != TypeName::Datetime {
            wrong("format", "goes with type = \"datetime\"".into());
        }
    }
}

#[cfg(test)]
mod tests;
