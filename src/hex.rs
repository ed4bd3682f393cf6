//! Hexadecimal digits, as digests and identifiers are written.

use std::fmt;

/// Shows bytes as lowercase hexadecimal digits, two for each.
pub(crate) fn hex(bytes: &[u8]) -> impl fmt::Display + use<'_> {
    fmt::from_fn(move |f| bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn every_byte_has_two_digits() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(hex(bytes).to_string(), expected);
        check(&[], "");
        check(&[0, 0x0a, 0xa0, 0xff], "000aa0ff");
        check(&1_u128.to_be_bytes(), "00000000000000000000000000000001");
    }
}
