//! The master against slaves with faults, in virtual time: whatever they do, no wrong value is taken for a good one.

use std::sync::Arc;

use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;

use super::super::frame::crc;
use super::*;
use crate::modbus::coding::Coding;

impl Wire for DuplexStream {}

const TIMEOUT: Duration = Duration::from_millis(100);
pub(super) const MANNERS: Manners = Manners {
    timeout: TIMEOUT,
    turnaround: Duration::ZERO,
};
/// 19,200 baud, eleven bits.
pub(super) const TIMING: Timing = Timing {
    character: Duration::from_micros(573),
    silence: Duration::from_micros(2_005),
    gap: None,
};
const SLAVES: [u8; 3] = [1, 2, 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    WrongSum,
    Truncated,
    /// After the time-out, within the silence that follows it.
    Late,
    /// By up to some time-outs, so that it falls into later exchanges.
    VeryLate,
    Doubled,
    AnotherSlave,
    AnotherFunction,
    AnotherLength,
    NoiseBefore,
    NoiseAfter,
    Garbage,
    Dead,
    Busy,
    Echo,
    Gaps,
}

const FAULTS: [Fault; 15] = [
    Fault::WrongSum,
    Fault::Truncated,
    Fault::Late,
    Fault::VeryLate,
    Fault::Doubled,
    Fault::AnotherSlave,
    Fault::AnotherFunction,
    Fault::AnotherLength,
    Fault::NoiseBefore,
    Fault::NoiseAfter,
    Fault::Garbage,
    Fault::Dead,
    Fault::Busy,
    Fault::Echo,
    Fault::Gaps,
];

/// Numbers that a seed decides (`SplitMix64`).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..=self.below(most)).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn time(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(most.as_micros()).unwrap()))
    }
}

/// Register `r` of slave `s` holds `1000 s + r`.
pub(super) fn values(slave: u8, address: u16, count: u16) -> Vec<u8> {
    let values = (address..address + count).map(|register| u16::from(slave) * 1000 + register);
    values.flat_map(u16::to_be_bytes).collect()
}

fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    frame.extend(crc(&frame).to_le_bytes());
    frame
}

pub(super) fn good(asked: &[u8]) -> Vec<u8> {
    let word = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
    let data = values(asked[0], word(2), word(4));
    let length = u8::try_from(data.len()).unwrap();
    summed([&[asked[0], asked[1], length][..], &data].concat())
}

type Line = Arc<Mutex<WriteHalf<DuplexStream>>>;

async fn say(wire: &Line, bytes: &[u8]) {
    let mut wire = wire.lock().await;
    if wire.write_all(bytes).await.is_err() {
        // The master has gone, and the test is over.
    }
}

/// Answers one request after the other, every fifth of them with the fault.
async fn slave(mut asked: mpsc::Receiver<Vec<u8>>, wire: Line, fault: Fault, mut dice: Dice) {
    while let Some(asked) = asked.recv().await {
        sleep(dice.time(Duration::from_millis(20))).await;
        let mut frame = good(&asked);
        if dice.below(5) > 0 {
            say(&wire, &frame).await;
            continue;
        }
        match fault {
            Fault::WrongSum => {
                let at = usize::try_from(dice.below(frame.len() as u64)).unwrap();
                frame[at] ^= 1 << dice.below(8);
            }
            Fault::Truncated => {
                frame.truncate(usize::try_from(dice.below(frame.len() as u64)).unwrap());
            }
            Fault::Late => sleep(TIMEOUT + dice.time(SETTLED)).await,
            Fault::VeryLate => sleep(dice.time(TIMEOUT * 4)).await,
            Fault::Doubled => {
                say(&wire, &frame).await;
                // A timer's millisecond comes on top.
                sleep(dice.time(TIMING.silence / 2)).await;
            }
            Fault::AnotherSlave => frame = good(&[&[asked[0] % 3 + 1], &asked[1..]].concat()),
            Fault::AnotherFunction => frame = good(&[&[asked[0], 4], &asked[2..]].concat()),
            Fault::AnotherLength => {
                frame = good(&[&asked[..5], &[asked[5] + 1], &asked[6..]].concat());
            }
            Fault::NoiseBefore => frame = [dice.bytes(20), frame].concat(),
            Fault::NoiseAfter => {
                say(&wire, &frame).await;
                sleep(dice.time(TIMEOUT)).await;
                frame = dice.bytes(20);
            }
            Fault::Garbage => frame = dice.bytes(40),
            Fault::Dead => continue,
            Fault::Busy => frame = summed(vec![asked[0], asked[1] | 0x80, 6]),
            Fault::Echo => frame = [asked, frame].concat(),
            Fault::Gaps => {
                for byte in &frame {
                    say(&wire, &[*byte]).await;
                    sleep(dice.time(Duration::from_millis(5))).await;
                }
                continue;
            }
        }
        say(&wire, &frame).await;
    }
}

async fn bus(
    mut requests: ReadHalf<DuplexStream>,
    wire: WriteHalf<DuplexStream>,
    fault: Fault,
    dice: Dice,
) {
    let wire = Arc::new(Mutex::new(wire));
    let slaves = SLAVES.map(|address| {
        let (to, asked) = mpsc::channel(1000);
        let dice = Dice(dice.0 ^ u64::from(address) << 32);
        tokio::spawn(slave(asked, Arc::clone(&wire), fault, dice));
        (address, to)
    });
    let mut asked = vec![0; 8];
    while requests.read_exact(&mut asked).await.is_ok() {
        let (_, to) = slaves
            .iter()
            .find(|(address, _)| *address == asked[0])
            .unwrap();
        if to.send(asked.clone()).await.is_err() {
            break;
        }
    }
}

/// Good and wrong answers of so many exchanges.
async fn exchanges(fault: Fault, seed: u64, count: u32) -> (u32, u32) {
    let (ours, theirs) = duplex(4096);
    let (requests, wire) = split(theirs);
    tokio::spawn(bus(requests, wire, fault, Dice(seed)));
    let mut master = Master::new(ours, Coding::Rtu, TIMING, false);
    let mut dice = Dice(seed + 1);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..count {
        let slave = SLAVES[usize::try_from(dice.below(3)).unwrap()];
        // Few lengths, so that late answers fit.
        let (address, count) = (dice.below(60), 1 + dice.below(3));
        let request = Request {
            function: 3,
            address: u16::try_from(address).unwrap(),
            count: u16::try_from(count).unwrap(),
        };
        match master.exchange(slave, request, MANNERS).await {
            Ok(data) if data == values(slave, request.address, request.count) => right += 1,
            Ok(_) => wrong += 1,
            Err(_) => {}
        }
        if dice.below(4) == 0 {
            sleep(dice.time(TIMEOUT * 2)).await;
        }
    }
    (right, wrong)
}

#[expect(clippy::print_stdout, reason = "the bar makes its figure from it")]
async fn all(seeds: u64, count: u32) {
    for fault in FAULTS {
        for seed in 0..seeds {
            let (right, wrong) = exchanges(fault, seed * 1000, count).await;
            println!(
                "{fault:?}, seed {seed}: {count} exchanges, {right} good and right, {wrong} good and wrong"
            );
            assert_eq!(wrong, 0, "{fault:?}");
            assert!(
                right > count / 5,
                "{fault:?}: {right} of {count} were answered"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_fault_makes_a_wrong_value_good() {
    all(1, 500).await;
}

/// `tests/bars/faults`.
#[tokio::test(start_paused = true)]
#[ignore = "450,000 exchanges"]
async fn no_fault_makes_a_wrong_value_good_in_10_000_exchanges() {
    all(3, 10_000).await;
}
