//! Failed fetches, and when each key may be fetched again: pauses double from one failure to the next.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::Key;
use super::fetch_error::FetchError;
use crate::backoff::{Backoff, jittered};

/// Longest pause: after an outage the catalog is current again within minutes.
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// Pauses between fetches that fail.
const BACKOFF: Backoff = Backoff { min: Duration::from_secs(1), max: MAX_PAUSE };
/// Longest pause while clients have no copy to be served and would see the error.
pub(super) const MAX_PAUSE_WITHOUT_COPY: Duration = Duration::from_secs(1);
/// Longest pause that an upstream can ask for with `Retry-After`: it may be wrong, and a day is long.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);
/// Most memory for failing keys and their errors, some ten thousand; a flood of invented queries forgets the oldest.
const MAX_BYTES: u64 = 4 << 20;
/// About how many bytes one failure takes beside its texts.
const OVERHEAD_BYTES: usize = 300;

/// The last failures by key; cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Failures(Cache<Key, FailedKey>);

#[derive(Debug, Clone)]
struct FailedKey {
    error: FetchError,
    /// Failures in a row.
    count: u32,
    at: Instant,
    /// Time from `at` until the copy may be renewed.
    pause: Duration,
    /// The least pause that the upstream asked for.
    asked: Duration,
}

impl Default for Failures {
    fn default() -> Self {
        let weigh = |key: &Key, failure: &FailedKey| {
            let bytes = OVERHEAD_BYTES + key.as_str().len() + failure.error.weight();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let oldest_first = EvictionPolicy::lru();
        Self(Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).eviction_policy(oldest_first).build())
    }
}

impl Failures {
    /// Records a failure; returns the pause before the next fetch. The copy in service, if any, was
    /// fresh for `lifetime`.
    pub(super) fn remember(
        &self,
        key: &Key,
        error: &FetchError,
        lifetime: Duration,
        now: Instant,
    ) -> Duration {
        let count = self.0.get(key).map_or(0, |failure| failure.count).saturating_add(1);
        let random = fastrand::f64();
        let asked = match error {
            FetchError::Status { retry_after: Some(pause), .. } => (*pause).min(MAX_RETRY_AFTER),
            _ => Duration::ZERO,
        };
        let least = match error {
            // Fetches that agree within seconds would see the same mistake.
            FetchError::Shrunk { .. } => jittered(lifetime.min(MAX_PAUSE), random),
            _ => asked,
        };
        let pause = BACKOFF.pause(count, random).max(least);
        self.0.insert(key.clone(), FailedKey { error: error.clone(), count, at: now, pause, asked });
        // Evicts now rather than some time later, so that the bound holds in a flood of new keys.
        self.0.run_pending_tasks();
        pause
    }

    /// Forgets the failures of a key.
    pub(super) fn forget(&self, key: &Key) {
        self.0.invalidate(key);
    }

    /// Returns true if a key may be fetched to renew its copy.
    pub(super) fn may_retry(&self, key: &Key, now: Instant) -> bool {
        self.0.get(key).is_none_or(|failure| now >= failure.at + failure.pause)
    }

    /// Returns the error to share with those who ask for a key without a copy. They see it for a moment only,
    /// unless the upstream asked for more time; then the error says how much of that is left.
    pub(super) fn recent(&self, key: &Key, now: Instant) -> Option<FetchError> {
        let mut failure = self.0.get(key)?;
        let pause = failure.pause.min(MAX_PAUSE_WITHOUT_COPY).max(failure.asked);
        let left =
            pause.checked_sub(now.saturating_duration_since(failure.at)).filter(|left| !left.is_zero())?;
        if let FetchError::Status { retry_after: Some(asked), .. } = &mut failure.error {
            *asked = left;
        }
        Some(failure.error)
    }

    /// Returns the last error of a key.
    pub(super) fn last(&self, key: &Key) -> Option<FetchError> {
        self.0.get(key).map(|failure| failure.error)
    }

