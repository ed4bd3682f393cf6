//! Compares the feed engine with serde_json, sonic-rs and jiter: on a feed in the shape of the real one, on
//! the same feed in other spellings, and on one that is larger than any processor's cache.
//!
//! Each contender writes the filtered feed to the same buffer. Compare figures of one run only, as the tables
//! at the end do, since machines differ and are noisy.

use std::borrow::Cow;
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use catalog_proxy::feed::package::Package;
use catalog_proxy::feed::packages::{PackagesFilter, PackagesIndex, PackagesIndexer, Segment};
use catalog_proxy::feed::scan::ScanPath;
use catalog_proxy::seller::Seller;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use criterion::{criterion_group, criterion_main};
use jiter::Jiter;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[path = "../tests/support/feeds.rs"]
mod feeds;

use feeds::{Feed, Shape};

/// Size of the chunks that hyper hands over, in bytes.
const CHUNK_BYTES: usize = 16 << 10;

// Contenders that the others are compared with.
const RAW_VALUE: &str = "serde_json RawValue";
const LAZY: &str = "sonic-rs, lazy, looking at nothing";
const MEMCPY: &str = "memcpy";

fn allowed(code: &str) -> bool {
    matches!(code, "wp-toolkit" | "docker")
}

fn is_shown(package: &Package) -> bool {
    package.seller != Seller::Plesk || package.code.as_deref().is_some_and(allowed)
}

/// Filters chunk by chunk, as a first fetch does, and keeps nothing that was written.
fn stream(feed: &Bytes, (path, chunk): (ScanPath, usize), out: &mut Vec<u8>) {
    let mut indexer = PackagesIndexer::default().on(path);
    let mut filter = PackagesFilter::default();
    let mut leave = |segment: Segment| {
        for part in filter.segment(&segment, is_shown) {
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

/// Members that the filter decides by; texts without escapes are not copied.
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

/// Iterates over the packages without reading any: the least work for sonic-rs, with validation.
fn lazy(feed: &[u8]) {
    for package in sonic_rs::to_array_iter(feed) {
        black_box(package.expect("a package"));
    }
}

/// Filters with sonic-rs's lazy iterator, and reads two members of each package.
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

/// Skips the whole feed with jiter, with validation.
fn skip(feed: &[u8]) {
    Jiter::new(feed).next_skip().expect("a feed");
}

/// Contenders on one feed, and their times.
struct Race<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    /// Bytes that one run processes.
    bytes: usize,
    rows: Vec<(String, Duration)>,
}

impl<'a> Race<'a> {
    fn new(criterion: &'a mut Criterion, name: &str, bytes: usize) -> Self {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Bytes(bytes as u64));
        Self { group, bytes, rows: Vec::new() }
    }

    /// Measures a contender that filters, after checking its output.
    fn filter(&mut self, name: &str, expected: &str, mut run: impl FnMut(&mut Vec<u8>)) {
        // Written once before: no contender pays for the pages of the buffer.
        let mut out = vec![1; expected.len()];
        out.clear();
        run(&mut out);
        let same = out == expected.as_bytes() || parsed(&out) == parsed(expected.as_bytes());
        assert!(same, "{name} filters wrongly");
        self.run(name, || {
            out.clear();
            run(black_box(&mut out));
        });
    }

    fn run<T>(&mut self, name: &str, mut run: impl FnMut() -> T) {
        let mut times = Vec::new();
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                (0..iterations).for_each(|_| drop(black_box(run())));
                let elapsed = start.elapsed();
                times.push(elapsed / u32::try_from(iterations).expect("few"));
                elapsed
            });
        });
        times.sort();
        // None, if a filter on the command line left it out.
        self.rows.extend(times.get(times.len() / 2).map(|median| (name.to_owned(), *median)));
    }

    /// Returns the table of results: how many times as fast as each of `peers` every contender is.
    fn table(self, name: &str, peers: &[&str]) -> String {
        self.group.finish();
        let time = |peer: &str| self.rows.iter().find(|(name, _)| name == peer).map(|(_, time)| *time);
        let peers: Vec<_> =
            peers.iter().filter_map(|peer| Some((*peer, time(peer)?.as_secs_f64()))).collect();
        let mut table = format!("\n| {name} | GB/s |");
        let columns: String = peers.iter().map(|(peer, _)| format!(" times {peer} |")).collect();
        writeln!(table, "{columns}\n| --- | --- |{}", " --- |".repeat(peers.len())).expect("memory");
        for (name, time) in &self.rows {
            let seconds = time.as_secs_f64();
            let ratios: String = peers.iter().map(|(_, peer)| format!(" {:.2} |", peer / seconds)).collect();
            writeln!(table, "| {name} | {:.2} |{ratios}", self.bytes as f64 / seconds / 1e9).expect("memory");
        }
        table
    }
}

