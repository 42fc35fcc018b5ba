//! `line` of `[[modbus]]` as written.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Span;
use crate::endpoint::{endpoint_flaw, in_brackets};
use crate::modbus::coding::Coding;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LineSection {
    /// Serial port. Prefer a name under `/dev/serial/by-id`.
    pub port: Option<PathBuf>,
    /// Default: 19200 (Modbus over serial line V1.02 section 3.2).
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// Default: `"even"`.
    #[serde(default)]
    pub parity: Parity,
    /// Default: 1, or 2 without parity.
    pub stop_bits: Option<u8>,
    /// Default: 8, or 7 for `"ascii"`.
    pub data_bits: Option<u8>,
    /// Modbus TCP: `"host:port"`.
    pub tcp: Option<String>,
    /// What goes over it. Default: `"rtu"` on a port, `"tcp"` over TCP; `"rtu"` over TCP is for gateways that pass the
    /// serial line through.
    pub framing: Option<Framing>,
    /// The line gives back what is sent, as some RS-485 adapters for two wires do. Default: false.
    #[serde(default)]
    pub echo: bool,
    /// The longest silence within an answer; after a longer one it is broken. Default: none, since adapters and drivers hand over in pieces of
    /// their own. The specification has 1.5 characters (Modbus over serial line V1.02 section 2.5.1.1).
    pub gap: Option<Span>,
    /// How the port is told to talk on two wires, where it does not see that by itself.
    pub rs485: Option<Rs485Section>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    Rtu,
    Ascii,
    Tcp,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    None,
    #[default]
    Even,
    Odd,
}

/// RS-485 on two wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rs485Section {
    /// `"kernel"`: the driver of the port does it (Linux, `TIOCSRS485`). `"rts"`: Tidegate sets and clears RTS, for adapters
    /// whose driver cannot.
    pub by: Rs485By,
    /// RTS is high (default) or low while something is sent.
    #[serde(default)]
    pub rts_on_send: Level,
    /// With `"kernel"`: from RTS to the first bit. Default: `"0s"`.
    #[serde(default = "default_delay")]
    pub delay_before: Span,
    /// With `"kernel"`: from the last bit to RTS. Default: `"0s"`.
    #[serde(default = "default_delay")]
    pub delay_after: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rs485By {
    Kernel,
    Rts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    #[default]
    High,
    Low,
}

fn default_baud() -> u32 {
    19_200
}

fn default_delay() -> Span {
    Span(Duration::ZERO)
}

impl LineSection {
    /// A serial port as the defaults have it.
    #[must_use]
    pub fn of_port(port: PathBuf, baud: u32) -> LineSection {
        LineSection {
            port: Some(port),
            baud,
            parity: Parity::default(),
            stop_bits: None,
            data_bits: None,
            tcp: None,
            framing: None,
            echo: false,
            gap: None,
            rs485: None,
        }
    }

    /// Two without parity, so that a character has eleven bits (Modbus over serial line V1.02 section 2.5.1).
    pub(in crate::modbus) fn stop_bits(&self) -> u8 {
        self.stop_bits
            .unwrap_or(if self.parity == Parity::None { 2 } else { 1 })
    }

    pub(in crate::modbus) fn data_bits(&self) -> u8 {
        self.data_bits.unwrap_or(match self.coding() {
            Coding::Rtu => 8,
            Coding::Ascii => 7,
        })
    }

    /// A start bit, those of data, one of parity if there is one, and stop bits.
    pub(in crate::modbus) fn character_bits(&self) -> u32 {
        let parity = u32::from(self.parity != Parity::None);
        1 + u32::from(self.data_bits()) + parity + u32::from(self.stop_bits())
    }

    pub(in crate::modbus) fn coding(&self) -> Coding {
        match self.framing {
            Some(Framing::Ascii) => Coding::Ascii,
            None | Some(Framing::Rtu | Framing::Tcp) => Coding::Rtu,
        }
    }

    /// Units of it are 0 to 255 (MODBUS Messaging on TCP/IP Implementation Guide V1.0b section 4.4.1.2).
    pub(in crate::modbus) fn is_modbus_tcp(&self) -> bool {
        self.port.is_none() && matches!(self.framing, None | Some(Framing::Tcp))
    }

    #[must_use]
    pub fn name(&self) -> String {
        self.port
            .as_ref()
            .map(|port| port.display().to_string())
            .or_else(|| self.tcp.clone())
            .unwrap_or_default()
    }

    /// A host that can never be connected to: the key below the section, and what would be right.
    #[must_use]
    pub fn futile(&self) -> Option<(String, String)> {
        let tcp = self.tcp.as_ref()?;
        let flaw = endpoint_flaw(tcp)
            .filter(|_| in_brackets(tcp).is_none_or(|it| it.ends_with("PORT")))?;
        Some(("line.tcp".into(), flaw))
    }

    /// The same of one that is understood nonetheless.
    #[must_use]
    pub fn doubts(&self) -> Option<(String, String)> {
        let flaw = endpoint_flaw(self.tcp.as_ref()?).filter(|_| self.futile().is_none())?;
        Some(("line.tcp".into(), flaw))
    }

    pub(in crate::modbus) fn problems(&self, problems: &mut Vec<(String, String)>) {
        let mut wrong = |key: &str, message: &str| {
            problems.push((format!("line{key}"), message.to_owned()));
        };
        match (&self.port, &self.tcp) {
            (None, None) => wrong("", "names no line; set `port` (serial) or `tcp`"),
            (Some(_), Some(_)) => wrong("", "names two lines; set `port` or `tcp`, not both"),
            (Some(_), None) | (None, Some(_)) => {}
        }
        if !(300..=4_000_000).contains(&self.baud) {
            let baud = self.baud;
            wrong(
                ".baud",
                &format!("`{baud}` is not a baud rate; use 300 to 4000000, like 9600 or 19200"),
            );
        }
        let is_modbus_tcp = self.is_modbus_tcp();
        if self.port.is_some() && self.framing == Some(Framing::Tcp) {
            wrong(
                ".framing",
                "a serial port carries no Modbus TCP; use \"rtu\" or leave it out",
            );
        }
        if self.echo && is_modbus_tcp {
            wrong(
                ".echo",
                "Modbus TCP has no echo; leave it out, or set framing = \"rtu\"",
            );
        }
        if self.gap.is_some_and(|gap| gap.0.is_zero()) || (self.gap.is_some() && is_modbus_tcp) {
            wrong(
                ".gap",
                "must be over 0, and Modbus TCP has none; leave it out",
            );
        }
        if self.rs485.is_some() && self.port.is_none() {
            wrong(".rs485", "goes with a `port`; leave it out");
        }
        if self.stop_bits.is_some_and(|bits| !(1..=2).contains(&bits)) {
            wrong(".stop_bits", "must be 1 or 2");
        }
        let is_ascii = self.coding() == Coding::Ascii;
        if self
            .data_bits
            .is_some_and(|bits| bits != 8 && !(is_ascii && bits == 7))
        {
            wrong(".data_bits", "must be 8, or 7 with framing = \"ascii\"");
        }
    }
}
