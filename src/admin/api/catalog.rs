//! The catalog as the page shows it: the newest feeds that a Plesk server asks for in its shop window.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::blocking;
use crate::cache::cached_feed::{Feed, FeedIndex};
use crate::cache::fetch_error::FetchError;
use crate::cache::{Cache, Key};
use crate::feed::FeedKind;
use crate::feed::listing::{self, Listed};
use crate::proxy::query;

/// What is asked for while the cache has nothing: as Plesk 18 asks for its shop window.
const SHOP_WINDOW_QUERY: &str = "with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US";
/// As above, for the categories.
const CATEGORIES_QUERY: &str = "version=18.0.64&platform=unix&with-hidden&with-unstable&locale=en-US";
/// Version of the vendor's interface that is asked for then.
const API_VERSION: &str = "4";

/// A packages feed with what people look at.
#[derive(Debug)]
pub(super) struct Catalog {
    /// Key of the feed.
    pub(super) key: Key,
    pub(super) packages: Vec<Listed>,
}

/// The last catalog that was listed: a large one takes some milliseconds.
#[derive(Debug, Default)]
pub(super) struct LastCatalog(Mutex<Option<(Arc<Feed>, Arc<Catalog>)>>);

impl LastCatalog {
    /// Returns the newest packages of the shop window, if the cache has any.
    pub(super) async fn at_hand(&self, cache: &Cache) -> Option<Arc<Catalog>> {
        let (key, feed) = at_hand(cache, FeedKind::Packages)?;
        self.listed(key, feed).await.ok()
    }

    /// Returns the newest packages of the shop window, fetched if there are none.
    ///
    /// # Errors
    /// If they cannot be had.
    pub(super) async fn get(&self, cache: &Cache) -> Result<Arc<Catalog>, FetchError> {
        let (key, feed) = newest(cache, FeedKind::Packages, SHOP_WINDOW_QUERY).await?;
        self.listed(key, feed).await
    }

    async fn listed(&self, key: Key, feed: Arc<Feed>) -> Result<Arc<Catalog>, FetchError> {
        if let Some((of, catalog)) = &*self.0.lock()
            && Arc::ptr_eq(of, &feed)
            && catalog.key == key
        {
            return Ok(Arc::clone(catalog));
        }
        let listed = Arc::clone(&feed);
        let packages = blocking::run(move || match &listed.index {
            FeedIndex::Packages(index) => listing::list(&listed.body, index),
            FeedIndex::Categories(_) => Vec::new(),
        });
        let packages = packages.await.map_err(|_| FetchError::Interrupted)?;
        let catalog = Arc::new(Catalog { key, packages });
        *self.0.lock() = Some((feed, Arc::clone(&catalog)));
        Ok(catalog)
    }
}

/// Returns the newest categories of the shop window with the packages by which they are filtered, fetched if there are
/// none.
///
/// # Errors
/// If they cannot be had.
pub(super) async fn categories(cache: &Cache) -> Result<(Key, Arc<Feed>, Arc<Feed>), FetchError> {
    let (key, categories) = newest(cache, FeedKind::Categories, CATEGORIES_QUERY).await?;
    let packages = cache.look_up(&key.as_kind(FeedKind::Packages)).found().await?;
    Ok((key, categories, packages.cached.feed))
}

async fn newest(cache: &Cache, kind: FeedKind, query: &str) -> Result<(Key, Arc<Feed>), FetchError> {
    if let Some(found) = at_hand(cache, kind) {
        return Ok(found);
    }
    let key = Key::of(kind, API_VERSION, Some(query));
    let found = cache.look_up(&key).found().await?;
    Ok((key, found.cached.feed))
}

fn at_hand(cache: &Cache, kind: FeedKind) -> Option<(Key, Arc<Feed>)> {
    let is_wanted = |key: &Key| query::is_shop_window(key.as_str().split_once('?').map(|(_, query)| query));
    let found = cache.copies(kind).into_iter().find(|(key, _)| is_wanted(key));
    found.map(|(key, cached)| (key, cached.feed))
}
