//! The simulation's time: work that a thread would do takes a while on tokio's stopped clock.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::sleep;

thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static DISK_HANGS: Cell<bool> = const { Cell::new(false) };
}

/// Longest time that work takes, in milliseconds.
const MAX_WORK_MS: u64 = 40;
/// Time that a job of a disk that hangs takes.
const HANG: Duration = Duration::from_secs(45);

/// Turns the simulation on for this thread. All random numbers of the product come from `seed`.
pub(crate) fn begin(seed: u64) {
    SIMULATED.set(true);
    DISK_HANGS.set(false);
    fastrand::seed(seed);
}

pub(crate) fn end() {
    SIMULATED.set(false);
}

pub(crate) fn is_simulated() -> bool {
    SIMULATED.get()
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
