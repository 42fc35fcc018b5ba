//! Whatever a disk gives back, reading it ends, and does not panic.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use tidegate_buffer::decode;

fuzz_target!(|read: &[u8]| {
    let _ = decode::<(String, BTreeMap<String, String>, Option<u64>)>(read);
});
