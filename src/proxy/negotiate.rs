//! `Accept-Encoding`: which coding a client wants (RFC 9110 §12.5.3).

use std::cmp::Reverse;

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use crate::cache::encode::Encoding;

/// The codings that a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Codings, best first.
    encodings: [Option<Encoding>; Encoding::ALL.len()],
    /// True if the plain body may be sent.
    pub identity: bool,
}

/// A weight in thousandths (RFC 9110 §12.4.2).
type Weight = u16;

impl Accepted {
    /// Reads the fields of a request. Without any, or with none that make sense, only identity is safe.
    pub fn of(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let [mut zstd, mut gzip, mut x_gzip, mut brotli, mut any, mut identity] = [None; 6];
        for (name, weight) in fields.flat_map(|value| value.split(',')).filter_map(choice) {
            let named = [
                ("zstd", &mut zstd),
                ("gzip", &mut gzip),
                ("x-gzip", &mut x_gzip),
                ("br", &mut brotli),
                ("*", &mut any),
                ("identity", &mut identity),
            ];
            // The first of equal names counts.
            let place = named.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
            place.map(|(_, place)| place.get_or_insert(weight));
        }
        let identity = identity.or(any).unwrap_or(1);
        let mut encodings = Encoding::ALL.map(|encoding| {
            let named = match encoding {
                Encoding::Gzip => gzip.or(x_gzip),
                Encoding::Zstd => zstd,
                Encoding::Brotli => brotli,
            };
            let weight: Weight = named.or(any).unwrap_or(0);
            // Less wanted than the plain body is not wanted.
            (Reverse(weight), (weight > 0 && weight >= identity).then_some(encoding))
        });
        encodings.sort_unstable();
        Self { encodings: encodings.map(|(_, encoding)| encoding), identity: identity > 0 }
    }

    /// Returns the forms that are acceptable, best first; `None` is the plain body.
    pub fn forms(&self) -> impl Iterator<Item = Option<Encoding>> + Clone {
        self.encodings().map(Some).chain(self.identity.then_some(None))
    }

    /// Returns the codings, best first.
    pub fn encodings(&self) -> impl Iterator<Item = Encoding> + Clone {
        self.encodings.into_iter().flatten()
    }
}

/// Reads one choice; one with a weight that makes no sense is left out.
fn choice(text: &str) -> Option<(&str, Weight)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => {
            let (name, value) = parameter.split_once('=')?;
            weight(name.trim().eq_ignore_ascii_case("q").then(|| value.trim())?)?
        }
    };
    Some((name, weight))
}

/// Reads `0`, `0.5`, `1.000`: at most three digits after the point, at most 1.
fn weight(text: &str) -> Option<Weight> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1")
        || fraction.len() > 3
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let thousandths: Weight = format!("{fraction:0<3}").parse().ok()?;
    let weight = if whole == "1" { 1000 + thousandths } else { thousandths };
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepted(fields: &[&str]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(field).expect("a value"));
        }
        let accepted = Accepted::of(&headers);
        let names: Vec<_> = accepted.encodings().map(Encoding::name).collect();
        (names.join(" "), accepted.identity)
    }

    #[test]
    fn weighs_what_is_accepted() {
        let check = |fields: &[&str], encodings: &str, identity: bool| {
            assert_eq!(accepted(fields), (encodings.to_owned(), identity), "{fields:?}");
        };
        check(&[], "", true);
        check(&[""], "", true);
        check(&["gzip"], "gzip", true);
        check(&["GZIP"], "gzip", true);
        check(&["x-gzip"], "gzip", true);
        check(&["gzip, deflate, br, zstd"], "zstd gzip br", true);
        check(&["deflate"], "", true);
        check(&["gzip;q=0.5, br;q=1.0, zstd;q=0.7"], "br zstd gzip", true);
        check(&["br ; Q=0.2 , gzip;q=0.3"], "gzip br", true);
        check(&["gzip", "br;q=0.1"], "gzip br", true);
        check(&["gzip;q=0"], "", true);
        check(&["gzip;q=0.000, br"], "br", true);
        check(&["*"], "zstd gzip br", true);
        check(&["*;q=0"], "", false);
        check(&["*;q=0, gzip"], "gzip", false);
        check(&["gzip, *;q=0"], "gzip", false);
        check(&["*;q=0, identity"], "", true);
        check(&["identity;q=0"], "", false);
        check(&["identity;q=0, br"], "br", false);
        check(&["identity, gzip;q=0.5"], "", true);
        check(&["identity;q=0.5, gzip;q=0.5"], "gzip", true);
        check(&["br;q=0.5, *;q=0.1"], "br zstd gzip", true);
        check(&["gzip;q=2"], "", true);
        check(&["gzip;q=1.001"], "", true);
        check(&["gzip;q=0.1234"], "", true);
        check(&["gzip;q="], "", true);
        check(&["gzip;x=1"], "", true);
        check(&[";q=1, ,br"], "br", true);
    }

    proptest! {
        #[test]
        fn never_chooses_what_is_refused(text in "[ ,;=.*a-z0-9]{0,60}", refused in 0..3usize) {
            let refused = Encoding::ALL[refused];
            let (encodings, _) = accepted(&[&format!("{};q=0, {text}", refused.name())]);
            let names: Vec<_> = encodings.split(' ').collect();
            // Except that gzip has two names, and the text may use the other.
            prop_assert!(!names.contains(&refused.name()), "{}", text);
        }
    }

    #[test]
    fn weights_have_three_digits_and_are_one_at_most() {
        let check = |text: &str, expected: Option<Weight>| assert_eq!(weight(text), expected, "{text:?}");
        for (text, expected) in
            [("0", 0), ("0.", 0), ("0.5", 500), ("0.500", 500), ("0.05", 50), ("1", 1000), ("1.000", 1000)]
        {
            check(text, Some(expected));
        }
        for text in ["", "2", "-0", "00", ".5", "1.001", "0.0001", "0.5000", "0.x", "0.+1", "0,5", "x"] {
            check(text, None);
        }
    }
}
