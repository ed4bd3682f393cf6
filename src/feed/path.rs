//! Choice between the vectors that the scanner can use on this machine.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::portable;
use super::scan::{Event, ScanError, Scanner};

/// Way to find the bits of a block. Every path gives the same results; the scanner takes the fastest by
/// itself.
#[derive(Debug, Clone, Copy)]
pub struct ScanPath(PathKind);

#[derive(Debug, Clone, Copy)]
enum PathKind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Detected),
}

impl ScanPath {
    /// Returns the paths of this machine, the portable one first and the fastest last. Tests and benchmarks go
    /// through all of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let portable = std::iter::once(Self(PathKind::Portable));
        #[cfg(target_arch = "x86_64")]
        return portable.chain(avx2::Detected::detect().map(|detected| Self(PathKind::Avx2(detected))));
        #[cfg(not(target_arch = "x86_64"))]
        return portable;
    }

    /// Returns the name for people.
    pub fn name(self) -> &'static str {
        match self.0 {
            PathKind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            PathKind::Avx2(_) => "AVX2",
        }
    }

    pub(super) fn fastest() -> Self {
        Self::all().last().unwrap_or(Self(PathKind::Portable))
    }

    /// Scans a chunk by the vectors of this path.
    #[inline]
    pub(super) fn scan(
        self,
        scanner: &mut Scanner,
        chunk: &[u8],
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        match self.0 {
            PathKind::Portable => scanner.blocks(&portable::vectors(), chunk, on_event),
            #[cfg(target_arch = "x86_64")]
            PathKind::Avx2(detected) => detected.scan(scanner, chunk, on_event),
        }
    }
}
