//! Views and their encoded forms, made when first asked for, each once, off the async threads.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use super::copy::{Content, Copy, Digest, View};
use super::encode::Encoding;
use super::fetch::FetchError;
use super::store::{Store, ViewKey};
use crate::metrics::Metrics;
use crate::whitelist::Whitelist;
use crate::worker::{Rejected, Worker};

/// Smallest body worth encoding: below, the head is most of an answer anyway.
const MIN_ENCODED: usize = 256;

/// Forms waiting for an encoder; beyond that clients get the plain body and ask again another time.
const MAX_WAITING: usize = 1024;

/// Forms that are made beside the encoder's thread at once, for clients that take nothing else while its queue is
/// full.
const MAX_BESIDE: usize = 2;

/// Longest wait at the end for the form that is being made.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// A view in one coding, by the view's digest.
type Form = (Digest, Encoding);

/// Compresses a body. Tests put one here that panics.
type Encode = fn(Encoding, &[u8]) -> Bytes;

/// A view that many wait for and one task makes; `None` until it is made.
type Making = watch::Receiver<Option<Arc<View>>>;

/// Makes views; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Views(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    metrics: Arc<Metrics>,
    making: Arc<Mutex<HashMap<ViewKey, Making>>>,
    /// Views that are made at once: each takes as much memory as its feed, and a thread.
    makers: Arc<Semaphore>,
    /// Forms in the encoder's queue or being made.
    waiting: Arc<Mutex<HashSet<Form>>>,
    /// Nothing if the system gave no thread.
    encoder: Option<Worker<Job>>,
    beside: Arc<Semaphore>,
    encode: Encode,
    /// Set when no more forms are wanted.
    closed: Arc<AtomicBool>,
}

/// A view's place among those in the making; dropping it makes room, whatever became of the view.
#[derive(Debug)]
struct InTheMaking {
    making: Arc<Mutex<HashMap<ViewKey, Making>>>,
    key: ViewKey,
}

/// A form to be made.
#[derive(Debug)]
struct Job {
    /// The queue does not keep views: one that is gone by its turn is wanted no more.
    view: Weak<View>,
    form: Form,
    /// Whoever waits for it.
    done: Option<oneshot::Sender<Bytes>>,
    /// Held until the form is made or lost.
    _queued: Option<Queued>,
}

/// A form's place among those that need not be asked for again; dropping it makes room, also when the encoder
/// panics.
#[derive(Debug)]
struct Queued {
    waiting: Arc<Mutex<HashSet<Form>>>,
    form: Form,
}

impl Drop for InTheMaking {
    fn drop(&mut self) {
        self.making.lock().remove(&self.key);
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.form);
    }
}