fn parsed(feed: &[u8]) -> Vec<Value> {
    serde_json::from_slice(feed).expect("JSON")
}

/// Compares the filter with its peers on one feed.
fn race(criterion: &mut Criterion, name: &str, feed: String, shown: &str) -> String {
    let bytes = Bytes::from(feed);
    let feed = bytes.as_ref();
    let mut race = Race::new(criterion, name, feed.len());
    for path in ScanPath::all() {
        for (form, chunk) in [("chunks of 16 KB", CHUNK_BYTES), ("whole", feed.len())] {
            race.filter(&format!("engine, {}, {form}", path.name()), shown, |out| {
                stream(black_box(&bytes), (path, chunk), out);
            });
        }
    }
    race.filter(RAW_VALUE, shown, |out| raw_values(black_box(feed), out));
    race.filter("serde_json Value", shown, |out| tree(black_box(feed), out));
    race.filter("sonic-rs, lazy, two members", shown, |out| lazy_members(black_box(feed), out));
    race.run(LAZY, || lazy(black_box(feed)));
    race.run("jiter, skipping", || skip(black_box(feed)));
    race.table(name, &[RAW_VALUE, LAZY])
}

/// Measures filtering with the index, as after an edit of the whitelist; throughput counts the bytes kept.
fn again(criterion: &mut Criterion, name: &str, feed: String, shown: &str) -> String {
    let bytes = Bytes::from(feed);
    let feed = bytes.as_ref();
    let mut race = Race::new(criterion, name, shown.len());
    let index = PackagesIndex::of(&bytes).expect("a feed");
    assert!(index.filter(feed, is_shown) == shown.as_bytes());
    race.run("gather", || index.filter(black_box(feed), is_shown));
    race.run(MEMCPY, || black_box(shown).as_bytes().to_vec());
    race.table(name, &[MEMCPY])
}

/// Replaces most letters by Cyrillic ones, which serde_json writes without escapes.
fn in_cyrillic(value: &mut Value) {
    match value {
        Value::String(text) => {
            let letter = |c: char| {
                if c.is_ascii_lowercase() { char::from_u32(c as u32 - 97 + 0x430) } else { Some(c) }
            };
            *text = text.chars().filter_map(letter).collect();
        }
        Value::Array(items) => items.iter_mut().for_each(in_cyrillic),
        Value::Object(members) => {
            let texts = members.iter_mut().filter(|(name, _)| !matches!(name.as_str(), "code" | "buy_url"));
            texts.for_each(|(_, value)| in_cyrillic(value));
        }
        _ => {}
    }
}

fn engine(criterion: &mut Criterion) {
    let feed = Feed::new(Shape::VENDOR);
    let huge = Feed::new(Shape::HUGE);
    let (shown, huge_shown) = (feed.expected(allowed), huge.expected(allowed));
    let (mut values, mut shown_values) = (parsed(feed.json.as_bytes()), parsed(shown.as_bytes()));
    let pretty = serde_json::to_string_pretty(&values).expect("JSON");
    values.iter_mut().for_each(in_cyrillic);
    shown_values.iter_mut().for_each(in_cyrillic);
    let cyrillic = serde_json::to_string(&values).expect("JSON");
    let cyrillic_shown = serde_json::to_string(&shown_values).expect("JSON");
    let tables = [
        race(criterion, "2.3 MB", feed.json.clone(), &shown),
        race(criterion, "2.3 MB, pretty-printed", pretty, &shown),
        race(criterion, "2.3 MB, in Cyrillic", cyrillic, &cyrillic_shown),
        race(criterion, "111 MB", huge.json.clone(), &huge_shown),
        again(criterion, "2.3 MB again", feed.json, &shown),
        again(criterion, "111 MB again", huge.json, &huge_shown),
    ];
    println!("{}", tables.concat());
}

criterion_group!(benches, engine);
criterion_main!(benches);
