//! Views and their encoded forms, made when first asked for, each once, off the async threads.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

use super::cached_feed::Feed;
use super::encode::Encoding;
use super::fetch_error::FetchError;
use super::shared_value::SharedValue;
use super::store::Store;
use super::view::View;
use crate::blocking;
use crate::digest::Digest;
use crate::metrics::Metrics;
use crate::panics;
use crate::whitelist::Whitelist;
use crate::worker::Worker;

/// Smallest body that is encoded, in bytes: below, the head is most of a response anyway.
const MIN_ENCODED: usize = 256;

/// Most forms in the encoder's queue; beyond that clients get the plain body.
const MAX_WAITING: usize = 1024;

/// Most forms encoded at once beside the encoder's thread, for clients that take nothing else while its queue is full.
const MAX_BESIDE: usize = 2;

/// Longest wait on shutdown for the form that is being encoded.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// A view in one coding, by the view's digest.
type EncodedForm = (Digest, Encoding);

/// Compresses a body. Tests use one that panics.
type Encode = fn(Encoding, &[u8]) -> Bytes;

/// What a view is made of, by digests: the feed, the packages feed behind a categories feed, and the whitelist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct MakingKey {
    feed: Digest,
    packages: Option<Digest>,
    list: Digest,
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
    /// Forms in the encoder's queue or being made.
    waiting: Arc<Mutex<HashSet<EncodedForm>>>,
    /// `None` if the system gave no thread.
    encoder: Option<Worker<EncodeJob>>,
    beside: Arc<Semaphore>,
    encode: Encode,
    /// Set when no more forms are wanted.
    closed: Arc<AtomicBool>,
}

/// Guard of an entry in `making`; dropping it removes the entry, whatever became of the view.
#[derive(Debug)]
struct InTheMaking {
    table: Arc<Mutex<HashMap<MakingKey, Making>>>,
    key: MakingKey,
    making: Making,
}

/// One job of the encoder.
#[derive(Debug)]
struct EncodeJob {
    /// Weak, because a view that nothing holds any more by the time of its turn need not be encoded.
    view: Weak<View>,
    form: EncodedForm,
    done: Option<oneshot::Sender<Bytes>>,
    /// Held until the form is encoded or lost.
    _queued: Option<Queued>,
}

/// Guard of an entry in `waiting`; dropping it removes the entry, also when the encoder panics.
#[derive(Debug)]
struct Queued {
    waiting: Arc<Mutex<HashSet<EncodedForm>>>,
    form: EncodedForm,
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

impl Drop for Queued {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.form);
    }
}

