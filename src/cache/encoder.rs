//! Encoded forms of views, made when first asked for, each once, off the async threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tracing::warn;

use super::encode::Encoding;
use super::fetch_error::FetchError;
use super::store::Store;
use super::view::View;
use crate::blocking;
use crate::digest::Digest;
use crate::metrics::Metrics;
use crate::worker::Worker;

/// Smallest body that is encoded, in bytes: below, the head is most of a response anyway.
const MIN_ENCODED_BYTES: usize = 256;

/// How many times smaller an encoded form is than its body, at least as a rule: feeds give four to six. Where not even
/// such a form would be kept, encoding in the background is of no use, and each request would ask for it anew.
const USUAL_RATIO: u64 = 4;

/// Most forms in the encoder's queue; beyond that clients get the plain body.
const MAX_WAITING_FORMS: usize = 1024;

/// Most forms encoded at once beside the encoder's thread, for clients that take nothing else while its queue is full.
const MAX_FORMS_BESIDE: usize = 2;

/// Longest wait on shutdown for the form that is being encoded.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// A view in one coding, by the view's digest.
type EncodedForm = (Digest, Encoding);

/// Compresses a body. Tests use one that panics.
type Encode = fn(Encoding, &[u8]) -> Bytes;

/// Encodes views; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Encoder(Arc<FormMaker>);

#[derive(Debug)]
struct FormMaker {
    store: Store,
    metrics: Arc<Metrics>,
    /// Forms in the encoder's queue or being made.
    waiting: Arc<Mutex<HashSet<EncodedForm>>>,
    /// `None` if the system gave no thread.
    thread: Option<Worker<EncodeJob>>,
    beside: Arc<Semaphore>,
    encode: Encode,
    /// Set when no more forms are wanted.
    closed: Arc<AtomicBool>,
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

impl Drop for Queued {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.form);
    }
}

