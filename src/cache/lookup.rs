//! What the cache has for a key now.

use super::cached_feed::CachedFeed;
use super::fetch_error::FetchError;
use super::flight::Flight;
use crate::cache_status::CacheOutcome;

/// What the cache has for a key now.
#[derive(Debug)]
pub enum Lookup {
    /// A copy within its freshness lifetime.
    Fresh(CachedFeed),
    /// An older copy that may be served. It is being renewed.
    Stale(CachedFeed),
    /// No copy, and a fetch to wait for.
    InFlight(Flight),
    /// No copy, and a fetch that failed a moment ago.
    Failed(FetchError),
}

/// A feed to answer with, and what the cache did to have it.
#[derive(Debug, Clone)]
pub struct Found {
    pub cached: CachedFeed,
    pub outcome: CacheOutcome,
}

impl Lookup {
    /// Returns the feed, for which it waits if that is in flight.
    ///
    /// # Errors
    /// If there is no copy and the fetch fails, or takes longer than a client has to wait.
    pub async fn found(self) -> Result<Found, FetchError> {
        match self {
            Self::Fresh(cached) => Ok(Found { cached, outcome: CacheOutcome::Hit }),
            Self::Stale(cached) => Ok(Found { cached, outcome: CacheOutcome::Stale }),
            // Boxed, so that what does not wait has no room for it.
            Self::InFlight(flight) => Box::pin(flight.finished()).await,
            Self::Failed(error) => Err(error),
        }
    }
}
