//! Errors of the scanner, and the limits that it enforces.

/// Deepest nesting in levels, the feed's own array included. PHP's `json_decode` has the same limit, so no
/// Plesk server could read a deeper feed.
pub const MAX_DEPTH: usize = 512;

/// Size limit of one element in bytes, including the separator and white space before it. Real elements have
/// up to some 30 KB; with a hundred times that, `filter` still runs in a few megabytes.
pub const MAX_ELEMENT: usize = 4 << 20;

/// Limit on the elements of a feed that is kept in memory, where the index takes some hundred bytes for each.
/// The real catalog has two hundred times fewer.
pub const MAX_ELEMENTS: usize = 100_000;

/// What the allocator adds to an allocation, about: counted where there are many small ones.
pub(crate) const ALLOCATION: usize = 16;

/// Reason and place why an input is not one well-formed JSON array within the limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ScanError {
    /// Offset of the offending byte, or the input's length if it ended too early.
    pub offset: usize,
    /// Reason.
    pub problem: Problem,
}

/// Reason why an input is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("not a JSON array")]
    NotAnArray,
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("bad number")]
    Number,
    #[error("bad literal")]
    Literal,
    #[error("bad escape in a string")]
    Escape,
    #[error("control character in a string")]
    Control,
    #[error("invalid UTF-8")]
    Utf8,
    #[error("nesting deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("element of more than {MAX_ELEMENT} bytes")]
    ElementTooLarge,
    #[error("more than {MAX_ELEMENTS} elements")]
    TooMany,
    #[error("text after the end of the array")]
    Trailing,
    #[error("a {0} where it does not belong")]
    Misplaced(&'static str),
    #[error("cut off")]
    CutOff,
    #[error("empty")]
    Empty,
}
