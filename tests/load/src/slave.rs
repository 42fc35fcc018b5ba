//! Modbus RTU slaves on one pseudo-terminal, with faults.
//!
//! Register `r` of slave `s` holds `s * 100 + r`. The line is paced as 19200 baud would be.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Answers bytes that mean nothing.
    Garbage,
    /// Answers with the exception "illegal data address".
    Exception,
    /// Answers the request before the last, as a slave that is too slow does.
    Late,
}

pub struct SlaveLine {
    path: String,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SlaveLine {
    /// Slaves that are not named are dead.
    ///
    /// # Panics
    /// When there is no pseudo-terminal to be had.
    #[must_use]
    pub fn start(slaves: &[(u8, Fault)]) -> SlaveLine {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .expect("a pseudo-terminal can be had");
        grantpt(&master)
            .and_then(|()| unlockpt(&master))
            .expect("it can be unlocked");
        let path = ptsname(&master, Vec::new())
            .expect("it has a name")
            .into_string()
            .expect("its name is text");
        let mut modes = tcgetattr(&master).expect("it is a terminal");
        modes.make_raw();
        tcsetattr(&master, OptionalActions::Now, &modes).expect("it can be made raw");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, slaves) = (Arc::clone(&stop), slaves.iter().copied().collect());
        let thread =
            std::thread::spawn(move || serve(std::fs::File::from(master), &slaves, &stopped));
        SlaveLine {
            path,
            stop,
            thread: Some(thread),
        }
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for SlaveLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the slaves did not panic");
        }
    }
}

fn serve(mut line: std::fs::File, slaves: &HashMap<u8, Fault>, stop: &AtomicBool) {
    let (mut request, mut late) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        let ready = poll(&mut [PollFd::new(&line, PollFlags::IN)], Some(&wait))
            .expect("a terminal can be polled");
        let mut part = [0; 64];
        // Nobody has the other end open yet, or any more.
        let Some(count) = (ready > 0).then(|| line.read(&mut part).ok()).flatten() else {
            std::thread::park_timeout(Duration::from_millis(5));
            continue;
        };
        request.extend(&part[..count]);
        if request.len() < 8 {
            continue;
        }
        let asked: Vec<u8> = std::mem::take(&mut request);
        let Some(fault) = slaves.get(&asked[0]) else {
            continue;
        };
        let answer = match fault {
            Fault::None => answer(&asked),
            Fault::Garbage => vec![asked[0], 3, 4, 0xDE, 0xAD, 0xBE, 0xEF, 0, 0],
            Fault::Exception => with_sum(vec![asked[0], asked[1] | 0x80, 2]),
            Fault::Late => std::mem::replace(&mut late, answer(&asked)),
        };
        // Eleven bits a character, there and back.
        std::thread::park_timeout(Duration::from_micros(
            (8 + answer.len() as u64) * 11 * 1_000_000 / 19_200,
        ));
        line.write_all(&answer).expect("a terminal can be written");
    }
}

fn answer(asked: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
    let (first, count) = (word(2), word(4));
    let values = (first..first + count).map(|register| u16::from(asked[0]) * 100 + register);
    let mut frame = vec![
        asked[0],
        asked[1],
        u8::try_from(count * 2).expect("a legal count"),
    ];
    frame.extend(values.flat_map(u16::to_be_bytes));
    with_sum(frame)
}

fn with_sum(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = frame.iter().fold(0xFFFF_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xA001
            } else {
                crc >> 1
            }
        })
    });
    frame.extend(sum.to_le_bytes());
    frame
}
