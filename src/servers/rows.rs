//! The rows: bounded, and forgotten some time after the last answer.

use std::hash::RandomState;
use std::net::IpAddr;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::shops::{RulesOrder, ShopName};

/// Most rows: some 8 MB. The largest hosters have some thousand Plesk servers.
pub(super) const MAX_ROWS: usize = 65_536;

/// How long a row outlives its last answer. Plesk asks every three days at least, so this is two missed visits.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_hours(7 * 24);

/// Identifies a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServerKey {
    pub(super) shop: ShopName,
    pub(super) address: IpAddr,
}

/// What is known about a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastAnswer {
    /// Place of the rules that it was made by.
    pub(super) order: RulesOrder,
    pub(super) at: Instant,
}

/// The rows, in the order of their last answers.
#[derive(Debug)]
pub(super) struct ServerRows(LruCache<ServerKey, LastAnswer, RandomState>);

impl Default for ServerRows {
    fn default() -> Self {
        // With a bound of its own it would take all of its memory at once. Clients choose addresses, hence the hasher.
        Self(LruCache::unbounded_with_hasher(RandomState::new()))
    }
}

impl ServerRows {
    /// Records an answer. If there is no room for a new row, the one that was answered longest ago goes.
    pub(super) fn record(&mut self, key: ServerKey, order: RulesOrder, now: Instant) {
        while self.0.peek_lru().is_some_and(|(_, oldest)| is_forgotten(oldest, now)) {
            self.0.pop_lru();
        }
        let answer = LastAnswer { order, at: now };
        match self.0.get_mut(&key) {
            Some(last) => *last = answer,
            None => {
                if self.0.len() == MAX_ROWS {
                    self.0.pop_lru();
                }
                self.0.put(key, answer);
            }
        }
    }

    /// Returns the rows that are not forgotten yet.
    pub(super) fn kept(&self, now: Instant) -> impl Iterator<Item = (&ServerKey, &LastAnswer)> {
        self.0.iter().filter(move |(_, last)| !is_forgotten(last, now))
    }

    /// Removes some rows.
    pub(super) fn forget(&mut self, is_forgotten: impl Fn(&ServerKey) -> bool) {
        let keys = self.0.iter().map(|(key, _)| key).filter(|key| is_forgotten(key));
        for key in keys.cloned().collect::<Vec<_>>() {
            self.0.pop(&key);
        }
    }
}

fn is_forgotten(last: &LastAnswer, now: Instant) -> bool {
    now.saturating_duration_since(last.at) >= FORGOTTEN_AFTER
}
