//! How else a feed's path can be written, as far as some server would take it for the feed.

use std::borrow::Cow;

use http::uri::PathAndQuery;
use icu_normalizer::DecomposingNormalizerBorrowed;

use crate::feed::Kind;

/// Rounds of percent-decoding after which a path must be plain: no client encodes twice, let alone more.
const MAX_DECODINGS: usize = 8;

/// What a path may be taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spelling<'a> {
    /// A feed.
    Feed {
        /// Of the interface.
        version: Cow<'a, str>,
        /// Which feed.
        kind: Kind,
    },
    /// Perhaps a feed: it names one in an odd way, or could be decoded for ever.
    Doubtful,
    /// Anything else.
    Other,
}

impl<'a> Spelling<'a> {
    /// Recognises a feed in a path, however it is written.
    pub fn of(path: &'a str) -> Self {
        match canonical(path) {
            Some((version, kind)) => Self::Feed { version: version.into(), kind },
            None => Self::unusual(path),
        }
    }

    fn unusual(path: &str) -> Self {
        // Servers decode before they fold letters, or after.
        let mut ways = vec![path.as_bytes().to_vec()];
        let mut doubtful = false;
        for round in 0..MAX_DECODINGS {
            for path in &ways {
                // Upstreams cut parameters, queries and NULs off before or after they resolve dots.
                let cut = path.iter().position(|byte| b";?#\0".contains(byte)).unwrap_or(path.len());
                if let Some((version, kind)) = feed(path).or_else(|| feed(&path[..cut])) {
                    return Self::Feed { version: version.into(), kind };
                }
            }
            let mut next = Vec::new();
            for path in &ways {
                let plain = percent_decode(path);
                let slashes = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
                let again = round > 0 && plain != *path;
                let odd = is_odd(path) || again || slashes(&plain) > slashes(path);
                doubtful |= odd && names(&plain) || is_overlong(&plain);
                for decoded in [plain, percent_decode(fold(path).as_bytes())] {
                    if decoded != *path && !next.contains(&decoded) {
                        next.push(decoded);
                    }
                }
            }
            ways = match (&next[..], doubtful) {
                ([], true) => return Self::Doubtful,
                ([], false) => return Self::Other,
                // The first has decoded only, the last has folded before each time.
                ([first, .., last], _) => vec![first.clone(), last.clone()],
                _ => next,
            };
        }
        Self::Doubtful
    }
}

/// Does the query of a target name a feed's path? Front controllers take the path from there, and some
/// servers resolve dots in a query as well.
pub fn names_feed(target: &PathAndQuery) -> bool {
    let Some(query) = target.query() else { return false };
    let whole = [query.to_owned(), format!("{}/{query}", target.path())];
    let parts =
        query.split(['&', ';']).flat_map(|part| [Some(part), part.split_once('=').map(|(_, value)| value)]);
    let mut candidates = whole.iter().map(String::as_str).chain(parts.flatten());
    candidates.any(|candidate| matches!(Spelling::of(candidate), Spelling::Feed { .. }))
}

/// Do two hex digits follow each percent sign (RFC 3986 §2.1)?
pub fn is_well_encoded(path: &str) -> bool {
    let is_hex = |byte: &u8| byte.is_ascii_hexdigit();
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(is_hex))
}

/// Recognises a feed that is written as it should be, as it nearly always is.
fn canonical(path: &str) -> Option<(&str, Kind)> {
    let (version, name) = path.strip_prefix("/api/v")?.split_once('/')?;
    Some((version, kind(name)?)).filter(|_| is_version(version))
}

fn kind(name: &str) -> Option<Kind> {
    [Kind::Packages, Kind::Categories].into_iter().find(|kind| kind.name() == name)
}

fn is_version(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Recognises a feed once a path is normalised: slashes, dots, parameters, case, blanks, odd letters.
///
/// A host, a mount or a front controller may come before. After it, what servers take for the same: an index
/// file, or anything if the feed is written like a script.
fn feed(path: &[u8]) -> Option<(String, Kind)> {
    let path = fold(path);
    // Two slashes are one, or have an empty name between them that dots take back.
    [true, false].into_iter().find_map(|merge| {
        let segments = resolve(&path, merge);
        segments.windows(3).enumerate().find_map(|(at, window)| {
            let &["api", version, name] = window else { return None };
            let version = stem(version.strip_prefix('v')?);
            let kind = kind(stem(name))?;
            let after = &segments[at + 3..];
            let same =
                name.contains('.') || after.iter().all(|name| matches!(stem(name), "index" | "default"));
            (is_version(version) && same).then(|| (version.to_owned(), kind))
        })
    })
}

/// Splits a path into names and resolves its dots.
fn resolve(path: &str, merge: bool) -> Vec<&str> {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        // Parameters, and the streams of Windows' files.
        match segment.split([';', ':', '&', ',']).next().unwrap_or_default().trim_matches(' ') {
            "" if merge => {}
            "." => {}
            ".." => drop(segments.pop()),
            // Some servers ignore dots and blanks at a name's end, as Windows does.
            name => segments.push(name.trim_matches([' ', '.'])),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// A name without what follows its first dot.
fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// Has a path what no proper client writes, and servers read in different ways?
fn is_odd(path: &[u8]) -> bool {
    let odd_byte = |byte: &u8| !matches!(byte, b' '..=b'~') || br"\;?#".contains(byte);
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'.'));
    let odd_name = |name: &[u8]| blank(name.first()) || blank(name.last());
    path.iter().any(odd_byte)
        || path.windows(2).any(|pair| pair == b"//")
        || path.split(|byte| *byte == b'/').any(odd_name)
}

/// Is a feed's name anywhere in a path?
fn names(path: &[u8]) -> bool {
    let letters: String = fold(path).chars().filter(char::is_ascii_alphabetic).collect();
    [Kind::Packages, Kind::Categories].iter().any(|kind| letters.contains(kind.name()))
}

/// Is a character encoded with more bytes than it takes? Lax decoders make any letter of it.
fn is_overlong(path: &[u8]) -> bool {
    path.utf8_chunks().any(|chunk| matches!(chunk.invalid(), [0xc0 | 0xc1 | 0xe0 | 0xf0, ..]))
}

/// Makes letters plain as lax servers do: backslashes to slashes, letters that look like or are made of
/// those of ASCII to these (compatibility decomposition, both ways of case folding), lower case. Drops
/// control characters and the rest beyond ASCII.
fn fold(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let plain = DecomposingNormalizerBorrowed::new_nfkd().normalize(&text);
    let folded = plain.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let slashed = folded.map(|c| if c == '\\' { '/' } else { c });
    slashed.filter(|c| c.is_ascii() && !c.is_control()).collect()
}

/// Decodes one round of percent-encoding, with the `%uXXXX` of some servers; what is no encoding stays.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |digits: &[u8]| {
        let text = std::str::from_utf8(digits).ok()?;
        let all_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            if let Some(byte) = after.get(..2).and_then(hex) {
                out.push(byte as u8);
                rest = &after[2..];
                continue;
            }
            if let [b'u' | b'U', digits @ ..] = after
                && let Some(c) = digits.get(..4).and_then(hex).and_then(char::from_u32)
            {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &digits[4..];
                continue;
            }
        }
        out.push(*first);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_canonical_is_no_other_feed(path in "/api/v([0-9a-z.%]{0,3})/(packages|categories|[a-z.;/]{0,9})") {
            if let Some((version, kind)) = canonical(&path) {
                prop_assert_eq!(Spelling::unusual(&path), Spelling::Feed { version: version.into(), kind });
            }
        }
    }
}
