//! The filter engine beside serde_json, on the vendor's feed and on one that no processor's cache holds.
//!
//! Every contender writes the filtered feed to the same buffer. Machines differ and are noisy: compare
//! within one run only.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use catalog_proxy::feed::packages::{Filter, Index, Indexer, Segment};
use catalog_proxy::feed::scan::Path;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use criterion::{criterion_group, criterion_main};
use jiter::Jiter;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[path = "../tests/support/feeds.rs"]
mod feeds;

use feeds::{Feed, Shape};

/// What hyper hands over at a time.
const CHUNK: usize = 16 << 10;

fn allowed(code: &str) -> bool {
    matches!(code, "wp-toolkit" | "docker")
}

/// Filters chunk by chunk as a first fetch does: nothing that left is held.
fn stream(feed: &Bytes, (path, chunk): (Path, usize), out: &mut Vec<u8>) {
    let mut indexer = Indexer::default().on(path);
    let mut filter = Filter::default();
    let mut leave = |segment: Segment| {
        for part in filter.segment(&segment, allowed) {
            out.extend_from_slice(&part);
        }
    };
    for start in (0..feed.len()).step_by(chunk) {
        // As hyper does, without a copy.
        indexer.push(&feed.slice(start..feed.len().min(start + chunk))).expect("a feed");
        std::iter::from_fn(|| indexer.take()).for_each(&mut leave);
    }
    leave(indexer.finish().expect("a feed"));
}

fn tree(feed: &[u8], out: &mut Vec<u8>) {
    let mut packages: Vec<Value> = serde_json::from_slice(feed).expect("a feed");
    packages.retain(|package| {
        shown(package["code"].as_str().unwrap_or_default(), package["buy_url"].as_str().unwrap_or_default())
    });
    serde_json::to_writer(out, &packages).expect("JSON");
}

/// The members that decide; texts without escapes are not copied.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default)]
    buy_url: Option<String>,
}

fn raw_values(feed: &[u8], out: &mut Vec<u8>) {
    let mut packages: Vec<&RawValue> = serde_json::from_slice(feed).expect("a feed");
    packages.retain(|package| {
        let Members { code, buy_url } = serde_json::from_str(package.get()).expect("a package");
        shown(&code, buy_url.as_deref().unwrap_or_default())
    });
    serde_json::to_writer(out, &packages).expect("JSON");
}

fn shown(code: &str, buy_url: &str) -> bool {
    !buy_url.starts_with("https://go.plesk.com/") || allowed(code)
}

/// Steps over the packages and looks at none: the least that sonic-rs can do, checked.
fn lazy(feed: &[u8]) {
    for package in sonic_rs::to_array_iter(feed) {
        black_box(package.expect("a package"));
    }
}

/// Filters by sonic-rs's lazy iterator and the two members.
fn lazy_members(feed: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    for package in sonic_rs::to_array_iter(feed) {
        let package = package.expect("a package");
        let Members { code, buy_url } = sonic_rs::from_str(package.as_raw_str()).expect("a package");
        if shown(&code, buy_url.as_deref().unwrap_or_default()) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(package.as_raw_str().as_bytes());
        }
    }
    out.push(b']');
}

/// Skips the whole feed with jiter, checked, and looks at nothing.
fn skip(feed: &[u8]) {
    Jiter::new(feed).next_skip().expect("a feed");
}

/// Measures one contender, after checking that it does what it should.
fn contend(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (name, form): (&str, &str),
    expected: &str,
    mut run: impl FnMut(&mut Vec<u8>),
) {
    // Written once before: no contender pays for the pages of the buffer.
    let mut out = vec![1; expected.len()];
    out.clear();
    run(&mut out);
    let same = out == expected.as_bytes() || parsed(&out) == parsed(expected.as_bytes());
    assert!(same, "{name}, {form}, filters wrongly");
    group.bench_function(BenchmarkId::new(name, form), |bencher| {
        bencher.iter(|| {
            out.clear();
            run(black_box(&mut out));
        });
    });
}

fn parsed(feed: &[u8]) -> Vec<Value> {
    serde_json::from_slice(feed).expect("JSON")
}

fn engine(criterion: &mut Criterion) {
    for (name, shape) in [("2.3 MB", Shape::VENDOR), ("111 MB", Shape::HUGE)] {
        let generated = Feed::new(shape);
        let bytes = Bytes::copy_from_slice(generated.json.as_bytes());
        let feed = bytes.as_ref();
        let shown = generated.expected(allowed);

        let mut group = criterion.benchmark_group(format!("filter {name}"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(feed.len() as u64));
        for path in Path::all() {
            for (form, chunk) in [("chunks of 16 KB", CHUNK), ("whole", feed.len())] {
                let name = format!("engine, {}", path.name());
                contend(&mut group, (&name, form), &shown, |out| {
                    stream(black_box(&bytes), (path, chunk), out);
                });
            }
        }
        contend(&mut group, ("serde_json", "RawValue"), &shown, |out| {
            raw_values(black_box(feed), out);
        });
        contend(&mut group, ("serde_json", "Value"), &shown, |out| {
            tree(black_box(feed), out);
        });
        contend(&mut group, ("sonic-rs", "lazy, two members"), &shown, |out| {
            lazy_members(black_box(feed), out);
        });
        group.bench_function("sonic-rs/lazy, nothing looked at", |bencher| {
            bencher.iter(|| lazy(black_box(feed)));
        });
        group.bench_function("jiter/skip, nothing looked at", |bencher| {
            bencher.iter(|| skip(black_box(feed)));
        });
        group.finish();

        // After an edit of the whitelist: bytes are those that are kept.
        let mut group = criterion.benchmark_group(format!("filter {name} again"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Bytes(shown.len() as u64));
        let index = Index::of(&bytes).expect("a feed");
        assert!(index.filter(feed, allowed) == shown.as_bytes());
        group.bench_function("gather", |bencher| bencher.iter(|| index.filter(black_box(feed), allowed)));
        group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(&shown).as_bytes().to_vec()));
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
