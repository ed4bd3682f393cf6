//! Sixty-four bytes at a time: where a byte stands, as one bit a byte.
//!
//! What a scanner without bits does for each byte, it does for each bit that is set, which in a catalog is
//! one byte in thirty (Langdale and Lemire, "Parsing Gigabytes of JSON per Second", 2019, §3.1).

use wide::u8x16;

#[cfg(target_arch = "x86_64")]
use super::avx2;

/// Bytes of a block.
pub(super) const LEN: usize = u64::BITS as usize;

/// How the bits of a block are found. Every path gives the same answers.
#[derive(Debug, Clone, Copy)]
pub enum Path {
    /// By the vectors of sixteen bytes that each processor of an architecture has.
    Portable,
    /// By vectors of thirty-two bytes.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Detected),
}

impl Path {
    /// Returns the paths of this machine, the fastest last.
    pub fn all() -> impl Iterator<Item = Self> {
        let portable = std::iter::once(Self::Portable);
        #[cfg(target_arch = "x86_64")]
        return portable.chain(avx2::Detected::here().map(Self::Avx2));
        #[cfg(not(target_arch = "x86_64"))]
        return portable;
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
        }
    }

    /// Returns the fastest path of this machine.
    pub fn fastest() -> Self {
        Self::all().last().unwrap_or(Self::Portable)
    }
}

/// The bytes of a block as vectors; what is found is one bit a byte, the first byte's in the lowest.
pub(super) trait Vectors: Copy {
    fn of(block: &[u8; LEN]) -> Self;
    /// Sets bits of each byte.
    fn with(self, bits: u8) -> Self;
    fn minus(self, byte: u8) -> Self;
    fn is(self, byte: u8) -> u64;
    fn at_most(self, byte: u8) -> u64;
    /// Finds the bytes that are not ASCII.
    fn high(self) -> u64;
    /// Tells whether all bytes are printable ASCII.
    fn is_printable(self) -> bool;

    /// Sets the bits from each odd one of `bits` to before the next even one.
    #[inline(always)]
    fn between(bits: u64) -> u64 {
        between(bits)
    }

    /// Finds some of what is an escape with nothing but the backslash before it, and nothing else: what
    /// costs little to find.
    #[inline(always)]
    fn frequent_escapes(self) -> u64 {
        // PHP escapes every slash.
        self.is(b'/')
    }

    /// Finds `\n`, `\r` and `\t`.
    #[inline(always)]
    fn line_space(self) -> u64 {
        self.is(b'\n') | self.is(b'\r') | self.is(b'\t')
    }

    /// Finds the letters that are an escape with nothing but the backslash before them.
    #[inline(always)]
    fn escape_letters(self) -> u64 {
        self.with(4).is(b'f') | self.is(b'n') | self.is(b'r') | self.is(b't')
    }

    #[inline(always)]
    fn hex_digits(self) -> u64 {
        self.minus(b'0').at_most(9) | self.with(0x20).minus(b'a').at_most(5)
    }
}

/// The vectors of [`Path::Portable`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Quarters([u8x16; 4]);

impl Quarters {
    #[inline(always)]
    fn map(self, of: impl Fn(u8x16) -> u8x16) -> Self {
        Self(self.0.map(of))
    }
}

impl Vectors for Quarters {
    #[inline(always)]
    fn of(block: &[u8; LEN]) -> Self {
        let (quarters, _) = block.as_chunks();
        Self(std::array::from_fn(|n| u8x16::new(quarters[n])))
    }

    #[inline(always)]
    fn with(self, bits: u8) -> Self {
        self.map(|quarter| quarter | u8x16::splat(bits))
    }

    #[inline(always)]
    fn minus(self, byte: u8) -> Self {
        self.map(|quarter| quarter - u8x16::splat(byte))
    }

    #[inline(always)]
    fn is(self, byte: u8) -> u64 {
        self.map(|quarter| quarter.simd_eq(u8x16::splat(byte))).high()
    }

    #[inline(always)]
    fn at_most(self, byte: u8) -> u64 {
        self.map(|quarter| quarter.min(u8x16::splat(byte)).simd_eq(quarter)).high()
    }

    #[inline(always)]
    fn high(self) -> u64 {
        let [a, b, c, d] = self.0.map(|vector| u64::from(vector.to_bitmask()));
        a | b << 16 | c << 32 | d << 48
    }

