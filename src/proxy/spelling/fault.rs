//! What keeps a path from being in normal form.

use std::fmt;
use std::ops::Range;

use super::segment::escaped_byte;
use crate::feed::FeedKind;

/// A place where servers may read a path in different ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault<'a> {
    /// What is there, in printable ASCII.
    text: &'a str,
    /// Offset in the path, in bytes.
    at: usize,
    reason: &'static str,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at byte {} ({})", self.text, self.at, self.reason)
    }
}

impl Fault<'_> {
    pub(super) fn empty_segment(at: usize) -> Self {
        Self { text: "//", at, reason: "an empty segment" }
    }

    pub(super) fn dot_segment(at: usize) -> Self {
        Self { text: ".", at, reason: "a dot segment" }
    }

    pub(super) fn doubtful_feed(kind: FeedKind, at: usize) -> Self {
        Self { text: kind.name(), at, reason: "some servers read a feed's name here" }
    }
}

/// Checks the characters of one segment.
pub(super) fn check_characters(path: &str, segment: Range<usize>) -> Result<(), Fault<'_>> {
    let Range { start: mut at, end } = segment;
    let bytes = path.as_bytes();
    while at < end {
        let (len, reason) = match bytes[at] {
            b'%' => match check_escape(&bytes[at..end]) {
                Ok(len) => {
                    at += len;
                    continue;
                }
                Err(BROKEN) => (1, BROKEN),
                Err(reason) => (3, reason),
            },
            b'\\' => (1, "a backslash"),
            // No other control character can be in a target.
            0x7f => return Err(Fault { text: "DEL", at, reason: CONTROL }),
            _ => {
                at += 1;
                continue;
            }
        };
        return Err(Fault { text: &path[at..at + len], at, reason });
    }
    Ok(())
}

const BROKEN: &str = "not followed by two hexadecimal digits";
const CONTROL: &str = "a control character";

/// Checks the escape at the start of `rest` and returns its length, which for a character beyond ASCII is
/// that of all its escapes.
fn check_escape(rest: &[u8]) -> Result<usize, &'static str> {
    match escaped_byte(rest).ok_or(BROKEN)? {
        // RFC 3986 §2.3.
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Err("needs no encoding"),
        b'/' | b'\\' => Err("an encoded slash or backslash"),
        byte if byte.is_ascii_control() => Err(CONTROL),
        // `+` is a digit's sign for decoders that are built on strtol.
        b'%' => match &rest[3..] {
            [b'u' | b'U' | b'+', ..] => Err("encoded twice"),
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Err("encoded twice"),
            _ => Ok(3),
        },
        // SECURITY: lax decoders make letters of overlong encodings, and drop what is not UTF-8.
        _ => utf8_escapes_len(rest).ok_or("not UTF-8"),
    }
}

fn utf8_escapes_len(rest: &[u8]) -> Option<usize> {
    let mut character = [0; 4];
    for n in 0..character.len() {
        character[n] = escaped_byte(rest.get(3 * n..)?)?;
        if std::str::from_utf8(&character[..=n]).is_ok() {
            return Some(3 * (n + 1));
        }
    }
    None
}
