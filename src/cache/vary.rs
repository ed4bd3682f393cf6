//! Warns when the upstream's feeds depend on request fields that the cache does not know of.

use std::time::Duration;

use http::{HeaderMap, header};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

/// Least time between two warnings: feeds that differ in the field would otherwise warn with each fetch.
const WARNING_INTERVAL: Duration = Duration::from_hours(1);

/// Remembers what was warned about.
#[derive(Debug, Default)]
pub(super) struct VaryWarning(Mutex<Option<(String, Instant)>>);

impl VaryWarning {
    /// Looks at the `Vary` of a feed's response, and warns about fields other than `Accept-Encoding`: when they
    /// change, but not more than once an hour.
    pub(super) fn check(&self, key: &str, headers: &HeaderMap, now: Instant) {
        let fields = unexpected(headers);
        if !fields.is_empty() && self.is_due(&fields, now) {
            warn!(
                key,
                vary = fields,
                "the upstream's feed depends on request fields that this proxy does not pass on: all clients get the \
                 variant for none of them"
            );
        }
    }

    fn is_due(&self, fields: &str, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.as_ref().is_none_or(|(warned, at)| {
            warned != fields && now.saturating_duration_since(*at) >= WARNING_INTERVAL
        });
        if is_due {
            *last = Some((fields.to_owned(), now));
        }
        is_due
    }
}

/// Lists the fields of `Vary` other than `Accept-Encoding`: sorted, in lower case, each once.
fn unexpected(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    let mut names: Vec<_> = names.filter(|name| !matches!(name.as_str(), "" | "accept-encoding")).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::VARY, value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_accept_encoding_is_expected() {
        let check = |values: &[&str], expected: &str| {
            assert_eq!(unexpected(&headers(values)), expected, "{values:?}");
        };
        check(&[], "");
        check(&["Accept-Encoding"], "");
        check(&["accept-encoding, ", ","], "");
        check(&["*"], "*");
        check(&["User-Agent, Accept-Encoding", "Cookie,user-agent"], "cookie, user-agent");
    }

    #[test]
    fn a_warning_comes_once_for_a_change_and_seldom() {
        let warning = VaryWarning::default();
        let start = Instant::now();
        let is_due = |fields: &str, after: Duration| warning.is_due(fields, start + after);
        assert!(is_due("cookie", Duration::ZERO));
        assert!(!is_due("cookie", 2 * WARNING_INTERVAL));
        assert!(is_due("*", 2 * WARNING_INTERVAL));
        assert!(!is_due("cookie", 2 * WARNING_INTERVAL));
        assert!(is_due("cookie", 3 * WARNING_INTERVAL));
    }

    #[test]
    fn what_is_expected_is_nothing_to_warn_about() {
        let (warning, now) = (VaryWarning::default(), Instant::now());
        let warned_about = |values: &[&str]| {
            warning.check("/api/v4/packages", &headers(values), now);
            warning.0.lock().as_ref().map(|(fields, _)| fields.clone())
        };
        assert_eq!(warned_about(&["Accept-Encoding"]), None);
        assert_eq!(warned_about(&["Cookie"]).as_deref(), Some("cookie"));
    }
}
