//! Views, made when first asked for, each once, off the async threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::cached_feed::Feed;
use super::fetch_error::FetchError;
use super::shared_value::SharedValue;
use super::store::Store;
use super::view::View;
use crate::blocking;
use crate::digest::Digest;
use crate::metrics::Metrics;
use crate::policy::{ViewKind, ViewRules};

/// What a view is made of: the feed, the packages feed behind a categories feed, and the rules, by their digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct MakingKey {
    feed: Digest,
    packages: Option<Digest>,
    rules: Digest,
    kind: ViewKind,
}

/// A view that many wait for and one task makes.
type Making = Arc<SharedValue<Made>>;

/// What became of a view.
#[derive(Debug, Default)]
enum Made {
    #[default]
    NotYet,
    Done(Arc<View>),
    BrokenOff,
}

/// Makes views; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Views(Arc<ViewMaker>);

#[derive(Debug)]
struct ViewMaker {
    store: Store,
    metrics: Arc<Metrics>,
    making: Arc<Mutex<HashMap<MakingKey, Making>>>,
    /// Limits the views made at once: each takes as much memory as its feed, and a thread.
    makers: Arc<Semaphore>,
}

/// Guard of an entry in `making`; dropping it removes the entry, whatever became of the view.
#[derive(Debug)]
struct InTheMaking {
    table: Arc<Mutex<HashMap<MakingKey, Making>>>,
    key: MakingKey,
    making: Making,
}

impl Drop for InTheMaking {
    fn drop(&mut self) {
        self.table.lock().remove(&self.key);
        self.making.modify(|made| {
            if matches!(made, Made::NotYet) {
                *made = Made::BrokenOff;
            }
        });
    }
}

impl Views {
    pub(super) fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        let makers = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(ViewMaker {
            store,
            metrics,
            making: Arc::default(),
            makers: Arc::new(Semaphore::new(makers)),
        }))
    }

    /// Returns the view of a feed, made now if it was not before.
    ///
    /// Cancel safe: it is made by a task of its own, so one who stops waiting harms no other.
    pub(super) async fn view(
        &self,
        feed: &Arc<Feed>,
        packages: Option<&Arc<Feed>>,
        rules: &ViewRules,
    ) -> Result<Arc<View>, FetchError> {
        match self.0.made(feed, packages, rules) {
            Some(view) => Ok(view),
            // Boxed, so that what does not wait has no room for it.
            None => Box::pin(self.make(feed, packages, rules)).await,
        }
    }

    /// Waits for the view that is being made, or has it made.
    async fn make(
        &self,
        feed: &Arc<Feed>,
        packages: Option<&Arc<Feed>>,
        rules: &ViewRules,
    ) -> Result<Arc<View>, FetchError> {
        let packages_digest = packages.map(|packages| packages.digest);
        let key = MakingKey {
            feed: feed.digest,
            packages: packages_digest,
            rules: rules.rules.digest,
            kind: rules.kind,
        };
        let (making, is_new) = {
            let mut table = self.0.making.lock();
            // It may have been made between the look into the store and here.
            if let Some(view) = self.0.made(feed, packages, rules) {
                return Ok(view);
            }
            let is_new = !table.contains_key(&key);
            (Arc::clone(table.entry(key).or_default()), is_new)
        };
        // Not under the lock: a runtime that is shutting down drops the task at once, and its guard takes the lock.
        if is_new {
            let place = InTheMaking { table: Arc::clone(&self.0.making), key, making: Arc::clone(&making) };
            let (shared, feed, rules) = (Arc::clone(&self.0), Arc::clone(feed), rules.clone());
            let packages = packages.map(Arc::clone);
            tokio::spawn(async move {
                if let Some(view) = shared.make(feed, packages, rules).await {
                    place.making.modify(|made| *made = Made::Done(view));
                }
            });
        }
        making
            .wait_for(|made| match made {
                Made::NotYet => None,
                Made::Done(view) => Some(Ok(Arc::clone(view))),
                Made::BrokenOff => Some(Err(FetchError::Interrupted)),
            })
            .await
    }

    /// Returns how many views are being made or wait for it.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.0.making.lock().len()
    }
}

