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

/// The bytes of a block as vectors; a mark is a byte of ones.
pub(super) trait Vectors: Copy {
    fn of(block: &[u8; LEN]) -> Self;
    fn splat(byte: u8) -> Self;
    /// Marks the bytes that equal those of `other`.
    fn equal(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    /// Collects the highest bits, the first byte's in the lowest.
    fn bits(self) -> u64;

    #[inline(always)]
    fn is(self, byte: u8) -> Self {
        self.equal(Self::splat(byte))
    }

    #[inline(always)]
    fn at_most(self, byte: u8) -> Self {
        self.min(Self::splat(byte)).equal(self)
    }

    /// Finds brackets, braces, colons and commas.
    #[inline(always)]
    fn structural(self) -> u64 {
        // Brackets and braces differ in this one bit.
        let brace = self.or(Self::splat(0x20));
        brace.is(b'{').or(brace.is(b'}')).or(self.is(b':').or(self.is(b','))).bits()
    }

    /// Finds `\n`, `\r` and `\t`.
    #[inline(always)]
    fn line_space(self) -> u64 {
        self.is(b'\n').or(self.is(b'\r')).or(self.is(b'\t')).bits()
    }

    /// Finds what is an escape with nothing but the backslash before it.
    #[inline(always)]
    fn simple_escapes(self) -> u64 {
        let frequent = self.is(b'/').or(self.is(b'"')).or(self.is(b'\\').or(self.is(b'n')));
        frequent.or(self.is(b'b').or(self.is(b'f')).or(self.is(b'r').or(self.is(b't')))).bits()
    }

    #[inline(always)]
    fn hex_digits(self) -> u64 {
        let letters = self.or(Self::splat(0x20));
        self.at_most(b'9').bits() & !self.at_most(b'0' - 1).bits()
            | letters.at_most(b'f').bits() & !letters.at_most(b'a' - 1).bits()
    }
}

/// The vectors of [`Path::Portable`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Quarters([u8x16; 4]);

impl Quarters {
    #[inline(always)]
    fn zip(self, other: Self, pair: impl Fn(u8x16, u8x16) -> u8x16) -> Self {
        Self(std::array::from_fn(|n| pair(self.0[n], other.0[n])))
    }
}

impl Vectors for Quarters {
    #[inline(always)]
    fn of(block: &[u8; LEN]) -> Self {
        let (quarters, _) = block.as_chunks();
        Self(std::array::from_fn(|n| u8x16::new(quarters[n])))
    }

    #[inline(always)]
    fn splat(byte: u8) -> Self {
        Self([u8x16::splat(byte); 4])
    }

    #[inline(always)]
    fn equal(self, other: Self) -> Self {
        self.zip(other, |a, b| a.simd_eq(b))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| a.min(b))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    #[inline(always)]
    fn bits(self) -> u64 {
        let [a, b, c, d] = self.0.map(|vector| u64::from(vector.to_bitmask()));
        a | b << 16 | c << 32 | d << 48
    }
}

/// Returns which bytes are escaped and which begin an escape; `carry` says that the first one is escaped.
///
/// Backslashes escape what follows unless escaped themselves, so every other one of a run does. A run's
/// parity shows by subtracting it from the odd bits: the borrow ends on an even or on an odd bit.
#[inline(always)]
pub(super) fn escapes(backslash: u64, carry: u64) -> (u64, u64) {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    if backslash == 0 {
        return (carry, 0);
    }
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
            check(vectors.is(byte).bits(), &|other| other == byte, "is");
            check(vectors.at_most(byte).bits(), &|other| other <= byte, "at most");
        }
        check(vectors.bits(), &|byte| byte >= 0x80, "beyond ASCII");
        check(vectors.structural(), &|byte| b"{}[]:,".contains(&byte), "structural");
        check(vectors.line_space(), &|byte| b"\n\r\t".contains(&byte), "line space");
        check(vectors.simple_escapes(), &|byte| b"\"\\/bfnrt".contains(&byte), "simple escapes");
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
