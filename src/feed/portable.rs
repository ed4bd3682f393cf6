//! Portable path: vectors of 16 bytes, which every processor of a supported architecture has.

use wide::u8x16;

use super::block::{self, Block, Find, PrefixXor, Test, Vectors};

/// Returns the vectors of this path.
#[inline(always)]
pub(super) fn vectors() -> Vectors<impl Find, impl PrefixXor> {
    Vectors { find, prefix_xor: block::prefix_xor }
}

#[inline(always)]
fn find(block: &Block, test: Test) -> u64 {
    let splat = u8x16::splat;
    match test {
        Test::Is(byte) => bits(block, |bytes| bytes.simd_eq(splat(byte))),
        Test::IsWithBit5(byte) => bits(block, |bytes| (bytes | splat(0x20)).simd_eq(splat(byte))),
        Test::AtMost(limit) => bits(block, |bytes| at_most(bytes, limit)),
        Test::Digit => bits(block, |bytes| at_most(bytes - splat(b'0'), 9)),
        Test::HexLetter => bits(block, |bytes| at_most((bytes | splat(0x20)) - splat(b'a'), 5)),
        Test::Printable => bits(block, |bytes| at_most(bytes - splat(b' '), 0x7f - b' ')),
        Test::NonAscii => bits(block, |bytes| bytes),
        Test::FrequentEscape => bits(block, |bytes| bytes.simd_eq(splat(b'/'))),
    }
}

/// Sets the bytes that are not above `limit` to all ones.
#[inline(always)]
fn at_most(bytes: u8x16, limit: u8) -> u8x16 {
    bytes.min(u8x16::splat(limit)).simd_eq(bytes)
}

/// Collects the highest bit of each byte that `of` yields.
///
/// No `array::map` here: without link-time optimization it stays a call, which made the scanner ten times
/// slower.
#[inline(always)]
fn bits(block: &Block, of: impl Fn(u8x16) -> u8x16) -> u64 {
    let (quarters, _) = block.as_chunks::<16>();
    let quarter = |n: usize| u64::from(of(u8x16::new(quarters[n])).to_bitmask());
    quarter(0) | quarter(1) << 16 | quarter(2) << 32 | quarter(3) << 48
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::tests::{check, every_byte_at_every_place};
    use super::*;

    #[test]
    fn finds_every_byte_at_every_place() {
        every_byte_at_every_place(|block| check(&vectors(), block));
    }

    proptest! {
        #[test]
        fn finds_all_of_a_mix(block in prop::array::uniform32(any::<[u8; 2]>())) {
            check(&vectors(), block.as_flattened().try_into().expect("64 bytes"));
        }
    }
}
