//! Strict, incremental scanner of one top-level JSON array: chunks in, element spans out.
//!
//! The scanner accepts exactly the arrays of RFC 8259 (UTF-8, no BOM), at any chunking, and keeps no
//! bytes: it reports where elements begin and end, and where the values of a few members of theirs
//! stand, as offsets from the first byte ever pushed. The caller keeps the bytes from
//! [`Scanner::settled`] on. What it holds is bounded by [`MAX_DEPTH`] and the limit on one element.
//!
//! As in RFC 8259 §8.2, an escaped lone surrogate (`"\ud800"`) is grammatical and accepted.

use std::ops::Range;

use super::text;

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
    state: State,
    /// Offset of the next chunk's first byte.
    base: usize,
    /// End of the opening bracket.
    head: usize,
    /// End of the last complete element, or of the opening bracket before there is one.
    settled: usize,
    depth: usize,
    /// One bit a level below the array: is it an object?
    objects: [u64; MAX_DEPTH / 64],
    element_start: usize,
    value_start: usize,
    /// The name whose value comes next or is being read, if it was asked for.
    member: Option<usize>,
    name: NameBuffer,
    error: Option<ScanError>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before the opening bracket.
    Start,
    /// A value must follow.
    Value,
    /// After `[`: a value or `]`.
    ValueOrEnd,
    /// After `,` in an object.
    Name,
    /// After `{`: a name or `}`.
    NameOrEnd,
    /// After a name.
    Colon,
    /// After a value: `,` or the closing bracket.
    Next,
    /// In a string.
    Text {
        role: Role,
        at: Text,
    },
    Number(Number),
    /// What is left to come of `true`, `false` or `null`.
    Literal(&'static [u8]),
    /// After the array.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Value,
    Name,
    /// A name of the element's own, which may be one asked for.
    OwnName,
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Plain,
    Escape,
    /// Hex digits still to come.
    Unicode(u8),
    /// Continuation bytes still to come, and the range of the next one (RFC 3629 §4).
    Utf8 {
        left: u8,
        low: u8,
        high: u8,
    },
}

