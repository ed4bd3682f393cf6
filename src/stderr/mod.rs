//! Standard error: a bounded queue of lines and the thread that writes them.
//!
//! Logging never waits for the file behind standard error, which may be a full pipe that nobody reads, a full disk or a
//! closed terminal. Lines that do not fit into the queue, or cannot be written, are lost and counted. As soon as lines
//! can be written again, a notice says how many were lost.
//!
//! INVARIANT: nothing else in this program writes to standard error. `eprintln!` and its kin panic when a write
//! fails, and block as long as the write does.

mod journal;
mod queue;

use std::env;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

pub use journal::{Priority, is_journal};
use queue::{Queue, Rank};

/// Longest line in bytes. Longer ones are cut visibly. A line about a request has a few hundred bytes, and twice its
/// target, which common clients limit to some 8 KiB.
pub const MAX_LINE_LEN: usize = 32 << 10;

/// Longest wait for unwritten lines when the process ends: enough for a terminal or a collector that is slow, and
/// far below the time that service managers grant.
const EXIT_LIMIT: Duration = Duration::from_millis(500);

/// Longest wait for messages that should stand before the data that follows on standard output.
const ORDER_LIMIT: Duration = Duration::from_millis(100);

/// Bytes that a pipe with any room takes without blocking (`PIPE_BUF`, pipe(7)).
const ATOMIC_WRITE: usize = 4096;

/// The only queue, because there is only one standard error.
static QUEUE: Queue = Queue::new();

/// True while the writing thread runs.
static HAS_WRITER: AtomicBool = AtomicBool::new(false);

/// Queues a message for people, line by line.
pub fn message(text: impl Display) {
    message_at(Priority::Info, text);
}

/// Queues the message of an error for people, line by line.
pub fn error(text: impl Display) {
    message_at(Priority::Error, text);
}

fn message_at(priority: Priority, text: impl Display) {
    let mut lines = String::new();
    // An error here is that of a `Display`, and what it wrote by then is worth telling.
    let _ = write!(lines, "{text}");
    for line in lines.lines() {
        send(format!("{line}\n").as_bytes(), priority, Rank::Log);
    }
}

/// Queues each thing that is written to it as one line of this priority. Never fails and never blocks.
#[derive(Debug, Clone, Copy)]
pub struct LineWriter(pub Priority);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        send(line, self.0, Rank::Log);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Queues a line of the access log; it includes the line end. With half of the queue taken it is lost, so that a flood
/// of requests leaves room for what goes wrong meanwhile.
pub fn access_line(line: &str) {
    send(line.as_bytes(), Priority::Info, Rank::Access);
}

/// Returns how many lines were lost since the start.
pub fn lost() -> u64 {
    QUEUE.lost()
}

/// Sets the format of the notice about lost lines; it includes the line end, and what the journal wants in front.
pub fn set_notice(notice: fn(u64) -> String) {
    QUEUE.set_notice(notice);
}

/// Waits at most [`ORDER_LIMIT`] until earlier messages are written, before data goes to standard output.
pub fn settle() {
    flush(ORDER_LIMIT);
}

/// Waits at most [`EXIT_LIMIT`] until all lines are written, before the process ends.
pub fn finish() {
    flush(EXIT_LIMIT);
}

/// Returns true if standard error is a terminal that shows colors, and its user wants them (<https://no-color.org>).
pub fn is_colored() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal()
        && !is_journal()
        && !is_set("NO_COLOR")
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn flush(limit: Duration) {
    if HAS_WRITER.load(Ordering::Acquire) {
        QUEUE.wait_until_written(limit);
    }
}

fn send(line: &[u8], priority: Priority, rank: Rank) {
    QUEUE.push(&journal::with_priority(line, priority), rank);
    if HAS_WRITER.swap(true, Ordering::AcqRel) {
        return;
    }
    let writer = WriterThread;
    if thread::Builder::new().name("stderr".to_owned()).spawn(move || writer.run()).is_err() {
        // Dropping the closure, and the writer with it, has reset the flag. Whoever queues a line from now on
        // tries again; what was queued until now is written here.
        QUEUE.drain(Impatient);
    }
}

/// The writing thread; resets the flag if it ever ends, so that the next line starts another one.
struct WriterThread;

impl WriterThread {
    fn run(&self) {
        QUEUE.write_for_ever(Patient);
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        HAS_WRITER.store(false, Ordering::Release);
    }
}

/// Standard error for a thread that may block.
///
/// Not `std::io::Stderr`, which takes a write to a closed file for a good one.
struct Patient;

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(io::stderr(), bytes) {
                // Whoever shares the file may have made it nonblocking.
                Err(Errno::AGAIN) => drop(is_writable(None)?),
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error without blocking, for when no thread can be started.
struct Impatient;

impl Write for Impatient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match is_writable(Some(&Timespec::default()))? {
            true => Ok(rustix::io::write(io::stderr(), &bytes[..bytes.len().min(ATOMIC_WRITE)])?),
            // Not `Interrupted`, which would be tried again.
            false => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits until a write would not block, or `limit` has passed.
fn is_writable(limit: Option<&Timespec>) -> io::Result<bool> {
    let stderr = io::stderr();
    let mut files = [PollFd::new(&stderr, PollFlags::OUT)];
    match poll(&mut files, limit) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
