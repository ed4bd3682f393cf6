//! Strict, incremental scanner of one top-level JSON array: chunks in, element spans out.
//!
//! The scanner accepts exactly the arrays of RFC 8259 (UTF-8, no BOM), at any chunking, and keeps no
//! bytes: it reports where elements begin and end, and where the values of a few members of theirs
//! stand, as offsets from the first byte ever pushed. The caller keeps the bytes from
//! the end of the last element on. What it holds is bounded by [`MAX_DEPTH`] and the limit on one element.
//!
//! As in RFC 8259 §8.2, an escaped lone surrogate (`"\ud800"`) is grammatical and accepted.

use std::ops::Range;

use super::block::{self, BLOCK_LEN, Find, PrefixXor, Vectors};
use super::grammar::Grammar;
use super::name::Names;
pub use super::path::ScanPath;
pub use super::problem::{MAX_DEPTH, MAX_ELEMENT, MAX_ELEMENTS, Problem, ScanError};
use super::scalar::Scalar;
use super::tokens::{Lexer, Text, Tokens};

/// What the scanner saw; offsets count from the first byte ever pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An own member of the current element, one of the names asked for.
    Member {
        /// Index into the names given to [`Scanner::new`].
        name: usize,
        /// The value's bytes, quotes and brackets included.
        value: Range<usize>,
    },
    /// An element is complete; its members came before.
    Element(Range<usize>),
}

/// The scanner; see the module's documentation.
#[derive(Debug)]
pub struct Scanner {
    names: Names,
    path: ScanPath,
    /// How many more elements may come.
    left: usize,
    lexer: Lexer,
    grammar: Grammar,
    /// Offset of the next chunk's first byte.
    base: usize,
    /// End of the opening bracket.
    head: usize,
    /// End of the last complete element, or of the opening bracket before there is one.
    settled: usize,
    depth: usize,
    /// Do the brackets of each level hold an object?
    objects: [bool; MAX_DEPTH + 2],
    /// All ones if the innermost brackets hold an object.
    in_object: u64,
    /// All ones where colons matter.
    colons: u64,
    /// All ones where strings and numbers matter.
    values: u64,
    element_start: usize,
    value_start: usize,
    /// The name whose value comes next or is being read, if it was asked for.
    member: Option<usize>,
    /// Offset of the last opening quote.
    opened: usize,
    /// Offset of the last closing quote.
    closed: usize,
    /// What the last chunk cut.
    scalar: Option<Scalar>,
    error: Option<ScanError>,
}

/// A block that has tokens.
#[derive(Clone, Copy)]
struct Block<'a> {
    /// The chunk that it is in, and where.
    chunk: &'a [u8],
    at: usize,
    /// The same from the first byte ever pushed.
    offset: usize,
    text: Text,
    tokens: Tokens,
    /// What stands before it.
    before: Grammar,
}

/// Is what to watch the same as before?
#[derive(Clone, Copy)]
enum Watch {
    Same,
    Other,
}

