//! The filter engine beside serde_json, on the sample catalog repeated to the size of the vendor's feed.

use std::hint::black_box;

use catalog_proxy::feed::packages::{Filter, Index, Indexer, Segment};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;

const SAMPLE: &str = include_str!("../assets/sample/packages.json");

/// Repeats the sample's packages to about `size` bytes.
fn feed(size: usize) -> String {
    let packages = SAMPLE.trim().trim_start_matches('[').trim_end_matches(']');
    format!("[{}]", vec![packages; size.div_ceil(packages.len())].join(","))
}

fn allowed(code: &str) -> bool {
    matches!(code, "wp-toolkit" | "docker")
}

fn segments(feed: &[u8], chunk: usize) -> Vec<Segment> {
    let mut indexer = Indexer::default();
    let mut segments = Vec::new();
    for chunk in feed.chunks(chunk) {
        indexer.push(chunk).expect("a feed");
        segments.extend(indexer.take());
    }
    segments.push(indexer.finish().expect("a feed"));
    segments
}

fn tree(feed: &[u8]) -> Vec<u8> {
    let mut packages: Vec<Value> = serde_json::from_slice(feed).expect("a feed");
    packages.retain(|package| {
        let plesk = package["buy_url"].as_str().is_some_and(|url| url.starts_with("https://go.plesk.com/"));
        !plesk || package["code"].as_str().is_some_and(allowed)
    });
    serde_json::to_vec(&packages).expect("JSON")
}

fn engine(criterion: &mut Criterion) {
    let feed = feed(2_300_000);
    let feed = feed.as_bytes();
    let mut group = criterion.benchmark_group("filter");
    group.throughput(Throughput::Bytes(feed.len() as u64));
    for chunk in [16 << 10, feed.len()] {
        group.bench_with_input(BenchmarkId::new("chunks", chunk), &chunk, |bencher, chunk| {
            bencher.iter(|| {
                let mut filter = Filter::default();
                segments(feed, *chunk)
                    .iter()
                    .map(|segment| filter.segment(segment, allowed).len())
                    .sum::<usize>()
            });
        });
    }
    group.bench_function("serde_json tree", |bencher| bencher.iter(|| tree(black_box(feed)).len()));
    let (body, index) = Index::assemble(&segments(feed, feed.len()));
    group.bench_function("gather", |bencher| bencher.iter(|| index.filter(black_box(&body), allowed).len()));
    group.bench_function("memcpy", |bencher| bencher.iter(|| black_box(black_box(feed).to_vec())));
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