    #[inline(always)]
    fn is_printable(self) -> bool {
        let [a, b, c, d] = self.minus(b' ').0;
        let most = a.max(b).max(c.max(d));
        let limit = u8x16::splat(0x7f - b' ');
        most.max(limit).simd_eq(limit).to_bitmask() == 0xffff
    }
}

/// Returns which bytes are escaped and which begin an escape; `carry` says that the first one is escaped.
///
/// Backslashes escape what follows unless escaped themselves, so every other one of a run does. A run's
/// parity shows by subtracting it from the odd bits: the borrow ends on an even or on an odd bit.
#[inline(always)]
pub(super) fn escapes(backslash: u64, carry: u64) -> (u64, u64) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let candidates = backslash & !carry;
    let ends = ((candidates << 1) | ODD).wrapping_sub(candidates) ^ ODD;
    (ends ^ (backslash | carry), ends & backslash)
}

/// Sets the bits from each odd one of `bits` to before the next even one.
#[inline(always)]
pub(super) fn between(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Checks all that vectors answer about a block, byte by byte.
    pub(in crate::feed) fn check<V: Vectors>(block: &[u8; LEN]) {
        let vectors = V::of(block);
        let check = |found: u64, expected: &dyn Fn(u8) -> bool, what: &str| {
            let expected =
                block.iter().enumerate().fold(0, |bits, (n, byte)| bits | u64::from(expected(*byte)) << n);
            assert_eq!(found, expected, "{what} of {block:x?}");
        };
        for byte in [b'"', b'\\', b' ', b'u', 0, 0xff] {
            check(vectors.is(byte), &|other| other == byte, "is");
            check(vectors.at_most(byte), &|other| other <= byte, "at most");
        }
        check(vectors.high(), &|byte| byte >= 0x80, "beyond ASCII");
        let printable = block.iter().all(|byte| matches!(byte, b' '..=0x7f));
        assert_eq!(vectors.is_printable(), printable, "{block:x?}");
        for (n, byte) in block.iter().enumerate().filter(|(n, _)| vectors.frequent_escapes() >> n & 1 == 1) {
            assert!(b"\\/bfnt".contains(byte), "frequent escapes of {block:x?} at {n}");
        }
        let quotes = vectors.is(b'a');
        assert_eq!(V::between(quotes), between(quotes), "{quotes:x}");
        check(vectors.line_space(), &|byte| b"\n\r\t".contains(&byte), "line space");
        check(vectors.escape_letters(), &|byte| b"bfnrt".contains(&byte), "escape letters");
        check(vectors.hex_digits(), &|byte| byte.is_ascii_hexdigit(), "hex digits");
    }

    /// Calls `check` with blocks in which every byte stands at every place.
    pub(in crate::feed) fn every_byte_at_every_place(check: impl Fn(&[u8; LEN])) {
        // Some of them under Miri, which takes seconds for each.
        let step = if cfg!(miri) { 21 } else { 1 };
        for byte in (0..=255u8).step_by(step) {
            for at in (0..LEN).step_by(step) {
                let mut block = [b'a'; LEN];
                block[at] = byte;
                check(&block);
            }
        }
    }

    #[test]
    fn finds_every_byte_at_every_place() {
        every_byte_at_every_place(check::<Quarters>);
    }

    proptest! {
        #[test]
        fn finds_all_of_a_mix(block in prop::array::uniform32(any::<[u8; 2]>())) {
            check::<Quarters>(block.as_flattened().try_into().expect("64 bytes"));
        }

        #[test]
        fn escapes_as_a_reader_does(words in any::<[u64; 3]>(), dense in any::<bool>(), carry in any::<bool>()) {
            let [a, b, c] = words;
            let backslash = if dense { a | b | c } else { a & b };
            let (mut expected, mut begin, mut escaped) = (0, 0, carry);
            for n in 0..LEN {
                expected |= u64::from(escaped) << n;
                escaped = backslash >> n & 1 == 1 && !escaped;
                begin |= u64::from(escaped) << n;
            }
            prop_assert_eq!(escapes(backslash, u64::from(carry)), (expected, begin));
        }

        #[test]
        fn fills_between_pairs(bits in any::<u64>()) {
            let (expected, _) = (0..LEN).fold((0, false), |(filled, inside), n| {
                let inside = inside ^ (bits >> n & 1 == 1);
                (filled | u64::from(inside) << n, inside)
            });
            prop_assert_eq!(between(bits), expected);
        }
    }
}
