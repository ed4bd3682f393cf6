//! Incremental reader of numbers and literals (RFC 8259 §3 and §6).

use super::problem::Problem;

/// State of a number or a literal whose end has not been seen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    Number(Number),
    /// Bytes of `true`, `false` or `null` that are still expected.
    Literal(&'static [u8]),
}

/// Part of a number that was read last.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Scalar {
    /// Returns the state after the first byte of a scalar, or `None` if no scalar begins with it.
    pub(super) fn beginning_with(byte: u8) -> Option<Self> {
        Some(match byte {
            b'-' => Self::Number(Number::Minus),
            b'0' => Self::Number(Number::Zero),
            b'1'..=b'9' => Self::Number(Number::Integer),
            b't' => Self::Literal(b"rue"),
            b'f' => Self::Literal(b"alse"),
            b'n' => Self::Literal(b"ull"),
            _ => return None,
        })
    }

    /// Reads more bytes and returns how many of them belong to the scalar, or `None` if all do: then it may
    /// go on.
    ///
    /// # Errors
    /// The index of the first byte that cannot continue an incomplete scalar.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, (usize, Problem)> {
        match self {
            Self::Number(number) => number.read(bytes).map_err(|at| (at, Problem::Number)),
            Self::Literal(rest) => {
                let same = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
                *rest = &rest[same..];
                match (same == bytes.len(), rest.is_empty()) {
                    (true, _) => Ok(None),
                    (false, true) => Ok(Some(same)),
                    (false, false) => Err((same, Problem::Literal)),
                }
            }
        }
    }
}

impl Number {
    fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, usize> {
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Minus, b'0') => Self::Zero,
                (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
                (Self::Zero | Self::Integer, b'.') => Self::Point,
                (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
                (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
                (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
                (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                    Self::ExponentDigits
                }
                // So does a digit after a leading zero.
                (Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits, _) => {
                    return Ok(Some(at));
                }
                _ => return Err(at),
            };
        }
        Ok(None)
    }
}
