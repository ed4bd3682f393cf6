//! Strict, incremental scanner of one top-level JSON array: chunks in, element spans out.
//!
//! The scanner accepts exactly the arrays of RFC 8259 (UTF-8, no BOM), at any chunking, and keeps no
//! bytes: it reports where elements begin and end, and where the values of a few members of theirs
//! stand, as offsets from the first byte ever pushed. The caller keeps the bytes from
//! the end of the last element on. What it holds is bounded by [`MAX_DEPTH`] and the limit on one element.
//!
//! As in RFC 8259 §8.2, an escaped lone surrogate (`"\ud800"`) is grammatical and accepted.

use std::ops::Range;

pub use super::block::Path;
use super::grammar::{self, State};
use super::scalar::Scalar;
use super::text;
use super::tokens::{self, Bad, Lexer, PIECE};

/// Deepest nesting, the array itself included. PHP's `json_decode` gives up beyond 512 as well, so no
/// Plesk server could read a deeper feed.
pub const MAX_DEPTH: usize = 512;

/// Most bytes of one element with the white space before it. The vendor's largest elements have some
/// 30 KB; a hundred times that still lets `filter` run in a few megabytes.
pub const MAX_ELEMENT: usize = 4 << 20;

/// Most elements of a feed that is kept in memory, where each takes some hundred bytes: two hundred times
/// the vendor's catalog.
pub const MAX_ELEMENTS: usize = 100_000;

/// Longest member name, in raw bytes with escapes, that can be one we look for: each byte of an
/// 12-letter name written as `\u00XX` takes six.
const MAX_NAME: usize = 12 * 6;

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

/// The scanner; see the module's documentation.
#[derive(Debug)]
pub struct Scanner {
    names: &'static [&'static str],
    /// How many more elements may come.
    left: usize,
    lexer: Lexer,
    /// Room for the tokens of a piece.
    tokens: Vec<u16>,
    /// Offset of the next piece's first byte.
    base: usize,
    /// End of the opening bracket.
    head: usize,
    /// End of the last complete element, or of the opening bracket before there is one.
    settled: usize,
    state: State,
    depth: usize,
    /// One bit a level: is it an object?
    objects: [u64; MAX_DEPTH / 64 + 1],
    element_start: usize,
    value_start: usize,
    /// The name whose value comes next or is being read, if it was asked for.
    member: Option<usize>,
    /// Offset of the string that the end of the last piece cut.
    text: Option<usize>,
    /// The byte before the next piece.
    last: u8,
    name: NameBuffer,
    /// What the last piece cut.
    scalar: Option<Scalar>,
    error: Option<ScanError>,
}

/// The raw beginning of a member name that the end of a piece cut.
#[derive(Debug)]
struct NameBuffer {
    start: usize,
    len: usize,
    bytes: [u8; MAX_NAME],
}

