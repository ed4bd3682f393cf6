//! Sizes with units.

use std::fmt;
use std::str::FromStr;

use bytesize::ByteSize;

/// A number of bytes, written with its unit: `256MiB`, `64 MB`, `4096B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(ByteSize);

impl Size {
    /// Returns the number of bytes.
    pub fn bytes(self) -> u64 {
        self.0.as_u64()
    }

    /// Formats it without rounding, in the largest unit that it is a whole number of.
    pub fn exact(self) -> String {
        let bytes = self.bytes();
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
            Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
            None => format!("{bytes}B"),
        }
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Self {
        Self(ByteSize::b(bytes))
    }
}

impl FromStr for Size {
    type Err = String;

    /// Parses a size. A number without a unit is refused, because people who write `--cache-size 256` mean megabytes. Zero
    /// needs no unit.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let size: ByteSize =
            text.parse().map_err(|_| format!("expected a size like 256MiB, not {text:?}"))?;
        match text.ends_with(|last: char| last.is_ascii_alphabetic()) || size.as_u64() == 0 {
            true => Ok(Self(size)),
            false => Err(format!("a size needs a unit: {text}MiB, or {text}B if bytes are meant")),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_size_is_read_as_the_same() {
        let check = |bytes: u64, expected: &str| {
            assert_eq!(Size::from(bytes).exact(), expected);
            assert_eq!(expected.parse::<Size>().map(Size::bytes), Ok(bytes), "{expected}");
        };
        check(0, "0B");
        check(1, "1B");
        check(256 << 20, "256MiB");
        check(3 << 29, "1536MiB");
        check(4 << 30, "4GiB");
        check(64_000_000, "62500KiB");
        check((1 << 20) + 1, "1048577B");
    }

    #[test]
    fn sizes_need_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(text.parse::<Size>().ok().map(Size::bytes), expected, "{text:?}");
        };
        check("256MiB", Some(256 << 20));
        check("256 MiB", Some(256 << 20));
        check("256mib", Some(256 << 20));
        check("1.5GiB", Some(3 << 29));
        check("64MB", Some(64_000_000));
        check("64M", Some(64_000_000));
        check("4096B", Some(4096));
        check("0", Some(0));
        for text in ["256", "1.5", "", "MiB", "lots", "256XB", "-1MiB"] {
            check(text, None);
        }
        let error = "256".parse::<Size>().expect_err("no unit");
        assert_eq!(error, "a size needs a unit: 256MiB, or 256B if bytes are meant");
    }
}
