//! Flights from the look-up to their end, over a scripted upstream and on a stopped clock.
#![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::fetch::{Fetcher, Wire};
use super::super::freshness::FreshnessLimits;
use super::super::lookup::Lookup;
use super::super::tests::{Scripted, disk_with, key, packages, settle};
use super::*;
use crate::body::{self, Body};
use crate::cache_status::CacheOutcome;
use crate::cancel;
use crate::config;
use crate::policy::{ViewKind, ViewRules};

async fn get(cache: &Cache, n: usize) -> Result<(CachedFeed, CacheOutcome), FetchError> {
    cache.look_up(&key(n)).found().await.map(|found| (found.cached, found.outcome))
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_a_timeout_once_and_a_hit_after_that() {
    let upstream = Scripted::after(11);
    let cache = upstream.cache();
    let asked = Instant::now();
    let error = get(&cache, 0).await.expect_err("it takes too long");
    assert!(matches!(error, FetchError::Late(PATIENCE)), "{error}");
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert!(cache.0.failures.all().is_empty(), "no failure of the fetch");
    // One that comes meanwhile joins it.
    let (_, outcome) = get(&cache, 0).await.expect("a copy");
    assert_eq!(outcome, CacheOutcome::Collapsed);
    let (_, outcome) = get(&cache, 0).await.expect("a copy");
    assert_eq!(outcome, CacheOutcome::Hit);
    assert_eq!((asked.elapsed().as_secs(), upstream.asked()), (11, 1));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_comes_ends_after_a_minute() {
    let upstream = Scripted::after(3600);
    let cache = upstream.cache();
    get(&cache, 0).await.expect_err("nothing");
    assert_eq!((upstream.open(), cache.0.flights.counts().running), (1, 1));
    tokio::time::sleep(Duration::from_secs(51)).await;
    assert_eq!((upstream.open(), cache.0.flights.counts().total), (0, 0));
    assert_eq!(cache.0.failures.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_hung_up_keeps_nobody_waiting() {
    let upstream = Scripted::after(3600);
    let cache = upstream.cache();
    let mut crowd: Vec<_> = (0..1200).map(|n| cache.look_up(&key(n))).collect();
    settle().await;
    let counts = cache.0.flights.counts();
    assert_eq!((counts.running, counts.waiting), (MAX_RUNNING, MAX_WAITING));
    assert_eq!(counts.total, MAX_RUNNING + MAX_WAITING, "the others were refused");
    let last = crowd.pop().expect("a client");
    assert!(matches!(last.found().await, Err(FetchError::Busy)));
    // Those who wait get the places of those who leave before them, and leave as well.
    drop(crowd);
    settle().await;
    assert_eq!((cache.0.flights.counts().total, upstream.open()), (MAX_RUNNING, MAX_RUNNING));
    // Now the upstream is well again for others.
    let yielded = cache.0.metrics.fetches_yielded.get();
    *upstream.delay.lock() = Duration::from_secs(1);
    let asked = Instant::now();
    get(&cache, 5000).await.expect("a copy");
    assert_eq!(asked.elapsed().as_secs(), 1);
    assert_eq!(cache.0.metrics.fetches_yielded.get(), yielded + 1);
    // The rest end by themselves.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!((cache.0.flights.counts().total, upstream.open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_in_the_queue_is_told_to_come_back() {
    let upstream = Scripted::after(3600);
    let cache = upstream.cache();
    // They do not give up, so their fetches run on.
    let _crowd: Vec<_> = (0..MAX_RUNNING).map(|n| cache.look_up(&key(n))).collect();
    settle().await;
    let asked = Instant::now();
    let error = get(&cache, 5000).await.expect_err("no place");
    assert!(matches!(error, FetchError::Busy), "{error}");
    assert!(error.retry_after().is_some());
    assert_eq!((asked.elapsed(), cache.0.flights.counts().waiting), (PATIENCE, 0));
}

#[tokio::test(start_paused = true)]
async fn no_client_that_has_a_copy_waits() {
    let upstream = Scripted::default();
    let cache = upstream.cache();
    for n in 0..10 {
        get(&cache, n).await.expect("a copy");
    }
    *upstream.delay.lock() = Duration::from_hours(1);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let _crowd: Vec<_> = (100..600).map(|n| cache.look_up(&key(n))).collect();
    settle().await;
    for n in 0..10 {
        assert!(matches!(cache.look_up(&key(n)), Lookup::Stale(_)));
    }
    settle().await;
    let counts = cache.0.flights.counts();
    assert_eq!((counts.renewing, counts.running), (MAX_RENEWING, MAX_RUNNING));
}

#[tokio::test(start_paused = true)]
async fn the_upstream_is_not_asked_before_it_wants_to_be() {
    let upstream = Scripted::default();
    let cache = upstream.cache();
    *upstream.status.lock() = vec![(503, "100")];
    get(&cache, 0).await.expect_err("a refusal");
    tokio::time::sleep(Duration::from_secs(40)).await;
    let error = get(&cache, 0).await.expect_err("it is remembered");
    assert_eq!((error.retry_after(), upstream.asked()), (Some(Duration::from_mins(1)), 1));
    tokio::time::sleep(Duration::from_secs(61)).await;
    get(&cache, 0).await.expect("a copy");
    // Without such a wish, a second is enough.
    *upstream.status.lock() = vec![(503, "")];
    get(&cache, 1).await.expect_err("a refusal");
    tokio::time::sleep(Duration::from_secs(1)).await;
    get(&cache, 1).await.expect("a copy");
}

#[tokio::test(start_paused = true)]
async fn each_fetch_is_counted_by_how_it_ended() {
    let upstream = Scripted::default();
    let cache = upstream.cache();
    let metrics = &cache.0.metrics;
    let ended = |outcome, phase| Fetch { feed: "packages", outcome, phase };
    let count = |ended: &Fetch| metrics.fetches.get_or_create(ended).get();
    let ends = [ended("status", "content"), ended("changed", DONE), ended("unchanged", DONE)];
    let last_fetch = || metrics.last_fetches.get_or_create(&key(0).feed()).get();
    *upstream.status.lock() = vec![(503, "")];
    get(&cache, 0).await.expect_err("a refusal");
    assert_eq!((ends.each_ref().map(count), last_fetch()), ([1, 0, 0], 0));
    tokio::time::sleep(Duration::from_secs(1)).await;
    get(&cache, 0).await.expect("a copy");
    assert_eq!(ends.each_ref().map(count), [1, 1, 0]);
    assert!(last_fetch() > 0);
    tokio::time::sleep(Duration::from_hours(1)).await;
    let (_, outcome) = get(&cache, 0).await.expect("a copy");
    assert_eq!(outcome, CacheOutcome::Stale);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ends.each_ref().map(count), [1, 1, 1]);
}

#[tokio::test]
async fn a_copy_on_disk_is_served_at_once_and_renewed_if_it_is_stale() {
    for (lifetime, expected, flights) in [(600, CacheOutcome::Hit, 0), (0, CacheOutcome::Stale, 1)] {
        let path = tempfile::tempdir().expect("a directory");
        let mut copy = packages("[1]");
        copy.meta.freshness.lifetime = Duration::from_secs(lifetime);
        let disk = disk_with(path.path(), &[(key(0), copy)]).await;
        let upstream = Scripted::after(3600);
        let cache = upstream.cache_with(&config::CacheConfig::default(), Some(disk), None);
        let (cached, outcome) = get(&cache, 0).await.expect("a copy");
        assert_eq!((&cached.feed.body[..], outcome), (&b"[1]"[..], expected));
        assert_eq!(cache.0.flights.counts().total, flights);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_dropped_at_any_await_leaves_no_reader_behind() {
    let upstream = Scripted::after(1);
    let cache = upstream.cache();
    let n = AtomicUsize::new(0);
    let start = async || {
        let (cache, n) = (cache.clone(), n.fetch_add(1, Ordering::SeqCst));
        async move { get(&cache, n).await }
    };
    let check = async |_| {
        // What was started goes on without anyone, and then it is gone.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((cache.0.flights.counts().total, upstream.open()), (0, 0));
    };
    cancel::at_every_await(start, check).await.expect("a copy");
    assert_eq!(cache.0.flights.counts().total, 0);
    assert!(upstream.asked() >= 2, "it was never dropped midway");
}

#[tokio::test(start_paused = true)]
async fn a_stream_counts_as_a_reader_until_its_end() {
    let upstream = Scripted::default();
    let cache = upstream.cache();
    let gate = Arc::new(Notify::new());
    let frames = futures_util::stream::unfold((0, Arc::clone(&gate)), |(n, gate)| async move {
        let frame = match n {
            0 => "[1,2",
            1 => {
                gate.notified().await;
                ",3]"
            }
            _ => return None,
        };
        Some((Ok::<_, FetchError>(http_body::Frame::data(Bytes::from(frame))), (n + 1, gate)))
    });
    let body = Mutex::new(Some(body::boxed(http_body_util::StreamBody::new(Box::pin(frames)))));
    let send = move |_, _: Request<Body>| {
        let body = body.lock().take().expect("one request");
        async move { Ok(Response::new(body)) }.boxed()
    };
    let wire = Wire { origin: "http://upstream.test".parse().expect("an origin"), send: Box::new(send) };
    let limits = FreshnessLimits { default: Duration::from_mins(10), min: Duration::ZERO, max: None };
    let streaming = Cache::over(
        Fetcher::over(wire, limits, 1 << 20, 1 << 20),
        &config::CacheConfig::default(),
        None,
        None,
        Arc::default(),
    );
    drop(cache);
    let list = ViewRules::of_text("extensions = []", ViewKind::Shop);
    let Lookup::InFlight(flight) = streaming.look_up(&key(0)) else { panic!("no flight") };
    let Lookup::InFlight(slow) = streaming.look_up(&key(0)) else { panic!("no flight") };
    let Begun::Streaming(_, mut body) = flight.begun(list.clone()).await else { panic!("no stream") };
    let Begun::Streaming(_, slow) = slow.begun(list).await else { panic!("no stream") };
    let first = body.frame().await.expect("a frame").expect("data").into_data().expect("data");
    assert!(b"[1,2".starts_with(&first), "{first:?}");
    gate.notify_one();
    let rest = body.collect().await.expect("an end").to_bytes();
    assert_eq!([first, rest].concat(), b"[1,2,3]");
    // One that reads only now gets the same from the copy.
    while streaming.0.flights.counts().total > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(slow.collect().await.expect("an end").to_bytes(), "[1,2,3]");
}
