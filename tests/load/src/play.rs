//! A broker that plays numbered events from memory: to one subscriber, with QoS 1, as fast as a window of outstanding
//! acknowledgements allows. What was not acknowledged when a connection is lost is sent again, as the same messages, on the next one.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::{Numbered, unix_us};

/// Messages that are handed to the socket at once.
const WRITE_BYTES: usize = 64 * 1024;
/// How often something is looked at that nobody tells of.
const LOOK: Duration = Duration::from_millis(5);
/// No CONNECT or SUBSCRIBE of a gateway is longer.
const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Packet identifiers go from 1 to this, again and again.
const IDENTIFIERS: u64 = 65_535;

#[derive(Debug, Clone)]
pub struct Play {
    /// `{d}` is the device: the event's number modulo `devices`.
    pub topic: String,
    pub devices: u64,
    pub numbers: Range<u64>,
    pub size: usize,
    /// Messages that may wait for their acknowledgement; with MQTT 5 no more than the client's receive maximum.
    pub window: u16,
}

/// How far it is. It rests until it is told to go.
#[derive(Debug, Default)]
pub struct Played {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    goes: AtomicBool,
    ended: AtomicBool,
}

impl Played {
    /// Messages that were sent at least once, and those of them that were acknowledged.
    #[must_use]
    pub fn so_far(&self) -> (u64, u64) {
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        (self.sent.load(Ordering::Acquire), acknowledged)
    }

    pub fn go(&self) {
        self.goes.store(true, Ordering::Release);
    }

    /// Nothing new is sent; what was sent is still acknowledged.
    pub fn rest(&self) {
        self.goes.store(false, Ordering::Release);
    }

    /// No connection is taken any more, and the one that is there is closed.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Serves one subscriber after the other until it is told to end.
///
/// # Errors
/// When the listener fails, or a client does not keep to the protocol: it acknowledges out of order, say.
pub fn play(listener: &TcpListener, job: &Play, played: &Played) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let messages = Messages::new(job);
    while !played.has_ended() {
        match listener.accept() {
            Ok((stream, _)) => match session(&stream, job, &messages, played) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
                // The client has gone: the next one gets what it has not acknowledged.
                Ok(()) | Err(_) => {}
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(LOOK),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn session(stream: &TcpStream, job: &Play, messages: &Messages, played: &Played) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut from = BufReader::new(stream.try_clone()?);
    let (is_v5, window) = greet(&mut from, stream, job.window, played)?;
    let (lost, pings) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let (writer, lost, pings) = (thread::current(), &lost, &pings);
        let reader = scope.spawn(move || {
            let read = acknowledgements(&mut from, played, pings, || writer.unpark());
            lost.store(true, Ordering::Release);
            writer.unpark();
            read
        });
        let mut sending = Sending {
            stream,
            messages,
            played,
            is_v5,
            window,
        };
        let sent = sending.run(lost, pings);
        drop(stream.shutdown(Shutdown::Both));
        let read = reader.join().unwrap_or(Ok(()));
        read.and(sent)
    })
}

fn broken(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// Everything up to the answered SUBSCRIBE. Returns whether it is MQTT 5, and the window.
fn greet(
    from: &mut impl Read,
    mut to: &TcpStream,
    window: u16,
    played: &Played,
) -> io::Result<(bool, u64)> {
    let (0x10, connect) = packet(from)? else {
        return Err(broken("the first packet is no CONNECT"));
    };
    // The protocol's name, its level, flags and the keep-alive; then properties.
    let is_v5 = connect.get(6) == Some(&5);
    let most = if is_v5 {
        receive_maximum(connect.get(10..).unwrap_or_default())
    } else {
        None
    };
    let present = u8::from(played.so_far().0 > 0);
    let connack: &[u8] = if is_v5 {
        &[0x20, 3, present, 0, 0]
    } else {
        &[0x20, 2, present, 0]
    };
    to.write_all(connack)?;
    let (0x82, subscribe) = packet(from)? else {
        return Err(broken("the second packet is no SUBSCRIBE"));
    };
    let (id, mut rest) = subscribe
        .split_at_checked(2)
        .ok_or_else(|| broken("short SUBSCRIBE"))?;
    if is_v5 {
        rest = rest
            .get(1 + usize::from(rest.first().copied().unwrap_or(0))..)
            .unwrap_or_default();
    }
    let mut granted = Vec::new();
    while let [high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length + 1..).unwrap_or_default();
        granted.push(1);
    }
    let properties: &[u8] = if is_v5 { &[0] } else { &[] };
    let body = [id, properties, &granted].concat();
    to.write_all(
        &[
            &[0x90, u8::try_from(body.len()).map_err(io::Error::other)?][..],
            &body,
        ]
        .concat(),
    )?;
    Ok((
        is_v5,
        u64::from(most.map_or(window, |most| window.min(most))),
    ))
}

