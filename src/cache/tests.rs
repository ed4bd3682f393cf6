//! What the cache tells those who watch it, over an upstream without sockets.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use http::{Request, Response};
use tokio::time::advance;

use super::cached_feed::{FeedIndex, Meta};
use super::fetch::Wire;
use super::*;
use crate::body::{self, Body};
use crate::cache_directory::CacheDirectory;
use crate::feed::FeedKind;
use crate::feed::categories::CategoriesIndexer;
use crate::feed::packages::PackagesIndex;
use crate::news::{Change, Report, SellerName};
use crate::reloading::Reloading;
use crate::shops::{ShopFiles, Shops};
use crate::upstream::UpstreamError;
use crate::wall_clock;

/// An upstream without sockets: it answers each request, after a while, with what the test says.
#[derive(Clone, Default)]
pub(super) struct Scripted {
    /// How many requests it has seen.
    asked: Arc<AtomicUsize>,
    /// How many of them are neither answered nor given up.
    open: Arc<AtomicUsize>,
    pub(super) delay: Arc<Mutex<Duration>>,
    pub(super) status: Arc<Mutex<Vec<(u16, &'static str)>>>,
}

struct OpenResponses(Arc<AtomicUsize>);

impl Drop for OpenResponses {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    pub(super) fn after(seconds: u64) -> Self {
        let scripted = Self::default();
        *scripted.delay.lock() = Duration::from_secs(seconds);
        scripted
    }

    /// The cache over it.
    pub(super) fn cache(&self) -> Cache {
        self.cache_with(&config::CacheConfig::default(), None, None)
    }

    /// As [`Scripted::cache`], with a disk and a teller of news.
    pub(super) fn cache_with(
        &self,
        config: &config::CacheConfig,
        disk: Option<Arc<Disk>>,
        news: Option<News>,
    ) -> Cache {
        let scripted = self.clone();
        let send = move |target, _: Request<Body>| {
            let scripted = scripted.clone();
            async move { scripted.answer(&target).await }.boxed()
        };
        let wire = Wire { origin: "http://upstream.test".parse().expect("an origin"), send: Box::new(send) };
        let limits =
            FreshnessLimits { default: *config.fresh_for, min: Duration::ZERO, max: config.max_fresh_for };
        let fetcher = Fetcher::over(wire, limits, *config.max_feed_size, *config.size);
        Cache::over(fetcher, config, disk, news, Arc::new(Metrics::default()))
    }

    async fn answer(&self, target: &http::uri::PathAndQuery) -> Result<Response<Body>, UpstreamError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let _open = OpenResponses(Arc::clone(&self.open));
        let delay = *self.delay.lock();
        tokio::time::sleep(delay).await;
        let (status, retry_after) = self.status.lock().pop().unwrap_or((200, ""));
        let mut response = Response::new(body::full(format!("[{:?}]", target.as_str())));
        *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
        if !retry_after.is_empty() {
            response.headers_mut().insert("retry-after", http::HeaderValue::from_static(retry_after));
        }
        Ok(response)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

pub(super) fn key(n: usize) -> Key {
    Key::new(FeedKind::Packages, &format!("/api/v4/packages?{n}").parse().expect("a target"))
}

/// A copy of a packages feed that arrives now and is fresh for ten minutes.
pub(super) fn packages(body: impl Into<Bytes>) -> CachedFeed {
    let body = body.into();
    let index = FeedIndex::Packages(PackagesIndex::of(&body).expect("a feed"));
    CachedFeed { feed: Arc::new(Feed::new(body, index)), meta: Meta::bare() }
}

/// As [`packages`], of a categories feed.
pub(super) fn categories(body: &str) -> CachedFeed {
    let mut indexer = CategoriesIndexer::default();
    indexer.push(body.as_bytes()).expect("a feed");
    let (body, index) = indexer.finish().expect("a feed");
    let feed = Feed::new(body.into(), FeedIndex::Categories(index));
    CachedFeed { feed: Arc::new(feed), meta: Meta::bare() }
}

/// Waits until every task waits for something: only then does the stopped clock go on to the next timer, which is this.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Opens a directory in which the process before has left some copies.
pub(super) async fn disk_with(path: &Path, copies: &[(Key, CachedFeed)]) -> Arc<Disk> {
    let open = async || {
        let metrics = Metrics::default();
        Disk::open(CacheDirectory::new(path, &metrics), u64::MAX, &metrics).await.expect("threads")
    };
    let before = open().await;
    for (key, copy) in copies {
        before.save(key, copy);
    }
    let closing = blocking::run(move || {
        before.close();
        before.give_up();
    });
    closing.await.expect("no panic");
    Arc::new(open().await)
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_warm_with_a_packages_feed_that_may_be_served() {
    let cache = Scripted::default().cache();
    let keep = |key: Key, copy| drop(cache.0.store.insert(&key, copy, Instant::now()));
    keep(key(0).as_kind(FeedKind::Categories), categories("[]"));
    assert!(!cache.is_warm());
    keep(key(0), packages("[1]"));
    advance(Duration::from_mins(10) + cache.0.stale_for).await;
    assert!(cache.is_warm());
    advance(Duration::from_secs(1)).await;
    assert!(!cache.is_warm());
}

#[tokio::test(start_paused = true)]
async fn copies_that_may_be_served_are_listed_with_the_newest_first() {
    let cache = Scripted::default().cache();
    let keep = |key: Key, copy| drop(cache.0.store.insert(&key, copy, Instant::now()));
    let keys = |kind| cache.copies(kind).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    keep(key(0), packages("[0]"));
    advance(Duration::from_secs(1)).await;
    keep(key(1), packages("[1]"));
    advance(Duration::from_mins(10) + cache.0.stale_for).await;
    keep(key(2), packages("[2]"));
    let tree = key(3).as_kind(FeedKind::Categories);
    keep(tree.clone(), categories("[]"));
    assert_eq!(keys(FeedKind::Packages), [key(2), key(1)]);
    assert_eq!(keys(FeedKind::Categories), [tree]);
}

#[tokio::test(start_paused = true)]
async fn keys_are_counted_with_a_copy_a_stale_one_and_a_failure() {
    let upstream = Scripted::default();
    let cache = upstream.cache();
    let counts = || {
        let state = cache.observe(&Shops::of_texts(Some("extensions = []"), &[]).expect("shops"));
        (state.cached_keys, state.stale_keys, state.failing.len())
    };
    let keep = |key: Key| drop(cache.0.store.insert(&key, packages("[]"), Instant::now()));
    assert_eq!(counts(), (0, 0, 0));
    keep(key(0));
    advance(Duration::from_mins(11)).await;
    keep(key(1));
    upstream.status.lock().push((500, ""));
    cache.look_up(&key(2)).found().await.expect_err("a failure");
    assert_eq!(counts(), (2, 1, 1));
}

#[tokio::test]
async fn what_was_told_is_listed() {
    let origin = ShopFiles { default: Some("whitelist.toml".into()), directory: None };
    let list = Box::new(|_: &ShopFiles| vec![Ok(b"extensions = []".to_vec())]);
    let shops = Reloading::load_with(origin, list).expect("shops");
    let news = News::start(None, shops, Arc::default(), None).expect("a thread");
    let changes = Change::between("a", None, None, Some(SellerName::Free)).into_iter().collect();
    news.report(Report { api: "v4", at: wall_clock::now(), changes });
    let cache = Scripted::default().cache_with(&config::CacheConfig::default(), None, Some(news));
    cache.close().await;
    assert_eq!(cache.news().len(), 1);
}
