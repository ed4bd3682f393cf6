//! The simulation's time: work that a thread would do takes a while on tokio's stopped clock.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep};

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
    static DISK_HANGS: Cell<bool> = const { Cell::new(false) };
}

/// Longest time that work takes, in milliseconds.
const MAX_WORK_MS: u64 = 40;
/// Time of day at which each simulation starts, after 1970: the year 2100, so that files which the system gave the real
/// time are older.
const START_OF_DAY: Duration = Duration::from_secs(4_102_444_800);
/// Time that a job of a disk that hangs takes.
const HANG: Duration = Duration::from_secs(45);

/// Turns the simulation on for this thread. All random numbers of the product come from `seed`.
pub(crate) fn begin(seed: u64) {
    SIMULATED.set(true);
    DISK_HANGS.set(false);
    fastrand::seed(seed);
}

/// Starts the time of day, on the stopped clock.
pub(crate) fn start_day() {
    START.set(Some(Instant::now()));
}

pub(crate) fn end() {
    SIMULATED.set(false);
    START.set(None);
}

pub(crate) fn is_simulated() -> bool {
    SIMULATED.get()
}

/// Returns the time of day in a simulation.
pub(crate) fn time_of_day() -> Option<SystemTime> {
    START.get().map(|start| UNIX_EPOCH + START_OF_DAY + start.elapsed())
}

pub(crate) fn set_disk_hangs(hangs: bool) {
    DISK_HANGS.set(hangs);
}

/// Lets the time of some work pass.
pub(crate) async fn pass_time() {
    sleep(Duration::from_millis(fastrand::u64(0..MAX_WORK_MS))).await;
}

/// Lets the time of a job of a worker's thread pass.
pub(crate) async fn pass_time_of(worker: &str) {
    if worker.starts_with("cache-") && DISK_HANGS.get() {
        sleep(HANG).await;
    }
    pass_time().await;
}
