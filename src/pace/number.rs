//! Between counts and estimates.

/// As a share or a rate needs it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "estimates need no more")]
#[must_use]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

/// The whole part; what is negative is 0, what is too large is the most.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates"
)]
#[must_use]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}

/// The same, of what is in memory.
#[must_use]
pub(crate) fn bytes(number: f64) -> usize {
    in_memory(whole(number))
}

/// So many bytes in memory, or all that there can be.
#[must_use]
pub(crate) fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
