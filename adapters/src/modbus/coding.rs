//! How a request and its answer go over a line of bytes: RTU, or ASCII. Pure.

use super::frame::{FrameError, Request, crc};

/// Slave, function, count, 250 bytes, CRC.
pub(super) const RTU_FRAME_MAX: usize = 256;
/// A colon, two characters each for slave, function, count, 250 bytes and LRC, CR and LF.
pub(super) const ASCII_FRAME_MAX: usize = 513;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Modbus over serial line V1.02 section 2.5.1.
    Rtu,
    /// The same, section 2.5.2.
    Ascii,
}

impl Coding {
    /// A request as it goes over the line.
    pub(super) fn request(self, slave: u8, request: Request) -> Vec<u8> {
        let mut frame = vec![slave];
        frame.extend(request.pdu());
        match self {
            Coding::Rtu => {
                frame.extend(crc(&frame).to_le_bytes());
                frame
            }
            Coding::Ascii => {
                frame.push(lrc(&frame));
                let digits: String = frame.iter().map(|byte| format!("{byte:02X}")).collect();
                format!(":{digits}\r\n").into_bytes()
            }
        }
    }

    /// The values in what was heard since the request; `None` when more must be heard.
    pub(super) fn answer(
        self,
        slave: u8,
        request: Request,
        heard: &[u8],
    ) -> Option<Result<Vec<u8>, FrameError>> {
        match self {
            Coding::Rtu => {
                // What comes before an answer is noise, as of a driver that switches: a byte or two of 00 or FF.
                let begun = heard.get(rtu_begins(slave, request, heard)..)?;
                let whole = rtu_length(request, begun)?;
                Some(rtu_data(slave, request, begun.get(..whole)?))
            }
            Coding::Ascii => {
                // What comes before a colon is noise; so is what came before the last one.
                let end = heard.windows(2).position(|pair| pair == b"\r\n")?;
                let line = heard.get(..end).unwrap_or_default();
                let begun = line.iter().rposition(|byte| *byte == b':');
                let digits = begun.and_then(|begun| line.get(begun + 1..));
                Some(ascii_data(slave, request, digits.unwrap_or_default()))
            }
        }
    }

    /// Bytes before the answer in what was heard.
    pub(super) fn skipped(self, slave: u8, request: Request, heard: &[u8]) -> usize {
        match self {
            Coding::Rtu => rtu_begins(slave, request, heard),
            Coding::Ascii => {
                let begun = heard.iter().rposition(|byte| *byte == b':');
                begun.unwrap_or(0)
            }
        }
    }

    /// Characters that a request and a good answer to it take.
    pub(super) fn characters(self, request: Request) -> usize {
        // Slave and function, address and count; slave, function, count and values; a checksum each.
        match self {
            Coding::Rtu => 6 + 2 + rtu_answer_length(request),
            Coding::Ascii => (6 + 1) * 2 + 3 + (3 + request.data_length() + 1) * 2 + 3,
        }
    }
}

fn rtu_answer_length(request: Request) -> usize {
    3 + request.data_length() + 2
}

/// Where the answer begins in what was heard: at a frame of that slave and function that is whole and right, else at the beginning.
fn rtu_begins(slave: u8, request: Request, heard: &[u8]) -> usize {
    let is_answer = |begun: &[u8]| {
        let whole = rtu_length(request, begun).unwrap_or(usize::MAX);
        let frame = begun
            .get(..whole)
            .filter(|frame| frame.starts_with(&[slave]));
        frame.is_some_and(|frame| {
            let data = rtu_data(slave, request, frame);
            !matches!(data, Err(FrameError::Broken(_)))
        })
    };
    let mut places = (0..heard.len()).filter_map(|at| Some((at, heard.get(at..)?)));
    places
        .find(|(_, begun)| is_answer(begun))
        .map_or(0, |(at, _)| at)
}

/// Length of the whole answer that begins with these bytes.
fn rtu_length(request: Request, begun: &[u8]) -> Option<usize> {
    let is_exception = begun.get(1)? & 0x80 != 0;
    Some(if is_exception {
        5
    } else {
        rtu_answer_length(request)
    })
}

fn rtu_data(slave: u8, request: Request, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (body, sum) = frame
        .split_last_chunk::<2>()
        .ok_or(FrameError::Broken("too short"))?;
    if crc(body) != u16::from_le_bytes(*sum) {
        return Err(FrameError::Broken("checksum"));
    }
    of_slave(slave, request, body)
}

fn ascii_data(slave: u8, request: Request, digits: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    let bytes = bytes
        .filter(|_| rest.is_empty())
        .ok_or(FrameError::Broken("not hexadecimal"))?;
    let (sum, body) = bytes.split_last().ok_or(FrameError::Broken("too short"))?;
    if lrc(body) != *sum {
        return Err(FrameError::Broken("checksum"));
    }
    of_slave(slave, request, body)
}

/// The specification has capitals only; some devices have not.
fn digit(character: u8) -> Option<u8> {
    let value = char::from(character).to_digit(16)?;
    u8::try_from(value).ok()
}

fn of_slave(slave: u8, request: Request, body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let (from, pdu) = body.split_first().ok_or(FrameError::Broken("too short"))?;
    if *from != slave {
        return Err(FrameError::Broken("it is from another slave"));
    }
    request.pdu_data(pdu)
}