impl Scanner {
    /// Makes a scanner that reports the elements and those of their own members that have one of `names`.
    pub fn new(names: &'static [&'static str]) -> Self {
        debug_assert!(names.iter().all(|name| name.len() * 6 <= MAX_NAME));
        Self {
            names,
            left: usize::MAX,
            lexer: Lexer::new(Path::fastest()),
            tokens: vec![0; tokens::ROOM],
            base: 0,
            head: 0,
            settled: 0,
            state: State::Start,
            depth: 0,
            objects: [0; MAX_DEPTH / 64 + 1],
            element_start: 0,
            value_start: 0,
            member: None,
            text: None,
            last: 0,
            name: NameBuffer { start: 0, len: 0, bytes: [0; MAX_NAME] },
            scalar: None,
            error: None,
        }
    }

    /// Sets how many elements there may be at most.
    pub fn limited(self, elements: usize) -> Self {
        Self { left: elements, ..self }
    }

    /// Sets the path; it is the fastest one, if nobody says otherwise.
    pub fn on(self, path: Path) -> Self {
        Self { lexer: Lexer::new(path), ..self }
    }

    /// Scans the next bytes and reports what they complete.
    ///
    /// Of elements and members, strings, numbers and literals are complete when the byte behind has come.
    ///
    /// # Errors
    /// The first violation; every later call repeats it.
    pub fn push(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event)) -> Result<(), ScanError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = chunk.chunks(PIECE).try_for_each(|piece| self.piece(piece, &mut on_event));
        if let Err(error) = &result {
            self.error = Some(error.clone());
        }
        result
    }

    /// Ends the input.
    ///
    /// # Errors
    /// If the array is not complete, or an error came before.
    pub fn finish(&self) -> Result<(), ScanError> {
        match (&self.error, self.state) {
            (Some(error), _) => Err(error.clone()),
            (None, State::Done) => match self.text {
                Some(offset) => Err(ScanError { offset, problem: Problem::Trailing }),
                None => Ok(()),
            },
            (None, State::Start) if self.base == 0 => Err(ScanError { offset: 0, problem: Problem::Empty }),
            (None, _) => Err(ScanError { offset: self.base, problem: Problem::CutOff }),
        }
    }

    /// Returns the end of the opening bracket; 0 before it was seen.
    pub fn head(&self) -> usize {
        self.head
    }

    fn piece(&mut self, piece: &[u8], on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
        let mut tokens = std::mem::take(&mut self.tokens);
        let lexed = self.lexer.lex(piece, &mut tokens);
        if let Some(scalar) = self.scalar.take() {
            self.scalar(scalar, piece, 0, on_event)?;
        }
        self.tokens(piece, &tokens[..lexed.tokens], on_event)?;
        if let Some(Bad { at, problem }) = lexed.bad {
            return Err(self.error_at(at, problem));
        }
        if self.lexer.is_in_text() {
            let from = tokens[..lexed.tokens].last().map_or(0, |at| usize::from(*at));
            let start = *self.text.get_or_insert_with(|| self.base + find_quote(piece, from));
            if self.depth == 2 && matches!(self.state, State::Name | State::NameOrEnd) {
                self.name.extend(start + 1, &piece[(start + 1).saturating_sub(self.base)..]);
            }
        }
        self.tokens = tokens;
        self.last = piece.last().copied().unwrap_or(self.last);
        self.base += piece.len();
        self.within_limit(self.base)
    }

    /// Handles tokens by their class, as far as the grammar knows that they are right.
    #[inline(always)]
    fn tokens(
        &mut self,
        piece: &[u8],
        tokens: &[u16],
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let mut text = self.text.take();
        let (mut last, mut before) = (self.last, 0);
        // A variable of its own stays in a register.
        let mut state = self.state;
        for at in tokens {
            let at = usize::from(*at);
            let byte = piece[at];
            if at > 0 {
                last = piece[at - 1];
            }
            let behind_text = last == b'"';
            let next = state.next(byte, behind_text);
            // Deeper than the elements' own members, nothing counts but the grammar.
            if self.depth <= 2 || next == State::Look {
                self.state = state;
                if behind_text {
                    let start = text.unwrap_or_else(|| self.base + find_quote(piece, before));
                    self.string(start, piece, at, on_event)?;
                }
                if next == State::Look {
                    self.token(piece, byte, at, on_event)?;
                    (state, before, text) = (self.state, at, None);
                    continue;
                }
                if next != State::Leave && grammar::is_bracket(byte) {
                    self.begin_value(self.base + at);
                }
            }
            state = next;
            if next == State::Leave {
                state = self.leave();
                if self.depth <= 2 {
                    self.end_value(self.base + at + 1, on_event)?;
                }
            } else if grammar::is_bracket(byte) {
                self.enter(at, next)?;
            }
            (before, text) = (at, None);
        }
        (self.state, self.text) = (state, text);
        Ok(())
    }

    /// Handles the string that begins at the offset `start` and ends before `at`.
    fn string(
        &mut self,
        start: usize,
        piece: &[u8],
        at: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        if let State::Name | State::NameOrEnd = self.state {
            self.state = State::Colon;
            if self.depth == 2 {
                self.member = self.name.find(self.names, start + 1, piece, self.base, at);
            }
            return Ok(());
        }
        let Some(state) = self.state.behind_value() else { return Err(self.unexpected(start)) };
        self.begin_value(start);
        self.state = state;
        self.end_value(self.base + at, on_event)
    }

    /// Handles a token that the table knows nothing of.
    #[inline(always)]
    fn token(
        &mut self,
        piece: &[u8],
        byte: u8,
        at: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        match (byte, self.state) {
            // The string before one of these was not right before a bracket, a colon or a comma.
            (b'"' | b' ' | b'\n' | b'\r' | b'\t', _) => Ok(()),
            (b'[', State::Start) => {
                self.enter(at, State::ItemOrEnd)?;
                self.state = State::ItemOrEnd;
                self.head = self.base + at + 1;
                self.settled = self.head;
                Ok(())
            }
            (_, state) => match Scalar::beginning_with(byte) {
                Some(scalar) if state.behind_value().is_some() => {
                    self.begin_value(self.base + at);
                    self.scalar(scalar, piece, at + 1, on_event)
                }
                _ => Err(self.unexpected(self.base + at)),
            },
        }
    }

    #[inline(always)]
    fn begin_value(&mut self, offset: usize) {
        match self.depth {
            1 => {
                self.element_start = offset;
                self.member = None;
            }
            2 => self.value_start = offset,
            _ => {}
        }
    }

    /// Enters the brackets that open at `at`, where `state` comes next.
    #[inline(always)]
    fn enter(&mut self, at: usize, state: State) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error_at(at, Problem::TooDeep));
        }
        self.depth += 1;
        let (word, bit) = (self.depth / 64, self.depth % 64);
        let object = u64::from(state == State::NameOrEnd);
        self.objects[word] = self.objects[word] & !(1 << bit) | object << bit;
        Ok(())
    }

    /// Leaves the innermost brackets and returns what may come next.
    #[inline(always)]
    fn leave(&mut self) -> State {
        self.depth -= 1;
        let in_object = self.objects[self.depth / 64] >> (self.depth % 64) & 1 == 1;
        match self.depth {
            0 => State::Done,
            _ if in_object => State::ValueNext,
            _ => State::ItemNext,
        }
    }

    /// Reads the scalar whose rest begins at `at`.
    fn scalar(
        &mut self,
        mut scalar: Scalar,
        piece: &[u8],
        at: usize,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        let len = match scalar.read(&piece[at..]) {
            Ok(Some(len)) => len,
            Ok(None) => {
                self.scalar = Some(scalar);
                return Ok(());
            }
            Err((n, problem)) => return Err(self.error_at(at + n, problem)),
        };
        self.state = self.state.behind_value().unwrap_or(self.state);
        let end = at + len;
        self.end_value(self.base + end, on_event)?;
        // What touches a scalar is no token of its own.
        match piece.get(end) {
            Some(b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}') | None => Ok(()),
            Some(_) => Err(self.unexpected(self.base + end)),
        }
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
                on_event(Event::Member { name, value: self.value_start..end });
            }
            _ => {}
        }
        Ok(())
    }

    fn within_limit(&self, end: usize) -> Result<(), ScanError> {
        if end - self.settled > MAX_ELEMENT {
            return Err(ScanError { offset: self.settled, problem: Problem::ElementTooLarge });
        }
        Ok(())
    }

    #[cold]
    fn unexpected(&self, offset: usize) -> ScanError {
        ScanError { offset, problem: self.state.unexpected() }
    }

    #[cold]
    fn error_at(&self, at: usize, problem: Problem) -> ScanError {
        ScanError { offset: self.base + at, problem }
    }
}