impl Encoder {
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
        let thread = Worker::start("encoder", MAX_WAITING_FORMS, metrics.panics("encoder"), handle)
            .inspect_err(
                |error| warn!(%error, "no thread to encode on, so answers are plain where they may be"),
            )
            .ok();
        Self(Arc::new(FormMaker {
            store,
            metrics,
            waiting: Arc::default(),
            thread,
            beside: Arc::new(Semaphore::new(MAX_FORMS_BESIDE)),
            encode,
            closed,
        }))
    }

    /// Returns a view's encoded form if it is there; if not, has it made in the background, unless feeds leave no room
    /// for it.
    pub(super) fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        if view.body.len() < MIN_ENCODED_BYTES {
            return None;
        }
        let found = self.0.store.encoded(view.digest, encoding);
        if found.is_none()
            && self.0.store.room_for_forms() >= view.body.len() as u64 / USUAL_RATIO
            && let Some(thread) = &self.0.thread
            && let Some(queued) = self.queue((view.digest, encoding))
        {
            let job = EncodeJob {
                view: Arc::downgrade(view),
                form: queued.form,
                done: None,
                _queued: Some(queued),
            };
            // Where the queue is full, another request asks again.
            let _ = thread.send(job);
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
        if let Some(Ok(())) = self.0.thread.as_ref().map(|thread| thread.send(job))
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
        if let Some(thread) = &self.0.thread {
            self.0.closed.store(true, Ordering::Relaxed);
            thread.close(CLOSE_LIMIT);
        }
    }

    /// Returns how many forms are in the queue or being made.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.0.waiting.lock().len()
    }

    async fn encode_beside(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        let turn = Arc::clone(&self.0.beside).acquire_owned().await.map_err(|_| FetchError::Interrupted)?;
        let (view, shared) = (Arc::clone(view), Arc::clone(&self.0));
        blocking::run_caught("encoder", self.0.metrics.panics("encoder"), move || {
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
        let new = waiting.len() < MAX_WAITING_FORMS && waiting.insert(form);
        new.then(|| Queued { waiting: Arc::clone(&self.0.waiting), form })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::cancel;

    fn encoder(encode: Encode) -> Encoder {
        Encoder::encoding_with(encode, Store::new(1 << 20, Counter::default()), Arc::default())
    }

    fn view() -> Arc<View> {
        view_of(10 * MIN_ENCODED_BYTES)
    }

    fn view_of(bytes: usize) -> Arc<View> {
        Arc::new(View::new(vec![b'x'; bytes]))
    }

    /// Waits until what goes on in the background has happened.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn an_encoder_that_panics_is_noticed_and_keeps_nobody_waiting() {
        let encoder = encoder(|encoding, body| {
            assert_ne!(encoding, Encoding::Brotli, "the coding that panics");
            encoding.encode(body)
        });
        let view = view();
        let panics = encoder.0.metrics.panics("encoder");
        // By the encoder, and beside it.
        assert!(encoder.encode(&view, Encoding::Brotli).await.is_err());
        until(|| panics.get() == 2).await;
        assert!(encoder.encoded(&view, Encoding::Brotli).is_none());
        until(|| panics.get() == 3).await;
        // It goes on, and what it failed at may be asked for again.
        until(|| encoder.0.waiting.lock().is_empty()).await;
        assert!(encoder.encode(&view, Encoding::Gzip).await.is_ok());
        assert!(encoder.encoded(&view, Encoding::Gzip).is_some());
    }

    #[tokio::test]
    async fn a_form_that_is_asked_for_often_is_queued_once() {
        let encoder = encoder(Encoding::encode);
        let view = view();
        let queued = encoder.queue((view.digest, Encoding::Zstd)).expect("room");
        assert!(encoder.queue((view.digest, Encoding::Zstd)).is_none());
        assert!(encoder.encoded(&view, Encoding::Zstd).is_none());
        drop(queued);
        assert!(encoder.0.waiting.lock().is_empty());
        assert!(encoder.encode_beside(&view, Encoding::Zstd).await.is_ok());
        assert!(encoder.encoded(&view, Encoding::Zstd).is_some());
    }

    #[tokio::test]
    async fn the_queue_has_a_bound() {
        let encoder = encoder(Encoding::encode);
        let queue = |n: usize| encoder.queue((Digest::of(&n.to_le_bytes()), Encoding::Gzip));
        let mut queued: Vec<_> = (0..MAX_WAITING_FORMS).map(|n| queue(n).expect("room")).collect();
        assert!(queue(MAX_WAITING_FORMS).is_none());
        queued.pop();
        assert!(queue(MAX_WAITING_FORMS).is_some());
    }

    #[tokio::test]
    async fn small_bodies_have_no_encoded_form() {
        let encoder = encoder(Encoding::encode);
        for (bytes, expected) in [(MIN_ENCODED_BYTES - 1, false), (MIN_ENCODED_BYTES, true)] {
            let view = view_of(bytes);
            encoder.encode(&view, Encoding::Gzip).await.expect("a form");
            assert_eq!(encoder.encoded(&view, Encoding::Gzip).is_some(), expected, "{bytes}");
        }
    }

    /// Returns true if a form was asked for in the background.
    fn is_begun(encoder: &Encoder, view: &View, encoding: Encoding) -> bool {
        // In this order: the form is kept before it leaves the queue.
        encoder.under_way() > 0 || encoder.0.store.encoded(view.digest, encoding).is_some()
    }

    #[tokio::test]
    async fn what_could_not_be_kept_is_not_encoded_in_the_background() {
        let view = view();
        let over = |room: u64| {
            let store = Store::new(room, Counter::default());
            Encoder::encoding_with(Encoding::encode, store, Arc::default())
        };
        // As large as the view itself, which is more than its form takes.
        let encoder = over(view.body.len() as u64);
        assert!(encoder.encoded(&view, Encoding::Gzip).is_none());
        assert!(is_begun(&encoder, &view, Encoding::Gzip));
        let encoder = over(600);
        assert!(encoder.encoded(&view, Encoding::Gzip).is_none());
        assert!(!is_begun(&encoder, &view, Encoding::Gzip));
        // A client that takes nothing else gets it.
        assert!(encoder.encode(&view, Encoding::Gzip).await.is_ok());
    }

    #[tokio::test]
    async fn a_client_that_stops_waiting_for_a_form_leaves_nothing_behind() {
        let encoder = encoder(Encoding::encode);
        let view = view();
        let start = async || {
            let (encoder, view) = (encoder.clone(), Arc::clone(&view));
            async move { encoder.encode_beside(&view, Encoding::Gzip).await }
        };
        let free = async |_| until(|| encoder.0.beside.available_permits() == MAX_FORMS_BESIDE).await;
        cancel::at_every_await(start, free).await.expect("a form");
        assert_eq!(encoder.0.beside.available_permits(), MAX_FORMS_BESIDE);
    }

    #[tokio::test]
    async fn a_response_that_finishes_after_the_encoder_is_closed_gets_its_form() {
        let encoder = encoder(Encoding::encode);
        let view = view();
        encoder.close();
        assert!(encoder.encoded(&view, Encoding::Zstd).is_none());
        assert!(!is_begun(&encoder, &view, Encoding::Zstd));
        assert_eq!(
            encoder.encode(&view, Encoding::Gzip).await.expect("a form"),
            Encoding::Gzip.encode(&view.body)
        );
    }
}
