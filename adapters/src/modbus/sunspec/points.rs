//! The models of SunSpec by number: their names, and the points of those that a register map is made for (SunSpec Device
//! Information Model Specification, and the model definitions that belong to it).

use toml::{Table, Value};

use crate::modbus::section::{FieldSection, TypeName};

/// A value of a model.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) name: &'static str,
    /// Registers from the model's id.
    offset: u16,
    kind: Kind,
    /// The same of its scale factor, if it has one.
    scale: Option<u16>,
    unit: &'static str,
    /// The models of the family that have it; none: all.
    models: &'static [u16],
}

/// The types of the specification, which also say what stands for a value that is not implemented.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Of so many registers.
    Text(u16),
    /// 0xFFFF.
    U16,
    /// 0x8000.
    I16,
    /// A counter that only grows; 0.
    Acc32,
    /// 0xFFFF. The operating state of an inverter, which is the only one here.
    State,
    /// NaN, which is always missing.
    F32,
}

const STATES: [&str; 8] = [
    "off",
    "sleeping",
    "starting",
    "mppt",
    "throttled",
    "shutting_down",
    "fault",
    "standby",
];

/// Models with a second phase, and with a third.
const TWO: &[u16] = &[102, 103, 112, 113, 202, 203, 204];
const THREE: &[u16] = &[103, 113, 203, 204];
/// Meters of lines with a neutral, and with more than one phase.
const NEUTRAL: &[u16] = &[201, 202, 203];
const ALL: &[u16] = &[];

const fn point(
    name: &'static str,
    offset: u16,
    kind: Kind,
    scale: Option<u16>,
    unit: &'static str,
    models: &'static [u16],
) -> Point {
    Point {
        name,
        offset,
        kind,
        scale,
        unit,
        models,
    }
}

static COMMON: [Point; 4] = [
    point("manufacturer", 2, Kind::Text(16), None, "", ALL),
    point("model", 18, Kind::Text(16), None, "", ALL),
    point("version", 42, Kind::Text(8), None, "", ALL),
    point("serial", 50, Kind::Text(16), None, "", ALL),
];

static INVERTER: [Point; 11] = [
    point("current", 2, Kind::U16, Some(6), "A", ALL),
    point("current_l1", 3, Kind::U16, Some(6), "A", ALL),
    point("current_l2", 4, Kind::U16, Some(6), "A", TWO),
    point("current_l3", 5, Kind::U16, Some(6), "A", THREE),
    point("voltage_l1_n", 10, Kind::U16, Some(13), "V", ALL),
    point("voltage_l2_n", 11, Kind::U16, Some(13), "V", TWO),
    point("voltage_l3_n", 12, Kind::U16, Some(13), "V", THREE),
    point("power", 14, Kind::I16, Some(15), "W", ALL),
    point("frequency", 16, Kind::U16, Some(17), "Hz", ALL),
    point("energy", 24, Kind::Acc32, Some(26), "Wh", ALL),
    point("state", 38, Kind::State, None, "", ALL),
];

static INVERTER_FLOAT: [Point; 11] = [
    point("current", 2, Kind::F32, None, "A", ALL),
    point("current_l1", 4, Kind::F32, None, "A", ALL),
    point("current_l2", 6, Kind::F32, None, "A", TWO),
    point("current_l3", 8, Kind::F32, None, "A", THREE),
    point("voltage_l1_n", 16, Kind::F32, None, "V", ALL),
    point("voltage_l2_n", 18, Kind::F32, None, "V", TWO),
    point("voltage_l3_n", 20, Kind::F32, None, "V", THREE),
    point("power", 22, Kind::F32, None, "W", ALL),
    point("frequency", 24, Kind::F32, None, "Hz", ALL),
    point("energy", 32, Kind::F32, None, "Wh", ALL),
    point("state", 48, Kind::State, None, "", ALL),
];

static METER: [Point; 10] = [
    point("current", 2, Kind::I16, Some(6), "A", ALL),
    // Means of the phases.
    point("voltage_ln", 7, Kind::I16, Some(15), "V", NEUTRAL),
    point("voltage_ll", 11, Kind::I16, Some(15), "V", TWO),
    point("frequency", 16, Kind::I16, Some(17), "Hz", ALL),
    point("power", 18, Kind::I16, Some(22), "W", ALL),
    point("power_l1", 19, Kind::I16, Some(22), "W", ALL),
    point("power_l2", 20, Kind::I16, Some(22), "W", TWO),
    point("power_l3", 21, Kind::I16, Some(22), "W", THREE),
    point("export", 38, Kind::Acc32, Some(54), "Wh", ALL),
    point("import", 46, Kind::Acc32, Some(54), "Wh", ALL),
];

