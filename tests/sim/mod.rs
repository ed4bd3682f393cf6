//! Simulation: the proxy's core in one thread on a stopped clock, with an upstream, clients, a disk and shops
//! that a seed scripts. After each step a model checks what was answered.
//!
//! Each seed has a thread to itself, and all cores are used. A seed that fails is reported with its script, shortened as
//! far as it still fails and written as a test for `found.rs`.
//!
//! `SIM_SEEDS=20000 cargo test --lib sim` plays more seeds than the few of every test run, and `SIM_FIRST` says with which
//! to begin. `SIM_TRACES` says how many are played four times, to compare their traces.

mod client;
pub(crate) mod clock;
mod disk;
mod found;
mod model;
mod pass;
mod script;
mod shops;
mod upstream;
mod world;

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, io, panic, thread};

use parking_lot::{Mutex, RwLock};
use script::Script;

/// Seeds of an ordinary test run; CI runs more.
const SEEDS: u64 = 100;

/// Held while a seed is played, and exclusively while a process begins.
static PLAYING: RwLock<()> = RwLock::new(());

/// Starts a process for another test of this binary. Until it is another program, it has all files open that are open
/// here: locks of cache directories would be held for longer than a script has it.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _nobody_plays = PLAYING.write();
    command.spawn()
}

/// What a run of a script came to.
struct Outcome {
    /// What happened, line by line.
    trace: Vec<String>,
    /// What must not have happened.
    violation: Option<String>,
}

fn variable(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Runs a script. A panic is a violation, too.
fn run(script: &Script) -> Outcome {
    let _playing = PLAYING.read();
    // Named before the simulation begins: random names would meet in two runs of one seed at the same time.
    let directory = script.has_disk.then(|| tempfile::tempdir().expect("a directory"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    clock::begin(script.seed);
    let played = panic::AssertUnwindSafe(|| {
        let directory = directory.as_ref().map(|directory| directory.path().to_owned());
        runtime.block_on(world::play(script, directory))
    });
    let outcome = panic::catch_unwind(played).unwrap_or_else(|panic| {
        let panic = panic.downcast_ref::<String>().cloned();
        Outcome { trace: Vec::new(), violation: Some(format!("panic: {}", panic.unwrap_or_default())) }
    });
    // Tasks are dropped while the simulation is still on.
    drop(runtime);
    clock::end();
    outcome
}

/// Plays `seeds`, one on each core at a time. Returns the lowest of those that failed before all had stopped, and how.
fn first_failure(seeds: std::ops::Range<u64>) -> Option<(u64, Outcome)> {
    let next = AtomicU64::new(seeds.start);
    let failed: Mutex<Option<(u64, Outcome)>> = Mutex::new(None);
    let play = || {
        while failed.lock().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(&Script::from_seed(seed));
            let mut failed = failed.lock();
            if outcome.violation.is_some() && failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                *failed = Some((seed, outcome));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(play);
        }
    });
    failed.into_inner()
}

#[test]
fn every_seed_keeps_the_promises() {
    let first = variable("SIM_FIRST", 0);
    if let Some((seed, found)) = first_failure(first..first + variable("SIM_SEEDS", SEEDS)) {
        let script = shrink(Script::from_seed(seed));
        let again = run(&script);
        // Then something is not of the simulation: a thread, the real clock, a name.
        let note = if again.violation.is_some() { "" } else { " (not when it was played again)" };
        let Outcome { trace, violation } = if note.is_empty() { again } else { found };
        let violation = violation.unwrap_or_default();
        panic!("seed {seed}{note}: {violation}\n\ntrace:\n{}\n\n{script}", trace.join("\n"));
    }
}

/// Leaves out steps as long as the script still fails in the same way.
fn shrink(mut script: Script) -> Script {
    let kind = |script: &Script| {
        let violation = run(script).violation?;
        violation.split(':').next().map(str::to_owned)
    };
    let wanted = kind(&script);
    let mut size = script.steps.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        let before = script.steps.len();
        while start < script.steps.len() {
            let mut shorter = script.clone();
            shorter.steps.drain(start..(start + size).min(script.steps.len()));
            if kind(&shorter) == wanted {
                script = shorter;
            } else {
                start += size;
            }
        }
        // Without one step, another one may be of no use any more.
        if size > 1 || script.steps.len() == before {
            size /= 2;
        }
    }
    script
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..variable("SIM_TRACES", 4) {
        let script = Script::from_seed(seed);
        let traces = || [0; 2].map(|_| run(&script).trace);
        // Twice in a row, and that twice at the same time.
        let [one, other] = thread::scope(|scope| {
            let other = scope.spawn(traces);
            [traces(), other.join().expect("no panic")]
        });
        let (one, others) = (&one[0], [&one[1], &other[0], &other[1]]);
        assert!(one.len() > script.steps.len(), "{one:?}");
        for other in others {
            let differs = one.iter().zip(other).position(|(one, other)| one != other);
            assert_eq!(
                differs,
                None,
                "seed {seed}: {:#?}",
                differs.map(|at| (&one[at.saturating_sub(20)..=at], &other[at]))
            );
            assert_eq!(one.len(), other.len(), "seed {seed}");
        }
    }
}
