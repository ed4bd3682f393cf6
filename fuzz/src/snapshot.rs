//! Copies on disk: no file causes a panic; an accepted file is complete, unchanged and a feed.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use catalog_proxy::cache::Key;
use catalog_proxy::cache::cached_feed::{CachedFeed, Feed, FeedIndex};
use catalog_proxy::cache::disk::format::{checksum, decode, head};
use catalog_proxy::feed::FeedKind;
use catalog_proxy::policy::{Day, HostsKey, Policy, ViewKind, ViewRules};
use http::uri::PathAndQuery;

/// Checks one file: its first byte says what of it the fuzzer wrote, the rest is that.
pub fn check(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let kind = if first & 1 == 0 { FeedKind::Packages } else { FeedKind::Categories };
    let path = match kind {
        FeedKind::Packages => "/api/v4/packages?q",
        FeedKind::Categories => "/api/v4/categories?q",
    };
    let key = Key::new(kind, &PathAndQuery::from_static(path));
    let now = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let file = match first >> 1 & 1 {
        0 => text.to_vec(),
        // What follows the checksum: no mutation would ever find one that matches.
        _ => sealed(text),
    };
    let file = Bytes::from(file);
    let Ok(copy) = decode(&file, &key, now, now) else { return };
    uses(&copy);

    // One bit anywhere, and it is another file.
    let at = file.len() * usize::from(*first) / 256;
    let mut damaged = file.to_vec();
    damaged[at] ^= 1 << (first % 8);
    assert!(decode(&damaged.into(), &key, now, now).is_err(), "a file with a damaged byte {at} was taken");
    assert!(decode(&file.slice(..file.len() - 1), &key, now, now).is_err(), "a file cut short was taken");
    let other = Key::new(kind, &PathAndQuery::from_static("/api/v4/packages?other"));
    assert!(decode(&file, &other, now, now).is_err(), "another key's file was taken");

    let again = [&head(&key, &copy, now).expect("a header"), &*copy.feed.body].concat();
    let again = decode(&again.into(), &key, now, now).expect("what was written is read");
    assert_eq!(again.feed.digest, copy.feed.digest);
    assert_eq!(again.feed.body, copy.feed.body);
    assert_eq!(again.meta.etag, copy.meta.etag);
    assert_eq!(again.meta.last_modified, copy.meta.last_modified);
    assert_eq!(again.meta.content_type, copy.meta.content_type);
    assert_eq!(again.meta.freshness, copy.meta.freshness);
    assert!(again.meta.held.abs_diff(copy.meta.held) < Duration::from_secs(60));
}

/// Puts the first line before what it vouches for.
fn sealed(content: &[u8]) -> Vec<u8> {
    let first = format!("catalog-proxy copy 1 {}\n", checksum([content]));
    [first.as_bytes(), content].concat()
}

/// Does with a copy what requests do.
fn uses(copy: &CachedFeed) {
    let now = copy.meta.arrived + Duration::from_secs(1);
    copy.age(now);
    copy.fresh_for(now);
    copy.stale_since(now);
    copy.stale_here(now);
    let list = b"extensions = [\"docker\"]\nretired = [\"wp-toolkit\"]";
    let (policy, _) = Policy::parse(list, HostsKey::Refused).expect("a list");
    let rules = Arc::new(policy.on(Day::of(UNIX_EPOCH)));
    let Feed { body, index, .. } = &*copy.feed;
    for kind in [ViewKind::Shop, ViewKind::Update] {
        let view = copy.feed.view(None, &ViewRules { rules: Arc::clone(&rules), kind });
        assert!(view.body.len() <= body.len());
    }
    if let FeedIndex::Packages(index) = index {
        assert!(index.entries.iter().all(|entry| entry.span.end <= body.len()));
    }
}
