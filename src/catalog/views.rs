//! Views and their encoded forms, made when first asked for, each once, off the async threads.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use bytes::Bytes;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::copy::{Copy, Digest, View};
use super::encode::Encoding;
use super::fetch::FetchError;
use super::lock;
use super::store::{Store, ViewKey};
use crate::whitelist::Whitelist;

/// Smallest body worth encoding: below, the head is most of an answer anyway.
const MIN_ENCODED: usize = 256;

/// Forms waiting for an encoder; beyond that clients get the plain body and ask again another time.
const MAX_WAITING: usize = 1024;

/// A view that many wait for and one makes.
type Making = Arc<OnceCell<Arc<View>>>;

/// Makes views; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Views {
    store: Store,
    making: Arc<Mutex<HashMap<ViewKey, Making>>>,
    /// Forms in the encoder's queue.
    waiting: Arc<Mutex<HashSet<(Digest, Encoding)>>>,
    encoder: Sender<Job>,
}

/// A form to be made.
#[derive(Debug)]
struct Job {
    /// The queue does not keep views: one that is gone by its turn is wanted no more.
    view: Weak<View>,
    form: (Digest, Encoding),
    /// Whoever waits for it.
    done: Option<oneshot::Sender<Bytes>>,
}

impl Views {
    /// Makes the maker, with one thread for all encoding: an edit may want hundreds of forms, and the cores
    /// must go on serving. On many threads their memory would be spread over as many of malloc's arenas,
    /// which keep it (184 MiB instead of 64 for 1,500 queries of 1 MB each).
    pub(super) fn new(store: Store) -> Self {
        let (encoder, jobs) = mpsc::channel::<Job>();
        let waiting: Arc<Mutex<HashSet<_>>> = Arc::default();
        let (forms, queue) = (store.clone(), Arc::clone(&waiting));
        let encode = move || {
            for job in jobs {
                let (digest, encoding) = job.form;
                let bytes = job.view.upgrade().map(|view| {
                    forms.encoded(digest, encoding).unwrap_or_else(|| {
                        let bytes = encoding.encode(&view.body);
                        forms.insert_encoded(digest, encoding, bytes.clone());
                        bytes
                    })
                });
                lock(&queue).remove(&job.form);
                // Whoever waited may have gone.
                let _ = job.done.zip(bytes).map(|(done, bytes)| done.send(bytes));
            }
        };
        if let Err(error) = thread::Builder::new().name("encoder".to_owned()).spawn(encode) {
            warn!(%error, "no thread to encode on, so all answers are plain");
        }
        Self { store, making: Arc::default(), waiting, encoder }
    }

    /// Returns the view of a copy for a list, made now if it was not before.
    pub(super) async fn view(
        &self,
        copy: &Copy,
        packages: Option<&Copy>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        let key = ViewKey::new(copy, packages, list);
        if let Some(view) = self.store.view(key) {
            return Ok(view);
        }
        let cell = Arc::clone(lock(&self.making).entry(key).or_default());
        let making = cell.get_or_try_init(|| async {
            let content = Arc::clone(&copy.content);
            let packages = packages.map(|packages| Arc::clone(&packages.content));
            let list = Arc::clone(list);
            // Copying and hashing megabytes would hold up the other connections of this thread.
            let view = spawn_blocking(move || Arc::new(content.view(packages.as_deref(), &list)))
                .await
                .map_err(|_| FetchError::Interrupted)?;
            self.store.insert_view(key, Arc::clone(&view));
            Ok(view)
        });
        // Boxed, for most requests need it not and would pay for its room.
        let view = Box::pin(making).await.cloned();
        lock(&self.making).remove(&key);
        view
    }

    /// Returns a view's encoded form if it is there; if not, has it made in the background.
    pub(super) fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        if view.body.len() < MIN_ENCODED {
            return None;
        }
        let found = self.store.encoded(view.digest, encoding);
        if found.is_none() {
            let form = (view.digest, encoding);
            let mut waiting = lock(&self.waiting);
            if waiting.len() < MAX_WAITING && waiting.insert(form) {
                // It fails only without a thread, of which the log has told.
                let _ = self.encoder.send(Job { view: Arc::downgrade(view), form, done: None });
            }
        }
        found
    }

    /// Returns a view's encoded form, made now if it was not before.
    pub(super) async fn encode(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        let (done, bytes) = oneshot::channel();
        let form = (view.digest, encoding);
        let job = Job { view: Arc::downgrade(view), form, done: Some(done) };
        self.encoder.send(job).map_err(|_| FetchError::Interrupted)?;
        bytes.await.map_err(|_| FetchError::Interrupted)
    }
}