impl Scanner {
    /// Makes a scanner that reports the elements and those of their own members that have one of `names`.
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names: Names::new(names),
            path: ScanPath::fastest(),
            left: usize::MAX,
            lexer: Lexer::default(),
            grammar: Grammar::new(),
            base: 0,
            head: 0,
            settled: 0,
            depth: 0,
            objects: [false; MAX_DEPTH + 2],
            in_object: 0,
            colons: 0,
            values: 0,
            element_start: 0,
            value_start: 0,
            member: None,
            opened: 0,
            closed: 0,
            scalar: None,
            error: None,
        }
    }

    /// Sets how many elements there may be at most.
    pub fn limited(self, elements: usize) -> Self {
        Self { left: elements, ..self }
    }

    /// Sets the path; it is the fastest one, if nobody says otherwise.
    pub fn on(self, path: ScanPath) -> Self {
        Self { path, ..self }
    }

    /// Scans the next bytes and reports what they complete.
    ///
    /// Of elements and members, numbers and literals are complete when the byte behind has come.
    ///
    /// # Errors
    /// The first violation; every later call repeats it.
    pub fn push(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event)) -> Result<(), ScanError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let path = self.path;
        path.scan(self, chunk, &mut on_event)
            .or_else(|error| self.within_limit(error.offset).and(Err(error)))
            .inspect_err(|error| self.error = Some(error.clone()))
    }

    /// Ends the input.
    ///
    /// # Errors
    /// If the array is not complete, or an error came before.
    pub fn finish(&self) -> Result<(), ScanError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.depth == 0 && self.head > 0 => Ok(()),
            None if self.base == 0 => Err(ScanError { offset: 0, problem: Problem::Empty }),
            None => Err(ScanError { offset: self.base, problem: Problem::CutOff }),
        }
    }

    /// Returns the end of the opening bracket; 0 before it was seen.
    pub fn head(&self) -> usize {
        self.head
    }

    #[inline(always)]
    pub(super) fn blocks(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        chunk: &[u8],
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        if let Some(scalar) = self.scalar.take() {
            self.scalar(scalar, chunk, 0, on_event)?;
        }
        let (blocks, rest) = chunk.as_chunks();
        for (n, block) in blocks.iter().enumerate() {
            self.block(vectors, block, BLOCK_LEN, chunk, n * BLOCK_LEN, on_event)?;
        }
        if !rest.is_empty() {
            let mut block = [b' '; BLOCK_LEN];
            block[..rest.len()].copy_from_slice(rest);
            self.block(vectors, &block, rest.len(), chunk, chunk.len() - rest.len(), on_event)?;
        }
        if self.depth == 2 && self.in_object != 0 && self.grammar.is_at_name() {
            let start = self.opened + 1;
            self.names.keep(start, &chunk[start.saturating_sub(self.base)..]);
        }
        self.base += chunk.len();
        self.within_limit(self.base)
    }

    /// Takes in the `len` bytes at `at`.
    #[inline(always)]
    fn block(
        &mut self,
        vectors: &Vectors<impl Find, impl PrefixXor>,
        bytes: &block::Block,
        len: usize,
        chunk: &[u8],
        at: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let offset = self.base + at;
        let text = self.lexer.text(vectors, bytes, len);
        if text.is_all() {
            return text.check(offset);
        }
        let tokens = self.lexer.tokens(vectors, bytes, len, &text);
        let block = Block { chunk, at, offset, text, tokens, before: self.grammar };
        let wrong = self.grammar.block(&tokens);
        let misplaced = |objects: u64| wrong.in_object & objects | wrong.in_array & !objects;
        let bad = text.bad() | wrong.anywhere;
        // What is right so far.
        let mut rest = bad.wrapping_sub(1) & !bad;
        if self.depth == 0 {
            rest &= self.outside(block, u64::MAX)?;
        }

        // Where an object is the innermost, as far as the events got.
        let mut objects = self.in_object;
        let mut events = self.watched(&tokens) & rest;
        let mut result = Ok(());
        while events != 0 {
            // Up to and including the event.
            let passed = events ^ (events - 1);
            if misplaced(objects) & rest & passed != 0 {
                break;
            }
            let event = self.event(&block, events.trailing_zeros() as usize, on_event);
            objects = objects & passed | self.in_object & !passed;
            match event {
                Ok(Watch::Same) => events &= events - 1,
                Ok(Watch::Other) if self.depth > 0 => events = self.watched(&tokens) & rest & !passed,
                ended => {
                    result = ended.and_then(|_| self.outside(block, !passed)).map(|_| ());
                    rest &= passed;
                    break;
                }
            }
        }
        match misplaced(objects) & rest {
            0 => result?,
            bits => return Err(block.unexpected(bits, objects & first(bits) != 0)),
        }
        if bad != 0 {
            return Err(block.unexpected(bad, objects & first(bad) != 0));
        }
        // Names are looked for only there, and no bracket comes between a name and its colon.
        if self.depth == 2 {
            self.opened = block.last(tokens.opening).unwrap_or(self.opened);
            self.closed = block.last(tokens.closing).unwrap_or(self.closed);
        }
        Ok(())
    }

    /// Returns which of the tokens are events now.
    #[inline(always)]
    fn watched(&self, tokens: &Tokens) -> u64 {
        tokens.brackets()
            | tokens.odd
            | tokens.colon & self.colons
            | (tokens.opening | tokens.closing | tokens.scalars) & self.values
    }

    /// Decides what to watch.
    #[inline(always)]
    fn watch(&mut self) -> Watch {
        let values = self.depth == 1 || self.depth == 2 && self.member.is_some();
        self.values = 0u64.wrapping_sub(u64::from(values));
        self.colons = if self.depth == 2 { self.in_object } else { 0 };
        Watch::Other
    }

    /// Looks at the tokens of `bits` before or behind the array, and returns the bits behind the opening
    /// bracket, if it is there. (The block comes as a copy, for its address would keep it out of registers.)
    #[cold]
    fn outside(&mut self, block: Block<'_>, bits: u64) -> Result<u64, ScanError> {
        let bit = first(block.tokens.all() & bits);
        if bit == 0 {
            return Ok(0);
        }
        let n = bit.trailing_zeros() as usize;
        let offset = block.offset + n;
        if self.head == 0 && block.chunk[block.at + n] == b'[' {
            self.head = offset + 1;
            self.settled = self.head;
            self.depth = 1;
            self.watch();
            return Ok(!(bit | (bit - 1)));
        }
        Err(ScanError {
            offset,
            problem: if self.head == 0 { Problem::NotAnArray } else { Problem::Trailing },
        })
    }

    /// Handles the token at `n`, and says whether what to watch has changed.
    #[inline(always)]
    fn event(
        &mut self,
        block: &Block<'_>,
        n: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Watch, ScanError> {
        let (tokens, offset) = (&block.tokens, block.offset + n);
        let byte = block.chunk[block.at + n];
        if tokens.brackets() >> n & 1 == 1 {
            return self.bracket(block, n, byte, on_event);
        }
        match byte {
            b':' => {
                self.member = self.name(block, n);
                return Ok(if self.member.is_some() { self.watch() } else { Watch::Same });
            }
            b'"' if tokens.opening >> n & 1 == 1 => self.begin_value(self.depth, offset),
            b'"' => self.end_value(offset + 1, on_event)?,
            _ => self.odd(block, n, on_event)?,
        }
        Ok(self.watch())
    }

    /// Enters or leaves brackets; most are deep inside elements, so these ask the fewest questions.
    #[inline(always)]
    fn bracket(
        &mut self,
        block: &Block<'_>,
        n: usize,
        byte: u8,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Watch, ScanError> {
        // `{` and `[` have the one bit, `{` and `}` the other one.
        let (opens, object) = (byte >> 1 & 1 == 1, byte >> 5 & 1 == 1);
        let (outer, in_object) = (self.depth, self.in_object != 0);
        // Beyond the innermost level, this changes nothing.
        self.objects[outer + 1] = object;
        self.depth = outer + 2 * usize::from(opens) - 1;
        self.in_object = 0u64.wrapping_sub(u64::from(self.objects[self.depth]));
        if !opens & (object != in_object) {
            return Err(block.unexpected(1 << n, in_object));
        }
        let offset = block.offset + n;
        if self.depth > MAX_DEPTH {
            return Err(ScanError { offset, problem: Problem::TooDeep });
        }
        if outer + usize::from(opens) > 3 {
            return Ok(Watch::Same);
        }
        match opens {
            true => self.begin_value(outer, offset),
            false => self.end_value(offset + 1, on_event)?,
        }
        Ok(self.watch())
    }

    /// Returns which of the names asked for stands before the colon at `n`.
    #[inline(always)]
    fn name(&mut self, block: &Block<'_>, n: usize) -> Option<usize> {
        let before = (1 << n) - 1;
        let opening = block.tokens.opening & before;
        let closed = block.last(block.tokens.closing & before).unwrap_or(self.closed);
        let Some(opened) = block.last(opening) else {
            return self.names.find_cut(self.opened + 1..closed, block.chunk, self.base);
        };
        let is_plain = block.text.is_plain(before & u64::MAX << opening.ilog2());
        self.names.find(&block.chunk[opened + 1 - self.base..closed - self.base], is_plain)
    }

    #[inline(always)]
    fn begin_value(&mut self, depth: usize, offset: usize) {
        match depth {
            1 => {
                self.element_start = offset;
                self.member = None;
            }
            2 => self.value_start = offset,
            _ => {}
        }
    }

    /// Looks at the scalar that has its first byte or its first one that is no digit at `n`.
    #[inline(always)]
    fn odd(
        &mut self,
        block: &Block<'_>,
        n: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let start = (block.tokens.scalars & u64::MAX >> (63 - n)).ilog2() as usize;
        // It was read when it began.
        if n > start && self.values != 0 {
            return Ok(());
        }
        let (at, offset) = (block.at + start, block.offset + start);
        self.begin_value(self.depth, offset);
        match Scalar::beginning_with(block.chunk[at]) {
            Some(scalar) => self.scalar(scalar, block.chunk, at + 1, on_event),
            None => Err(ScanError { offset, problem: Problem::Expected("a value") }),
        }
    }

    /// Reads the scalar whose rest begins at `at`.
    fn scalar(
        &mut self,
        mut scalar: Scalar,
        chunk: &[u8],
        at: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let error_at = |at, problem| ScanError { offset: self.base + at, problem };
        let len = match scalar.read(&chunk[at..]) {
            Ok(Some(len)) => len,
            Ok(None) => {
                self.scalar = Some(scalar);
                return Ok(());
            }
            Err((n, problem)) => return Err(error_at(at + n, problem)),
        };
        // What touches a scalar is no token of its own.
        if !matches!(chunk[at + len], b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}') {
            let problem = if self.in_object != 0 { "`,` or `}`" } else { "`,` or `]`" };
            return Err(error_at(at + len, Problem::Expected(problem)));
        }
        self.end_value(self.base + at + len, on_event)
    }

    #[inline(always)]
    fn end_value(&mut self, end: usize, on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
        match (self.depth, self.member) {
            (1, _) => {
                self.within_limit(end)?;
                self.settled = end;
                self.left =
                    self.left.checked_sub(1).ok_or(ScanError { offset: end, problem: Problem::TooMany })?;
                on_event(Event::Element(self.element_start..end));
            }
            (2, Some(name)) => {
                self.member = None;
                self.watch();
                on_event(Event::Member { name, value: self.value_start..end });
            }
            _ => {}
        }
        Ok(())
    }

    fn within_limit(&self, end: usize) -> Result<(), ScanError> {
        if end.saturating_sub(self.settled) > MAX_ELEMENT {
            return Err(ScanError { offset: self.settled, problem: Problem::ElementTooLarge });
        }
        Ok(())
    }
}

impl Block<'_> {
    /// Returns the offset of the last of `bits`.
    #[inline(always)]
    fn last(&self, bits: u64) -> Option<usize> {
        Some(self.offset + bits.checked_ilog2()? as usize)
    }

    /// Says what is wrong with the first of `bits`, where all is well before.
    #[cold]
    fn unexpected(self, bits: u64, in_object: bool) -> ScanError {
        let bit = first(bits);
        let problem = self.text.problem(bit).unwrap_or_else(|| {
            let mut grammar = self.before;
            grammar.block(&self.tokens.before(bit));
            grammar.expected(in_object)
        });
        ScanError { offset: self.offset + bit.trailing_zeros() as usize, problem }
    }
}

/// Returns the lowest one of `bits`.
#[inline(always)]
fn first(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