/// The two's complement of the sum (Modbus over serial line V1.02 section 2.5.2.2).
fn lrc(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte))
        .wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::exchange::ExchangeError;

    fn request(function: u8, address: u16, count: u16) -> Request {
        Request {
            function,
            address,
            count,
        }
    }

    #[test]
    fn a_request_carries_the_checksum_of_the_specification() {
        for (request, rtu, ascii) in [
            (
                request(3, 0x006B, 3),
                "11 03 00 6B 00 03 76 87",
                ":1103006B00037E\r\n",
            ),
            (
                request(4, 0x0008, 1),
                "11 04 00 08 00 01 B2 98",
                ":110400080001E2\r\n",
            ),
        ] {
            let hex: Vec<String> = Coding::Rtu
                .request(0x11, request)
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect();
            assert_eq!(hex.join(" "), rtu);
            assert_eq!(Coding::Ascii.request(0x11, request), ascii.as_bytes());
        }
    }

    fn answer(coding: Coding, slave: u8, pdu: &[u8]) -> Vec<u8> {
        let mut frame = [&[slave], pdu].concat();
        match coding {
            Coding::Rtu => {
                frame.extend(crc(&frame).to_le_bytes());
                frame
            }
            Coding::Ascii => {
                frame.push(lrc(&frame));
                let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(":{digits}\r\n").into_bytes()
            }
        }
    }

    #[test]
    fn an_answer_is_taken_only_if_everything_about_it_is_right() {
        let request = request(3, 0, 2);
        for coding in [Coding::Rtu, Coding::Ascii] {
            let whole = answer(coding, 17, &[3, 4, 0, 1, 0, 2]);
            let data = coding.answer(17, request, &whole).unwrap();
            assert_eq!(data.unwrap(), [0, 1, 0, 2]);
            for cut in 0..whole.len() {
                assert!(coding.answer(17, request, &whole[..cut]).is_none());
            }
            for wrong in [
                answer(coding, 18, &[3, 4, 0, 1, 0, 2]),
                answer(coding, 17, &[4, 4, 0, 1, 0, 2]),
                answer(coding, 17, &[3, 4, 0, 1, 0, 2, 0]),
            ] {
                let outcome = coding.answer(17, request, &wrong).unwrap();
                assert!(matches!(outcome, Err(FrameError::Broken(_))), "{wrong:?}");
            }
            let busy = coding.answer(17, request, &answer(coding, 17, &[0x83, 6]));
            let busy = ExchangeError::from(busy.unwrap().unwrap_err());
            assert!(busy.is_busy());
            assert_eq!(busy.to_string(), "exception 6 (server device busy)");
        }
    }

    #[test]
    fn noise_before_a_colon_is_not_part_of_an_answer() {
        let good = answer(Coding::Ascii, 5, &[3, 2, 0, 9]);
        let heard = [b"\xFF\x00:0503", good.as_slice()].concat();
        let data = Coding::Ascii.answer(5, request(3, 0, 1), &heard);
        assert_eq!(data.unwrap().unwrap(), [0, 9]);
    }

    #[test]
    fn stray_bytes_before_an_answer_are_skipped_whatever_they_look_like() {
        let request = request(3, 0, 1);
        let good = answer(Coding::Rtu, 5, &[3, 2, 0, 9]);
        let busy = answer(Coding::Rtu, 5, &[0x83, 6]);
        let of_another = answer(Coding::Rtu, 6, &[3, 2, 0, 8]);
        for stray in [
            &[0][..],
            &[0xFF],
            &[0, 0],
            &[5],
            &[5, 3],
            &[5, 3, 2],
            &of_another,
        ] {
            let heard = [stray, &good].concat();
            let data = Coding::Rtu.answer(5, request, &heard);
            assert_eq!(data, Some(Ok(vec![0, 9])), "{stray:?}");
            assert_eq!(Coding::Rtu.skipped(5, request, &heard), stray.len());
            let heard = [stray, &busy].concat();
            let refused = Coding::Rtu.answer(5, request, &heard);
            assert_eq!(refused, Some(Err(FrameError::Exception(6))), "{stray:?}");
        }
    }

    #[test]
    fn characters_are_those_that_go_over_the_line() {
        for coding in [Coding::Rtu, Coding::Ascii] {
            let request = request(3, 0, 10);
            let pdu = [&[3, 20][..], &[7; 20]].concat();
            let sent = coding.request(1, request).len() + answer(coding, 1, &pdu).len();
            assert_eq!(coding.characters(request), sent, "{coding:?}");
        }
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_taken_for_a_value(values in prop::collection::vec(any::<u8>(), 8), bit in 0usize..104) {
            let request = request(3, 0, 4);
            let pdu = [&[3, 8][..], &values].concat();
            for coding in [Coding::Rtu, Coding::Ascii] {
                let whole = answer(coding, 5, &pdu);
                let mut frame = whole.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                if let Some(Ok(data)) = coding.answer(5, request, &frame) {
                    // The case of a digit.
                    prop_assert!(coding == Coding::Ascii && data == values && frame.eq_ignore_ascii_case(&whole));
                }
            }
        }

        #[test]
        fn no_noise_makes_a_decoder_panic(noise in prop::collection::vec(any::<u8>(), 0..600), count in 1u16..=125) {
            for coding in [Coding::Rtu, Coding::Ascii] {
                let outcome = coding.answer(5, request(3, 0, count), &noise);
                prop_assert!(!matches!(outcome, Some(Ok(data)) if data.len() != usize::from(count) * 2));
            }
        }
    }
}
