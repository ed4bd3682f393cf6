//! A block of 64 bytes as bits: the bytes that pass a test become one `u64`, one bit a byte.
//!
//! A scanner that works on such bits has something to do at each bit that is set instead of at each byte. In
//! a catalog that is one byte in thirty (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019,
//! §3.1).

/// Bytes of a block.
pub(super) const BLOCK_LEN: usize = u64::BITS as usize;

/// Bytes that are looked at together.
pub(super) type Block = [u8; BLOCK_LEN];

/// Test that a byte passes or not.
#[derive(Debug, Clone, Copy)]
pub(super) enum Test {
    /// Equal to the given byte.
    Is(u8),
    /// Equal to the given byte once bit 0x20 is set, which tells `[` and `{` apart, and small and capital
    /// letters.
    IsWithBit5(u8),
    /// Not above the given byte.
    AtMost(u8),
    /// `0` to `9`.
    Digit,
    /// `a` to `f`, small or capital.
    HexLetter,
    /// From blank to DEL.
    Printable,
    /// 0x80 and above.
    NonAscii,
    /// Some of the characters that are a whole escape behind a backslash, and no others: those that cost
    /// little to find. PHP escapes every slash, so the slash is one of them.
    FrequentEscape,
}

/// Vector instructions of one path of the scanner.
///
/// These are closures because a safe method of a trait cannot have target features, while a closure has
/// those of the function that it is written in. The scanner's inner loop takes them as type parameters and
/// is inlined into that function.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors<F, X> {
    /// Returns the bytes that pass a test; the lowest bit is the first byte.
    pub(super) find: F,
    /// Does what [`prefix_xor`] does.
    pub(super) prefix_xor: X,
}

/// Type of [`Vectors::find`].
pub(super) trait Find: Fn(&Block, Test) -> u64 + Copy {}

impl<F: Fn(&Block, Test) -> u64 + Copy> Find for F {}

/// Type of [`Vectors::prefix_xor`].
pub(super) trait PrefixXor: Fn(u64) -> u64 + Copy {}

impl<X: Fn(u64) -> u64 + Copy> PrefixXor for X {}

/// One block with the means to search it.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a, F> {
    block: &'a Block,
    find: F,
}

impl<F: Find, X> Vectors<F, X> {
    #[inline(always)]
    pub(super) fn bytes<'a>(&self, block: &'a Block) -> Bytes<'a, F> {
        Bytes { block, find: self.find }
    }
}

impl<F: Find> Bytes<'_, F> {
    #[inline(always)]
    pub(super) fn find(self, test: Test) -> u64 {
        (self.find)(self.block, test)
    }

    #[inline(always)]
    pub(super) fn is(self, byte: u8) -> u64 {
        self.find(Test::Is(byte))
    }

    #[inline(always)]
    pub(super) fn at_most(self, byte: u8) -> u64 {
        self.find(Test::AtMost(byte))
    }

    /// Finds `\n`, `\r` and `\t`.
    #[inline(always)]
    pub(super) fn line_space(self) -> u64 {
        self.is(b'\n') | self.is(b'\r') | self.is(b'\t')
    }

    /// Finds the letters that are a whole escape behind a backslash.
    #[inline(always)]
    pub(super) fn escape_letters(self) -> u64 {
        self.is(b'b') | self.is(b'f') | self.is(b'n') | self.is(b'r') | self.is(b't')
    }

    #[inline(always)]
    pub(super) fn hex_digits(self) -> u64 {
        self.find(Test::Digit) | self.find(Test::HexLetter)
    }
}

/// Returns the bytes that are escaped and those that begin an escape; `carry` is 1 if the first is escaped.
///
/// A backslash escapes the next byte unless it is escaped itself, so every other one of a run does. The
/// parity of a run shows when it is subtracted from the odd bits: the borrow ends on an even or an odd bit.
#[inline(always)]
pub(super) fn escapes(backslash: u64, carry: u64) -> (u64, u64) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let candidates = backslash & !carry;
    let ends = ((candidates << 1) | ODD).wrapping_sub(candidates) ^ ODD;
    (ends ^ (backslash | carry), ends & backslash)
}

