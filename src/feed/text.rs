//! JSON string literals: what may begin a character, names, and decoding.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error, Visitor};

/// Can `byte` begin a character of more than one byte (RFC 3629 §4)?
pub(super) fn begins_character(byte: u8) -> bool {
    matches!(byte, 0xc2..=0xf4)
}

/// Returns which of `names` a raw name (between its quotes) spells once its escapes are decoded.
pub(super) fn position_of_name(raw: &[u8], names: &[&str]) -> Option<usize> {
    let plain = names.iter().position(|name| name.as_bytes() == raw);
    // An escape takes six bytes for one, or is none of a letter.
    if plain.is_some() || raw.len() <= 6 || !raw.contains(&b'\\') {
        return plain;
    }
    let decoded = decode(&[b"\"", raw, b"\""].concat())?;
    names.iter().position(|name| *name == decoded)
}

/// Decodes a JSON string literal, quotes included; a lone surrogate becomes U+FFFD.
///
/// Returns nothing if `literal` is any other value.
pub(super) fn decode(literal: &[u8]) -> Option<String> {
    let inside = literal.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return String::from_utf8(inside.to_vec()).ok();
    }
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