impl ViewMaker {
    /// Returns a view that was made before, for these rules or others that decide the same.
    fn made(&self, feed: &Feed, packages: Option<&Arc<Feed>>, rules: &ViewRules) -> Option<Arc<View>> {
        self.store.view(feed.decided(packages.map(|packages| &**packages), rules)?)
    }

    /// Makes a view and stores it, unless rules that decide the same had it made before; nothing if that broke off.
    async fn make(
        self: &Arc<Self>,
        feed: Arc<Feed>,
        packages: Option<Arc<Feed>>,
        rules: ViewRules,
    ) -> Option<Arc<View>> {
        let _turn = self.makers.acquire().await.ok()?;
        let store = self.store.clone();
        // Copying and hashing megabytes would hold up the other connections of this thread.
        let panics = self.metrics.panics("view");
        blocking::run_caught("view", panics, move || {
            let key = feed.decide(packages.as_deref(), &rules);
            store.view(key).unwrap_or_else(|| {
                let view = Arc::new(feed.view(packages.as_deref(), &rules));
                store.insert_view(key, Arc::clone(&view));
                view
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::cache::cached_feed::FeedIndex;
    use crate::cancel;
    use crate::feed::packages;

    fn feed() -> Arc<Feed> {
        let body = Bytes::from(format!("[{:?}]", "x".repeat(2000)));
        let index = FeedIndex::Packages(packages::PackagesIndex::of(&body).expect("a feed"));
        Arc::new(Feed::new(body, index))
    }

    fn list(number: u64) -> ViewRules {
        ViewRules::of_text(&format!("extensions = [\"{number}\"]"), ViewKind::Shop)
    }

    fn views() -> Views {
        Views::new(Store::new(1 << 20, Counter::default()), Arc::default())
    }

    /// Waits until what goes on in the background has happened.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn one_who_stops_waiting_leaves_no_view_in_the_making() {
        let (views, feed) = (views(), feed());
        let number = std::cell::Cell::new(0);
        let start = async || {
            number.set(number.get() + 1);
            let (views, feed, list) = (views.clone(), Arc::clone(&feed), list(number.get()));
            async move { views.view(&feed, None, &list).await }
        };
        let check = async |_| until(|| views.0.making.lock().is_empty()).await;
        let view = cancel::at_every_await(start, check).await.expect("a view");
        assert_eq!(view.body, feed.body);
        assert!(number.get() > 1, "it was never dropped");
        assert!(views.0.making.lock().is_empty());
    }

    #[tokio::test]
    async fn one_who_stops_waiting_harms_no_other() {
        let (views, feed, list) = (views(), feed(), list(1));
        // The first one has it made, and goes away.
        assert!(cancel::after(1, views.view(&feed, None, &list)).await.is_none());
        let [one, other] = [views.view(&feed, None, &list), views.view(&feed, None, &list)];
        let (one, other) = tokio::join!(one, other);
        assert!(Arc::ptr_eq(&one.expect("a view"), &other.expect("a view")));
    }

    #[tokio::test]
    async fn lists_that_decide_the_same_share_a_view() {
        let (views, feed) = (views(), feed());
        let one = views.view(&feed, None, &list(1)).await.expect("a view");
        let other = views.view(&feed, None, &list(2)).await.expect("a view");
        assert!(Arc::ptr_eq(&one, &other));
        // What is there is no work for a task.
        let again = views.view(&feed, None, &list(1)).now_or_never().expect("no wait").expect("a view");
        assert!(Arc::ptr_eq(&one, &again));
    }

    #[test]
    fn a_runtime_that_is_shut_down_breaks_off_what_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        let (views, feed, list) = (views(), feed(), list(1));
        let view = views.view(&feed, None, &list).now_or_never().expect("an answer at once");
        assert!(matches!(view, Err(FetchError::Interrupted)), "{view:?}");
        assert!(views.0.making.lock().is_empty());
    }
}
