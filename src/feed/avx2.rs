//! AVX2 path: vectors of 32 bytes, where the processor has them. All unsafe code of the program is here.
//!
//! It makes the whole filter 1.24 to 1.46 times as fast (docs/performance.md). Only the instructions differ:
//! what is done with the bits is the same code on both paths.
#![allow(unsafe_code, reason = "entering a function with target features after detection")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_set1_epi8,
    _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256,
    _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_sub_epi8,
};

use super::block::{Block, Test, Vectors};
use super::scan::{Event, ScanError, Scanner};

/// Proof that the processor has AVX2, the bit instructions that came with it, and carry-less products.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detected(());

impl Detected {
    /// Asks the processor; the standard library remembers its answer.
    pub(super) fn detect() -> Option<Self> {
        let detected = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("pclmulqdq")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        detected.then_some(Self(()))
    }

    /// Scans a chunk.
    pub(super) fn scan(
        self,
        scanner: &mut Scanner,
        chunk: &[u8],
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        // SAFETY: `scan` needs the features that a `Detected` proves.
        unsafe { scan(scanner, chunk, on_event) }
    }
}

#[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,lzcnt,popcnt")]
fn scan(scanner: &mut Scanner, chunk: &[u8], on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
    let vectors = Vectors {
        find: |block: &Block, test: Test| find(block, test),
        prefix_xor: |bits: u64| prefix_xor(bits),
    };
    scanner.blocks(&vectors, chunk, on_event)
}

#[inline]
#[target_feature(enable = "avx2")]
fn find(block: &Block, test: Test) -> u64 {
    let [low, high]: [__m256i; 2] = bytemuck::must_cast(*block);
    let bits = |half: __m256i| u64::from(_mm256_movemask_epi8(passing(half, test)).cast_unsigned());
    bits(low) | bits(high) << 32
}

/// Sets the highest bit of each byte that passes the test.
#[inline]
#[target_feature(enable = "avx2")]
fn passing(bytes: __m256i, test: Test) -> __m256i {
    match test {
        Test::Is(byte) => _mm256_cmpeq_epi8(bytes, splat(byte)),
        Test::IsWithBit5(byte) => _mm256_cmpeq_epi8(_mm256_or_si256(bytes, splat(0x20)), splat(byte)),
        Test::AtMost(limit) => at_most(bytes, limit),
        Test::Digit => at_most(_mm256_sub_epi8(bytes, splat(b'0')), 9),
        Test::HexLetter => {
            at_most(_mm256_sub_epi8(_mm256_or_si256(bytes, splat(0x20)), splat(b'a')), b'f' - b'a')
        }
        Test::Printable => at_most(_mm256_sub_epi8(bytes, splat(b' ')), 0x7f - b' '),
        Test::NonAscii => bytes,
        Test::FrequentEscape => {
            // At the index of its low four bits, each escape itself. (A byte beyond ASCII finds a zero.)
            const BY_LOW_BITS: [u8; 16] = *b"\xff\0b\0t\0f\0\0\0\0\0\\\0n/";
            let table = _mm256_broadcastsi128_si256(bytemuck::must_cast::<_, __m128i>(BY_LOW_BITS));
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, bytes), bytes)
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn at_most(bytes: __m256i, limit: u8) -> __m256i {
    _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, splat(limit)), bytes)
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(byte: u8) -> __m256i {
    _mm256_set1_epi8(byte.cast_signed())
}

/// Does what [`super::block::prefix_xor`] does: a carry-less product with all ones sums up, at each bit,
/// those at and below it.
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn prefix_xor(bits: u64) -> u64 {
    let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits.cast_signed()), _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feed::block::tests;

    fn check(block: &Block) {
        #[target_feature(enable = "avx2,pclmulqdq")]
        fn check(block: &Block) {
            let vectors = Vectors {
                find: |block: &Block, test: Test| find(block, test),
                prefix_xor: |bits: u64| prefix_xor(bits),
            };
            tests::check(&vectors, block);
        }
        if Detected::detect().is_some() {
            // SAFETY: there is a `Detected`.
            unsafe { check(block) }
        }
    }

    #[test]
    fn finds_every_byte_at_every_place() {
        tests::every_byte_at_every_place(check);
    }

    proptest! {
        #[test]
        fn finds_all_of_a_mix(block in prop::array::uniform32(any::<[u8; 2]>())) {
            check(block.as_flattened().try_into().expect("64 bytes"));
        }
    }
}
