//! One segment of a path, up to where some server stops reading it.

use crate::feed::FeedKind;

/// What a segment's stem says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Nothing at all.
    Empty,
    /// Nothing before an extension or a parameter, or only blanks and dots, which Windows drops at a name's end.
    Blank,
    Dot,
    DotDot,
    /// `...x`, which is `..` to a server that takes extensions off.
    HiddenDotDot,
    Api,
    /// `v` and digits.
    Version,
    Feed(FeedKind),
    /// An index page: the directory itself.
    Index,
    Other,
}

/// What ends a stem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The segment's end.
    None,
    /// An extension or a parameter.
    Plain,
    /// A blank or an encoded character, which not all servers take for an end.
    Odd,
}

/// A segment, cut at its first `.`, `;`, `,`, `:` or `&`.
#[derive(Debug)]
pub(super) struct PathSegment<'a> {
    pub(super) name: Name,
    /// What is before the cut.
    pub(super) stem: &'a [u8],
    pub(super) cut: Cut,
}

impl<'a> PathSegment<'a> {
    /// Reads a segment: one of a path in normal form, or one that has been decoded.
    pub(super) fn of(text: &'a [u8]) -> Self {
        let unpadded = trim_blanks(text);
        let len = (0..unpadded.len()).find(|at| stop(&unpadded[*at..]).is_some()).unwrap_or(unpadded.len());
        let (stem, rest) = unpadded.split_at(len);
        let name = match stem {
            [] if text.is_empty() => Name::Empty,
            [] => nameless(rest),
            _ => named(stem),
        };
        let cut = match rest {
            _ if unpadded.len() < text.len() => Cut::Odd,
            [] => Cut::None,
            [b'.' | b';' | b',' | b':' | b'&', ..] => Cut::Plain,
            _ => Cut::Odd,
        };
        Self { name, stem, cut }
    }
}

fn named(stem: &[u8]) -> Name {
    let is = |name: &str| stem.eq_ignore_ascii_case(name.as_bytes());
    let starts =
        |name: &str| stem.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
    match stem {
        _ if is("api") => Name::Api,
        _ if is(FeedKind::Packages.name()) => Name::Feed(FeedKind::Packages),
        _ if is(FeedKind::Categories.name()) => Name::Feed(FeedKind::Categories),
        [b'v' | b'V', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Name::Version
        }
        _ if starts("index") || starts("default") => Name::Index,
        _ => Name::Other,
    }
}

/// Names a segment without a stem from what is there instead.
fn nameless(mut rest: &[u8]) -> Name {
    let mut dots = 0;
    while let Some((byte, len)) = stop(rest).filter(|(byte, _)| matches!(byte, b'.' | b' ')) {
        dots += usize::from(byte == b'.');
        rest = &rest[len..];
    }
    match dots {
        // SECURITY: `.json` is the directory itself to a server that takes extensions off.
        3 if !rest.is_empty() && stop(rest).is_none() => Name::HiddenDotDot,
        _ if !rest.is_empty() && stop(rest).is_none() => Name::Blank,
        1 => Name::Dot,
        2 => Name::DotDot,
        _ => Name::Blank,
    }
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let Some((b' ', len)) = stop(text) {
        text = &text[len..];
    }
    text
}

/// Returns the character at the start of `text`, if a stem ends there, and its length as it is written.
fn stop(text: &[u8]) -> Option<(u8, usize)> {
    let (byte, len) = match text {
        [b'%', ..] => (escaped_byte(text)?, 3),
        [byte, ..] => (*byte, 1),
        [] => return None,
    };
    matches!(byte, b'.' | b';' | b',' | b':' | b'&' | b'?' | b'#' | b' ').then_some((byte, len))
}

/// Returns the byte that an escape at the start of `text` stands for.
pub(super) fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(16 * digit(high)? + digit(low)?).ok()
}