/// The points that a map has of a model.
pub(super) fn of(id: u16) -> impl Iterator<Item = &'static Point> {
    let points: &[Point] = match id {
        1 => &COMMON,
        101..=103 => &INVERTER,
        111..=113 => &INVERTER_FLOAT,
        201..=204 => &METER,
        _ => &[],
    };
    let has_it = move |point: &&Point| point.models.is_empty() || point.models.contains(&id);
    points.iter().filter(has_it)
}

/// What the group of a model is called.
pub(super) fn group(id: u16) -> &'static str {
    match id {
        1 => "common",
        201..=204 => "meter",
        _ => "inverter",
    }
}

/// The group of a model without its fields. What is in model 1 does not change.
pub(super) fn head(id: u16, name: &str) -> Table {
    let interval = if id == 1 { "1h" } else { "10s" };
    Table::from_iter([
        ("name".to_owned(), Value::from(name)),
        ("function".to_owned(), Value::from(3)),
        ("interval".to_owned(), Value::from(interval)),
    ])
}

impl Point {
    /// The register behind the last one that it needs, from the model's id.
    pub(super) fn end(&self) -> u32 {
        let end = u32::from(self.offset) + u32::from(self.registers());
        end.max(self.scale.map_or(0, |scale| u32::from(scale) + 1))
    }

    fn registers(&self) -> u16 {
        match self.kind {
            Kind::Text(registers) => registers,
            Kind::U16 | Kind::I16 | Kind::State => 1,
            Kind::Acc32 | Kind::F32 => 2,
        }
    }

    /// It as a field, in a model at `address`.
    pub(super) fn field(&self, address: u16) -> Table {
        let at = |offset: u16| Value::from(i64::from(address.saturating_add(offset)));
        let (kind, missing) = match self.kind {
            Kind::Text(_) => ("string", None),
            Kind::U16 | Kind::State => ("u16", Some(0xFFFF)),
            Kind::I16 => ("i16", Some(0x8000)),
            Kind::Acc32 => ("u32", Some(0)),
            Kind::F32 => ("f32", None),
        };
        let mut field = Table::from_iter([
            ("name".to_owned(), Value::from(self.name)),
            ("address".to_owned(), at(self.offset)),
            ("type".to_owned(), Value::from(kind)),
        ]);
        let mut set = |key: &str, value: Value| field.insert(key.to_owned(), value);
        if let Some(missing) = missing {
            set("missing", Value::from(vec![missing]));
        }
        if let Some(scale) = self.scale {
            set("scale_from", at(scale));
        }
        if !self.unit.is_empty() {
            set("unit", Value::from(self.unit));
        }
        match self.kind {
            Kind::Text(registers) => {
                set("length", Value::from(i64::from(registers)));
            }
            Kind::State => {
                let states = (1..).zip(STATES);
                let states = states.map(|(number, state)| (number.to_string(), Value::from(state)));
                set("names", Value::Table(states.collect()));
            }
            Kind::U16 | Kind::I16 | Kind::Acc32 | Kind::F32 => {}
        }
        field
    }

    /// A text, to be read by hand.
    pub(super) fn text(&self, address: u16) -> FieldSection {
        FieldSection {
            kind: Some(TypeName::String),
            length: Some(self.registers()),
            ..FieldSection::at(address.saturating_add(self.offset))
        }
    }
}

/// The name of a model, if it is a common one.
pub(super) fn name(id: u16) -> Option<&'static str> {
    Some(match id {
        1 => "common",
        2 => "basic aggregator",
        101 => "inverter, single phase",
        102 => "inverter, split phase",
        103 => "inverter, three phase",
        111 => "inverter, single phase, float",
        112 => "inverter, split phase, float",
        113 => "inverter, three phase, float",
        120 => "nameplate",
        121 => "basic settings",
        122 => "measurements and status",
        123 => "immediate controls",
        124 => "storage",
        125 => "pricing",
        126 => "static volt-VAR",
        160 => "multiple MPPT",
        201 => "meter, single phase",
        202 => "meter, split phase",
        203 => "meter, three phase, wye",
        204 => "meter, three phase, delta",
        211 => "meter, single phase, float",
        212 => "meter, split phase, float",
        213 => "meter, three phase, wye, float",
        214 => "meter, three phase, delta, float",
        701 => "DER AC measurement",
        702 => "DER capacity",
        703 => "DER enter service",
        704 => "DER AC controls",
        705 => "DER volt-VAR",
        706 => "DER volt-watt",
        707 => "DER trip, low voltage",
        708 => "DER trip, high voltage",
        709 => "DER trip, low frequency",
        710 => "DER trip, high frequency",
        711 => "DER frequency droop",
        712 => "DER watt-VAR",
        713 => "DER storage capacity",
        714 => "DER DC measurement",
        802 => "battery",
        803 => "lithium-ion bank",
        _ => return None,
    })
}
