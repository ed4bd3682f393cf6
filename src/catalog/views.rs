//! Views and their encoded forms, made when first asked for, each once, off the async threads.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use tokio::sync::{OnceCell, Semaphore};
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
    encoding: Arc<Mutex<HashSet<(Digest, Encoding)>>>,
    /// Places for encoders: an edit may want hundreds of forms, and half the cores must go on serving.
    places: Arc<Semaphore>,
}

impl Views {
    pub(super) fn new(store: Store) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let places = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { store, making: Arc::default(), encoding: Arc::default(), places }
    }

    /// Returns the view of a copy for a list, made now if it was not before.
    pub(super) async fn view(
        &self,
        copy: &Copy,
        packages: Option<&Copy>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        let key = ViewKey {
            content: copy.content.digest,
            packages: packages.map(|packages| packages.content.digest),
            generation: list.generation,
        };
        if let Some(view) = self.store.view(key) {
            return Ok(view);
        }
        let cell = Arc::clone(lock(&self.making).entry(key).or_default());
        let view = cell
            .get_or_try_init(|| async {
                let content = Arc::clone(&copy.content);
                let packages = packages.map(|packages| Arc::clone(&packages.content));
                let list = Arc::clone(list);
                // Copying and hashing megabytes would hold up the other connections of this thread.
                let view = spawn_blocking(move || Arc::new(content.view(packages.as_deref(), &list)))
                    .await
                    .map_err(|_| FetchError::Interrupted)?;
                self.store.insert_view(key, Arc::clone(&view));
                Ok(view)
            })
            .await
            .cloned();
        lock(&self.making).remove(&key);
        view
    }

    /// Returns a view's encoded form if it is there; if not, has it made in the background.
    pub(super) fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        if view.body.len() < MIN_ENCODED {
            return None;
        }
        let form = (view.digest, encoding);
        let found = self.store.encoded(view.digest, encoding);
        let mut waiting = lock(&self.encoding);
        if found.is_none() && waiting.len() < MAX_WAITING && waiting.insert(form) {
            // It waits without keeping the view: one that is gone by its turn is wanted no more.
            let (this, view) = (self.clone(), Arc::downgrade(view));
            tokio::spawn(async move {
                if let Ok(_place) = this.places.acquire().await
                    && let Some(view) = view.upgrade()
                    && this.make(&view, encoding).await.is_err()
                {
                    warn!(encoding = encoding.name(), "view not encoded");
                }
                lock(&this.encoding).remove(&form);
            });
        }
        found
    }

    /// Returns a view's encoded form, made now if it was not before.
    pub(super) async fn encode(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        let _place = self.places.acquire().await.map_err(|_| FetchError::Interrupted)?;
        if let Some(found) = self.store.encoded(view.digest, encoding) {
            return Ok(found);
        }
        self.make(view, encoding).await
    }

    async fn make(&self, view: &View, encoding: Encoding) -> Result<Bytes, FetchError> {
        let body = view.body.clone();
        let bytes =
            spawn_blocking(move || encoding.encode(&body)).await.map_err(|_| FetchError::Interrupted)?;
        self.store.insert_encoded(view.digest, encoding, bytes.clone());
        Ok(bytes)
    }
}
