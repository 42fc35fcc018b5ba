//! A filter that is taken says of any topic whether it matches, and what its names stand for is a part of the topic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_adapters::{Pattern, is_dangerous, printable};

fuzz_target!(|given: (&str, &str)| {
    let (filter, topic) = given;
    assert!(!printable(topic).chars().any(is_dangerous));
    if let Ok(pattern) = Pattern::parse(filter) {
        for (name, text) in pattern.capture(topic).unwrap_or_default() {
            assert!(pattern.names().any(|known| known == name));
            assert!(topic.contains(text));
        }
    }
});
