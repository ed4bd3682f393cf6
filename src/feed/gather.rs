//! Which byte ranges of a document leave when elements are dropped from its arrays.

use std::ops::Range;

/// Walks the elements of one or more arrays in order and collects the ranges that leave.
///
/// Everything outside the dropped elements stays as it is: if all are kept, the ranges are the document.
/// A dropped element takes the comma and the white space before it along; if it is the first, the next
/// kept one leaves its own comma behind. Adjacent ranges are merged, so runs of kept elements are one.
#[derive(Debug, Default)]
pub struct Gather {
    ranges: Vec<Range<usize>>,
    /// Everything before is decided.
    end: usize,
    /// No element of the current array was seen.
    first: bool,
    /// An element of the current array was kept.
    kept: bool,
}

impl Gather {
    /// Enters an array whose opening bracket ends at `head`.
    pub fn open(&mut self, head: usize) {
        self.keep(self.end..head);
        self.end = head;
        self.first = true;
        self.kept = false;
    }

    /// Decides on the next element of the current array.
    #[inline]
    pub fn element(&mut self, span: Range<usize>, keep: bool) {
        if keep {
            let from = if self.first || self.kept { self.end } else { span.start };
            self.keep(from..span.end);
            self.kept = true;
        }
        self.first = false;
        self.end = span.end;
    }

    /// Takes the ranges decided so far.
    pub fn take(&mut self) -> impl Iterator<Item = Range<usize>> {
        self.ranges.drain(..)
    }

    /// Keeps the rest of a document of `len` bytes.
    pub fn close(&mut self, len: usize) {
        self.keep(self.end..len);
        self.end = len;
    }

    /// Copies the ranges of `bytes` together that were decided on and not taken.
    pub fn join(self, bytes: &[u8]) -> Vec<u8> {
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

    /// Gathers `doc`, one array whose elements are single letters; capitals are kept.
    fn check(doc: &str, expected: &str) {
        let mut gather = Gather::default();
        gather.open(doc.find('[').expect("a bracket") + 1);
        for (at, letter) in doc.char_indices().filter(|(_, c)| c.is_alphabetic()) {
            gather.element(at..at + 1, letter.is_uppercase());
        }
        gather.close(doc.len());
        assert_eq!(gather.join(doc.as_bytes()), expected.as_bytes(), "{doc}");
    }

    #[test]
    fn keeps_what_is_kept_as_it_stands() {
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
        let mut gather = Gather::default();
        gather.open(1);
        for (at, keep) in [(1, true), (3, true), (5, false), (7, true), (9, true)] {
            gather.element(at..at + 1, keep);
        }
        gather.close(11);
        assert_eq!(gather.take().collect::<Vec<_>>(), [0..4, 6..11]);
    }
}
