//! `[[modbus.slave.group.field]]` as written.

mod problems;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FieldSection {
    pub name: String,
    /// Address as on the wire, from 0. One of `address` and `addresses` is needed.
    #[serde(rename = "address")]
    pub written: Option<u16>,
    /// In place of `address`, where the registers of one value are no neighbours: each of them, in the order of the value.
    #[serde(default)]
    pub addresses: Vec<u16>,
    /// The first one, by whichever key it is given.
    #[serde(skip)]
    pub address: u16,
    /// Default: `"u16"`, or `"bool"` for functions 1 and 2.
    #[serde(rename = "type")]
    pub kind: Option<TypeName>,
    /// Order of bytes: `"abcd"` big endian (default), `"dcba"`, `"badc"`, `"cdab"`.
    #[serde(default)]
    pub order: WordOrder,
    /// value = raw x scale + offset.
    pub scale: Option<f64>,
    /// In place of `scale`: the register of the same function that has the scale factor, a power of ten from -10 to 10 as a
    /// signed number of 16 bits (`sunssf` of the `SunSpec` Device Information Model Specification); 0x8000 is none.
    pub scale_from: Option<u16>,
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
    /// Whole numbers in the event: `"number"` or `"string"`. Default: a number, and from 2^53 on, where readers of JSON lose
    /// digits, a string of its digits (RFC 7493 section 2.2).
    pub json: Option<JsonForm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonForm {
    Number,
    String,
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
    /// Whether it is what stands on the wire, big endian, in as many bytes as the value has.
    pub(in crate::modbus) fn is(self, wire: &[u8]) -> bool {
        let (word, above) = match self {
            Raw::Unsigned(word) => (word, 0),
            Raw::Signed(number) => (number.cast_unsigned(), 0xFF),
        };
        let (high, low) = wire.split_at(wire.len().saturating_sub(8));
        word.to_be_bytes().ends_with(low) && high.iter().all(|byte| *byte == above)
    }
}

impl<'de> Deserialize<'de> for FieldSection {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<FieldSection, D::Error> {
        let mut field = FieldSection::deserialize(from)?;
        let first = field.written.or(field.addresses.first().copied());
        field.address = first.ok_or_else(|| D::Error::missing_field("address"))?;
        Ok(field)
    }
}

impl Serialize for FieldSection {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        FieldSection::serialize(self, to)
    }
}

impl FieldSection {
    /// A field of defaults.
    #[must_use]
    pub fn at(address: u16) -> FieldSection {
        FieldSection {
            name: String::new(),
            written: Some(address),
            addresses: Vec::new(),
            address,
            kind: None,
            order: WordOrder::default(),
            scale: None,
            scale_from: None,
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
            json: None,
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

    /// All registers (or bits) that are read for it, with the key that says where: its own, and that of its scale factor.
    pub(in crate::modbus) fn places(
        &self,
        function: u8,
    ) -> impl Iterator<Item = (&'static str, (u16, u16))> {
        let whole = (self.address, self.registers(function));
        let whole = self.addresses.is_empty().then_some(("address", whole));
        let singles = self.addresses.iter().map(|one| ("addresses", (*one, 1)));
        let factor = self.scale_from.map(|one| ("scale_from", (one, 1)));
        whole.into_iter().chain(singles).chain(factor)
    }

    /// The same without keys: the first of each, and how many.
    pub(in crate::modbus) fn spans(&self, function: u8) -> impl Iterator<Item = (u16, u16)> {
        self.places(function).map(|(_, span)| span)
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
}
