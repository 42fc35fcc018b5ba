//! Modbus master: RTU on a serial line or over TCP, and Modbus TCP.
//!
//! One bus is one line and one master. Groups of registers are read at their own interval, neighbours
//! in one request; a read of a group makes an event of JSON, or is taken into one. A slave that does not answer makes
//! an event of quality `bad` that says why, and costs the others its time-out, no more: after some
//! failures it is asked seldom until it answers again. Tidegate never writes to a slave.

mod section;

mod budget;

mod plan;

mod schedule;

mod blocks;

mod standing;

mod frame;

mod exchange;

mod wire;

mod late;

mod coding;

mod master;

mod line;

mod port;

mod value;

mod track;

mod report;

mod talk;

mod bus;

mod absence;

mod probe;

mod sunspec;

use std::sync::Arc;
use std::time::Duration;

pub use budget::Overload;
pub use probe::{Answer, Place, Probe, ProbeError, ms, value_of};
pub use section::{
    FieldSection, Framing, GroupSection, ImportError, Level, LineSection, MapError, MapSection,
    ModbusSection, MomentFormat, Numbering, Parity, Raw, ReadMap, Report, Rs485By, Rs485Section,
    SlaveSection, TypeName, WordOrder, import,
};
pub use sunspec::{SunSpec, SunSpecError, SunSpecModel, discover, sunspec_map};

use crate::retry::Reconnect;
use crate::{Backoff, Intake, Origin, Receipts, Stop, stopped};
use bus::Bus;
use coding::Coding;
use line::Line;
use plan::Group;
use port::PortName;
use tracing::info;

/// The values in what was heard after a read of `count` registers or bits, if it is a whole and right answer: for `fuzz/`.
#[doc(hidden)]
#[must_use]
pub fn decode(ascii: bool, slave: u8, function: u8, count: u16, heard: &[u8]) -> Option<Vec<u8>> {
    let coding = if ascii { Coding::Ascii } else { Coding::Rtu };
    let request = frame::Request {
        function,
        address: 0,
        count,
    };
    coding.answer(slave, request, heard)?.ok()
}

/// A port that is gone gives an error at once and for ever. To look for it costs next to nothing.
const REOPEN_FIRST: Duration = Duration::from_millis(200);
const REOPEN_MOST: Duration = Duration::from_secs(1);
/// A connection costs its other end something.
const RECONNECT_MOST: Duration = Duration::from_secs(10);

/// One `[[modbus]]` bus.
#[derive(Debug)]
pub struct Modbus {
    section: ModbusSection,
    groups: Vec<Group>,
    port: PortName,
    /// The intent of events on slaves themselves.
    health: &'static str,
}

impl Modbus {
    /// The section was checked. Events on slaves themselves are of the intent `health`; groups whose events are urgent are
    /// read before others.
    #[must_use]
    pub fn new(
        section: &ModbusSection,
        health: &'static str,
        is_urgent: &dyn Fn(&Arc<Origin>) -> bool,
    ) -> Modbus {
        Modbus {
            groups: plan::groups(section, is_urgent),
            section: section.clone(),
            port: PortName::default(),
            health,
        }
    }

    /// Runs until stopped; the port is opened again for ever. Until somebody answers, attempts are further and further apart: a gateway
    /// may take a connection and close it, if it has a master already.
    pub async fn run(self, intake: Intake, mut receipts: Receipts, mut stop: Stop) {
        let Modbus {
            section,
            mut groups,
            mut port,
            health,
        } = self;
        let most = if section.line.port.is_some() {
            REOPEN_MOST
        } else {
            RECONNECT_MOST
        };
        let peer = section.line.name();
        let backoff = Backoff::new(REOPEN_FIRST, most);
        let mut reconnect = Reconnect::new(&intake, backoff, &section.name, peer.clone());
        let mut bus = Bus::new(&section, &mut groups, health, &intake);
        let mut is_told = false;
        loop {
            let opened = tokio::select! {
                line = Line::open(&section.line, &mut port) => line,
                () = bus.without_line() => break,
                () = stopped(&mut stop) => break,
            };
            if opened.is_ok() && !std::mem::replace(&mut is_told, true) {
                info!(source = %section.name, port = %peer, "modbus line open");
            }
            let ended = match opened {
                Ok(line) => {
                    let works = reconnect.works();
                    bus.poll(line, works, &mut receipts, &mut stop).await
                }
                Err(error) => Some(error),
            };
            let Some(error) = ended else { break };
            bus.lose(&error).await;
            let goes_on = tokio::select! {
                goes_on = reconnect.again(&error, &mut stop) => goes_on,
                () = bus.without_line() => break,
            };
            if !goes_on {
                break;
            }
        }
        receipts.all().await;
    }
}
