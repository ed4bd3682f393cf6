//! Pauses between attempts that grow from failure to failure.

use std::time::Duration;

/// Pauses that double from `min` to `max`. Each is shortened by up to a half at random, so that many proxies that
/// failed together do not try again together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// Returns the pause after `failures` in a row, for a `random` number in 0..1.
    pub(crate) fn pause(self, failures: u32, random: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        jittered(self.min.saturating_mul(1 << doublings).min(self.max), random)
    }
}

/// Shortens a pause by up to a half, for a `random` number in 0..1.
pub(crate) fn jittered(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) };
        let check = |failures: u32, random: f64, millis: u128| {
            assert_eq!(backoff.pause(failures, random).as_millis(), millis, "{failures} {random}");
        };
        check(0, 0.0, 1000);
        check(1, 0.0, 1000);
        check(1, 1.0, 500);
        check(2, 0.0, 2000);
        check(5, 0.5, 12_000);
        check(9, 0.0, 256_000);
        check(10, 0.0, 300_000);
        check(u32::MAX, 0.0, 300_000);
    }
}
