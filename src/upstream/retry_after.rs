//! When a server wants to be asked again.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};

/// Longest pause that is told, in seconds: whoever waits has a bound of its own.
const MAX: u64 = u32::MAX as u64;

/// Returns the pause that `Retry-After` asks for, in seconds or with a date (RFC 9110 §10.2.3).
///
/// `headers::RetryAfter` is of no use here: what it has parsed cannot be read.
///
/// A date is by the server's clock, if it tells that: ours may be off.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text| httpdate::parse_http_date(text).ok();
    let asked = text(header::RETRY_AFTER)?;
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(asked.parse().unwrap_or(MAX).min(MAX)));
    }
    let now = text(header::DATE).and_then(date).unwrap_or(now);
    Some(date(asked)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_when_to_retry() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:00:00 GMT").expect("a date");
        let check = |value: &str, date: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().expect("a value"));
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().expect("a value"));
            }
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        };
        check("120", None, Some(120));
        check(" 0 ", None, Some(0));
        check("99999999999999999999", None, Some(u64::from(u32::MAX)));
        check("Sun, 06 Nov 1994 08:01:00 GMT", None, Some(60));
        check("Sun, 06 Nov 1994 08:01:00 GMT", Some("Sun, 06 Nov 1994 08:00:50 GMT"), Some(10));
        check("Sun, 06 Nov 1994 07:00:00 GMT", None, Some(0));
        check("-1", None, None);
        check("soon", None, None);
        check("", None, None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
