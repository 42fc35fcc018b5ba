//! Modbus RTU slaves on one pseudo-terminal, with faults, at the speed of a real line.
//!
//! Register `r` of slave `s` holds `s * 100 + r`. A request is heard when its characters have gone over the line, slaves
//! wait for the silence of 3.5 characters that ends it, and an answer arrives when its own characters have.

mod fault;
mod frames;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

pub use fault::Fault;

/// A line, and how sick its slaves are.
#[derive(Debug, Clone)]
pub struct Bus {
    pub baud: u32,
    /// Slaves that are not named are dead.
    pub slaves: Vec<(u8, Fault)>,
    /// One answer in so many has the fault of its slave.
    pub one_in: u64,
    pub seed: u64,
}

/// What can be changed of a line while it is in use.
struct Shared {
    stop: AtomicBool,
    slaves: Mutex<HashMap<u8, Fault>>,
    requests: AtomicU64,
}

pub struct SlaveLine {
    path: String,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SlaveLine {
    /// Whether pseudo-terminals are terminals here. They are not for a program that qemu-user runs: it knows no TCGETS2.
    #[must_use]
    pub fn can_be_had() -> bool {
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .is_ok_and(|master| tcgetattr(&master).is_ok())
    }

    /// A line of 19,200 baud on which every answer has the fault of its slave.
    ///
    /// # Panics
    /// When there is no pseudo-terminal to be had.
    #[must_use]
    pub fn start(slaves: &[(u8, Fault)]) -> SlaveLine {
        SlaveLine::of(&Bus {
            baud: 19_200,
            slaves: slaves.to_vec(),
            one_in: 1,
            seed: 0,
        })
    }

    /// # Panics
    /// When there is no pseudo-terminal to be had.
    #[must_use]
    pub fn of(bus: &Bus) -> SlaveLine {
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
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            slaves: Mutex::new(bus.slaves.iter().copied().collect()),
            requests: AtomicU64::new(0),
        });
        let mut line = Line {
            wire: std::fs::File::from(master),
            shared: Arc::clone(&shared),
            // Eleven bits.
            character: Duration::from_secs(11) / bus.baud,
            one_in: bus.one_in,
            dice: fault::Dice(bus.seed),
            asked: Vec::new(),
            heard: Instant::now(),
            due: Vec::new(),
            before: Vec::new(),
        };
        SlaveLine {
            path,
            shared,
            thread: Some(std::thread::spawn(move || line.serve())),
        }
    }

    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// From now on the slave is like this.
    pub fn set(&self, slave: u8, fault: Fault) {
        let mut slaves = self.shared.slaves.lock();
        slaves
            .as_mut()
            .unwrap_or_else(PoisonError::get_mut)
            .insert(slave, fault);
    }

    /// Requests heard so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for SlaveLine {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the slaves did not panic"
            );
        }
    }
}

struct Line {
    wire: std::fs::File,
    shared: Arc<Shared>,
    character: Duration,
    one_in: u64,
    dice: fault::Dice,
    /// What was heard of a request, and when.
    asked: Vec<u8>,
    heard: Instant,
    /// What is to be said, and when; the next one last.
    due: Vec<(Instant, Vec<u8>)>,
    /// The answer before the last, which a slave may give again.
    before: Vec<u8>,
}

impl Line {
    fn serve(&mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            while let Some((_, bytes)) = self.due.pop_if(|(at, _)| *at <= now) {
                // Nobody listens any more.
                if self.wire.write_all(&bytes).is_err() {}
            }
            let next = self.due.last().map(|(at, _)| *at);
            let until = next.unwrap_or(now + Duration::from_millis(20));
            let wait = until
                .saturating_duration_since(now)
                .min(Duration::from_millis(20));
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: i64::try_from(wait.as_nanos()).unwrap_or(0),
            };
            let ready = poll(&mut [PollFd::new(&self.wire, PollFlags::IN)], Some(&wait))
                .expect("a terminal can be polled");
            if ready > 0 {
                self.hear();
            }
        }
    }

    fn hear(&mut self) {
        let mut part = [0; 64];
        // Nobody has the other end open yet, or any more.
        let Ok(count) = self.wire.read(&mut part) else {
            std::thread::park_timeout(Duration::from_millis(5));
            return;
        };
        if self.heard.elapsed() > Duration::from_millis(50) {
            self.asked.clear();
        }
        self.heard = Instant::now();
        self.asked.extend(&part[..count]);
        if self.asked.len() >= 8 {
            let asked = std::mem::take(&mut self.asked);
            self.answer(&asked[..8]);
        }
    }

    fn answer(&mut self, asked: &[u8]) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let slaves = self.shared.slaves.lock();
        let fault = slaves
            .unwrap_or_else(PoisonError::into_inner)
            .get(&asked[0])
            .copied();
        let Some(fault) = fault else {
            return;
        };
        let is_sick = self.dice.below(self.one_in) == 0;
        let fault = if is_sick { fault } else { Fault::None };
        // The request has gone over the line, and the silence that ends it is over.
        let begins = self.heard + self.character * (8 * 2 + 7) / 2;
        let good = frames::good(asked);
        let previous = std::mem::replace(&mut self.before, good.clone());
        let said = fault.say(asked, good, previous, &mut self.dice);
        let mut at = begins;
        for (pause, bytes) in said {
            at += pause + self.character * u32::try_from(bytes.len()).unwrap_or(0);
            self.due.push((at, bytes));
        }
        self.due.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }
}
