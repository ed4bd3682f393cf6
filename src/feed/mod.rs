//! The feed engine: bytes to elements, elements to packages, packages to what leaves.
//!
//! Pure: no I/O, no clocks. Everything here works on chunks as they arrive.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod block;
pub mod categories;
pub mod gather;
mod grammar;
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
pub enum Kind {
    /// `/api/v<N>/packages`
    Packages,
    /// `/api/v<N>/categories`
    Categories,
}

impl Kind {
    /// Returns the last segment of the feed's path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Categories => "categories",
        }
    }
}
