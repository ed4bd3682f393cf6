//! Mixed load on the real binary for minutes: every feed exact, no error while there is a copy, memory and
//! descriptors level.
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

#[path = "../it/client.rs"]
mod client;
mod list;
mod load;
mod model;
mod process;
#[path = "../support/feeds.rs"]
mod support;
#[path = "../it/upstream.rs"]
mod upstream;

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::{Client, Counts};
use model::Model;
use process::Process;

/// Clients at work at any time; each does one thing after the other.
const CLIENTS: usize = 12;
/// Memory may be so far from its plateau, in percent.
const TOLERANCE: u64 = 20;
/// Descriptors beyond those of the clients and the fetches: what pools keep.
const SPARE_DESCRIPTORS: usize = 64;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes"]
async fn ten_minutes_of_everything() {
    let (seed, seconds) = (number("SOAK_SEED", 1), number("SOAK_SECONDS", 600));
    println!("SOAK_SEED={seed} SOAK_SECONDS={seconds}");
    let model = Arc::new(Model::new(seed));
    let upstream = model::serve(Arc::clone(&model)).await;
    let process = Arc::new(Process::start(&upstream.url(), &model.list(0, 0)));
    load::warm_up(&process, &model).await;
    let before = process.descriptors();

    let (start, length) = (Instant::now(), Duration::from_secs(seconds));
    let editor = tokio::spawn(load::edit(Arc::clone(&process), Arc::clone(&model), start + length));
    let clients: Vec<_> = (0..CLIENTS as u64)
        .map(|n| Client::new(seed * 1000 + n, Arc::clone(&process), Arc::clone(&model)))
        .map(|client| tokio::spawn(client.run(start + length)))
        .collect();
    let (mut memory, mut descriptors) = (Vec::new(), 0);
    while start.elapsed() < length {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.push(process.memory());
        descriptors = descriptors.max(process.descriptors());
        let gave_up = clients.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!gave_up || start.elapsed() >= length, "a client gave up");
    }
    let mut counts = Counts::default();
    for client in clients {
        counts.add(&client.await.unwrap());
    }
    let edits = editor.await.unwrap();
    assert!(edits.forgotten > 0, "no shop ever went");
    client::until("the descriptors of before", async || process.descriptors() <= before + SPARE_DESCRIPTORS)
        .await;

    // The plateau is the median once the first fifth, in which caches and pools fill, is over.
    let mut level = memory.split_off(memory.len() / 5);
    let (first, last) = (level[0], *level.last().unwrap());
    level.sort_unstable();
    let (least, plateau, most) = (level[0], level[level.len() / 2], level[level.len() - 1]);
    println!("{counts:#?}\n{edits:?}, {} requests upstream", upstream.count());
    println!(
        "memory in KiB: {first} at first, {least} to {most}, median {plateau}, {last} at last; \
         descriptors: {before} at first, {descriptors} at most, {} at last",
        process.descriptors()
    );
    assert!(
        most * 100 <= plateau * (100 + TOLERANCE),
        "{most} KiB are more than {TOLERANCE} % above {plateau}"
    );
    assert!(descriptors <= before + 4 * CLIENTS + SPARE_DESCRIPTORS, "{descriptors} descriptors");
    assert!(counts.is_everything(), "something never happened");
}
