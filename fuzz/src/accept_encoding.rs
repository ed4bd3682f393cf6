//! `Accept-Encoding`: never a panic, never a coding that the client refuses, and the same result for every spelling.

use catalog_proxy::cache::encode::Encoding;
use catalog_proxy::proxy::negotiate::Accepted;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// Checks one request: a field a line.
pub fn check(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let Some(accepted) = negotiate(&lines) else { return };
    let encodings: Vec<Encoding> = accepted.encodings().collect();
    let distinct = Encoding::ALL.iter().filter(|encoding| encodings.contains(encoding)).count();
    assert_eq!(encodings.len(), distinct, "a coding is there twice");

    let text =
        lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()?.to_str().ok().map(str::to_owned));
    let text = text.collect::<Vec<_>>().join(",");
    for encoding in encodings {
        let named = text.contains('*') || text.to_ascii_lowercase().contains(encoding.name());
        assert!(named, "{} was never mentioned", encoding.name());
    }
    assert!(accepted.identity || text.contains("q") || text.contains("Q"), "only a weight refuses");

    let split: Vec<&[u8]> = text.split(',').map(str::as_bytes).collect();
    assert_eq!(negotiate(&split).as_ref(), Some(&accepted), "one a field");
    let upper = text.to_ascii_uppercase();
    assert_eq!(negotiate(&[upper.as_bytes()]).as_ref(), Some(&accepted), "in capitals");
    for more in ["deflate", "deflate;q=0", "", "gzip;q=7", ";q=1"] {
        let longer = format!("{text},{more}");
        assert_eq!(negotiate(&[longer.as_bytes()]).as_ref(), Some(&accepted), "and {more}");
    }

    // What comes first counts: with these, everything after is moot.
    let refused = format!("gzip;q=0,x-gzip;q=0,br;q=0.0,zstd;q=0.000,identity;q=0,{text}");
    let none = negotiate(&[refused.as_bytes()]).expect("a value");
    assert_eq!((none.encodings().count(), none.identity), (0, false));
    let ordered = format!("br;q=1,gzip;q=0.9,zstd;q=0.8,identity;q=0.1,{text}");
    let ordered = negotiate(&[ordered.as_bytes()]).expect("a value");
    assert!(ordered.encodings().eq([Encoding::Brotli, Encoding::Gzip, Encoding::Zstd]));
    assert!(ordered.identity);
}

/// Negotiates; nothing if a field cannot be in a request.
fn negotiate(lines: &[&[u8]]) -> Option<Accepted> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(ACCEPT_ENCODING, HeaderValue::from_bytes(line).ok()?);
    }
    Some(Accepted::of(&headers))
}
