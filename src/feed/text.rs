//! JSON string literals: decoding, and comparing with known names.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{Error, Visitor};

/// Returns the index of the name that `raw`, the bytes between the quotes, spells once escapes are decoded.
pub(super) fn position_of_name(raw: &[u8], names: &[&str]) -> Option<usize> {
    if !raw.contains(&b'\\') {
        return names.iter().position(|name| name.as_bytes() == raw);
    }
    let literal = [b"\"", raw, b"\""].concat();
    let decoded = decode(&literal)?;
    names.iter().position(|name| *name == decoded)
}

/// Decodes a JSON string literal, quotes included; a lone surrogate becomes U+FFFD.
///
/// Returns `None` if `literal` is another kind of value.
pub(super) fn decode(literal: &[u8]) -> Option<Cow<'_, str>> {
    let inside = literal.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inside.contains(&b'\\') {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    }
    if let Some(text) = simply_escaped(inside) {
        return String::from_utf8(text).ok().map(Cow::Owned);
    }
    // Only `deserialize_bytes` accepts lone surrogates (as WTF-8).
    serde_json::Deserializer::from_slice(literal).deserialize_bytes(LossyString).ok().map(Cow::Owned)
}

/// Decodes a string whose only escapes are `\/`, `\"` and `\\`, which is how PHP writes links; `None` if it
/// has others.
fn simply_escaped(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(rest.len());
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(at);
        let ([_, byte @ (b'/' | b'"' | b'\\')], behind) = escape.split_first_chunk()? else { return None };
        text.extend_from_slice(before);
        text.push(*byte);
        rest = behind;
    }
    text.extend_from_slice(rest);
    Some(text)
}

struct LossyString;

impl Visitor<'_> for LossyString {
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
    fn decodes_string_literals() {
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
