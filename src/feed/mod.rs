//! Feed engine: scans a feed's bytes, indexes its packages, and filters them.
//!
//! Pure: no I/O and no clock. Chunks are processed as they arrive.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod block;
pub mod categories;
mod grammar;
mod kept_ranges;
pub mod listing;
mod name;
pub mod package;
pub mod packages;
mod path;
mod portable;
mod problem;
mod scalar;
pub mod scan;
mod text;
mod tokens;

/// The two feeds that are filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedKind {
    /// `/api/v<N>/packages`
    Packages,
    /// `/api/v<N>/categories`
    Categories,
}

impl FeedKind {
    /// Returns the last segment of the feed's URL path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Categories => "categories",
        }
    }
}
