//! Frames: MODBUS Application Protocol V1.1b3, Modbus over serial line V1.02, Modbus TCP. Pure.

use super::line::LineError;

/// Registers in one read (Application Protocol section 6.3), and bits (section 6.1).
pub(super) const REGISTERS_MAX: u16 = 125;
pub(super) const BITS_MAX: u16 = 2000;
/// Slave, function, address, count, CRC.
const RTU_REQUEST_LENGTH: usize = 8;
/// Slave, function, count, 250 bytes, CRC.
pub(super) const RTU_FRAME_MAX: usize = 256;

/// A read of `count` registers or bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) function: u8,
    pub(super) address: u16,
    pub(super) count: u16,
}

/// Why a request has no values.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("no answer in time")]
    Silent,
    #[error("broken answer: {0}")]
    Broken(&'static str),
    #[error("exception {0} ({name})", name = exception_name(*.0))]
    Exception(u8),
    #[error(transparent)]
    Line(LineError),
}

impl ExchangeError {
    /// Exceptions 5 and 6: the slave says to ask again.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, ExchangeError::Exception(5 | 6))
    }

    /// A word for it in events.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            ExchangeError::Silent => "timeout",
            ExchangeError::Broken(_) => "broken_answer",
            ExchangeError::Exception(_) => "exception",
            ExchangeError::Line(_) => "line",
        }
    }
}

/// Application Protocol section 7.
fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "server device failure",
        5 => "acknowledge",
        6 => "server device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target did not respond",
        _ => "unknown",
    }
}

impl Request {
    fn pdu(self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.count.to_be_bytes());
        [self.function, a, b, c, d]
    }

    pub(super) fn rtu(self, slave: u8) -> Vec<u8> {
        let mut frame = vec![slave];
        frame.extend(self.pdu());
        frame.extend(crc(&frame).to_le_bytes());
        frame
    }

    pub(super) fn tcp(self, transaction: u16, slave: u8) -> Vec<u8> {
        let [high, low] = transaction.to_be_bytes();
        let mut frame = vec![high, low, 0, 0, 0, 6, slave];
        frame.extend(self.pdu());
        frame
    }

    /// Bytes of values in a good answer.
    pub(super) fn data_length(self) -> usize {
        usize::from(if self.function <= 2 {
            self.count.div_ceil(8)
        } else {
            self.count * 2
        })
    }

    /// Length of a whole good RTU answer: slave, function, count, values, checksum.
    fn rtu_answer_length(self) -> usize {
        self.data_length() + 5
    }

    /// Characters that a request over RTU and a good answer to it take.
    pub(super) fn rtu_characters(self) -> usize {
        RTU_REQUEST_LENGTH + self.rtu_answer_length()
    }

    /// Length of the whole RTU answer that begins with these bytes; `None` when more must be seen.
    pub(super) fn rtu_length(self, begun: &[u8]) -> Option<usize> {
        let is_exception = begun.get(1)? & 0x80 != 0;
        Some(if is_exception {
            5
        } else {
            self.rtu_answer_length()
        })
    }

    /// The values of an RTU answer.
    pub(super) fn rtu_data(self, slave: u8, frame: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        let (body, sum) = frame
            .split_last_chunk::<2>()
            .ok_or(ExchangeError::Broken("too short"))?;
        if crc(body) != u16::from_le_bytes(*sum) {
            return Err(ExchangeError::Broken("checksum"));
        }
        let (from, pdu) = body
            .split_first()
            .ok_or(ExchangeError::Broken("too short"))?;
        if *from != slave {
            return Err(ExchangeError::Broken("it is from another slave"));
        }
        self.pdu_data(pdu)
    }

    /// The values of an answer without its transport's frame.
    pub(super) fn pdu_data(self, pdu: &[u8]) -> Result<Vec<u8>, ExchangeError> {
        match pdu {
            [function, code] if *function == self.function | 0x80 => {
                Err(ExchangeError::Exception(*code))
            }
            [function, count, data @ ..] if *function == self.function => {
                if usize::from(*count) != data.len() || data.len() != self.data_length() {
                    return Err(ExchangeError::Broken("byte count"));
                }
                Ok(data.to_vec())
            }
            _ => Err(ExchangeError::Broken("it answers another function")),
        }
    }
}

/// CRC-16/MODBUS (Modbus over serial line V1.02 section 2.5.1.2).
pub(super) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xA001
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(function: u8, address: u16, count: u16) -> Request {
        Request {
            function,
            address,
            count,
        }
    }

    #[test]
    fn a_request_carries_the_checksum_of_the_specification() {
        for (request, wire) in [
            (request(3, 0x006B, 3), "11 03 00 6B 00 03 76 87"),
            (request(4, 0x0008, 1), "11 04 00 08 00 01 B2 98"),
        ] {
            let hex: Vec<String> = request
                .rtu(0x11)
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect();
            assert_eq!(hex.join(" "), wire);
        }
    }

    fn answer(slave: u8, pdu: &[u8]) -> Vec<u8> {
        let mut frame = [&[slave], pdu].concat();
        frame.extend(crc(&frame).to_le_bytes());
        frame
    }

    #[test]
    fn an_answer_is_taken_only_if_everything_about_it_is_right() {
        let request = request(3, 0, 2);
        assert_eq!(
            request
                .rtu_data(17, &answer(17, &[3, 4, 0, 1, 0, 2]))
                .unwrap(),
            [0, 1, 0, 2]
        );
        for wrong in [
            answer(18, &[3, 4, 0, 1, 0, 2]),
            answer(17, &[4, 4, 0, 1, 0, 2]),
            answer(17, &[3, 2, 0, 1]),
            answer(17, &[3, 4, 0, 1, 0]),
            vec![17, 3],
            vec![],
        ] {
            assert!(
                matches!(request.rtu_data(17, &wrong), Err(ExchangeError::Broken(_))),
                "{wrong:?}"
            );
        }
        let busy = request.rtu_data(17, &answer(17, &[0x83, 6])).unwrap_err();
        assert!(busy.is_busy());
        assert_eq!(busy.to_string(), "exception 6 (server device busy)");
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_never_taken_for_a_value(values in prop::collection::vec(any::<u8>(), 8), bit in 0usize..104) {
            let request = request(3, 0, 4);
            let mut frame = answer(5, &[&[3, 8][..], &values].concat());
            frame[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(request.rtu_data(5, &frame).is_err());
        }

        #[test]
        fn noise_is_never_taken_for_a_value(noise in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(request(3, 0, 4).pdu_data(&noise).is_err() || noise.len() == 10);
        }
    }
}
