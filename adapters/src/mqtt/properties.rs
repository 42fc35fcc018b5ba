//! The properties of a packet of MQTT 5, one after the other (section 2.2.2). Pure, and nothing is copied.

use bytes::{Buf, Bytes};

use super::Lost;
use super::frame::{malformed, number, take};

/// What a property says; which of these it is, its identifier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u32),
    /// A text, or binary data.
    Text(Bytes),
    Pair(Bytes, Bytes),
}

/// Takes the first property of `rest`: its identifier and its value. None at the end, and where an identifier is not known: how long
/// that property is, is not known either, and nothing behind it is of use.
pub(super) fn next(rest: &mut Bytes) -> Result<Option<(u8, Value)>, Lost> {
    let broken = || malformed("its properties");
    let Ok(identifier) = rest.try_get_u8() else {
        return Ok(None);
    };
    let value = match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => {
            Value::Number(rest.try_get_u8().map_err(|_| broken())?.into())
        }
        0x13 | 0x21..=0x23 => Value::Number(rest.try_get_u16().map_err(|_| broken())?.into()),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Number(rest.try_get_u32().map_err(|_| broken())?),
        0x0b => {
            let (value, digits) = number(rest)?.ok_or_else(broken)?;
            rest.advance(digits);
            Value::Number(u32::try_from(value).map_err(|_| broken())?)
        }
        0x26 => Value::Pair(text(rest)?, text(rest)?),
        0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => Value::Text(text(rest)?),
        _ => return Ok(None),
    };
    Ok(Some((identifier, value)))
}

fn text(rest: &mut Bytes) -> Result<Bytes, Lost> {
    let length = rest
        .try_get_u16()
        .map_err(|_| malformed("its properties"))?;
    take(rest, length.into(), "its properties")
}
