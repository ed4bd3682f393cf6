//! Strict, incremental scanner of a JSON array: takes chunks, reports where the elements are.
//!
//! It accepts exactly the arrays of RFC 8259 (UTF-8, no BOM), however the input is cut into chunks. It
//! reports the spans of the elements, and of the values of those of their members that were asked for, as
//! offsets from the first byte of the input. It keeps no bytes: callers that want them keep what follows the
//! last complete element. Its own memory is constant; elements are limited to [`MAX_ELEMENT`] bytes and
//! [`MAX_DEPTH`] levels.
//!
//! An escaped lone surrogate (`"\ud800"`) is grammatical (RFC 8259 §8.2) and accepted.

use std::ops::Range;

use super::block::{self, BLOCK_LEN, Find, PrefixXor, Vectors};
use super::grammar::Grammar;
use super::name::Names;
pub use super::path::ScanPath;
pub use super::problem::{MAX_DEPTH, MAX_ELEMENT, MAX_ELEMENTS, Problem, ScanError};
use super::scalar::Scalar;
use super::tokens::{Lexer, Strings, Tokens};

/// Report of the scanner; offsets count from the first byte of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The value of a top-level member of the current element, whose name was asked for, is complete.
    Member {
        /// Index into the names given to [`Scanner::new`].
        name: usize,
        /// Span of the value, including quotes or brackets.
        value: Range<usize>,
    },
    /// An element with this span is complete; its members were reported before.
    Element(Range<usize>),
}

/// Strict, incremental scanner; see the [module](self).
#[derive(Debug)]
pub struct Scanner {
    names: Names,
    path: ScanPath,
    /// Number of elements that may still come.
    elements_left: usize,
    lexer: Lexer,
    grammar: Grammar,
    /// Offset of the next chunk.
    base: usize,
    /// End of the array's opening bracket; 0 before it has come.
    head: usize,
    /// End of the last complete element, or of the opening bracket if there is none.
    settled: usize,
    /// Number of open brackets.
    depth: usize,
    /// True at each level whose brackets are an object's.
    objects: [bool; MAX_DEPTH + 2],
    /// All ones if the innermost brackets are an object's.
    in_object: u64,
    /// All ones while colons are events: in an element that is an object.
    colons: u64,
    /// All ones while strings and numbers are events: as elements and as values that were asked for.
    values: u64,
    element_start: usize,
    value_start: usize,
    /// Index of the name that was asked for and whose value comes next or is being read.
    member: Option<usize>,
    /// Offset of the last opening quote before the current block.
    opened: usize,
    /// Offset of the last closing quote before the current block.
    closed: usize,
    /// Scalar that the end of the last chunk cut in two.
    scalar: Option<Scalar>,
    error: Option<ScanError>,
}

/// Block with its tokens.
#[derive(Clone, Copy)]
struct BlockTokens<'a> {
    chunk: &'a [u8],
    /// Index of the block in the chunk.
    at: usize,
    /// Offset of the block in the input.
    offset: usize,
    strings: Strings,
    tokens: Tokens,
    /// State of the grammar before the block.
    before: Grammar,
}

/// Tells whether an event changed which tokens are events.
#[derive(Clone, Copy)]
enum Events {
    Same,
    Changed,
}

impl Scanner {
    /// Makes a scanner that reports the elements, and their top-level members that have one of `names`.
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names: Names::new(names),
            path: ScanPath::fastest(),
            elements_left: usize::MAX,
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

    /// Limits the number of elements; without a call there is no limit.
    pub fn limited(self, elements: usize) -> Self {
        Self { elements_left: elements, ..self }
    }

    /// Replaces the path, for tests and benchmarks; the default is the fastest one of this machine.
    pub fn on(self, path: ScanPath) -> Self {
        Self { path, ..self }
    }

