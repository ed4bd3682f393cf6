//! Failed fetches: remembered for a moment, and retried ever later.

use std::time::Duration;

use moka::sync::Cache;
use tokio::time::Instant;

use super::Key;
use super::fetch::FetchError;

/// First pause after a failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause: after an outage the catalog is current again within minutes.
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Longest pause while clients have no copy to be served and would see the error.
const MAX_PAUSE_WITHOUT_COPY: Duration = Duration::from_secs(1);
/// Failing keys remembered; a flood of invented queries forgets the oldest.
const MAX_KEYS: u64 = 4096;

/// The failures of late; cloning shares them.
#[derive(Debug, Clone)]
pub(super) struct Failures(Cache<Key, Failure>);

#[derive(Debug, Clone)]
struct Failure {
    error: FetchError,
    /// How many in a row.
    count: u32,
    at: Instant,
    pause: Duration,
}

impl Default for Failures {
    fn default() -> Self {
        Self(Cache::new(MAX_KEYS))
    }
}

impl Failures {
    /// Remembers a failure; returns how long to pause before the next fetch.
    pub(super) fn remember(&self, key: &Key, error: &FetchError, now: Instant) -> Duration {
        let count = self.0.get(key).map_or(0, |failure| failure.count).saturating_add(1);
        let pause = pause(count, fastrand::f64());
        self.0.insert(key.clone(), Failure { error: error.clone(), count, at: now, pause });
        pause
    }

    /// Forgets the failures of a key that was fetched.
    pub(super) fn forget(&self, key: &Key) {
        self.0.invalidate(key);
    }

    /// May a key be fetched to renew its copy?
    pub(super) fn may_retry(&self, key: &Key, now: Instant) -> bool {
        self.0.get(key).is_none_or(|failure| now >= failure.at + failure.pause)
    }

    /// Returns the error to share with those who ask for a key without a copy.
    pub(super) fn recent(&self, key: &Key, now: Instant) -> Option<FetchError> {
        let failure = self.0.get(key)?;
        (now < failure.at + failure.pause.min(MAX_PAUSE_WITHOUT_COPY)).then_some(failure.error)
    }
}

/// Doubles from the shortest to the longest pause; `random` in 0..1 takes up to half of it off, so that
/// many proxies do not ask together.
fn pause(count: u32, random: f64) -> Duration {
    let full = MIN_PAUSE.saturating_mul(1 << (count - 1).min(16)).min(MAX_PAUSE);
    full.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Kind;

    #[test]
    fn pauses_grow_to_a_limit() {
        let check = |count: u32, random: f64, millis: u128| {
            assert_eq!(pause(count, random).as_millis(), millis, "{count} {random}");
        };
        check(1, 0.0, 1000);
        check(1, 1.0, 500);
        check(2, 0.0, 2000);
        check(5, 0.5, 12_000);
        check(9, 0.0, 256_000);
        check(10, 0.0, 300_000);
        check(u32::MAX, 0.0, 300_000);
    }

    #[tokio::test(start_paused = true)]
    async fn are_shared_for_a_moment_and_forgotten() {
        let failures = Failures::default();
        let key = Key::new(Kind::Packages, &"/api/v4/packages".parse().expect("a path"));
        assert!(failures.may_retry(&key, Instant::now()));
        for _ in 0..6 {
            failures.remember(&key, &FetchError::Coding, Instant::now());
        }
        assert!(failures.recent(&key, Instant::now()).is_some());
        tokio::time::advance(MAX_PAUSE_WITHOUT_COPY).await;
        assert!(failures.recent(&key, Instant::now()).is_none());
        assert!(!failures.may_retry(&key, Instant::now()));
        tokio::time::advance(MAX_PAUSE).await;
        assert!(failures.may_retry(&key, Instant::now()));
        failures.remember(&key, &FetchError::Coding, Instant::now());
        failures.forget(&key);
        assert!(failures.may_retry(&key, Instant::now()));
    }
}