    /// Returns the failing keys with their last errors.
    pub(super) fn all(&self) -> Vec<(Key, FetchError)> {
        self.0.iter().map(|(key, failure)| (Key::clone(&key), failure.error)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::FeedKind;

    fn key() -> Key {
        Key::new(FeedKind::Packages, &"/api/v4/packages".parse().expect("a path"))
    }

    #[test]
    fn a_shrunken_feed_is_looked_at_again_at_the_pace_of_the_feed() {
        let check = |lifetime: u64, least: u64, most: u64| {
            let error = FetchError::Shrunk { had: 10, has: 4, seen: 1 };
            let lifetime = Duration::from_secs(lifetime);
            let pause = Failures::default().remember(&key(), &error, lifetime, Instant::now());
            assert!((least..=most).contains(&pause.as_secs()), "{lifetime:?}: {pause:?}");
        };
        check(0, 0, 1);
        check(60, 30, 60);
        check(600, 150, 300);
    }

    #[test]
    fn the_upstream_may_ask_for_a_longer_pause() {
        let pause = |seconds: u64| {
            let retry_after = Some(Duration::from_secs(seconds));
            let error = FetchError::Status { status: http::StatusCode::TOO_MANY_REQUESTS, retry_after };
            Failures::default().remember(&key(), &error, Duration::ZERO, Instant::now()).as_secs()
        };
        assert_eq!(pause(120), 120);
        assert_eq!(pause(1_000_000), 3600);
        assert!(pause(0) <= 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_upstream_is_left_alone_for_as_long_as_it_asks_also_without_a_copy() {
        let failures = Failures::default();
        let (key, now) = (key(), Instant::now());
        let error = |retry_after: Option<u64>| FetchError::Status {
            status: http::StatusCode::TOO_MANY_REQUESTS,
            retry_after: retry_after.map(Duration::from_secs),
        };
        failures.remember(&key, &error(Some(100)), Duration::ZERO, now);
        let left = |after: u64| match failures.recent(&key, now + Duration::from_secs(after)) {
            Some(FetchError::Status { retry_after, .. }) => retry_after.map(|left| left.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!((left(0), left(99)), (Some(100), Some(1)));
        assert!(failures.recent(&key, now + Duration::from_secs(100)).is_none());
        // Without such a wish it is a second at most, however often it failed.
        for _ in 0..9 {
            failures.remember(&key, &error(None), Duration::ZERO, now);
        }
        assert!(failures.recent(&key, now + MAX_PAUSE_WITHOUT_COPY).is_none());
        assert!(!failures.may_retry(&key, now + MAX_PAUSE_WITHOUT_COPY));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let failures = Failures::default();
        let location = "x".repeat(100_000).into_boxed_str();
        let error = FetchError::Redirect { location };
        for n in 0..1000 {
            let key = Key::new(FeedKind::Packages, &format!("/api/v4/packages?{n}").parse().expect("a path"));
            failures.remember(&key, &error, Duration::ZERO, Instant::now());
        }
        assert!(failures.0.weighted_size() <= MAX_BYTES);
        assert!(failures.all().len() < 50, "{}", failures.all().len());
    }

    #[tokio::test(start_paused = true)]
    async fn are_shared_for_a_moment_and_forgotten() {
        let failures = Failures::default();
        let key = key();
        assert!(failures.may_retry(&key, Instant::now()));
        for _ in 0..6 {
            failures.remember(&key, &FetchError::Coding, Duration::ZERO, Instant::now());
        }
        assert!(failures.recent(&key, Instant::now()).is_some());
        assert!(matches!(failures.last(&key), Some(FetchError::Coding)));
        tokio::time::advance(MAX_PAUSE_WITHOUT_COPY).await;
        assert!(failures.recent(&key, Instant::now()).is_none());
        assert!(!failures.may_retry(&key, Instant::now()));
        tokio::time::advance(MAX_PAUSE).await;
        assert!(failures.may_retry(&key, Instant::now()));
        failures.remember(&key, &FetchError::Coding, Duration::ZERO, Instant::now());
        failures.forget(&key);
        assert!(failures.may_retry(&key, Instant::now()) && failures.last(&key).is_none());
    }
}
