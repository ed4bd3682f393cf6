//! The async runtime of the commands that serve.

use std::env;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::CommandError;

/// Most socket events that the runtime takes at a time: what fits into a worker's own queue (256). Those beyond would
/// go to the shared queue, which is rarely polled; with a thousand busy connections some would wait for tenths of a
/// second.
const MAX_IO_EVENTS_PER_TICK: u16 = 240;

/// Threads beside the runtime's workers: at most ten for watched files, copies, news, encodings, the log and the service
/// manager, and some for blocking calls.
const OTHER_THREADS: usize = 16;

/// How long a thread for blocking calls stays without one: tokio's default.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Addresses that the stack of a thread takes: Rust's default.
const STACK_SIZE: usize = 2 << 20;

/// Memory that there must be beside the stacks: what is loaded before the first request.
const SPARE_MEMORY: usize = 16 << 20;

/// Memory that is left for an error about threads.
const KEPT_MEMORY: usize = 1 << 20;

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
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .build()
        .map_err(CommandError::failed)?;
    runtime.spawn(keep_one_blocking_thread());
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(serving)));
    // Dropping it would wait for blocking calls, and a disk or a resolver may hang.
    runtime.shutdown_background();
    ended.unwrap_or_else(|payload| resume_unwind(payload))
}

/// Has one thread for blocking calls at any time.
///
/// When the system gives no thread, a blocking call waits for the threads there are; if there is none, tokio panics.
async fn keep_one_blocking_thread() {
    loop {
        // It fails only when the runtime ends.
        let _ = spawn_blocking(|| ()).await;
        sleep(BLOCKING_KEEP_ALIVE / 2).await;
    }
}

/// Returns the number of worker threads: one a core, unless `TOKIO_WORKER_THREADS` is set.
fn workers() -> usize {
    let variable = env::var("TOKIO_WORKER_THREADS").ok().and_then(|number| number.parse().ok());
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    variable.filter(|number| *number > 0).unwrap_or_else(cores)
}

/// Has `count` threads running at once for a moment, when there is memory for them.
///
/// Tokio panics if its first worker cannot be started; if a later one cannot, it goes on with fewer, and with
/// none for blocking calls, which then never return.
fn ensure_threads(count: usize) -> Result<(), CommandError> {
    let reserve = |size| Vec::<u8>::new().try_reserve_exact(size).map_err(io::Error::other);
    let started = reserve(count * STACK_SIZE + SPARE_MEMORY).and_then(|()| start_threads(count));
    started.map_err(|error| {
        CommandError::failed(format!(
            "cannot start {count} threads: {error}; the limit on processes (ulimit -u, TasksMax=, pids.max) or \
             on memory (ulimit -v, LimitAS=) is too low"
        ))
    })
}

fn start_threads(count: usize) -> io::Result<()> {
    // If the threads take all memory there is, the error's text needs some: a failed allocation is an abort.
    let mut kept = Vec::<u8>::new();
    kept.try_reserve_exact(KEPT_MEMORY).map_err(io::Error::other)?;
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let started = (0..count)
            .try_for_each(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop));
        drop((closed, kept));
        started
    })
}
