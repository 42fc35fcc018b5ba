//! Whatever a client sends, as JSON or as CBOR, reading it ends, and does not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_adapters::inference::decode;

fuzz_target!(|sent: (bool, &[u8])| {
    let (is_cbor, bytes) = sent;
    let _ = decode(is_cbor, bytes);
});
