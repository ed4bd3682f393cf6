//! Simulation: the proxy's core in one thread on a stopped clock, with an upstream, clients, a disk and whitelists
//! that a seed scripts. After each step a model checks what was answered.
//!
//! `SIM_SEEDS=20000 cargo test --release --lib sim` runs more seeds than the few of every test run; `SIM_FIRST` says with which
//! to begin. A seed that fails is reported with its script, shortened as far as it still fails.

mod client;
pub(crate) mod clock;
mod model;
mod script;
mod upstream;
mod world;

use std::env;

use script::Script;

/// Seeds of an ordinary test run; CI runs more.
const SEEDS: u64 = 12;

fn variable(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Runs a script and returns what happened, line by line, and what must not have.
fn run(script: &Script) -> (Vec<String>, Option<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    clock::begin(script.seed);
    let result = runtime.block_on(world::play(script));
    // Tasks are dropped while the simulation is still on.
    drop(runtime);
    clock::end();
    result
}

#[test]
fn every_seed_keeps_the_promises() {
    let first = variable("SIM_FIRST", 0);
    for seed in first..first + variable("SIM_SEEDS", SEEDS) {
        let script = Script::from_seed(seed);
        if let (_, Some(violation)) = run(&script) {
            let script = shrink(script, &violation);
            let (trace, violation) = run(&script);
            panic!(
                "seed {seed}: {}\n\nscript: {script:#?}\n\ntrace:\n{}",
                violation.unwrap_or_default(),
                trace.join("\n")
            );
        }
    }
}

/// Leaves out steps as long as the script still fails in the same way.
fn shrink(mut script: Script, violation: &str) -> Script {
    let kind = |violation: &str| violation.split(':').next().map(str::to_owned);
    let mut size = script.steps.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < script.steps.len() {
            let mut shorter = script.clone();
            shorter.steps.drain(start..(start + size).min(script.steps.len()));
            match run(&shorter).1 {
                Some(other) if kind(&other) == kind(violation) => script = shorter,
                _ => start += size,
            }
        }
        size /= 2;
    }
    script
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..4 {
        let script = Script::from_seed(seed);
        let (one, other) = (run(&script).0, run(&script).0);
        assert!(one.len() > script.steps.len(), "{one:?}");
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: {:#?}", differs.map(|at| (&one[..=at], &other[at])));
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
