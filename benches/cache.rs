//! Costs of the cache: memory for each cached variant, and the time to the first response after a whitelist edit while
//! many variants are cached, and of a hit.

use std::future::ready;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use catalog_proxy::body;
use catalog_proxy::cache::encode::Encoding;
use catalog_proxy::cache::{Cache, Key};
use catalog_proxy::config::CacheConfig;
use catalog_proxy::feed::FeedKind;
use catalog_proxy::metrics::connections::Port;
use catalog_proxy::policy::{Day, HostsKey, Policy, ViewKind, ViewRules};
use catalog_proxy::server::{self, Connections, Quotas};
use catalog_proxy::upstream::Upstream;
use catalog_proxy::upstream::outbound::Outbound;
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

async fn filled(shape: Shape, bodies: Bodies) -> Cache {
    let config = CacheConfig { size: (4 << 30).into(), ..CacheConfig::default() };
    let cache = Cache::new(upstream(shape, bodies).await, &config, None, None, std::sync::Arc::default());
    for n in 0..KEYS {
        cache.look_up(&key(n)).found().await.expect("a feed");
    }
    cache
}

fn key(n: usize) -> Key {
    Key::new(FeedKind::Packages, &format!("/api/v4/packages?{n}").parse().expect("a target"))
}

/// Returns the rules that show the packages whose bits in `number` are set: each number decides in another way.
fn rules(feed: &Feed, number: u64) -> ViewRules {
    let shown = feed.plesk_codes().take(64).enumerate().filter(|(n, _)| number >> n & 1 == 1);
    let codes: Vec<&str> = shown.map(|(_, code)| code).collect();
    let text = format!("extensions = {codes:?}");
    let (policy, _) = Policy::parse(text.as_bytes(), HostsKey::Refused).expect("a list");
    ViewRules { rules: Arc::new(policy.on(Day::of(SystemTime::now()))), kind: ViewKind::Shop }
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
        let cache = runtime.block_on(filled(Shape::SMALL, bodies));
        println!("  {name} bodies: {:.1} KiB", (resident() - before) as f64 / KEYS as f64);
        drop(cache);
    }

    let cache = runtime.block_on(filled(Shape::VENDOR, Bodies::Equal));
    let (feed, mut number) = (Feed::new(Shape::VENDOR), 0);
    criterion.bench_function("first answer after an edit, 2.3 MB feed, 200 keys", |bencher| {
        bencher.iter_custom(|times| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                number += 1;
                let rules = rules(&feed, number);
                let start = Instant::now();
                runtime.block_on(async {
                    let found = cache.look_up(&key(7)).found().await.expect("a feed");
                    black_box(cache.view(&found.cached.feed, None, &rules).await.expect("a view"));
                });
                elapsed += start.elapsed();
            }
            elapsed
        });
    });

    let rules = rules(&feed, 1);
    let hit = async || {
        let found = cache.look_up(&key(7)).found().await.expect("a feed");
        let view = cache.view(&found.cached.feed, None, &rules).await.expect("a view");
        cache.encoded(&view, Encoding::Gzip)
    };
    runtime.block_on(async {
        while hit().await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    criterion.bench_function("a hit: feed, view and encoded form", |bencher| {
        bencher.iter(|| runtime.block_on(hit()).expect("a form"));
    });
    criterion.bench_function("a hit while another thread hits as well", |bencher| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    black_box(runtime.block_on(hit()));
                }
            });
            bencher.iter(|| runtime.block_on(hit()).expect("a form"));
            stop.store(true, Ordering::Relaxed);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(3));
    targets = cache
}
criterion_main!(benches);