impl Views {
    /// Makes the maker, with one thread for all encoding: an edit may want hundreds of forms, and the cores
    /// must go on serving. On many threads their memory would be spread over as many of malloc's arenas,
    /// which keep it (184 MiB instead of 64 for 1,500 queries of 1 MB each).
    pub(super) fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self::encoding_with(Encoding::encode, store, metrics)
    }

    fn encoding_with(encode: Encode, store: Store, metrics: Arc<Metrics>) -> Self {
        let closed = Arc::new(AtomicBool::new(false));
        let (forms, ending) = (store.clone(), Arc::clone(&closed));
        let handle = move |job: Job| {
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
        Self(Arc::new(Shared {
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

    /// Returns the view of a copy for a list, made now if it was not before.
    ///
    /// Cancel safe: it is made by a task of its own, so one who stops waiting harms no other.
    pub(super) async fn view(
        &self,
        copy: &Copy,
        packages: Option<&Copy>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        let key = ViewKey::new(copy, packages, list);
        if let Some(view) = self.0.store.view(key) {
            return Ok(view);
        }
        let mut making = {
            let mut table = self.0.making.lock();
            // It may have been made between the look into the store and here.
            if let Some(view) = self.0.store.view(key) {
                return Ok(view);
            }
            match table.get(&key) {
                Some(making) => making.clone(),
                None => {
                    let content = Arc::clone(&copy.content);
                    let packages = packages.map(|packages| Arc::clone(&packages.content));
                    let list = Arc::clone(list);
                    let (made, making) = watch::channel(None);
                    table.insert(key, making.clone());
                    let place = InTheMaking { making: Arc::clone(&self.0.making), key };
                    let shared = Arc::clone(&self.0);
                    tokio::spawn(async move {
                        let view = shared.make(content, packages, list).await;
                        if let Some(view) = &view {
                            shared.store.insert_view(key, Arc::clone(view));
                        }
                        // In this order: who finds it no more in the making finds it in the store.
                        drop(place);
                        // Nobody may be left to wait for it.
                        let _ = view.map(|view| made.send(Some(view)));
                    });
                    making
                }
            }
        };
        match making.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(view)) => Ok(Arc::clone(view)),
            _ => Err(FetchError::Interrupted),
        }
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
            let job =
                Job { view: Arc::downgrade(view), form: queued.form, done: None, _queued: Some(queued) };
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
        let job = Job { view: Arc::downgrade(view), form, done: Some(done), _queued: None };
        match self.0.encoder.as_ref().map(|encoder| encoder.send(job)) {
            Some(Ok(())) => bytes.await.map_err(|_| FetchError::Interrupted),
            // The client takes nothing else, so it waits for its turn here instead of in the queue.
            Some(Err(Rejected::Full)) | None => self.encode_beside(view, encoding).await,
            Some(Err(Rejected::Closed)) => Err(FetchError::Interrupted),
        }
    }

    /// Ends the encoder's thread; forms in its queue are lost. Blocks until it is done with the one it makes, or a
    /// moment has passed.
    pub(super) fn close(&self) {
        if let Some(encoder) = &self.0.encoder {
            self.0.closed.store(true, Ordering::Relaxed);
            encoder.close(CLOSE_LIMIT);
        }
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

    /// Takes a place for a form; nothing if it is in the queue already, or that is full.
    fn queue(&self, form: Form) -> Option<Queued> {
        let mut waiting = self.0.waiting.lock();
        let new = waiting.len() < MAX_WAITING && waiting.insert(form);
        new.then(|| Queued { waiting: Arc::clone(&self.0.waiting), form })
    }
}

impl Shared {
    /// Makes a view; nothing if that broke off.
    async fn make(
        &self,
        content: Arc<Content>,
        packages: Option<Arc<Content>>,
        list: Arc<Whitelist>,
    ) -> Option<Arc<View>> {
        let _turn = self.makers.acquire().await.ok()?;
        // Copying and hashing megabytes would hold up the other connections of this thread.
        self.off_thread("view", move || Arc::new(content.view(packages.as_deref(), &list))).await
    }

    /// Runs what takes long on another thread; nothing if it panicked, which is counted, or never ran.
    async fn off_thread<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let result = spawn_blocking(work).await;
        if let Err(failure) = &result
            && failure.is_panic()
        {
            self.metrics.panics(name).inc();
            error!(thread = name, %failure, "a background job panicked");
        }
        result.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

    use prometheus_client::metrics::counter::Counter;
    use tokio::time::Instant;

    use super::*;
    use crate::cancel;
    use crate::catalog::copy::{Index, Meta};
    use crate::catalog::freshness::Freshness;
    use crate::feed::packages;

    fn copy() -> Copy {
        let body = Bytes::from(format!("[{:?}]", "x".repeat(10 * MIN_ENCODED)));
        let index = Index::Packages(packages::PackagesIndex::of(&body).expect("a feed"));
        let meta = Meta {
            etag: None,
            last_modified: None,
            content_type: None,
            freshness: Freshness { lifetime: Duration::from_secs(600), age: Duration::ZERO },
            held: Duration::ZERO,
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
            unconfirmed: Arc::default(),
        };
        Copy { content: Arc::new(Content::new(body, index)), meta }
    }

    fn list(generation: u64) -> Arc<Whitelist> {
        Arc::new(Whitelist::parse(b"extensions = []", generation).expect("a list").0)
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
        let (views, copy) = (views(Encoding::encode), copy());
        let generation = std::cell::Cell::new(0);
        let start = async || {
            generation.set(generation.get() + 1);
            let (views, copy, list) = (views.clone(), copy.clone(), list(generation.get()));
            async move { views.view(&copy, None, &list).await }
        };
        let check = async |_| until(|| views.0.making.lock().is_empty()).await;
        let view = cancel::at_every_await(start, check).await.expect("a view");
        assert_eq!(view.body, copy.content.body);
        assert!(generation.get() > 1, "it was never dropped");
        assert!(views.0.making.lock().is_empty());
    }

    #[tokio::test]
    async fn one_who_stops_waiting_harms_no_other() {
        let (views, copy, list) = (views(Encoding::encode), copy(), list(1));
        // The first one has it made, and goes away.
        assert!(cancel::after(1, views.view(&copy, None, &list)).await.is_none());
        let [one, other] = [views.view(&copy, None, &list), views.view(&copy, None, &list)];
        let (one, other) = tokio::join!(one, other);
        assert!(Arc::ptr_eq(&one.expect("a view"), &other.expect("a view")));
    }

    #[tokio::test]
    async fn an_encoder_that_panics_is_noticed_and_keeps_nobody_waiting() {
        let views = views(|encoding, body| {
            assert_ne!(encoding, Encoding::Brotli, "the coding that panics");
            encoding.encode(body)
        });
        let view = views.view(&copy(), None, &list(1)).await.expect("a view");
        let panics = views.0.metrics.panics("encoder");
        assert!(views.encode(&view, Encoding::Brotli).await.is_err());
        until(|| panics.get() == 1).await;
        assert!(views.encode_beside(&view, Encoding::Brotli).await.is_err());
        assert_eq!(panics.get(), 2);
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
        let view = views.view(&copy(), None, &list(1)).await.expect("a view");
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
        let view = views.view(&copy(), None, &list(1)).await.expect("a view");
        let start = async || {
            let (views, view) = (views.clone(), Arc::clone(&view));
            async move { views.encode_beside(&view, Encoding::Gzip).await }
        };
        let free = async |_| until(|| views.0.beside.available_permits() == MAX_BESIDE).await;
        cancel::at_every_await(start, free).await.expect("a form");
        assert_eq!(views.0.beside.available_permits(), MAX_BESIDE);
    }
}
