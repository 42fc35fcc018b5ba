//! A plain loop over tokio-modbus, to compare with.

use std::time::{Duration, Instant};

use tokio_modbus::client::rtu;
use tokio_modbus::prelude::{Reader, Slave, SlaveContext};

/// Reads `registers` of each slave in turn for `time`, and returns how many values a second that gave.
///
/// # Panics
/// When the port cannot be opened, or a slave does not answer.
pub async fn read_all(port: &str, baud: u32, slaves: u8, registers: u16, time: Duration) -> f64 {
    let builder = tokio_serial::new(port, baud).parity(tokio_serial::Parity::Even);
    let port = tokio_serial::SerialStream::open(&builder).expect("the port can be opened");
    let mut master = rtu::attach_slave(port, Slave(1));
    let (begun, mut values) = (Instant::now(), 0_u32);
    while begun.elapsed() < time {
        for slave in 1..=slaves {
            master.set_slave(Slave(slave));
            let read = master.read_holding_registers(0, registers).await;
            let read = read.expect("the line holds").expect("the slave answers");
            values += u32::try_from(read.len()).unwrap_or(0);
        }
    }
    f64::from(values) / begun.elapsed().as_secs_f64()
}
