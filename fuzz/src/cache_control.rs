//! `Cache-Control`, `Expires`, `Age` and `Date`: never a panic, always within the limits, and the same result
//! for every spelling.

use std::time::{Duration, SystemTime};

use catalog_proxy::cache::freshness::{Freshness, FreshnessLimits};
use catalog_proxy::upstream::retry_after::retry_after;
use http::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};

/// What RFC 9111 §1.2.2 advises for values beyond what is representable.
const MAX_DELTA: Duration = Duration::from_secs(1 << 31);

/// Checks one answer: the limits and the clock in 17 bytes, then a field a line, its name in one letter.
pub fn check(data: &[u8]) {
    let Some((head, text)) = data.split_first_chunk::<17>() else { return };
    let number =
        |at: usize| head[at..at + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let (default, max) = (Duration::from_secs(number(0)), Duration::from_secs(number(8)));
    let limits = FreshnessLimits { default, min: Duration::ZERO, max: (head[16] & 1 == 1).then_some(max) };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(number(0) >> 24);
    let Some(fields) = fields(text) else { return };

    let freshness = Freshness::of(&map(&fields), now, limits);
    assert!(freshness.age <= MAX_DELTA);
    if let Some(max) = limits.max {
        assert!(freshness.lifetime <= freshness.age.saturating_add(max));
    }
    assert_eq!(freshness.bounded(limits), freshness);
    let floored = Freshness::of(&map(&fields), now, FreshnessLimits { min: default, ..limits });
    let floor = limits.max.map_or(default, |max| max.min(default));
    assert!(floored.lifetime >= freshness.age.saturating_add(floor));
    let told = |names: &[HeaderName]| fields.iter().any(|(name, _)| names.contains(name));
    if !told(&[CACHE_CONTROL, EXPIRES]) {
        let free = FreshnessLimits { max: None, ..limits };
        assert_eq!(Freshness::of(&map(&fields), now, free).lifetime, freshness.age.saturating_add(default));
    }

    let with = |value: &'static str| {
        let mut headers = map(&fields);
        headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        Freshness::of(&headers, now, limits)
    };
    // Without a lower bound nothing is left of the lifetime; the age on arrival is what it starts from.
    let left = |freshness: Freshness| freshness.lifetime.saturating_sub(freshness.age);
    assert_eq!(left(with("no-cache")), Duration::ZERO);
    assert_eq!(left(with("s-maxage=0")), Duration::ZERO);
    assert_eq!(with("no-store, private, x, y=\"max-age=1, no-cache\""), freshness);
    assert!(left(with("s-maxage=60")) <= Duration::from_secs(60));

    let upper: Vec<_> = fields
        .iter()
        .map(|(name, value)| match *name {
            CACHE_CONTROL => (
                name.clone(),
                HeaderValue::from_bytes(&value.as_bytes().to_ascii_uppercase()).expect("a value"),
            ),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    assert_eq!(Freshness::of(&map(&upper), now, limits), freshness, "in capitals");

    for (_, value) in &fields {
        let asked = map(&[(RETRY_AFTER, value.clone())]);
        let pause = retry_after(&asked, now);
        let Ok(text) = value.to_str() else { continue };
        let digits = !text.trim().is_empty() && text.trim().bytes().all(|byte| byte.is_ascii_digit());
        assert!(!digits || pause.is_some_and(|pause| pause.as_secs() <= u64::from(u32::MAX)), "{text}");
    }
}

/// Reads the fields; nothing if one cannot be in an answer.
fn fields(text: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let field = |line: &[u8]| {
        let (name, value) = line.split_first()?;
        let name = match name {
            b'C' => CACHE_CONTROL,
            b'E' => EXPIRES,
            b'A' => AGE,
            _ => DATE,
        };
        Some((name, HeaderValue::from_bytes(value).ok()?))
    };
    text.split(|byte| *byte == b'\n').map(field).collect()
}

fn map(fields: &[(HeaderName, HeaderValue)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value.clone());
    }
    headers
}
