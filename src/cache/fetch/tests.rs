//! One fetch over a scripted response: what is published when, and what it may take.

use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;

use super::*;
use crate::cache::tests::key;

const MAX_FEED_SIZE: u64 = 1 << 20;

/// A fetcher whose upstream answers once, with a body of some frames that are all there at once.
fn fetcher(frames: &[&str]) -> Fetcher {
    let frames = frames.iter().map(|frame| Ok::<_, BoxError>(Frame::data(Bytes::from((*frame).to_owned()))));
    fetcher_of(body::boxed(StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))))
}

fn fetcher_of(body: Body) -> Fetcher {
    let body = Mutex::new(Some(body));
    let send = move |_, _: Request<Body>| {
        let body = body.lock().take().expect("one request");
        async move { Ok(Response::new(body)) }.boxed()
    };
    let wire = Wire { origin: "http://upstream.test".parse().expect("an origin"), send: Box::new(send) };
    let limits = FreshnessLimits { default: Duration::from_mins(10), min: Duration::ZERO, max: None };
    Fetcher::over(wire, limits, MAX_FEED_SIZE, 0)
}

/// Fetches; returns the weights of the published segments as well.
async fn fetch(fetcher: &Fetcher) -> (Result<CachedFeed, FetchError>, Vec<usize>) {
    let mut weights = Vec::new();
    let publish = |arrived: Arrived<'_>| {
        if let Arrived::Segment(segment) = arrived {
            weights.push(segment.weight());
        }
    };
    let fetched = fetcher.fetch(&key(0), None, publish).await;
    (fetched, weights)
}

fn padded(json: &str, bytes: usize) -> String {
    json.to_owned() + &" ".repeat(bytes - json.len())
}

#[tokio::test]
async fn a_bad_feed_is_refused_unseen_as_long_as_it_is_small() {
    for (bytes, is_seen) in [(PUBLISH_BYTES - 1, false), (PUBLISH_BYTES, true)] {
        let (fetched, published) = fetch(&fetcher(&[&padded("[1,2,3,", bytes), "x]"])).await;
        assert!(matches!(fetched, Err(FetchError::Invalid(_))), "{fetched:?}");
        assert_eq!(!published.is_empty(), is_seen, "{bytes}");
    }
}

#[tokio::test]
async fn a_fetch_takes_twice_its_bytes_and_its_index_and_no_more_than_there_is() {
    let start = padded(r#"[{"code":"first"},"#, PUBLISH_BYTES);
    let frames = [start.as_str(), r#"{"code":"last"}]"#];
    let (fetched, weights) = fetch(&fetcher(&frames)).await;
    let bytes = fetched.expect("a feed").feed.body.len();
    assert!(weights.len() > 1, "before the end and at the end");
    let takes = 2 * (bytes + weights.iter().sum::<usize>());
    for (left, fits) in [(takes, true), (takes - 1, false)] {
        let fetcher = fetcher(&frames);
        let mut others = fetcher.budget.share();
        others.grow(2 * MAX_FEED_SIZE as usize + MAX_INDEX as usize - left).expect("room");
        let (fetched, _) = fetch(&fetcher).await;
        assert_eq!(matches!(fetched, Err(FetchError::NoRoom)), !fits, "{left}: {fetched:?}");
        assert_eq!(fetched.is_ok(), fits);
    }
}

#[test]
fn a_304_takes_the_place_of_what_it_says_and_leaves_the_rest() {
    let before = Meta {
        etag: Some(HeaderValue::from_static("\"old\"")),
        last_modified: Some(HeaderValue::from_static("Mon, 01 Jan 2024 00:00:00 GMT")),
        content_type: Some(HeaderValue::from_static("application/json")),
        ..Meta::bare()
    };
    let check = |fields: &[(&'static str, &'static str)], expected: [&str; 3]| {
        let mut head = Response::new(()).into_parts().0;
        for (name, value) in fields {
            head.headers.insert(*name, HeaderValue::from_static(value));
        }
        let now = fetcher(&[]).confirmed(&head, &before);
        assert_eq!(
            [now.etag, now.last_modified, now.content_type].map(|value| value.expect("a value")),
            expected
        );
    };
    check(&[], ["\"old\"", "Mon, 01 Jan 2024 00:00:00 GMT", "application/json"]);
    let new = ["\"new\"", "Tue, 02 Jan 2024 00:00:00 GMT", "text/json"];
    check(&[("etag", new[0]), ("last-modified", new[1]), ("content-type", new[2])], new);
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_as_old_as_its_end() {
    let start = Instant::now();
    let frames = stream::iter(["[1,", "2]"]).then(|frame| async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok::<_, BoxError>(Frame::data(Bytes::from(frame)))
    });
    let fetcher = fetcher_of(body::boxed(StreamBody::new(Box::pin(frames))));
    let copy = fetch(&fetcher).await.0.expect("a feed");
    assert_eq!(copy.meta.arrived - start, Duration::from_secs(20));
}

#[test]
fn long_values_are_not_kept() {
    for (len, is_kept) in [(MAX_VALUE, true), (MAX_VALUE + 1, false)] {
        let value = HeaderValue::from_bytes(&vec![b'x'; len]).expect("a value");
        assert_eq!(own(Some(&value)), is_kept.then_some(value));
    }
}

#[test]
fn a_copy_is_renewed_late_in_what_is_left_of_its_life() {
    let check = |lifetime: u64, age: u64, random: f64, expected: f64| {
        let seconds = Duration::from_secs;
        let freshness = Freshness { lifetime: seconds(lifetime), age: seconds(age) };
        let after = refresh_after(freshness, random).as_secs_f64();
        assert!((after - expected).abs() < 0.001, "{after} instead of {expected}");
    };
    check(100, 0, 0.0, 75.0);
    check(100, 0, 0.5, 85.0);
    check(100, 0, 1.0, 95.0);
    check(160, 60, 0.0, 75.0);
    // Stale on arrival.
    check(100, 100, 0.0, 50.0);
    check(100, 200, 1.0, 50.0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_waited_for_until_the_pause_or_the_whole_is_too_long() {
    let check = async |left: Duration, waited: Duration, expected: UpstreamFailure| {
        let mut body = body::boxed(StreamBody::new(stream::pending::<Result<Frame<Bytes>, BoxError>>()));
        let start = Instant::now();
        let error = next_frame(&mut body, start + left).await.expect_err("a timeout");
        assert_eq!((start.elapsed().as_secs(), error.failure), (waited.as_secs(), expected));
    };
    let second = Duration::from_secs(1);
    let (idle, total) =
        (UpstreamFailure::IdleTimeout(IDLE_TIMEOUT), UpstreamFailure::TotalTimeout(TOTAL_TIMEOUT));
    check(IDLE_TIMEOUT + second, IDLE_TIMEOUT, idle).await;
    check(IDLE_TIMEOUT, IDLE_TIMEOUT, total).await;
    check(second, second, total).await;
}
