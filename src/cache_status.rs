//! What the cache did for a request, and how that is told: in `Cache-Status` (RFC 9211) and as a metric.

use std::fmt::Write;

use http::HeaderValue;

/// What the cache did for a request. Of an answer that is made of two feeds, the greater one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheOutcome {
    /// It was not asked, or had an error to tell.
    Unused,
    /// It had a fresh copy.
    Hit,
    /// It had a stale copy, which is being renewed.
    Stale,
    /// It waited for a fetch that another request had started.
    Collapsed,
    /// It fetched the feed and has it now.
    Stored,
    /// It fetched the feed, and has no room for it or does not have all of it yet.
    Miss,
}

impl CacheOutcome {
    /// All outcomes, in order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Unused, Self::Hit, Self::Stale, Self::Collapsed, Self::Stored, Self::Miss];

    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unused => "none",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Collapsed => "collapsed",
            Self::Stored | Self::Miss => "miss",
        }
    }

    /// Returns the outcome for a request that joined a fetch of another one with this outcome.
    pub fn collapsed(self) -> Self {
        match self {
            Self::Stored | Self::Miss => Self::Collapsed,
            other => other,
        }
    }

    /// Writes the `Cache-Status` field. `ttl` is what is left of the freshness lifetime in seconds, negative if it is
    /// over; `key` is left out where a structured field cannot hold it.
    pub fn field(self, key: &str, ttl: i64) -> HeaderValue {
        let mut field = String::with_capacity(key.len() + 80);
        field += match self {
            Self::Unused => "catalog-proxy",
            Self::Hit | Self::Stale => "catalog-proxy; hit",
            Self::Collapsed => "catalog-proxy; fwd=miss; collapsed",
            Self::Stored => "catalog-proxy; fwd=miss; stored",
            Self::Miss => "catalog-proxy; fwd=miss",
        };
        // Writing to a string does not fail.
        let _ = write!(field, "; ttl={ttl}");
        // A string of a structured field is printable ASCII (RFC 8941 §3.3.3).
        if key.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
            field += "; key=\"";
            for part in key.split_inclusive(['"', '\\']) {
                match part.as_bytes() {
                    [.., mark @ (b'"' | b'\\')] => {
                        field += &part[..part.len() - 1];
                        field.push('\\');
                        field.push(char::from(*mark));
                    }
                    _ => field += part,
                }
            }
            field.push('"');
        }
        HeaderValue::from_str(&field).unwrap_or(HeaderValue::from_static("catalog-proxy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_says_what_happened() {
        let check = |outcome: CacheOutcome, ttl: i64, key: &str, expected: &str| {
            assert_eq!(outcome.field(key, ttl), expected);
        };
        check(CacheOutcome::Hit, 9, "/a?b", r#"catalog-proxy; hit; ttl=9; key="/a?b""#);
        check(CacheOutcome::Stale, -7, "/a", r#"catalog-proxy; hit; ttl=-7; key="/a""#);
        check(CacheOutcome::Collapsed, 1, "/a", r#"catalog-proxy; fwd=miss; collapsed; ttl=1; key="/a""#);
        check(CacheOutcome::Stored, 1, "/a", r#"catalog-proxy; fwd=miss; stored; ttl=1; key="/a""#);
        check(CacheOutcome::Miss, 1, "/a", r#"catalog-proxy; fwd=miss; ttl=1; key="/a""#);
        check(CacheOutcome::Hit, 1, r#"/"\"#, r#"catalog-proxy; hit; ttl=1; key="/\"\\""#);
        check(CacheOutcome::Hit, 1, "/é", "catalog-proxy; hit; ttl=1");
    }

    #[test]
    fn all_are_in_the_order_of_their_discriminants() {
        assert!(CacheOutcome::ALL.iter().enumerate().all(|(n, outcome)| *outcome as usize == n));
    }
}