    /// Scans the next bytes, and reports the members and elements that they complete.
    ///
    /// Numbers and literals are complete when the byte behind them has come.
    ///
    /// # Errors
    /// If the input is not well-formed or exceeds a limit; every later call returns the same error.
    pub fn push(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event)) -> Result<(), ScanError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let path = self.path;
        path.scan(self, chunk, &mut on_event)
            .or_else(|error| self.within_limit(error.offset).and(Err(error)))
            .inspect_err(|error| self.error = Some(error.clone()))
    }

    /// Checks that the input is complete.
    ///
    /// # Errors
    /// If it is not, or if there was an error before.
    pub fn finish(&self) -> Result<(), ScanError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None if self.depth == 0 && self.head > 0 => Ok(()),
            None if self.base == 0 => Err(ScanError { offset: 0, problem: Problem::Empty }),
            None => Err(ScanError { offset: self.base, problem: Problem::CutOff }),
        }
    }

    /// Returns the end of the array's opening bracket; 0 before it has come.
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

    /// Scans one block: `len` bytes of the chunk at index `at`, filled up with blanks.
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
        let strings = self.lexer.strings(vectors, bytes, len);
        if strings.is_all() {
            return strings.check(offset);
        }
        let tokens = self.lexer.tokens(vectors, bytes, len, &strings);
        let block = BlockTokens { chunk, at, offset, strings, tokens, before: self.grammar };
        let wrong = self.grammar.block(&tokens);
        let misplaced = |objects: u64| wrong.in_object & objects | wrong.in_array & !objects;
        let bad = strings.bad() | wrong.anywhere;
        // Bytes before the first error found so far; events behind it must not be reported.
        let mut rest = bad.wrapping_sub(1) & !bad;
        if self.depth == 0 {
            rest &= self.outside(block, u64::MAX)?;
        }

        // Bytes whose innermost brackets are an object's, as far as the events have been handled.
        let mut objects = self.in_object;
        let mut events = self.events(&tokens) & rest;
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
                Ok(Events::Same) => events &= events - 1,
                Ok(Events::Changed) if self.depth > 0 => events = self.events(&tokens) & rest & !passed,
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
        // Only members of elements are compared by name, and no bracket comes between a name and its colon.
        if self.depth == 2 {
            self.opened = block.last(tokens.opening).unwrap_or(self.opened);
            self.closed = block.last(tokens.closing).unwrap_or(self.closed);
        }
        Ok(())
    }

    /// Returns the tokens that are events now.
    #[inline(always)]
    fn events(&self, tokens: &Tokens) -> u64 {
        tokens.brackets()
            | tokens.odd
            | tokens.colon & self.colons
            | (tokens.opening | tokens.closing | tokens.scalars) & self.values
    }

    /// Updates which tokens are events.
    #[inline(always)]
    fn update_events(&mut self) -> Events {
        let values = self.depth == 1 || self.depth == 2 && self.member.is_some();
        self.values = 0u64.wrapping_sub(u64::from(values));
        self.colons = if self.depth == 2 { self.in_object } else { 0 };
        Events::Changed
    }

    /// Handles the tokens of `bits` while no bracket is open: before or behind the array. Returns the bits
    /// behind the array's opening bracket if that is among them.
    ///
    /// Takes the block by value, since a reference to it would keep it out of registers in the caller.
    #[cold]
    fn outside(&mut self, block: BlockTokens<'_>, bits: u64) -> Result<u64, ScanError> {
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
            self.update_events();
            return Ok(!(bit | (bit - 1)));
        }
        Err(ScanError {
            offset,
            problem: if self.head == 0 { Problem::NotAnArray } else { Problem::Trailing },
        })
    }

    /// Handles the event at bit `n`.
    #[inline(always)]
    fn event(
        &mut self,
        block: &BlockTokens<'_>,
        n: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Events, ScanError> {
        let (tokens, offset) = (&block.tokens, block.offset + n);
        let byte = block.chunk[block.at + n];
        if tokens.brackets() >> n & 1 == 1 {
            return self.bracket(block, n, byte, on_event);
        }
        match byte {
            b':' => {
                self.member = self.name(block, n);
                return Ok(if self.member.is_some() { self.update_events() } else { Events::Same });
            }
            b'"' if tokens.opening >> n & 1 == 1 => self.begin_value(self.depth, offset),
            b'"' => self.end_value(offset + 1, on_event)?,
            _ => self.odd(block, n, on_event)?,
        }
        Ok(self.update_events())
    }

    /// Handles a bracket. Most brackets are deep inside elements and return early.
    #[inline(always)]
    fn bracket(
        &mut self,
        block: &BlockTokens<'_>,
        n: usize,
        byte: u8,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Events, ScanError> {
        // `{` and `[` have bit 1, `{` and `}` have bit 5.
        let (opens, object) = (byte >> 1 & 1 == 1, byte >> 5 & 1 == 1);
        let (outer, in_object) = (self.depth, self.in_object != 0);
        // A closing bracket writes here as well, beyond the levels in use, which saves a branch.
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
            return Ok(Events::Same);
        }
        match opens {
            true => self.begin_value(outer, offset),
            false => self.end_value(offset + 1, on_event)?,
        }
        Ok(self.update_events())
    }

    /// Returns the index of the name before the colon at bit `n`, if it was asked for.
    #[inline(always)]
    fn name(&mut self, block: &BlockTokens<'_>, n: usize) -> Option<usize> {
        let before = (1 << n) - 1;
        let opening = block.tokens.opening & before;
        let closed = block.last(block.tokens.closing & before).unwrap_or(self.closed);
        let Some(opened) = block.last(opening) else {
            return self.names.find_cut(self.opened + 1..closed, block.chunk, self.base);
        };
        let is_plain = block.strings.is_plain(before & u64::MAX << opening.ilog2());
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

    /// Handles the scalar whose first byte, or first byte that is not a digit, is at bit `n`.
    #[inline(always)]
    fn odd(
        &mut self,
        block: &BlockTokens<'_>,
        n: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let start = (block.tokens.scalars & u64::MAX >> (63 - n)).ilog2() as usize;
        // Where first bytes are events too, the scalar was read at its first byte.
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

    /// Reads on in a scalar at index `at`.
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
        // Bytes that touch a scalar would count as part of it, so they must be checked here.
        if !matches!(chunk[at + len], b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}') {
            let expected = if self.in_object != 0 { "`,` or `}`" } else { "`,` or `]`" };
            return Err(error_at(at + len, Problem::Expected(expected)));
        }
        self.end_value(self.base + at + len, on_event)
    }

    #[inline(always)]
    fn end_value(&mut self, end: usize, on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
        match (self.depth, self.member) {
            (1, _) => {
                self.within_limit(end)?;
                self.settled = end;
                self.elements_left = self
                    .elements_left
                    .checked_sub(1)
                    .ok_or(ScanError { offset: end, problem: Problem::TooMany })?;
                on_event(Event::Element(self.element_start..end));
            }
            (2, Some(name)) => {
                self.member = None;
                self.update_events();
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

impl BlockTokens<'_> {
    /// Returns the offset of the highest bit.
    #[inline(always)]
    fn last(&self, bits: u64) -> Option<usize> {
        Some(self.offset + bits.checked_ilog2()? as usize)
    }

    /// Returns the error for the lowest of `bits`, given that everything before it is right.
    #[cold]
    fn unexpected(self, bits: u64, in_object: bool) -> ScanError {
        let bit = first(bits);
        let problem = self.strings.problem(bit).unwrap_or_else(|| {
            let mut grammar = self.before;
            grammar.block(&self.tokens.before(bit));
            grammar.expected(in_object)
        });
        ScanError { offset: self.offset + bit.trailing_zeros() as usize, problem }
    }
}

/// Returns the lowest bit that is set.
#[inline(always)]
fn first(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
