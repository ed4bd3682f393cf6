//! How long an answer is fresh (RFC 9111 §4.2), from its header fields alone.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES};

/// What to do where the upstream does not tell, and how far it is believed.
#[derive(Debug, Clone, Copy)]
pub struct FreshnessLimits {
    /// Lifetime of a response that states none.
    pub default: Duration,
    /// Lower bound of any lifetime, counted from receipt. PHP frameworks mark every response `no-cache`, which would
    /// mean a fetch for each request.
    pub min: Duration,
    /// Upper bound of any lifetime, counted from receipt. It wins over `min`.
    pub max: Option<Duration>,
}

/// The freshness of an answer when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Freshness lifetime (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// Age on arrival, from the `Age` field of caches on the way (§4.2.3). `Date` does not count:
    /// a clock that is off must not make every answer old.
    pub age: Duration,
}

/// Directives of `Cache-Control` that matter to a shared cache.
#[derive(Debug, Default, PartialEq, Eq)]
struct Directives {
    s_maxage: Option<Duration>,
    max_age: Option<Duration>,
    no_cache: bool,
}

impl Freshness {
    /// Assesses an answer received at `now`.
    ///
    /// `no-store`, `private` and `must-revalidate` are overridden: the operator of this proxy acts for its clients,
    /// and the catalog is the same for all of them. `no-cache` counts as a lifetime of zero, which
    /// [`FreshnessLimits::min`] raises like any other.
    pub fn of(headers: &HeaderMap, now: SystemTime, limits: FreshnessLimits) -> Self {
        let told = match Directives::of(headers) {
            Directives { no_cache: true, .. } => Some(Duration::ZERO),
            Directives { s_maxage: Some(age), .. } | Directives { max_age: Some(age), .. } => Some(age),
            _ => expires(headers, now),
        };
        let age = text(headers, AGE).and_then(delta_seconds).unwrap_or_default();
        let freshness = Self { lifetime: told.unwrap_or(age.saturating_add(limits.default)), age };
        freshness.bounded(limits)
    }

    /// Bounds the remaining lifetime. Both bounds count from receipt, so the age on arrival is added to them.
    pub fn bounded(self, limits: FreshnessLimits) -> Self {
        let shortest = self.age.saturating_add(limits.min);
        let longest = limits.max.map_or(Duration::MAX, |max| self.age.saturating_add(max));
        Self { lifetime: self.lifetime.max(shortest).min(longest), ..self }
    }
}

impl Directives {
    fn of(headers: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in fields.flat_map(split_list) {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), Some(argument.trim().trim_matches('"'))),
                None => (directive, None),
            };
            // A lifetime that makes no sense is none (§4.2.1); of two the shorter counts.
            let lifetime = || argument.and_then(delta_seconds).unwrap_or_default();
            let shorter = |old: Option<Duration>| Some(old.map_or(lifetime(), |old| old.min(lifetime())));
            match name.to_ascii_lowercase().as_str() {
                "s-maxage" => directives.s_maxage = shorter(directives.s_maxage),
                "max-age" => directives.max_age = shorter(directives.max_age),
                // With field names it is about those fields only (§5.2.2.4).
                "no-cache" => directives.no_cache |= argument.is_none(),
                _ => {}
            }
        }
        directives
    }
}

/// Splits at commas outside quotes.
fn split_list(value: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = value.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

/// Reads a number of seconds (RFC 9111 §1.2.2); one too large to hold is the largest.
fn delta_seconds(text: &str) -> Option<Duration> {
    /// What RFC 9111 advises for values beyond what is representable.
    const MAX: u64 = 1 << 31;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(MAX).min(MAX)))
}

/// Returns when an answer was made, by the clock of whoever made it.
pub fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, DATE)?).ok()
}

