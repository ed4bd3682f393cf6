//! Mark in requests to the upstream, by which a proxy knows those that come back to it.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Proxies that a request has passed (RFC 8586). Unlike `Via`, every one has to pass it on, and it may name one process.
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// This process as it names itself to the upstream. Another proxy of the same kind has another mark, so one may stand
/// behind the other.
#[derive(Debug, Clone)]
pub(super) struct LoopMark(HeaderValue);

impl LoopMark {
    /// Makes a mark that no other process has.
    pub(super) fn random() -> Self {
        let mark = format!("catalog-proxy; id={:032x}", fastrand::u128(..));
        Self(HeaderValue::try_from(mark).unwrap_or(HeaderValue::from_static("catalog-proxy")))
    }

    /// Adds it to a request's fields, behind the marks that these have.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.0.clone());
    }

    /// Returns true if a request has passed this process before.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let fields = headers.get_all(CDN_LOOP).iter();
        let own = self.0.as_bytes();
        // Proxies may join fields with commas, and nothing of a mark has one.
        fields
            .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
            .any(|mark| mark.trim_ascii() == own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_mark_only() {
        let [own, other] = [LoopMark::random(), LoopMark::random()];
        let text = |mark: &LoopMark| mark.0.to_str().expect("a mark").to_owned();
        let check = |fields: &[String], expected: bool| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(CDN_LOOP, HeaderValue::from_str(field).expect("a field"));
            }
            assert_eq!(own.is_in(&headers), expected, "{fields:?}");
        };
        check(&[], false);
        check(&[text(&own)], true);
        check(&[text(&other)], false);
        check(&["catalog-proxy".to_owned()], false);
        check(&[format!("cloudflare; loops=1, {} ,x", text(&own))], true);
        check(&[text(&other), text(&own)], true);
        check(&[format!("{}0", text(&own))], false);
        let mut headers = HeaderMap::new();
        other.add_to(&mut headers);
        own.add_to(&mut headers);
        assert!(own.is_in(&headers) && other.is_in(&headers));
    }
}
