//! The async runtime of the commands that serve.

use std::env;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
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

/// Addresses that a thread takes: its stack (2 MiB, Rust's default) and the heap that glibc reserves for it (64 MiB).
/// A reserved heap costs no memory, but counts against a limit on addresses.
const THREAD_ADDRESS_BYTES: u64 = 66 << 20;

/// Addresses that there must be beside the threads: what is loaded before the first request.
const SPARE_ADDRESS_BYTES: u64 = 64 << 20;

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

/// Has `count` threads running at once for a moment, where the limit on addresses has room for them.
///
/// Tokio panics if its first worker cannot be started; if a later one cannot, it goes on with fewer, and with
/// none for blocking calls, which then never return. An allocation that fails for want of addresses ends the process.
fn ensure_threads(count: usize) -> Result<(), CommandError> {
    ensure_addresses(count).and_then(|()| start_threads(count)).map_err(|error| {
        CommandError::failed(format!(
            "cannot start {count} threads: {error}; the limit on processes (ulimit -u, TasksMax=, pids.max) or \
             on memory (ulimit -v, LimitAS=) is too low"
        ))
    })
}

/// Checks that the limit on addresses, if there is one, has room for `count` threads.
fn ensure_addresses(count: usize) -> io::Result<()> {
    let Some(limit) = getrlimit(Resource::As).current else { return Ok(()) };
    let left = limit.saturating_sub(used_addresses());
    let needed = SPARE_ADDRESS_BYTES + count as u64 * THREAD_ADDRESS_BYTES;
    if left >= needed {
        return Ok(());
    }
    let mebibytes = |bytes| bytes >> 20;
    Err(io::Error::other(format!(
        "they and the rest take {} MiB of addresses, and the limit leaves {} MiB",
        mebibytes(needed),
        mebibytes(left)
    )))
}

/// Returns the size of the address space in use, in bytes (proc(5), `statm`); 0 where that cannot be read.
fn used_addresses() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0u64);
    pages * page_size() as u64
}

fn start_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock();
        let started = (0..count)
            .try_for_each(|_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock())).map(drop));
        drop(closed);
        started
    })
}