/// Returns the lifetime that `Expires` gives; a bad date, above all "0", means expired (§5.3).
fn expires(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let expires = text(headers, EXPIRES)?;
    let date = date(headers).unwrap_or(now);
    let lifetime =
        httpdate::parse_http_date(expires).ok().and_then(|expires| expires.duration_since(date).ok());
    Some(lifetime.unwrap_or_default())
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const LIMITS: FreshnessLimits =
        FreshnessLimits { default: Duration::from_mins(10), min: Duration::ZERO, max: None };

    fn assess(fields: &[(&str, &str)], limits: FreshnessLimits) -> (u64, u64) {
        let headers = fields
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("a name");
                (name, HeaderValue::from_str(value).expect("a value"))
            })
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:50:00 GMT").expect("a date");
        let freshness = Freshness::of(&headers, now, limits);
        (freshness.lifetime.as_secs(), freshness.age.as_secs())
    }

    #[test]
    fn follows_rfc_9111() {
        let check = |fields: &[(&str, &str)], lifetime: u64| {
            assert_eq!(assess(fields, LIMITS).0, lifetime, "{fields:?}");
        };
        let cc = "cache-control";
        check(&[], 600);
        check(&[(cc, "")], 600);
        check(&[(cc, "public")], 600);
        check(&[(cc, "max-age=60")], 60);
        check(&[(cc, "MAX-AGE=60")], 60);
        check(&[(cc, "max-age=\"60\"")], 60);
        check(&[(cc, "max-age=60, s-maxage=30")], 30);
        check(&[(cc, "s-maxage=3600 , max-age=60")], 3600);
        check(&[(cc, "max-age=60"), (cc, "s-maxage=90")], 90);
        check(&[(cc, "max-age=60, max-age=30")], 30);
        check(&[(cc, "max-age=0")], 0);
        check(&[(cc, "max-age=-1")], 0);
        check(&[(cc, "max-age=abc")], 0);
        check(&[(cc, "max-age")], 0);
        check(&[(cc, "max-age=99999999999999999999")], 1 << 31);
        check(&[(cc, "no-cache")], 0);
        check(&[(cc, "no-cache, max-age=60")], 0);
        check(&[(cc, "no-cache=\"Set-Cookie, X\", max-age=60")], 60);
        check(&[(cc, "x=\"a, max-age=5\", max-age=60")], 60);
        check(&[(cc, "no-store")], 600);
        check(&[(cc, "private")], 600);
        check(&[(cc, "private, max-age=60")], 60);
        check(&[(cc, "no-cache, private")], 0);
        check(&[(cc, "no-store, max-age=0")], 0);
        let date = ("date", "Sun, 06 Nov 1994 08:00:00 GMT");
        check(&[date, ("expires", "Sun, 06 Nov 1994 08:30:00 GMT")], 1800);
        check(&[date, ("expires", "Sun, 06 Nov 1994 07:30:00 GMT")], 0);
        check(&[date, ("expires", "Sunday, 06-Nov-94 08:30:00 GMT")], 1800);
        check(&[date, ("expires", "0")], 0);
        check(&[("expires", "Sun, 06 Nov 1994 08:50:10 GMT")], 10);
        check(&[date, ("expires", "Sun, 06 Nov 1994 08:30:00 GMT"), (cc, "max-age=60")], 60);
        check(&[date, ("expires", "0"), (cc, "no-store")], 0);
    }

    #[test]
    fn is_bounded_by_the_policy() {
        let minute = Duration::from_mins(1);
        let limits = FreshnessLimits { default: minute, min: Duration::ZERO, max: Some(minute) };
        assert_eq!(assess(&[("cache-control", "max-age=3600")], limits).0, 60);
        assert_eq!(assess(&[("cache-control", "max-age=30")], limits).0, 30);
        assert_eq!(assess(&[], limits).0, 60);
        // What is left of it is bounded, not what other caches used up.
        assert_eq!(assess(&[("cache-control", "max-age=86400"), ("age", "3600")], limits), (3660, 3600));
        assert_eq!(assess(&[("cache-control", "max-age=3630"), ("age", "3600")], limits), (3630, 3600));
        assert_eq!(assess(&[("cache-control", "max-age=60"), ("age", "3600")], limits), (3600, 3600));
        assert_eq!(assess(&[("age", "3600")], limits), (3660, 3600));
        let forever =
            FreshnessLimits { default: Duration::MAX, min: Duration::MAX, max: Some(Duration::MAX) };
        assert_eq!(assess(&[("age", "3600")], forever), (u64::MAX, 3600));
    }

    #[test]
    fn has_a_lower_bound_that_the_upper_one_wins_over() {
        let seconds = Duration::from_secs;
        let check = |fields: &[(&str, &str)], min: u64, max: Option<u64>, expected: (u64, u64)| {
            let limits = FreshnessLimits { default: seconds(600), min: seconds(min), max: max.map(seconds) };
            assert_eq!(assess(fields, limits), expected, "{fields:?} {min} {max:?}");
        };
        let cc = "cache-control";
        check(&[(cc, "no-cache, private")], 30, None, (30, 0));
        check(&[(cc, "no-store, no-cache, must-revalidate")], 30, None, (30, 0));
        check(&[(cc, "max-age=0")], 30, None, (30, 0));
        check(&[("expires", "0")], 30, None, (30, 0));
        check(&[(cc, "max-age=29")], 30, None, (30, 0));
        check(&[(cc, "max-age=31")], 30, None, (31, 0));
        check(&[], 30, None, (600, 0));
        check(&[], 900, None, (900, 0));
        // It counts from receipt, however old the response was.
        check(&[(cc, "max-age=60"), ("age", "3600")], 30, None, (3630, 3600));
        check(&[(cc, "max-age=3620"), ("age", "3600")], 30, None, (3630, 3600));
        // Where they cross, the upper bound wins.
        check(&[(cc, "max-age=0")], 30, Some(10), (10, 0));
        check(&[(cc, "max-age=20")], 30, Some(10), (10, 0));
        check(&[], 30, Some(0), (0, 0));
    }

    #[test]
    fn takes_the_age_of_caches_on_the_way() {
        let check =
            |fields: &[(&str, &str)], age: u64| assert_eq!(assess(fields, LIMITS).1, age, "{fields:?}");
        check(&[], 0);
        check(&[("age", "120")], 120);
        check(&[("age", "-1")], 0);
        check(&[("age", "1.5")], 0);
        check(&[("date", "Sun, 06 Nov 1994 08:00:00 GMT")], 0);
    }
}
