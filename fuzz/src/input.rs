//! A feed and where it is cut, from a fuzzer's bytes.

use std::borrow::Cow;

use arbitrary::{Result, Unstructured};

/// A text that arrives in chunks.
pub struct Input<'a> {
    /// The whole text.
    pub text: Cow<'a, [u8]>,
    cuts: u8,
}

/// Set in the first byte: the rest is no text but what grows one.
const GROWN: u8 = 0x80;

impl<'a> Input<'a> {
    /// Takes the first byte as where to cut and the rest as a text, or as choices of a grammar for one: what
    /// is mutated on the way to the grammar's texts stays mostly JSON.
    pub fn of(data: &'a [u8]) -> Self {
        let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
        let text = match first & GROWN {
            0 => Cow::Borrowed(rest),
            _ => Cow::Owned(grow(rest)),
        };
        Self { text, cuts: first & !GROWN }
    }

    /// Cuts the text into chunks of all sizes, from one byte up to the whole.
    pub fn chunks(&self) -> Vec<&[u8]> {
        let mut state = u32::from(self.cuts);
        let mut rest = &*self.text;
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = match state >> 30 {
                0 => 1,
                1 => 1 + (state >> 8) as usize % 8,
                2 => 1 + (state >> 8) as usize % 70,
                _ => 1 + (state >> 8) as usize % 700,
            };
            let (chunk, tail) = rest.split_at(size.min(rest.len()));
            chunks.push(chunk);
            rest = tail;
        }
        chunks
    }
}

/// Member names: those that matter, in several spellings, and near misses.
const NAMES: &[&str] = &[
    r#""code""#,
    r#""buy_url""#,
    r#""top_packages""#,
    r#""name""#,
    r#""\u0063ode""#,
    r#""buy\u005furl""#,
    r#""top\u005Fpackages""#,
    r#""\u0074\u006f\u0070\u005f\u0070\u0061\u0063\u006b\u0061\u0067\u0065\u0073""#,
    r#""Code""#,
    r#""cod\u00e9""#,
    r#""code\ud800""#,
    r#""""#,
];

/// Values without members: links, codes, numbers, and what breaks careless readers.
const LEAVES: &[&str] = &[
    "null",
    r#""wp-toolkit""#,
    r#""docker""#,
    r#""other""#,
    r#""https:\/\/go.plesk.com\/buy""#,
    r#""//GO.plesk.com""#,
    r#""https://shop.example/?to=go.plesk.com""#,
    r#""""#,
    r#"" \t""#,
    "true",
    "false",
    "0",
    "-0.5e+10",
    "1E5",
    r#""\ud83d\ude00\u00e9\\\"\/\b""#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    "\"é\u{7f}\u{800}\u{ffff}\u{10ffff}\"",
    r#""\u0064ocker""#,
    r#""]}],[{""#,
    r#""\\""#,
    r#""\\\"""#,
    "[]",
    "{}",
];

const BLANKS: &[&str] = &["", "", "", " ", "\n", "\t\r\n  "];

/// Grows a feed: mostly JSON, mostly of the vendor's shape.
fn grow(choices: &[u8]) -> Vec<u8> {
    let mut choices = Unstructured::new(choices);
    let mut out = Vec::new();
    out.push(b'[');
    while !choices.is_empty() && out.len() < 1 << 16 {
        if out.len() > 1 {
            out.push(b',');
        }
        // It fails only for want of bytes.
        let _ = blank(&mut choices, &mut out).and_then(|()| value(&mut choices, &mut out, 0));
        let _ = blank(&mut choices, &mut out);
    }
    out.push(b']');
    out
}

fn blank(choices: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(choices.choose(BLANKS)?.as_bytes());
    Ok(())
}

fn value(choices: &mut Unstructured<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    match choices.int_in_range(0..=15u8)? {
        0..=5 if depth < 6 => object(choices, out, depth)?,
        6..=8 if depth < 6 => array(choices, out, depth)?,
        // Around the deepest nesting.
        9 if depth == 0 => {
            let levels = choices.int_in_range(505..=515usize)?;
            let [open, close] = *choices.choose(&[["[", "]"], ["{\"code\":", "}"]])?;
            out.extend_from_slice(open.repeat(levels).as_bytes());
            out.push(b'1');
            out.extend_from_slice(close.repeat(levels).as_bytes());
        }
        // A string of some length around the sizes that are scanned at once.
        10 => {
            let (len, at) = (choices.int_in_range(0..=130usize)?, choices.int_in_range(0..=130usize)?);
            let mut text = vec![b'x'; len];
            if let Some(byte) = text.get_mut(at) {
                *byte = choices.arbitrary()?;
            }
            out.push(b'"');
            out.extend_from_slice(&text);
            out.push(b'"');
        }
        // Anything at all.
        11 => out.push(choices.arbitrary()?),
        _ => out.extend_from_slice(choices.choose(LEAVES)?.as_bytes()),
    }
    Ok(())
}

fn object(choices: &mut Unstructured<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    out.push(b'{');
    for n in 0..choices.int_in_range(0..=5u8)? {
        if n > 0 {
            out.push(b',');
        }
        blank(choices, out)?;
        out.extend_from_slice(choices.choose(NAMES)?.as_bytes());
        blank(choices, out)?;
        out.push(b':');
        blank(choices, out)?;
        value(choices, out, depth + 1)?;
    }
    out.push(b'}');
    Ok(())
}

fn array(choices: &mut Unstructured<'_>, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    out.push(b'[');
    for n in 0..choices.int_in_range(0..=5u8)? {
        if n > 0 {
            out.push(b',');
        }
        blank(choices, out)?;
        value(choices, out, depth + 1)?;
    }
    out.push(b']');
    Ok(())
}
