//! A bus of slaves for the bars, told what to do on standard input.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::slave::{Bus, Fault, SlaveLine};

/// What can be told: `dead N`, `well N`, `unplug`, `plug`, `requests`.
///
/// # Panics
/// When the line or its link cannot be made.
pub fn slaves(baud: u32, count: u8, link: &Path) {
    let bus = Bus {
        baud,
        slaves: (1..=count).map(|address| (address, Fault::None)).collect(),
        one_in: 1,
        seed: 0,
    };
    let mut before = 0;
    let mut line = Some(plug(&bus, link));
    for order in std::io::stdin().lock().lines() {
        let order = order.expect("orders are text");
        let (what, slave) = order.split_once(' ').unwrap_or((&order, ""));
        match (what, slave.parse(), &line) {
            ("dead", Ok(slave), Some(line)) => line.set(slave, Fault::Dead),
            ("well", Ok(slave), Some(line)) => line.set(slave, Fault::None),
            ("unplug", _, _) => {
                before += line.take().map_or(0, |line| line.requests());
                std::fs::remove_file(link).expect("the link is there");
            }
            ("plug", _, _) => line = Some(plug(&bus, link)),
            ("requests", _, _) => {}
            _ => panic!("`{order}` is no order"),
        }
        let requests = before + line.as_ref().map_or(0, SlaveLine::requests);
        #[expect(clippy::print_stdout, reason = "an answer to each order")]
        {
            println!("{requests}");
        }
    }
}

fn plug(bus: &Bus, link: &Path) -> SlaveLine {
    let line = SlaveLine::of(bus);
    std::os::unix::fs::symlink(PathBuf::from(line.path()), link).expect("the link can be made");
    line
}