/// The part of a number read last (RFC 8259 §6).
#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// The raw beginning of a member name that a chunk boundary cut.
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
            state: State::Start,
            base: 0,
            head: 0,
            settled: 0,
            depth: 0,
            objects: [0; MAX_DEPTH / 64],
            element_start: 0,
            value_start: 0,
            member: None,
            name: NameBuffer { start: 0, len: 0, bytes: [0; MAX_NAME] },
            error: None,
        }
    }

    /// Sets how many elements there may be at most.
    pub fn limited(self, elements: usize) -> Self {
        Self { left: elements, ..self }
    }

    /// Scans the next bytes and reports what they complete.
    ///
    /// # Errors
    /// The first violation; every later call repeats it.
    pub fn push(&mut self, chunk: &[u8], on_event: impl FnMut(Event)) -> Result<(), ScanError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let result = self.advance(chunk, on_event);
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
            (None, State::Done) => Ok(()),
            (None, State::Start) if self.base == 0 => Err(ScanError { offset: 0, problem: Problem::Empty }),
            (None, _) => Err(ScanError { offset: self.base, problem: Problem::CutOff }),
        }
    }

    /// Returns the end of the opening bracket; 0 before it was seen.
    pub fn head(&self) -> usize {
        self.head
    }

    /// Returns the end of the last complete element: bytes before it are not looked at again.
    pub fn settled(&self) -> usize {
        self.settled
    }

    fn advance(&mut self, chunk: &[u8], mut on_event: impl FnMut(Event)) -> Result<(), ScanError> {
        let mut i = 0;
        while i < chunk.len() {
            i = match self.state {
                State::Text { role, at } => self.text(chunk, i, role, at, &mut on_event)?,
                State::Number(number) => self.number(chunk, i, number, &mut on_event)?,
                State::Literal(rest) => self.literal(chunk[i], i, rest, &mut on_event)?,
                _ => self.token(chunk[i], i, &mut on_event)?,
            };
        }
        if let State::Text { role: Role::OwnName, .. } = self.state {
            self.name.extend(&chunk[self.name.start.saturating_sub(self.base)..]);
        }
        self.base += chunk.len();
        self.within_limit(self.base)
    }

    /// Handles one byte between strings, numbers and literals.
    #[inline]
    fn token(&mut self, byte: u8, i: usize, on_event: &mut impl FnMut(Event)) -> Result<usize, ScanError> {
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return Ok(i + 1);
        }
        match (self.state, byte) {
            (State::Next, b',') => {
                self.state = if self.in_object() { State::Name } else { State::Value };
            }
            (State::NameOrEnd | State::Name, b'"') => {
                self.name.begin(self.base + i + 1);
                let role = if self.depth == 2 { Role::OwnName } else { Role::Name };
                self.state = State::Text { role, at: Text::Plain };
            }
            (State::Colon, b':') => self.state = State::Value,
            (State::Next | State::NameOrEnd, b'}') if self.in_object() => self.close(i, on_event)?,
            (State::Next | State::ValueOrEnd, b']') if !self.in_object() => self.close(i, on_event)?,
            (State::Value | State::ValueOrEnd, _) => self.begin_value(byte, i)?,
            (State::Start, b'[') => {
                self.depth = 1;
                self.head = self.base + i + 1;
                self.settled = self.head;
                self.state = State::ValueOrEnd;
            }
            (State::Start, _) => return Err(self.error_at(i, Problem::NotAnArray)),
            (State::Done, _) => return Err(self.error_at(i, Problem::Trailing)),
            (State::Colon, _) => return Err(self.error_at(i, Problem::Expected("`:`"))),
            (State::Name, _) => return Err(self.error_at(i, Problem::Expected("a member name"))),
            (State::NameOrEnd, _) => return Err(self.error_at(i, Problem::Expected("a member name or `}`"))),
            (_, _) if self.in_object() => return Err(self.error_at(i, Problem::Expected("`,` or `}`"))),
            (_, _) => return Err(self.error_at(i, Problem::Expected("`,` or `]`"))),
        }
        Ok(i + 1)
    }

    #[inline]
    fn begin_value(&mut self, byte: u8, i: usize) -> Result<(), ScanError> {
        match self.depth {
            1 => {
                self.element_start = self.base + i;
                self.member = None;
            }
            2 => self.value_start = self.base + i,
            _ => {}
        }
        self.state = match byte {
            b'"' => State::Text { role: Role::Value, at: Text::Plain },
            b'{' => {
                self.open(i)?;
                self.objects[self.depth / 64] |= 1 << (self.depth % 64);
                self.depth += 1;
                State::NameOrEnd
            }
            b'[' => {
                self.open(i)?;
                self.objects[self.depth / 64] &= !(1 << (self.depth % 64));
                self.depth += 1;
                State::ValueOrEnd
            }
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err(self.error_at(i, Problem::Expected("a value"))),
        };
        Ok(())
    }

    fn open(&self, i: usize) -> Result<(), ScanError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error_at(i, Problem::TooDeep));
        }
        Ok(())
    }

    fn close(&mut self, i: usize, on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
        self.depth -= 1;
        if self.depth == 0 {
            self.state = State::Done;
            return Ok(());
        }
        self.end_value(self.base + i + 1, on_event)
    }

    /// Is the innermost open bracket a brace?
    #[inline]
    fn in_object(&self) -> bool {
        // Level n's bit is set by the bracket that made the depth n + 1; level 0, the array, has none.
        let level = self.depth.saturating_sub(1);
        self.objects[level / 64] >> (level % 64) & 1 == 1
    }

    #[inline]
    fn end_value(&mut self, end: usize, on_event: &mut impl FnMut(Event)) -> Result<(), ScanError> {
        self.state = State::Next;
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

    fn text(
        &mut self,
        chunk: &[u8],
        mut i: usize,
        role: Role,
        mut at: Text,
        on_event: &mut impl FnMut(Event),
    ) -> Result<usize, ScanError> {
        loop {
            if let Text::Plain = at {
                i = text::skip_plain(chunk, i);
            }
            let Some(&byte) = chunk.get(i) else {
                self.state = State::Text { role, at };
                return Ok(i);
            };
            at = match (at, byte) {
                (Text::Plain, b'"') => {
                    self.end_text(chunk, i, role, on_event)?;
                    return Ok(i + 1);
                }
                (Text::Plain, b'\\') => Text::Escape,
                (Text::Plain, 0x00..=0x1f) => return Err(self.error_at(i, Problem::Control)),
                (Text::Plain, _) => {
                    let (left, low, high) =
                        text::utf8_lead(byte).ok_or_else(|| self.error_at(i, Problem::Utf8))?;
                    Text::Utf8 { left, low, high }
                }
                (Text::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Text::Plain,
                (Text::Escape, b'u') => Text::Unicode(4),
                (Text::Unicode(1), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => Text::Plain,
                (Text::Unicode(left), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => Text::Unicode(left - 1),
                (Text::Escape | Text::Unicode(_), _) => return Err(self.error_at(i, Problem::Escape)),
                (Text::Utf8 { left, low, high }, _) if (low..=high).contains(&byte) => match left {
                    1 => Text::Plain,
                    _ => Text::Utf8 { left: left - 1, low: 0x80, high: 0xbf },
                },
                (Text::Utf8 { .. }, _) => return Err(self.error_at(i, Problem::Utf8)),
            };
            i += 1;
        }
    }

    #[inline]
    fn end_text(
        &mut self,
        chunk: &[u8],
        i: usize,
        role: Role,
        on_event: &mut impl FnMut(Event),
    ) -> Result<(), ScanError> {
        match role {
            Role::Value => return self.end_value(self.base + i + 1, on_event),
            Role::Name => {}
            Role::OwnName => {
                let in_chunk = &chunk[self.name.start.saturating_sub(self.base)..i];
                let raw = self.name.completed_by(in_chunk);
                self.member = raw.and_then(|raw| text::position_of_name(raw, self.names));
            }
        }
        self.state = State::Colon;
        Ok(())
    }

    fn number(
        &mut self,
        chunk: &[u8],
        mut i: usize,
        mut number: Number,
        on_event: &mut impl FnMut(Event),
    ) -> Result<usize, ScanError> {
        use Number as N;
        loop {
            let Some(&byte) = chunk.get(i) else {
                self.state = State::Number(number);
                return Ok(i);
            };
            number = match (number, byte) {
                (N::Minus, b'0') => N::Zero,
                (N::Minus, b'1'..=b'9') | (N::Integer, b'0'..=b'9') => N::Integer,
                (N::Zero | N::Integer, b'.') => N::Point,
                (N::Point | N::Fraction, b'0'..=b'9') => N::Fraction,
                (N::Zero | N::Integer | N::Fraction, b'e' | b'E') => N::Exponent,
                (N::Exponent, b'+' | b'-') => N::ExponentSign,
                (N::Exponent | N::ExponentSign | N::ExponentDigits, b'0'..=b'9') => N::ExponentDigits,
                // A digit after a leading zero ends the number here and is refused as the next token.
                (N::Zero | N::Integer | N::Fraction | N::ExponentDigits, _) => {
                    self.end_value(self.base + i, on_event)?;
                    return Ok(i);
                }
                _ => return Err(self.error_at(i, Problem::Number)),
            };
            i += 1;
        }
    }

    fn literal(
        &mut self,
        byte: u8,
        i: usize,
        rest: &'static [u8],
        on_event: &mut impl FnMut(Event),
    ) -> Result<usize, ScanError> {
        match rest {
            [last] if *last == byte => self.end_value(self.base + i + 1, on_event)?,
            [next, rest @ ..] if *next == byte => self.state = State::Literal(rest),
            _ => return Err(self.error_at(i, Problem::Literal)),
        }
        Ok(i + 1)
    }

    #[cold]
    fn error_at(&self, i: usize, problem: Problem) -> ScanError {
        ScanError { offset: self.base + i, problem }
    }
}

impl NameBuffer {
    fn begin(&mut self, start: usize) {
        self.start = start;
        self.len = 0;
    }

    /// Adds bytes; a name beyond the capacity only counts its length, for it matches nothing.
    fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }

    /// Returns the whole raw name, or nothing if it is too long to be asked for.
    fn completed_by<'a>(&'a mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        if self.len == 0 {
            return Some(rest);
        }
        self.extend(rest);
        self.bytes.get(..self.len)
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
