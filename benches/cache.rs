//! What the cache costs: memory for each cached variant, and time for the first answer after a whitelist
//! edit while many variants are cached.

use std::future::ready;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use catalog_proxy::body;
use catalog_proxy::catalog::{Catalog, Key};
use catalog_proxy::config::Cache;
use catalog_proxy::feed::FeedKind;
use catalog_proxy::metrics::connections::Port;
use catalog_proxy::server::{self, Connections, Quotas};
use catalog_proxy::upstream::Upstream;
use catalog_proxy::upstream::outbound::Outbound;
use catalog_proxy::whitelist::Whitelist;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

#[path = "../tests/support/feeds.rs"]
mod feeds;

use feeds::{Feed, Shape};

/// Variants that are cached: some versions, languages and countries.
const KEYS: usize = 200;

/// Feeds for all keys alike, or for each its own.
#[derive(Clone, Copy, PartialEq)]
enum Bodies {
    Equal,
    Distinct,
}

/// An upstream whose feeds differ by a number at their end, if they do.
async fn upstream(shape: Shape, bodies: Bodies) -> Upstream {
    let feed = Feed::new(shape).json;
    let body = feed.trim_end().trim_end_matches(']').to_owned();
    let answer = move |request: Request<Incoming>, _: SocketAddr| {
        let number = match bodies {
            Bodies::Equal => "0",
            Bodies::Distinct => request.uri().query().unwrap_or("0"),
        };
        ready(Response::new(body::full(format!("{body},{number}]"))))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an origin");
    // The sender lives as long as the process.
    let stop = Box::leak(Box::new(watch::channel(false))).1.clone();
    let quotas = Quotas { total: 1024, per_address: 1024, exempt: Vec::new() };
    let connections = Connections::new(quotas, Port::default(), Counter::default());
    tokio::spawn(server::serve(listener, connections, None, answer, stop));
    Upstream::new(origin, None, Outbound::direct()).expect("a client")
}

async fn filled(shape: Shape, bodies: Bodies) -> Catalog {
    let config = Cache { size: (4 << 30).into(), ..Cache::default() };
    let catalog = Catalog::new(upstream(shape, bodies).await, &config, None, None, std::sync::Arc::default());
    for n in 0..KEYS {
        catalog.landed(catalog.look_up(&key(n))).await.expect("a copy");
    }
    catalog
}

fn key(n: usize) -> Key {
    Key::new(FeedKind::Packages, &format!("/api/v4/packages?{n}").parse().expect("a target"))
}

fn list(generation: u64) -> Whitelist {
    Whitelist::parse(b"extensions = [\"wp-toolkit\", \"docker\"]", generation).expect("a list").0
}

/// Resident memory, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

fn cache(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    println!(
        "memory for each of {KEYS} cached variants of a feed of {} KiB",
        Feed::new(Shape::SMALL).json.len() >> 10
    );
    for (name, bodies) in [("equal", Bodies::Equal), ("distinct", Bodies::Distinct)] {
        let before = resident();
        let catalog = runtime.block_on(filled(Shape::SMALL, bodies));
        println!("  {name} bodies: {:.1} KiB", (resident() - before) as f64 / KEYS as f64);
        drop(catalog);
    }

    let catalog = runtime.block_on(filled(Shape::VENDOR, Bodies::Equal));
    let mut generation = 1;
    criterion.bench_function("first answer after an edit, 2.3 MB feed, 200 keys", |bencher| {
        bencher.iter_custom(|times| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                generation += 1;
                let list = std::sync::Arc::new(list(generation));
                let start = Instant::now();
                runtime.block_on(async {
                    let (copy, _) = catalog.landed(catalog.look_up(&key(7))).await.expect("a copy");
                    black_box(catalog.view(&copy, None, &list).await.expect("a view"));
                });
                elapsed += start.elapsed();
            }
            elapsed
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = cache
}
criterion_main!(benches);
