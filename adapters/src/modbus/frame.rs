//! Requests and answers: MODBUS Application Protocol V1.1b3, and their frame on Modbus TCP. Pure.

/// Registers in one read (Application Protocol section 6.3), and bits (section 6.1).
pub(super) const REGISTERS_MAX: u16 = 125;
pub(super) const BITS_MAX: u16 = 2000;

/// A read of `count` registers or bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) function: u8,
    pub(super) address: u16,
    pub(super) count: u16,
}

/// Why an answer has no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameError {
    /// It is no answer to the request, for this reason.
    Broken(&'static str),
    /// The slave, or a gateway before it, gives this exception.
    Exception(u8),
}

impl Request {
    pub(super) fn pdu(self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.count.to_be_bytes());
        [self.function, a, b, c, d]
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

    /// The values of an answer without its transport's frame.
    pub(super) fn pdu_data(self, pdu: &[u8]) -> Result<Vec<u8>, FrameError> {
        match pdu {
            [function, code] if *function == self.function | 0x80 => {
                Err(FrameError::Exception(*code))
            }
            [function, count, data @ ..] if *function == self.function => {
                if usize::from(*count) != data.len() || data.len() != self.data_length() {
                    return Err(FrameError::Broken("byte count"));
                }
                Ok(data.to_vec())
            }
            _ => Err(FrameError::Broken("it answers another function")),
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

    proptest! {
        #[test]
        fn noise_is_never_taken_for_a_value(noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let request = Request { function: 3, address: 0, count: 4 };
            prop_assert!(request.pdu_data(&noise).is_err() || noise.len() == 10);
        }
    }
}
