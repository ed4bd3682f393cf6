//! The member names that are asked for: found at any cut, in any spelling.

use std::ops::Range;

use super::text;

/// Longest member name, in raw bytes with escapes, that can be one we look for: each byte of an
/// 12-letter name written as `\u00XX` takes six.
pub(super) const MAX_NAME: usize = 12 * 6;

/// The names, and what the end of a chunk cut off one that may be among them.
#[derive(Debug)]
pub(super) struct Names {
    names: &'static [&'static str],
    /// One bit for each length of a name.
    lengths: u64,
    /// Offset of the beginning that is kept here.
    start: usize,
    len: usize,
    bytes: [u8; MAX_NAME],
}

impl Names {
    pub(super) fn new(names: &'static [&'static str]) -> Self {
        debug_assert!(names.iter().all(|name| name.len() * 6 <= MAX_NAME));
        let lengths = names.iter().fold(0, |lengths, name| lengths | 1 << name.len());
        Self { names, lengths, start: 0, len: 0, bytes: [0; MAX_NAME] }
    }

    /// Returns which one `raw` spells, of less than 64 bytes and without escapes if it `is_plain`.
    #[inline(always)]
    pub(super) fn find(&self, raw: &[u8], is_plain: bool) -> Option<usize> {
        // Most names differ in their lengths already.
        match is_plain {
            true if self.lengths >> raw.len() & 1 == 0 => None,
            true => self.names.iter().position(|name| name.as_bytes() == raw),
            false => text::position_of_name(raw, self.names),
        }
    }

    /// Returns which one stands at the offsets `range`, whose end is in the chunk at `base` or before.
    pub(super) fn find_cut(&mut self, range: Range<usize>, chunk: &[u8], base: usize) -> Option<usize> {
        if range.start >= base {
            return text::position_of_name(&chunk[range.start - base..range.end - base], self.names);
        }
        if range.len() > self.len {
            self.keep(range.start, &chunk[..range.end - base]);
        }
        text::position_of_name(self.bytes.get(..range.len())?, self.names)
    }

    /// Keeps bytes of the name at `start`; one beyond the capacity only counts, for it matches nothing.
    pub(super) fn keep(&mut self, start: usize, bytes: &[u8]) {
        if self.start != start {
            (self.start, self.len) = (start, 0);
        }
        // SECURITY: whatever fits, since the quote behind the longest name does not.
        let room = &mut self.bytes[self.len.min(MAX_NAME)..];
        let fit = room.len().min(bytes.len());
        room[..fit].copy_from_slice(&bytes[..fit]);
        self.len += bytes.len();
    }
}