/// Of the properties of a CONNECT, of which a gateway sends those with a fixed length only.
fn receive_maximum(properties: &[u8]) -> Option<u16> {
    let (length, mut rest) = properties.split_first()?;
    rest = rest.get(..usize::from(*length))?;
    loop {
        let (kind, after) = rest.split_first()?;
        rest = match kind {
            0x21 => return Some(u16::from_be_bytes([*after.first()?, *after.get(1)?])),
            0x11 | 0x27 => after.get(4..)?,
            0x22 => after.get(2..)?,
            0x17 | 0x19 => after.get(1..)?,
            _ => return None,
        };
    }
}

/// One packet: its first byte and what is in it.
fn packet(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if shift > 21 {
            return Err(broken("a length of more than four bytes"));
        }
    }
    if length > PACKET_BYTES_MAX {
        return Err(broken("a packet that no gateway sends"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((first, body))
}

fn identifier(place: u64) -> [u8; 2] {
    u16::try_from(place % IDENTIFIERS + 1)
        .unwrap_or(1)
        .to_be_bytes()
}

/// Counts acknowledgements, which come in the order of the messages, until the connection is lost.
fn acknowledgements(
    from: &mut BufReader<TcpStream>,
    played: &Played,
    pings: &AtomicU64,
    told: impl Fn(),
) -> io::Result<()> {
    loop {
        let (first, body) = packet(from)?;
        match first {
            0x40 => {
                let next = played.acknowledged.load(Ordering::Relaxed);
                if body.get(..2) != Some(&identifier(next)) {
                    return Err(broken("a PUBACK out of order"));
                }
                if body.get(2).is_some_and(|reason| *reason >= 0x80) {
                    return Err(broken("a PUBACK that refuses a message"));
                }
                played.acknowledged.store(next + 1, Ordering::Release);
            }
            0xc0 => {
                pings.fetch_add(1, Ordering::AcqRel);
            }
            0xe0 => return Ok(()),
            _ => return Err(broken("a packet that is not expected")),
        }
        if from.buffer().is_empty() {
            told();
        }
    }
}

/// What all messages have in common, made once.
struct Messages {
    topics: Vec<Vec<u8>>,
    first: u64,
    count: u64,
    /// Of a payload, what comes after its number.
    rest: String,
}

impl Messages {
    fn new(job: &Play) -> Messages {
        let topic = |device: u64| {
            let topic = job.topic.replace("{d}", &format!("d{device}"));
            let length = u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes();
            [&length, topic.as_bytes()].concat()
        };
        // A message that is sent again is the same: its time is the beginning.
        let rest = format!(
            r#","t":{},"pad":"{}"}}"#,
            unix_us(),
            Numbered::new(0, job.size, false).pad
        );
        Messages {
            topics: (0..job.devices.max(1)).map(topic).collect(),
            first: job.numbers.start,
            count: job.numbers.end - job.numbers.start,
            rest,
        }
    }

    fn push(&self, into: &mut Vec<u8>, place: u64, is_repeated: bool, is_v5: bool) {
        let number = self.first + place;
        let index = usize::try_from(number % self.topics.len() as u64).unwrap_or(0);
        let topic = self.topics.get(index).map_or(&[][..], Vec::as_slice);
        let payload = format!(r#"{{"n":{number}"#);
        let mut length = topic.len() + 2 + usize::from(is_v5) + payload.len() + self.rest.len();
        into.push(0x32 | u8::from(is_repeated) << 3);
        loop {
            let more = u8::from(length >= 128) << 7;
            into.push(u8::try_from(length % 128).unwrap_or(0) | more);
            length /= 128;
            if length == 0 {
                break;
            }
        }
        into.extend_from_slice(topic);
        into.extend_from_slice(&identifier(place));
        into.extend_from_slice(&[0][..usize::from(is_v5)]);
        into.extend_from_slice(payload.as_bytes());
        into.extend_from_slice(self.rest.as_bytes());
    }
}

struct Sending<'a> {
    stream: &'a TcpStream,
    messages: &'a Messages,
    played: &'a Played,
    is_v5: bool,
    window: u64,
}

impl Sending<'_> {
    fn run(&mut self, lost: &AtomicBool, pings: &AtomicU64) -> io::Result<()> {
        let mut buffer = Vec::new();
        let (known, mut next) = self.played.so_far();
        while !lost.load(Ordering::Acquire) && !self.played.has_ended() {
            buffer.clear();
            for _ in 0..pings.swap(0, Ordering::AcqRel) {
                buffer.extend_from_slice(&[0xd0, 0]);
            }
            let (sent, acknowledged) = self.played.so_far();
            let goes = self.played.goes.load(Ordering::Acquire);
            let end = if goes { self.messages.count } else { sent };
            let until = end.min(acknowledged + self.window);
            while next < until && buffer.len() < WRITE_BYTES {
                self.messages
                    .push(&mut buffer, next, next < known, self.is_v5);
                next += 1;
            }
            if buffer.is_empty() {
                thread::park_timeout(LOOK);
                continue;
            }
            self.played.sent.fetch_max(next, Ordering::AcqRel);
            self.stream.write_all(&buffer)?;
        }
        Ok(())
    }
}