/// Prefix XOR: bit i is set if an odd number of bits at or below i are set.
#[inline(always)]
pub(super) fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks the answers to all tests about a block, byte by byte.
    #[inline(always)]
    pub(in crate::feed) fn check(vectors: &Vectors<impl Find, impl PrefixXor>, block: &Block) {
        let bytes = vectors.bytes(block);
        let check = |found: u64, expected: &dyn Fn(u8) -> bool, what: &str| {
            let expected =
                block.iter().enumerate().fold(0, |bits, (n, byte)| bits | u64::from(expected(*byte)) << n);
            assert_eq!(found, expected, "{what} of {block:x?}");
        };
        for byte in [b'"', b'\\', b' ', b'u', 0, 0xff] {
            check(bytes.is(byte), &|other| other == byte, "is");
            check(bytes.at_most(byte), &|other| other <= byte, "at most");
        }
        for byte in [b'{', b'}', b'a'] {
            check(bytes.find(Test::IsWithBit5(byte)), &|other| other | 0x20 == byte, "is with bit 5");
        }
        check(bytes.find(Test::Digit), &|byte| byte.is_ascii_digit(), "digits");
        check(bytes.find(Test::HexLetter), &|byte| matches!(byte, b'a'..=b'f' | b'A'..=b'F'), "hex letters");
        check(bytes.find(Test::Printable), &|byte| matches!(byte, b' '..=0x7f), "printable");
        check(bytes.find(Test::NonAscii), &|byte| byte >= 0x80, "beyond ASCII");
        let frequent = bytes.find(Test::FrequentEscape);
        for (n, byte) in block.iter().enumerate() {
            let found = frequent >> n & 1 == 1;
            assert!(found || *byte != b'/', "no slash at {n} of {block:x?}");
            assert!(!found || b"\\/bfnt".contains(byte), "frequent escapes of {block:x?} at {n}");
        }
        let bits = bytes.is(b'a');
        assert_eq!((vectors.prefix_xor)(bits), prefix_xor(bits), "{bits:x}");
        check(bytes.line_space(), &|byte| b"\n\r\t".contains(&byte), "line space");
        check(bytes.escape_letters(), &|byte| b"bfnrt".contains(&byte), "escape letters");
        check(bytes.hex_digits(), &|byte| byte.is_ascii_hexdigit(), "hex digits");
    }

    /// Calls `check` with blocks in which every byte stands at every place.
    pub(in crate::feed) fn every_byte_at_every_place(check: impl Fn(&Block)) {
        // Some of them under Miri, which takes seconds for each.
        let step = if cfg!(miri) { 21 } else { 1 };
        for byte in (0..=255u8).step_by(step) {
            for at in (0..BLOCK_LEN).step_by(step) {
                let mut block = [b'a'; BLOCK_LEN];
                block[at] = byte;
                check(&block);
            }
        }
    }

    proptest! {
        #[test]
        fn escapes_as_a_reader_does(words in any::<[u64; 3]>(), dense in any::<bool>(), carry in any::<bool>()) {
            let [a, b, c] = words;
            let backslash = if dense { a | b | c } else { a & b };
            let (mut expected, mut begin, mut escaped) = (0, 0, carry);
            for n in 0..BLOCK_LEN {
                expected |= u64::from(escaped) << n;
                escaped = backslash >> n & 1 == 1 && !escaped;
                begin |= u64::from(escaped) << n;
            }
            prop_assert_eq!(escapes(backslash, u64::from(carry)), (expected, begin));
        }

        #[test]
        fn prefix_xor_counts_bits(bits in any::<u64>()) {
            let expected = (0..BLOCK_LEN).fold(0, |expected, n| {
                let at_or_below = bits << (BLOCK_LEN - 1 - n);
                expected | u64::from(at_or_below.count_ones() % 2) << n
            });
            prop_assert_eq!(prefix_xor(bits), expected);
        }
    }
}
