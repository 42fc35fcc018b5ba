//! Whatever a broker sends, reading it ends, and neither panics nor finds more packets than there are bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_adapters::mqtt::decode;

fuzz_target!(|sent: (bool, &[u8])| {
    let (is_v5, bytes) = sent;
    assert!(decode(is_v5, bytes) <= bytes.len() / 2);
});
