//! Inputs for the tests of decoders: known ones, changed at random. As long as `TIDEGATE_FUZZ_SECONDS` says, else for a moment.

use std::time::{Duration, Instant};

const LEAST: u64 = 10;
const MOMENT: Duration = Duration::from_millis(500);
/// Bytes that mean something to most decoders.
const TOKENS: [&[u8]; 15] = [
    b"\0",
    b"\n",
    b"\r\n\r\n",
    b"\"",
    b"\\",
    b"[[",
    b"]]",
    b"{}",
    b"=",
    b"99999999999999999999",
    b"-1",
    b"1e999",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b": ",
];

/// Tries each of the inputs, then changed ones until the time is over.
pub(crate) fn mutants(seeds: &[&[u8]], mut attempt: impl FnMut(&[u8])) {
    let seconds = std::env::var("TIDEGATE_FUZZ_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    let end = Instant::now() + seconds.map_or(MOMENT, Duration::from_secs);
    for seed in seeds {
        attempt(seed);
    }
    // The state of a xorshift generator (Marsaglia 2003): the same inputs each time, as far as the time goes.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut below = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % most.max(1) as u64).unwrap_or(0)
    };
    let mut tried = 0;
    // Some in any case: a machine may be busy.
    while Instant::now() < end || tried <= LEAST {
        let mut input = seeds[below(seeds.len())].to_vec();
        for _ in 0..=below(6) {
            change(&mut input, seeds, &mut below);
        }
        attempt(&input);
        tried += 1;
    }
}

/// Changes one thing.
fn change(input: &mut Vec<u8>, seeds: &[&[u8]], below: &mut impl FnMut(usize) -> usize) {
    let at = below(input.len() + 1);
    let end = at + below(input.len() + 1 - at).min(40);
    match below(5) {
        0 => drop(input.splice(at..at, TOKENS[below(TOKENS.len())].iter().copied())),
        1 => drop(input.drain(at..end)),
        2 => {
            let piece = input[at..end].repeat(1 + below(8));
            drop(input.splice(at..at, piece));
        }
        3 => {
            let other = seeds[below(seeds.len())];
            let from = below(other.len() + 1);
            input.truncate(at);
            input.extend(&other[from..]);
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << below(8);
            }
        }
    }
}
