//! Byte ranges of a document that remain when elements are dropped from its arrays.

use std::ops::Range;

/// Collects the ranges to keep while the elements of one or more arrays are visited in order.
///
/// If all elements are kept, the ranges cover the whole document. With an element, the comma and the white
/// space before it are dropped; if no element before was kept, the next kept one loses its own comma instead.
/// Adjacent ranges are merged, so a run of kept elements is one range.
#[derive(Debug, Default)]
pub(super) struct KeptRanges {
    ranges: Vec<Range<usize>>,
    /// Offset up to which everything has been decided.
    end: usize,
    /// True if no element of the current array has been visited.
    first: bool,
    /// True if an element of the current array was kept.
    kept: bool,
}

impl KeptRanges {
    /// Begins an array whose opening bracket ends at `head`.
    pub(super) fn open(&mut self, head: usize) {
        self.keep(self.end..head);
        self.end = head;
        self.first = true;
        self.kept = false;
    }

    /// Records whether to keep the next element of the current array.
    #[inline]
    pub(super) fn element(&mut self, span: Range<usize>, keep: bool) {
        if keep {
            let from = if self.first || self.kept { self.end } else { span.start };
            self.keep(from..span.end);
            self.kept = true;
        }
        self.first = false;
        self.end = span.end;
    }

    /// Removes and returns the ranges that are complete so far.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Range<usize>> {
        self.ranges.drain(..)
    }

    /// Keeps everything up to the document's end, which is at `len`.
    pub(super) fn close(&mut self, len: usize) {
        self.keep(self.end..len);
        self.end = len;
    }

    /// Returns the bytes of all ranges that were not taken, joined.
    pub(super) fn join(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.ranges.iter().map(ExactSizeIterator::len).sum());
        for range in self.ranges {
            out.extend_from_slice(&bytes[range]);
        }
        out
    }

    #[inline]
    fn keep(&mut self, range: Range<usize>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ if range.is_empty() => {}
            _ => self.ranges.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters `doc`, one array whose elements are single letters; capitals are kept.
    fn check(doc: &str, expected: &str) {
        let mut ranges = KeptRanges::default();
        ranges.open(doc.find('[').expect("a bracket") + 1);
        for (at, letter) in doc.char_indices().filter(|(_, c)| c.is_alphabetic()) {
            ranges.element(at..at + 1, letter.is_uppercase());
        }
        ranges.close(doc.len());
        assert_eq!(ranges.join(doc.as_bytes()), expected.as_bytes(), "{doc}");
    }

    #[test]
    fn keeps_elements_with_their_separators() {
        check("[]", "[]");
        check(" [ ] ", " [ ] ");
        check("[A]", "[A]");
        check(" [ A , B ]\n", " [ A , B ]\n");
        check("[a]", "[]");
        check("[ a ]", "[ ]");
        check("[a,b,c]", "[]");
        check("[a,B]", "[B]");
        check("[A,b]", "[A]");
        check("[A,b,C]", "[A,C]");
        check("[a,B,c,D,e]", "[B,D]");
        check("[\n A,\n b,\n C\n]", "[\n A,\n C\n]");
        check("[ a , b , C ]", "[C ]");
        check("[A,B,c,D,E]", "[A,B,D,E]");
    }

    #[test]
    fn merges_runs() {
        let mut ranges = KeptRanges::default();
        ranges.open(1);
        for (at, keep) in [(1, true), (3, true), (5, false), (7, true), (9, true)] {
            ranges.element(at..at + 1, keep);
        }
        ranges.close(11);
        assert_eq!(ranges.take().collect::<Vec<_>>(), [0..4, 6..11]);
    }
}
