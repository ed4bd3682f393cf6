//! What is wrong with an input that is refused, and where; the limits of those that are not.

/// Deepest nesting, the array itself included. PHP's `json_decode` gives up beyond 512 as well, so no
/// Plesk server could read a deeper feed.
pub const MAX_DEPTH: usize = 512;

/// Most bytes of one element with the white space before it. The vendor's largest elements have some
/// 30 KB; a hundred times that still lets `filter` run in a few megabytes.
pub const MAX_ELEMENT: usize = 4 << 20;

/// Most elements of a feed that is kept in memory, where each takes some hundred bytes: two hundred times
/// the vendor's catalog.
pub const MAX_ELEMENTS: usize = 100_000;

/// What the allocator adds to an allocation, about: counted where there are many small ones.
pub(crate) const ALLOCATION: usize = 16;

/// Where and why an input is not one well-formed JSON array within the limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ScanError {
    /// Offset of the offending byte, or the length of an input that ended too early.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// The ways in which an input can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
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