impl Views {
    /// Starts the encoder thread. One thread only: an edit may need hundreds of forms, and the cores must go on
    /// serving. Several threads would spread their memory over as many of malloc's arenas, which keep it
    /// (184 MiB instead of 64 for 1,500 queries of 1 MB each).
    pub(super) fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self::encoding_with(Encoding::encode, store, metrics)
    }

    fn encoding_with(encode: Encode, store: Store, metrics: Arc<Metrics>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let (forms, ending) = (store.clone(), Arc::clone(&closed));
        let handle = move |job: EncodeJob| {
            let (digest, encoding) = job.form;
            let Some(view) = job.view.upgrade().filter(|_| !ending.load(Ordering::Relaxed)) else { return };
            let bytes = forms.encoded(digest, encoding).unwrap_or_else(|| {
                let bytes = encode(encoding, &view.body);
                forms.insert_encoded(digest, encoding, bytes.clone());
                bytes
            });
            // Whoever waited may have gone.
            let _ = job.done.map(|done| done.send(bytes));
        };
        let encoder = Worker::start("encoder", MAX_WAITING, metrics.panics("encoder"), handle)
            .inspect_err(
                |error| warn!(%error, "no thread to encode on, so answers are plain where they may be"),
            )
            .ok();
        let makers = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(ViewMaker {
            store,
            metrics,
            making: Arc::default(),
            makers: Arc::new(Semaphore::new(makers)),
            waiting: Arc::default(),
            encoder,
            beside: Arc::new(Semaphore::new(MAX_BESIDE)),
            encode,
            closed,
        }))
    }

    /// Returns the view of a feed for a list, made now if it was not before.
    ///
    /// Cancel safe: it is made by a task of its own, so one who stops waiting harms no other.
    pub(super) async fn view(
        &self,
        feed: &Arc<Feed>,
        packages: Option<&Arc<Feed>>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        match self.0.made(feed, packages, list) {
            Some(view) => Ok(view),
            // Boxed, so that what does not wait has no room for it.
            None => Box::pin(self.make(feed, packages, list)).await,
        }
    }

    /// Waits for the view that is being made, or has it made.
    async fn make(
        &self,
        feed: &Arc<Feed>,
        packages: Option<&Arc<Feed>>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        let packages_digest = packages.map(|packages| packages.digest);
        let key = MakingKey { feed: feed.digest, packages: packages_digest, list: list.digest };
        let (making, is_new) = {
            let mut table = self.0.making.lock();
            // It may have been made between the look into the store and here.
            if let Some(view) = self.0.made(feed, packages, list) {
                return Ok(view);
            }
            let is_new = !table.contains_key(&key);
            (Arc::clone(table.entry(key).or_default()), is_new)
        };
        // Not under the lock: a runtime that is shutting down drops the task at once, and its guard takes the lock.
        if is_new {
            let place = InTheMaking { table: Arc::clone(&self.0.making), key, making: Arc::clone(&making) };
            let (shared, feed, list) = (Arc::clone(&self.0), Arc::clone(feed), Arc::clone(list));
            let packages = packages.map(Arc::clone);
            tokio::spawn(async move {
                if let Some(view) = shared.make(feed, packages, list).await {
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

    /// Returns a view's encoded form if it is there; if not, has it made in the background.
    pub(super) fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        if view.body.len() < MIN_ENCODED {
            return None;
        }
        let found = self.0.store.encoded(view.digest, encoding);
        if found.is_none()
            && let Some(encoder) = &self.0.encoder
            && let Some(queued) = self.queue((view.digest, encoding))
        {
            let job = EncodeJob {
                view: Arc::downgrade(view),
                form: queued.form,
                done: None,
                _queued: Some(queued),
            };
            // Where the queue is full, another request asks again.
            let _ = encoder.send(job);
        }
        found
    }

    /// Returns a view's encoded form, made now if it was not before.
    ///
    /// # Errors
    /// If making it broke off. Then an identity body may still be possible.
    pub(super) async fn encode(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        let (done, bytes) = oneshot::channel();
        let form = (view.digest, encoding);
        let job = EncodeJob { view: Arc::downgrade(view), form, done: Some(done), _queued: None };
        // A job is dropped when the encoder panics, or is closed on shutdown while this response still may finish.
        if let Some(Ok(())) = self.0.encoder.as_ref().map(|encoder| encoder.send(job))
            && let Ok(bytes) = bytes.await
        {
            return Ok(bytes);
        }
        // The client takes nothing else, so it waits for its turn here instead of in the queue.
        self.encode_beside(view, encoding).await
    }

    /// Ends the encoder's thread; forms in its queue are lost. Blocks until it is done with the one it makes, or a
    /// moment has passed.
    pub(super) fn close(&self) {
        if let Some(encoder) = &self.0.encoder {
            self.0.closed.store(true, Ordering::Relaxed);
            encoder.close(CLOSE_LIMIT);
        }
    }

    /// Returns how many views and forms are being made or wait for it.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.0.making.lock().len() + self.0.waiting.lock().len()
    }

    async fn encode_beside(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        let turn = Arc::clone(&self.0.beside).acquire_owned().await.map_err(|_| FetchError::Interrupted)?;
        let (view, shared) = (Arc::clone(view), Arc::clone(&self.0));
        self.0
            .off_thread("encoder", move || {
                let _turn = turn;
                shared.store.encoded(view.digest, encoding).unwrap_or_else(|| {
                    let bytes = (shared.encode)(encoding, &view.body);
                    shared.store.insert_encoded(view.digest, encoding, bytes.clone());
                    bytes
                })
            })
            .await
            .ok_or(FetchError::Interrupted)
    }

    /// Adds a form to `waiting`; `None` if it is there already, or that is full.
    fn queue(&self, form: EncodedForm) -> Option<Queued> {
        let mut waiting = self.0.waiting.lock();
        let new = waiting.len() < MAX_WAITING && waiting.insert(form);
        new.then(|| Queued { waiting: Arc::clone(&self.0.waiting), form })
    }
}

impl ViewMaker {
    /// Returns a view that was made before, of this list or of one that decides the same.
    fn made(&self, feed: &Feed, packages: Option<&Arc<Feed>>, list: &Whitelist) -> Option<Arc<View>> {
        self.store.view(feed.decided(packages.map(|packages| &**packages), list)?)
    }

    /// Makes a view and stores it, unless a list that decides the same had it made before; nothing if that broke off.
    async fn make(
        self: &Arc<Self>,
        feed: Arc<Feed>,
        packages: Option<Arc<Feed>>,
        list: Arc<Whitelist>,
    ) -> Option<Arc<View>> {
        let _turn = self.makers.acquire().await.ok()?;
        let store = self.store.clone();
        // Copying and hashing megabytes would hold up the other connections of this thread.
        self.off_thread("view", move || {
            let key = feed.decide(packages.as_deref(), &list);
            store.view(key).unwrap_or_else(|| {
                let view = Arc::new(feed.view(packages.as_deref(), &list));
                store.insert_view(key, Arc::clone(&view));
                view
            })
        })
        .await
    }

    /// Runs blocking work on another thread; `None` if it panicked, which is counted, or never ran.
    async fn off_thread<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let panics = self.metrics.panics(name);
        blocking::run(move || panics::catch(name, &panics, work)).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

    use futures_util::FutureExt;
    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::cache::cached_feed::FeedIndex;
    use crate::cancel;
    use crate::feed::packages;

    fn feed() -> Arc<Feed> {
        let body = Bytes::from(format!("[{:?}]", "x".repeat(10 * MIN_ENCODED)));
        let index = FeedIndex::Packages(packages::PackagesIndex::of(&body).expect("a feed"));
        Arc::new(Feed::new(body, index))
    }

    fn list(number: u64) -> Arc<Whitelist> {
        Arc::new(Whitelist::parse(format!("extensions = [\"{number}\"]").as_bytes()).expect("a list").0)
    }

    fn views(encode: Encode) -> Views {
        Views::encoding_with(encode, Store::new(1 << 20, Counter::default()), Arc::default())
    }

    /// Waits until what goes on in the background has happened.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn one_who_stops_waiting_leaves_no_view_in_the_making() {
        let (views, feed) = (views(Encoding::encode), feed());
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
        let (views, feed, list) = (views(Encoding::encode), feed(), list(1));
        // The first one has it made, and goes away.
        assert!(cancel::after(1, views.view(&feed, None, &list)).await.is_none());
        let [one, other] = [views.view(&feed, None, &list), views.view(&feed, None, &list)];
        let (one, other) = tokio::join!(one, other);
        assert!(Arc::ptr_eq(&one.expect("a view"), &other.expect("a view")));
    }

    #[tokio::test]
    async fn an_encoder_that_panics_is_noticed_and_keeps_nobody_waiting() {
        let views = views(|encoding, body| {
            assert_ne!(encoding, Encoding::Brotli, "the coding that panics");
            encoding.encode(body)
        });
        let view = views.view(&feed(), None, &list(1)).await.expect("a view");
        let panics = views.0.metrics.panics("encoder");
        // By the encoder, and beside it.
        assert!(views.encode(&view, Encoding::Brotli).await.is_err());
        until(|| panics.get() == 2).await;
        assert!(views.encoded(&view, Encoding::Brotli).is_none());
        until(|| panics.get() == 3).await;
        // It goes on, and what it failed at may be asked for again.
        until(|| views.0.waiting.lock().is_empty()).await;
        assert!(views.encode(&view, Encoding::Gzip).await.is_ok());
        assert!(views.encoded(&view, Encoding::Gzip).is_some());
    }

    #[tokio::test]
    async fn a_form_that_is_asked_for_often_is_queued_once() {
        let views = views(Encoding::encode);
        let view = views.view(&feed(), None, &list(1)).await.expect("a view");
        let queued = views.queue((view.digest, Encoding::Zstd)).expect("room");
        assert!(views.queue((view.digest, Encoding::Zstd)).is_none());
        assert!(views.encoded(&view, Encoding::Zstd).is_none());
        drop(queued);
        assert!(views.0.waiting.lock().is_empty());
        assert!(views.encode_beside(&view, Encoding::Zstd).await.is_ok());
        assert!(views.encoded(&view, Encoding::Zstd).is_some());
    }

    #[tokio::test]
    async fn a_client_that_stops_waiting_for_a_form_leaves_nothing_behind() {
        let views = views(Encoding::encode);
        let view = views.view(&feed(), None, &list(1)).await.expect("a view");
        let start = async || {
            let (views, view) = (views.clone(), Arc::clone(&view));
            async move { views.encode_beside(&view, Encoding::Gzip).await }
        };
        let free = async |_| until(|| views.0.beside.available_permits() == MAX_BESIDE).await;
        cancel::at_every_await(start, free).await.expect("a form");
        assert_eq!(views.0.beside.available_permits(), MAX_BESIDE);
    }

    #[tokio::test]
    async fn lists_that_decide_the_same_share_a_view() {
        let (views, feed) = (views(Encoding::encode), feed());
        let one = views.view(&feed, None, &list(1)).await.expect("a view");
        let other = views.view(&feed, None, &list(2)).await.expect("a view");
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[tokio::test]
    async fn a_response_that_finishes_after_the_encoder_is_closed_gets_its_form() {
        let views = views(Encoding::encode);
        let view = views.view(&feed(), None, &list(1)).await.expect("a view");
        views.close();
        assert_eq!(
            views.encode(&view, Encoding::Gzip).await.expect("a form"),
            Encoding::Gzip.encode(&view.body)
        );
    }

    #[test]
    fn a_runtime_that_is_shut_down_breaks_off_what_is_asked_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = runtime.handle().clone();
        drop(runtime);
        let _inside = handle.enter();
        let (views, feed, list) = (views(Encoding::encode), feed(), list(1));
        let view = views.view(&feed, None, &list).now_or_never().expect("an answer at once");
        assert!(matches!(view, Err(FetchError::Interrupted)), "{view:?}");
        assert!(views.0.making.lock().is_empty());
    }
}
