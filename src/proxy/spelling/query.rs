//! Feeds' paths in queries and header fields.
//!
//! Unlike a path, a query need not be in normal form, so here a path is taken for a feed's if any server might.

use std::borrow::Cow;

use super::Search;
use super::segment::{Name, PathSegment};

/// Returns whether a query of `path` names a feed's path: front controllers take the path from a parameter,
/// and some servers append the query to the path.
pub(crate) fn query_names_feed(path: &str, query: &str) -> bool {
    let first = decode(query.split('&').next().unwrap_or_default().as_bytes());
    leads_to_feed(segments(path.as_bytes()).chain(segments(&first))) || parts_name_feed(query.as_bytes())
}

/// Returns whether a part of `text`, as in a query, names a feed's path, plain or decoded once.
pub(crate) fn parts_name_feed(text: &[u8]) -> bool {
    let names_feed = |part: &[u8]| leads_to_feed(segments(&decode(part)));
    text.split(|byte| *byte == b'&').any(|part| {
        // A semicolon is between parts, or before a parameter of a segment.
        names_feed(part) || part.contains(&b';') && part.split(|byte| *byte == b';').any(names_feed)
    })
}

fn leads_to_feed<'a>(segments: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut search = Search::default();
    for segment in segments.map(PathSegment::of).filter(|segment| segment.name != Name::Dot) {
        search.add(&segment, 0);
    }
    search.found().is_some() || search.found_by_parent().is_some()
}

/// Splits text that is not a path of ours wherever a server may see a segment's end.
fn segments(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'/' | b'\\' | b'='))
}

/// Decodes escapes once and drops control characters, as lax servers do.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = text.iter().all(|byte| *byte != b'%' && !byte.is_ascii_control());
    if is_plain {
        return Cow::Borrowed(text);
    }
    percent_encoding::percent_decode(text).filter(|byte| !byte.is_ascii_control()).collect()
}
