//! Mixed load on a whole site for minutes: two replicas behind HAProxy and one with TLS, with the same whitelists.
//! Clients ask over HTTP/1.1 and 2, with TLS and without; lists are edited by file and over the admin port; replicas are
//! restarted. Every feed exact, nothing lost, memory and descriptors level. Needs haproxy.
//!
//! ```text
//! cargo test --test soak -- --ignored --nocapture
//! SOAK_SECONDS=60 SOAK_SEED=7 cargo test --test soak -- --ignored --nocapture
//! ```
//!
//! The seed decides what the upstream and each client do, in which order; the machine decides when.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should say where")]
#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "nothing is outside; each test uses what it needs"
)]

mod admin;
#[path = "../it/client.rs"]
mod client;
mod list;
mod load;
mod model;
mod process;
#[path = "../support/feeds.rs"]
mod support;
mod tls;
#[path = "../it/upstream.rs"]
mod upstream;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Client, Counts, Route, Site};
use model::{Model, REPLICAS};
use process::{Balancer, Files, Replica, TLS};

/// Clients of each route at work at any time; each does one thing after the other.
const CLIENTS: u64 = 3;
/// Memory may be so far from its plateau, in percent.
const TOLERANCE: u64 = 20;
/// Memory may be so much more in the last quarter than in the second one, in percent: 30 minutes that grow so are far
/// from a leak, and a leak of 1 % a minute is found.
const MAX_GROWTH: u64 = 10;
/// Shortest run of which growth is judged, in seconds: pools and arenas of a debug build fill for some minutes.
const MIN_JUDGED_SECONDS: u64 = 600;
/// Descriptors beyond those of the clients and the fetches: what pools keep.
const SPARE_DESCRIPTORS: usize = 64;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// Starts all, with the first list at `/`.
async fn start(seed: u64) -> (Arc<Site>, Vec<upstream::Upstream>) {
    let (files, model) = (Files::new(), Arc::new(Model::new(seed)));
    files.edit(0, &model.list(0).unwrap().text());
    let (mut upstreams, mut replicas) = (Vec::new(), Vec::new());
    for number in 0..REPLICAS {
        let upstream = model::serve(Arc::clone(&model), number).await;
        replicas.push(Replica::start(number, &upstream.url(), &files));
        upstreams.push(upstream);
    }
    let balancer = Balancer::start(&replicas);
    (Arc::new(Site { model, files, replicas, balancer }), upstreams)
}

/// The middle one.
fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes; needs haproxy"]
async fn a_night_of_everything() {
    let (seed, seconds) = (number("SOAK_SEED", 1), number("SOAK_SECONDS", 600));
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let (site, upstreams) = start(seed).await;
    load::warm_up(&site).await;
    let before = site.replicas[TLS].process.lock().await.descriptors();

    let (start, end) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let editor = tokio::spawn(admin::edit(Arc::clone(&site), end));
    let restarts = tokio::spawn(admin::restart(Arc::clone(&site), start, end));
    let mut clients = Vec::new();
    for route in Route::ALL {
        for n in 0..CLIENTS {
            let client = Client::new(seed * 1000 + route as u64 * CLIENTS + n, Arc::clone(&site), route);
            clients.push((route, tokio::spawn(client.run(end))));
        }
    }
    let (mut memory, mut descriptors) = ([const { Vec::new() }; REPLICAS], 0);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (replica, memory) in site.replicas.iter().zip(&mut memory) {
            // One that is being restarted has none.
            memory.extend(replica.process.try_lock().map(|process| process.memory()));
        }
        descriptors = descriptors.max(site.replicas[TLS].process.lock().await.descriptors());
        let gave_up = clients.iter().any(|(_, client)| client.is_finished());
        assert!(!gave_up || Instant::now() >= end, "a client gave up");
        assert!(!editor.is_finished() || Instant::now() >= end, "the editor gave up");
    }
    let mut all = Counts::default();
    for route in Route::ALL {
        let mut counts = Counts::default();
        for (_, client) in clients.iter_mut().filter(|(of, _)| *of == route) {
            counts.add(&client.await.unwrap());
        }
        println!("{route:?}: {} requests", counts.requests());
        all.add(&counts);
    }
    let (edits, (restarted, longest)) = (editor.await.unwrap(), restarts.await.unwrap());
    let fetches: usize = upstreams.iter().map(upstream::Upstream::count).sum();
    println!("all: {all:#?}\n{edits:?}, {fetches} requests upstream");
    println!("{restarted} restarts, the longest {} ms", longest.as_millis());
    client::until("the descriptors of before", async || {
        site.replicas[TLS].process.lock().await.descriptors() <= before + SPARE_DESCRIPTORS
    })
    .await;

    println!("descriptors: {before} at first, {descriptors} at most");
    for (number, memory) in memory.iter().enumerate() {
        let (least, most) = (memory.iter().min().unwrap(), memory.iter().max().unwrap());
        println!("memory of replica {number} in KiB: {least} to {most}, median {}", median(memory));
    }
    // Of the one that ran all the time. Its plateau is the median once the first fifth, in which caches and pools fill, is
    // over.
    let level = memory[TLS].split_off(memory[TLS].len() / 5);
    let (plateau, most) = (median(&level), *level.iter().max().unwrap());
    let quarter = level.len() / 4;
    let (early, late) = (median(&level[quarter..2 * quarter]), median(&level[3 * quarter..]));
    println!("plateau of replica {TLS}: {plateau}, at most {most}; {early} early, {late} late");
    assert!(
        most * 100 <= plateau * (100 + TOLERANCE),
        "{most} KiB are more than {TOLERANCE} % above {plateau}"
    );
    let has_grown = late * 100 > early * (100 + MAX_GROWTH);
    assert!(seconds < MIN_JUDGED_SECONDS || !has_grown, "memory grew from {early} to {late} KiB");
    let bound = before + 4 * 2 * CLIENTS as usize + SPARE_DESCRIPTORS;
    assert!(descriptors <= bound, "{descriptors} descriptors");
    assert!(all.is_everything(), "something never happened");
    assert!(edits.is_everything() && restarted > 0, "the operator did not do everything");
}
