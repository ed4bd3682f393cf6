//! The time of day. In the simulation it goes with the stopped clock.

use std::time::SystemTime;

/// Returns the time of day.
pub(crate) fn now() -> SystemTime {
    #[cfg(test)]
    if let Some(now) = crate::sim::clock::time_of_day() {
        return now;
    }
    SystemTime::now()
}
