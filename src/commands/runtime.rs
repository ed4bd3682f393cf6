//! The async runtime of the commands that serve.

use std::env;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use parking_lot::Mutex;
use tokio::runtime;

use super::CommandError;

/// Most socket events that the runtime takes at a time: what fits into a worker's own queue (256). Those beyond would
/// go to the shared queue, which is rarely polled; with a thousand busy connections some would wait for tenths of a
/// second.
const MAX_IO_EVENTS_PER_TICK: u16 = 240;

/// Threads beside the runtime's workers: at most ten for watched files, copies, news, encodings, the log and the service
/// manager, and some for blocking calls.
const OTHER_THREADS: usize = 16;

/// Starts the runtime and runs `serving` to its end.
///
/// # Errors
/// If the system provides too few threads, or `serving` fails.
pub(super) fn run(serving: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    let workers = workers();
    ensure_threads(workers + OTHER_THREADS)?;
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .max_io_events_per_tick(MAX_IO_EVENTS_PER_TICK.into())
        .event_interval(MAX_IO_EVENTS_PER_TICK.into())
        .build()
        .map_err(CommandError::failed)?;
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serving)));
    // Dropping it would wait for blocking calls, and a disk or a resolver may hang.
    runtime.shutdown_background();
    ended.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Returns the number of worker threads: one a core, unless `TOKIO_WORKER_THREADS` is set.
fn workers() -> usize {
    let variable = env::var("TOKIO_WORKER_THREADS").ok().and_then(|number| number.parse().ok());
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    variable.filter(|number| *number > 0).unwrap_or_else(cores)
}

/// Starts `count` threads at once and ends them, to find out whether the system provides so many.
///
/// Tokio panics if its first worker cannot be started; if a later one cannot, it goes on with fewer, and with
/// none for blocking calls, which then never return.
fn ensure_threads(count: usize) -> Result<(), CommandError> {
    let gate = Mutex::new(());
    let started = thread::scope(|scope| {
        let closed = gate.lock();
        let started: io::Result<()> = (0..count)
            .try_for_each(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop));
        drop(closed);
        started
    });
    started.map_err(|error| {
        CommandError::failed(format!(
            "cannot start {count} threads: {error}; the limit on processes (ulimit -u, TasksMax=, pids.max) or \
             on memory is too low"
        ))
    })
}
