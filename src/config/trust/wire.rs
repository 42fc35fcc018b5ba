//! Values as SSH writes them (RFC 4251 section 5).

/// Takes a `uint32` from the front of `bytes`.
pub(super) fn word(bytes: &mut &[u8]) -> Option<u32> {
    let (word, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*word))
}

/// Takes a `string` from the front of `bytes`: its length in four bytes, and as many bytes.
pub(super) fn string<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = word(bytes)?;
    bytes.split_off(..usize::try_from(length).ok()?)
}

/// Takes an `mpint` that is not negative, and returns its bytes without leading zeros.
pub(super) fn number<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let number = string(bytes)?;
    if number.first().is_some_and(|first| first & 0x80 != 0) {
        return None;
    }
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..)
}

/// Appends a `string`. Nothing that is written here comes near 4 GiB.
pub(super) fn put(text: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    to.extend(length.to_be_bytes());
    to.extend(text);
}
