//! `[[modbus.slave.group.field]]` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;

/// Value of a register on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Raw {
    Unsigned(u64),
    Signed(i64),
}

/// One value, or several of a kind that follow each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSection {
    pub name: String,
    /// Address as on the wire, from 0.
    pub address: u16,
    /// Default: `"u16"`, or `"bool"` for functions 1 and 2.
    #[serde(rename = "type")]
    pub kind: Option<TypeName>,
    /// Order of bytes: `"abcd"` big endian (default), `"dcba"`, `"badc"`, `"cdab"`.
    #[serde(default)]
    pub order: WordOrder,
    /// value = raw x scale + offset.
    pub scale: Option<f64>,
    pub offset: Option<f64>,
    pub unit: Option<String>,
    /// For `"string"`: registers, two characters each. For `"bcd"`: registers, four digits each; default: 1.
    pub length: Option<u16>,
    /// For `"bits"`: the lowest bit, from 0.
    pub bit: Option<u8>,
    /// For `"bits"`: how many. Default: 1.
    pub bits: Option<u8>,
    /// An array of so many values that follow each other.
    pub count: Option<u16>,
    /// For `"datetime"`. Default: `"registers"`.
    pub format: Option<MomentFormat>,
    /// Names of values, as in `{ 0 = "off", 1 = "on" }`: the event has the name, or the number where it has none.
    #[serde(default)]
    pub names: BTreeMap<String, String>,
    /// Names of single bits, as in `{ 0 = "door", 15 = "fault" }`: the event has an object of booleans.
    #[serde(default)]
    pub flags: BTreeMap<String, String>,
    /// Values on the wire that mean that there is none, as in `[0x8000]`. NaN always does.
    #[serde(default)]
    pub missing: Vec<Raw>,
    /// With `report = "change"`: changes of the value up to so much are none.
    pub deadband: Option<f64>,
    /// The same in percent of the value that was reported.
    pub deadband_percent: Option<f64>,
    /// A counter: the event has its `rate` as well, for so long (`"1s"`, `"1h"`).
    pub rate_per: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeName {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    String,
    Bits,
    /// Binary coded decimal: four digits a register.
    Bcd,
    /// The device's own time, without a zone.
    Datetime,
}

/// How a date and a time of day are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MomentFormat {
    /// Six registers: year, month, day, hour, minute, second.
    Registers,
    /// Three registers of BCD: year and month, day and hour, minute and second.
    Bcd,
    /// Four registers: year (7 bits, from 2000), month and day, hour and minute, milliseconds of the minute, as power
    /// meters have it after IEC 60870-5-4.
    Ti081,
    /// Two registers: seconds since 1970 in UTC.
    Unix,
}

/// Order of the bytes of a value, named by those of a 32-bit one; longer ones follow the same rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordOrder {
    #[default]
    Abcd,
    /// Words swapped.
    Cdab,
    /// Bytes swapped within words.
    Badc,
    /// Both: little endian.
    Dcba,
}

impl Raw {
    /// As it is on the wire in a value of so many bits.
    pub(in crate::modbus) fn word(self, bits: u32) -> u64 {
        let word = match self {
            Raw::Unsigned(word) => word,
            Raw::Signed(number) => number.cast_unsigned(),
        };
        word & (u64::MAX >> (64 - bits.clamp(1, 64)))
    }
}

impl FieldSection {
    /// A field of defaults.
    #[must_use]
    pub fn at(address: u16) -> FieldSection {
        FieldSection {
            name: String::new(),
            address,
            kind: None,
            order: WordOrder::default(),
            scale: None,
            offset: None,
            unit: None,
            length: None,
            bit: None,
            bits: None,
            count: None,
            format: None,
            names: BTreeMap::new(),
            flags: BTreeMap::new(),
            missing: Vec::new(),
            deadband: None,
            deadband_percent: None,
            rate_per: None,
        }
    }

    #[must_use]
    pub fn kind(&self, function: u8) -> TypeName {
        self.kind.unwrap_or(if function <= 2 {
            TypeName::Bool
        } else {
            TypeName::U16
        })
    }

    /// Registers (or bits, for functions 1 and 2) that the field takes, all values of an array.
    #[must_use]
    pub fn registers(&self, function: u8) -> u16 {
        self.each(function).saturating_mul(self.count.unwrap_or(1))
    }

    /// Registers or bits of one value.
    pub(in crate::modbus) fn each(&self, function: u8) -> u16 {
        match self.kind(function) {
            TypeName::Bool | TypeName::U16 | TypeName::I16 | TypeName::Bits => 1,
            TypeName::U32 | TypeName::I32 | TypeName::F32 => 2,
            TypeName::U64 | TypeName::I64 | TypeName::F64 => 4,
            TypeName::String | TypeName::Bcd => self.length.unwrap_or(1),
            TypeName::Datetime => match self.format() {
                MomentFormat::Registers => 6,
                MomentFormat::Bcd => 3,
                MomentFormat::Ti081 => 4,
                MomentFormat::Unix => 2,
            },
        }
    }

    pub(in crate::modbus) fn format(&self) -> MomentFormat {
        self.format.unwrap_or(MomentFormat::Registers)
    }

    /// `most` registers or bits are read at once.
    pub(super) fn problems(
        &self,
        function: u8,
        most: u16,
        at: &str,
        problems: &mut Vec<(String, String)>,
    ) {
        let mut wrong =
            |key: &str, message: String| problems.push((format!("{at}.{key}"), message));
        let (kind, registers) = (self.kind(function), self.registers(function));
        if function <= 2 && kind != TypeName::Bool {
            wrong(
                "type",
                "functions 1 and 2 read single bits; use \"bool\"".into(),
            );
        }
        if registers == 0 || registers > most {
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
        if u32::from(self.address) + u32::from(registers) > 65_536 {
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
        self.meaning_problems(kind, at, problems);
    }

    fn meaning_problems(&self, kind: TypeName, at: &str, problems: &mut Vec<(String, String)>) {
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
        let bits = self.each(3) * 16;
        for bit in self.flags.keys() {
            if !bit.parse().is_ok_and(|bit: u16| bit < bits) {
                wrong(
                    "flags",
                    format!("`{bit}` is not a bit of the field; use 0 to {}", bits - 1),
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
