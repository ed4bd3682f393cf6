//! Comparing member names with those asked for, in any spelling and across chunks.

use std::ops::Range;

use super::text;

/// Limit in bytes on a raw member name that can match: a name of 12 letters, each written as `\u00XX`.
pub(super) const MAX_NAME: usize = 12 * 6;

/// Names asked for, and the beginning of a name that the end of a chunk cut in two.
#[derive(Debug)]
pub(super) struct Names {
    names: &'static [&'static str],
    /// Bit n is set if a name has n bytes.
    lengths: u64,
    /// Offset of the name whose beginning is kept in `bytes`.
    start: usize,
    /// Length of that beginning; it may exceed the capacity of `bytes`.
    len: usize,
    bytes: [u8; MAX_NAME],
}

impl Names {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        debug_assert!(names.iter().all(|name| name.len() * 6 <= MAX_NAME));
        let lengths = names.iter().fold(0, |lengths, name| lengths | 1 << name.len());
        Self { names, lengths, start: 0, len: 0, bytes: [0; MAX_NAME] }
    }

    /// Returns the index of the name that `raw` spells.
    ///
    /// With `is_plain`, `raw` must be shorter than 64 bytes and must have no escapes.
    #[inline(always)]
    pub(super) fn find(&self, raw: &[u8], is_plain: bool) -> Option<usize> {
        // Most other names have another length.
        match is_plain {
            true if self.lengths >> raw.len() & 1 == 0 => None,
            true => self.names.iter().position(|name| name.as_bytes() == raw),
            false => text::position_of_name(raw, self.names),
        }
    }

    /// Returns the index of the name at the offsets `range`, which may begin before `chunk`, whose offset is
    /// `base`.
    pub(super) fn find_cut(&mut self, range: Range<usize>, chunk: &[u8], base: usize) -> Option<usize> {
        if range.start >= base {
            return text::position_of_name(&chunk[range.start - base..range.end - base], self.names);
        }
        if range.len() > self.len {
            self.keep(range.start, &chunk[..range.end - base]);
        }
        text::position_of_name(self.bytes.get(..range.len())?, self.names)
    }

    /// Keeps more bytes of the name at `start`. Beyond the capacity they are only counted: such a name
    /// matches nothing.
    pub(super) fn keep(&mut self, start: usize, bytes: &[u8]) {
        if self.start != start {
            (self.start, self.len) = (start, 0);
        }
        // SECURITY: keep what fits instead of nothing: when the longest name comes with its closing quote,
        // the quote does not fit, and a name that is not recognized leaves its package unfiltered.
        let room = &mut self.bytes[self.len.min(MAX_NAME)..];
        let fit = room.len().min(bytes.len());
        room[..fit].copy_from_slice(&bytes[..fit]);
        self.len += bytes.len();
    }
}
