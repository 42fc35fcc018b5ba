//! What this binary is made of.

pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
pub(super) const REVISION: &str = env!("TIDEGATE_REVISION");
pub(super) const TARGET: &str = env!("TIDEGATE_TARGET");

/// When it was built, microseconds since 1970: a clock before it is wrong.
pub(crate) const BUILT_UNIX_US: i64 = seconds(env!("TIDEGATE_BUILT_UNIX")) * 1_000_000;

const fn seconds(digits: &str) -> i64 {
    let (bytes, mut index, mut value) = (digits.as_bytes(), 0, 0);
    while index < bytes.len() {
        value = value * 10 + (bytes[index] - b'0') as i64;
        index += 1;
    }
    value
}

/// Several lines: version, git revision, target, features, and the libraries that matter on the wire and
/// on disk.
#[must_use]
pub(crate) fn long() -> String {
    let demo = if cfg!(feature = "demo") { ", demo" } else { "" };
    format!(
        "tidegate {VERSION} ({REVISION})\n\
         target     {TARGET}\n\
         features   TLS (rustls for MQTT, OpenSSL for Kafka), SASL PLAIN and SCRAM, zstd, lz4, gzip{demo}\n\
         librdkafka {}\n\
         libraries  {}\n\
         buffer     format {}\n",
        crate::uplink::library_version(),
        env!("TIDEGATE_LIBRARIES"),
        buffer::FORMAT,
    )
}