/// Returns the index of the first quote from `from` on, where there is one.
#[inline(always)]
fn find_quote(piece: &[u8], from: usize) -> usize {
    from + piece[from..].iter().take_while(|byte| **byte != b'"').count()
}

impl NameBuffer {
    /// Adds bytes of the name at `start`; one beyond the capacity only counts, for it matches nothing.
    fn extend(&mut self, start: usize, bytes: &[u8]) {
        if self.start != start {
            (self.start, self.len) = (start, 0);
        }
        // SECURITY: whatever fits, since the quote behind the longest name does not.
        let room = &mut self.bytes[self.len.min(MAX_NAME)..];
        let fit = room.len().min(bytes.len());
        room[..fit].copy_from_slice(&bytes[..fit]);
        self.len += bytes.len();
    }

    /// Returns which of `names` begins at `start`; its quote ends at the index `end` of a piece at `base`.
    #[inline(always)]
    fn find(&mut self, names: &[&str], start: usize, piece: &[u8], base: usize, end: usize) -> Option<usize> {
        let len = base + end - 1 - start;
        if start >= base {
            return text::position_of_name(&piece[start - base..end - 1], names);
        }
        if len > self.len {
            self.extend(start, &piece[..end - 1]);
        }
        text::position_of_name(self.bytes.get(..len)?, names)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
