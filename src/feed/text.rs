//! JSON string literals: skipping, UTF-8 and decoding.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error, Visitor};

/// Returns the index of the first byte from `i` on that needs a look inside a string: a quote, a
/// backslash, a control character or anything beyond ASCII; `bytes.len()` if there is none.
#[inline]
pub(super) fn skip_plain(bytes: &[u8], mut i: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    while let Some(word) = bytes.get(i..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // The subtraction of a byte borrows from the next only if it flags itself, so the lowest flag,
        // the only one used, is exact.
        let flags =
            (quote.wrapping_sub(ONES) | backslash.wrapping_sub(ONES) | word.wrapping_sub(ONES * 0x20) | word)
                & HIGH;
        if flags != 0 {
            return i + (flags.trailing_zeros() / 8) as usize;
        }
        i += 8;
    }
    while i < bytes.len() && matches!(bytes[i], 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7f) {
        i += 1;
    }
    i
}

/// Returns what must follow a lead byte: how many bytes, and the range of the first (RFC 3629 §4).
pub(super) fn utf8_lead(byte: u8) -> Option<(u8, u8, u8)> {
    Some(match byte {
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xe1..=0xec | 0xee..=0xef => (2, 0x80, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return None,
    })
}

/// Returns which of `names` a raw name (between its quotes) spells once its escapes are decoded.
pub(super) fn position_of_name(raw: &[u8], names: &[&str]) -> Option<usize> {
    if !raw.contains(&b'\\') {
        return names.iter().position(|name| name.as_bytes() == raw);
    }
    let decoded = decode(&[b"\"", raw, b"\""].concat())?;
    names.iter().position(|name| *name == decoded)
}

/// Decodes a JSON string literal, quotes included; a lone surrogate becomes U+FFFD.
///
/// Returns nothing if `literal` is any other value.
pub(super) fn decode(literal: &[u8]) -> Option<String> {
    // As bytes, because only there serde_json lets lone surrogates through (as WTF-8).
    serde_json::Deserializer::from_slice(literal).deserialize_bytes(Text).ok()
}

struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(text) => text.to_owned(),
            Cow::Owned(text) => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_exactly_the_plain_bytes() {
        for special in 0..=255u8 {
            let plain = matches!(special, 0x20..=0x7f) && special != b'"' && special != b'\\';
            for at in 0..40 {
                let mut bytes = [b'a'; 40];
                bytes[at] = special;
                let expected = if plain { 40 } else { at };
                assert_eq!(skip_plain(&bytes, 0), expected, "byte {special:#x} at {at}");
            }
        }
    }

    #[test]
    fn decodes_what_json_writes() {
        let check = |literal: &str, expected: Option<&str>| {
            assert_eq!(decode(literal.as_bytes()).as_deref(), expected, "{literal}");
        };
        check(r#""wp-toolkit""#, Some("wp-toolkit"));
        check(r#""https:\/\/go.plesk.com\/""#, Some("https://go.plesk.com/"));
        check(r#""\u00e9\ud83d\ude00""#, Some("é😀"));
        check("\"é\"", Some("é"));
        check(r#""""#, Some(""));
        check("null", None);
        check("12", None);
        check("[1]", None);
        check("{}", None);
    }

    #[test]
    fn decodes_lone_surrogates_to_replacements() {
        let text = decode(br#""go\ud800.com""#).expect("a string");
        assert!(text.starts_with("go\u{fffd}") && text.ends_with(".com"), "{text:?}");
    }

    #[test]
    fn finds_names_in_any_spelling() {
        let names = &["code", "buy_url"];
        assert_eq!(position_of_name(b"buy_url", names), Some(1));
        assert_eq!(position_of_name(br"\u0062uy\u005furl", names), Some(1));
        assert_eq!(position_of_name(b"Code", names), None);
        assert_eq!(position_of_name(b"", names), None);
    }
}
