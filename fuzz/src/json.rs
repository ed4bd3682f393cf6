//! Reads JSON with serde_json, keeping the position of each value.

use std::fmt;
use std::ops::Range;

use catalog_proxy::feed::scan::MAX_DEPTH;
use catalog_proxy::seller::Seller;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns the raw elements of a well-formed array that is not too deep; `None` otherwise.
pub fn feed(bytes: &[u8]) -> Option<Vec<&str>> {
    let elements = array(std::str::from_utf8(bytes).ok()?)?;
    (depth(bytes) <= MAX_DEPTH).then_some(elements)
}

/// Returns the raw elements of an array of any depth.
pub fn array(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// Returns the raw names and values of an object in order, including repeated ones.
pub fn members(text: &str) -> Option<Vec<(&str, &str)>> {
    serde_json::Deserializer::from_str(text).deserialize_map(Members).ok()
}

/// Returns the values of all top-level members that have the name.
pub fn named<'a>(element: &'a str, name: &str) -> Vec<&'a str> {
    let members = members(element).unwrap_or_default();
    members
        .into_iter()
        .filter(|(raw, _)| unescape(raw).as_deref() == Some(name))
        .map(|(_, value)| value)
        .collect()
}

/// Returns the value of the last member that has the name, if it is a string.
pub fn text_of(element: &str, name: &str) -> Option<String> {
    unescape(named(element, name).last()?)
}

/// Decodes a well-formed string literal; returns `None` for other values.
///
/// A lone surrogate becomes U+FFFD, which no code and no link contains.
pub fn unescape(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut units: Vec<u16> = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        units.push(match chars.next()? {
            'b' => 8,
            't' => 9,
            'n' => 10,
            'f' => 12,
            'r' => 13,
            'u' => {
                let (digits, rest) = chars.as_str().split_at(4);
                chars = rest.chars();
                u16::from_str_radix(digits, 16).ok()?
            }
            plain => u16::try_from(u32::from(plain)).ok()?,
        });
    }
    Some(String::from_utf16_lossy(&units))
}

/// Returns the span of `part` in `whole`.
pub fn span(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// Returns the seller according to `buy_url`.
///
/// Asserts that a link is Plesk's if a browser would follow it to Plesk's host from a page of any of the
/// bases.
pub fn seller(link: Option<&str>) -> Seller {
    let seller = Seller::of(link);
    for base in ["https://ext.plesk.com/api/", "http://ext.plesk.com/", "ftp://ext.plesk.com/"] {
        let base = url::Url::parse(base).expect("a URL");
        let host = link.and_then(|link| base.join(link).ok()?.host_str().map(str::to_lowercase));
        if host.is_some_and(|host| host.trim_end_matches('.') == "go.plesk.com") {
            assert_eq!(seller, Seller::Plesk, "{link:?}");
        }
    }
    seller
}

/// Returns the deepest nesting of a well-formed text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'de str, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push((name.get(), value.get()));
        }
        Ok(members)
    }
}
