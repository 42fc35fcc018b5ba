//! Whatever a line says, the decoder neither panics nor takes for a value what is none. Run it with `fuzz/run [SECONDS]`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_adapters::modbus::decode;

fuzz_target!(|heard: (u8, u8, u16, bool, &[u8])| {
    let (slave, function, count, ascii, bytes) = heard;
    let (function, count) = (function % 4 + 1, count % 125 + 1);
    if let Some(data) = decode(ascii, slave, function, count, bytes) {
        let length = if function <= 2 { count.div_ceil(8) } else { count * 2 };
        assert_eq!(data.len(), usize::from(length));
    }
});
