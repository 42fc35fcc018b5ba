//! A Modbus TCP peer of bad manners. Register `r` holds `r + 100`.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How it treats those that connect.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// It closes a connection that asked nothing for so long.
    pub idle: Option<Duration>,
    /// It takes connections, and closes them at once.
    pub hangs_up: bool,
    /// It answers as this unit, whatever was asked.
    pub unit: Option<u8>,
    /// It leaves out one answer of so many.
    pub skips: Option<usize>,
}

#[derive(Default)]
struct Shared {
    manner: Mutex<Manner>,
    stop: AtomicBool,
    connections: AtomicUsize,
    answers: AtomicUsize,
    /// Connections before this one are not answered any more.
    deaf_before: AtomicUsize,
}

impl Shared {
    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct TcpUnit {
    pub address: String,
    shared: Arc<Shared>,
}

impl TcpUnit {
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start(manner: Manner) -> TcpUnit {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
        let address = listener
            .local_addr()
            .expect("it has an address")
            .to_string();
        let shared = Arc::new(Shared::default());
        let unit = TcpUnit {
            address,
            shared: Arc::clone(&shared),
        };
        unit.set(manner);
        std::thread::spawn(move || accept(&listener, &shared));
        unit
    }

    /// From now on it is like this.
    pub fn set(&self, manner: Manner) {
        let held = self.shared.manner.lock();
        *held.unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// Connections that there are now are not answered any more, and not closed either.
    pub fn deafen(&self) {
        let connections = self.shared.connections.load(Relaxed);
        self.shared.deaf_before.store(connections, Relaxed);
    }

    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    #[must_use]
    pub fn answers(&self) -> usize {
        self.shared.answers.load(Relaxed)
    }
}

impl Drop for TcpUnit {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // `accept` waits for one.
        drop(TcpStream::connect(&self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Relaxed);
        if shared.manner().hangs_up {
            continue;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(stream, number, &shared));
    }
}

fn serve(mut stream: TcpStream, number: usize, shared: &Shared) -> Option<()> {
    let look = Duration::from_millis(10);
    stream.set_read_timeout(Some(look)).ok()?;
    let mut asked = Instant::now();
    let mut request = [0; 12];
    while !shared.stop.load(Relaxed) {
        let manner = shared.manner();
        match stream.peek(&mut request) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let is_idle = manner.idle.is_some_and(|idle| asked.elapsed() >= idle);
                if is_idle || manner.hangs_up {
                    return None;
                }
                continue;
            }
            Err(_) => return None,
        }
        stream.read_exact(&mut request).ok()?;
        asked = Instant::now();
        if number < shared.deaf_before.load(Relaxed) {
            continue;
        }
        let answered = shared.answers.fetch_add(1, Relaxed);
        if manner
            .skips
            .is_none_or(|skips| !answered.is_multiple_of(skips))
        {
            stream.write_all(&answer(&request, manner.unit)).ok()?;
        }
    }
    None
}

fn answer(request: &[u8; 12], unit: Option<u8>) -> Vec<u8> {
    let [high, low, _, _, _, _, own, function, a, b, c, d] = *request;
    let (first, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let values = (first..first.saturating_add(count)).flat_map(|at| (at + 100).to_be_bytes());
    let values: Vec<u8> = values.collect();
    let bytes = u8::try_from(values.len()).unwrap_or(0);
    let length = u16::from(bytes) + 3;
    let [long, short] = length.to_be_bytes();
    let mut frame = vec![
        high,
        low,
        0,
        0,
        long,
        short,
        unit.unwrap_or(own),
        function,
        bytes,
    ];
    frame.extend(values);
    frame
}
