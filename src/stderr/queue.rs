//! A bounded queue of lines for a file that may block or fail.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::MAX_LINE_LEN;
use super::journal::{Priority, with_priority};

/// Most lines that wait: more than a burst of requests logs while the reader is not scheduled.
const MAX_LINES: usize = 8192;

/// Most bytes that wait: that many lines of common length.
const MAX_BYTES: usize = 1 << 20;

/// Part of the queue that lines of the access log may fill.
const ACCESS_SHARE: usize = 2;

/// How much of the queue a line may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// All of it.
    Log,
    /// One [`ACCESS_SHARE`]th of it.
    Access,
}

/// Lines that wait to be written.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Signaled when there is a line to write.
    filled: Condvar,
    /// Signaled when all lines are written.
    written: Condvar,
    /// Lines lost since the start.
    lost: AtomicU64,
}

#[derive(Debug)]
struct QueueState {
    lines: VecDeque<QueuedLine>,
    /// Total length of the queued lines, in bytes.
    bytes: usize,
    /// Lost lines that no notice in the queue covers.
    untold: u64,
    /// True while a line that left the queue is being written.
    writing: bool,
    /// True if the last write failed.
    failing: bool,
    notice: fn(u64) -> String,
}

/// A line with its end.
#[derive(Debug)]
struct QueuedLine {
    /// Number of lines lost before this one, for a notice that goes first.
    lost_before: u64,
    /// The line; empty if there is only a notice.
    text: Vec<u8>,
}

impl Queue {
    pub(super) const fn new() -> Self {
        let state = QueueState {
            lines: VecDeque::new(),
            bytes: 0,
            untold: 0,
            writing: false,
            failing: false,
            notice: plain_notice,
        };
        Self {
            state: Mutex::new(state),
            filled: Condvar::new(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// Queues a line, or counts it as lost if there is no room.
    ///
    /// INVARIANT: never blocks. The lock is never held across a write.
    pub(super) fn push(&self, line: &[u8], rank: Rank) {
        let text = cut(line);
        let share = match rank {
            Rank::Log => 1,
            Rank::Access => ACCESS_SHARE,
        };
        let mut state = self.state.lock();
        if state.lines.len() >= MAX_LINES / share || state.bytes + text.len() > MAX_BYTES / share {
            self.lose(&mut state, 1);
            return;
        }
        state.bytes += text.len();
        let lost_before = mem::take(&mut state.untold);
        state.lines.push_back(QueuedLine { lost_before, text });
        drop(state);
        self.filled.notify_one();
    }

    /// Writes lines as they are queued. Never returns.
    pub(super) fn write_for_ever(&self, sink: impl Write) {
        let mut sink = LineSink { inner: sink, torn: false };
        loop {
            let mut state = self.state.lock();
            let (line, notice) = loop {
                match state.next() {
                    Some(line) => break (line, state.notice),
                    None => {
                        self.written.notify_all();
                        self.filled.wait(&mut state);
                    }
                }
            };
            drop(state);
            self.write(&mut sink, line, notice);
        }
    }

    /// Writes what is queued now.
    pub(super) fn drain(&self, sink: impl Write) {
        let mut sink = LineSink { inner: sink, torn: false };
        loop {
            let mut state = self.state.lock();
            let Some(line) = state.next() else { return };
            let notice = state.notice;
            drop(state);
            self.write(&mut sink, line, notice);
        }
    }

    /// Waits at most `limit` until all lines are written or lost.
    pub(super) fn wait_until_written(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.is_busy() && !self.written.wait_until(&mut state, deadline).timed_out() {}
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn set_notice(&self, notice: fn(u64) -> String) {
        self.state.lock().notice = notice;
    }

    fn write(&self, sink: &mut LineSink<impl Write>, line: QueuedLine, notice: fn(u64) -> String) {
        let QueuedLine { mut lost_before, text } = line;
        let mut result = Ok(());
        if lost_before > 0 {
            result = sink.write_line(notice(lost_before).as_bytes());
            lost_before = if result.is_ok() { 0 } else { lost_before };
        }
        if result.is_ok() && !text.is_empty() {
            result = sink.write_line(&text);
        }
        let mut state = self.state.lock();
        state.failing = result.is_err();
        if result.is_err() {
            state.untold += lost_before;
            self.lose(&mut state, u64::from(!text.is_empty()));
        }
    }

    fn lose(&self, state: &mut QueueState, lines: u64) {
        state.untold += lines;
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl QueueState {
    /// Takes the next line from the queue.
    fn next(&mut self) -> Option<QueuedLine> {
        let line = self.lines.pop_front().or_else(|| {
            // While writes fail, the next line is the next try.
            let untold = if self.failing { 0 } else { mem::take(&mut self.untold) };
            (untold > 0).then(|| QueuedLine { lost_before: untold, text: Vec::new() })
        });
        self.writing = line.is_some();
        self.bytes -= line.as_ref().map_or(0, |line| line.text.len());
        line
    }

    fn is_busy(&self) -> bool {
        self.writing || !self.lines.is_empty() || (self.untold > 0 && !self.failing)
    }
}

/// Writer of whole lines: after a partial write, the next line starts on a line of its own.
struct LineSink<W> {
    inner: W,
    /// True if the last line was written in part.
    torn: bool,
}

impl<W: Write> LineSink<W> {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.write_whole(b"\n")?;
        }
        self.write_whole(line)
    }

    fn write_whole(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let len = match self.inner.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            bytes = &bytes[len..];
            self.torn = !bytes.is_empty();
        }
        Ok(())
    }
}

/// Copies a line, cut to [`MAX_LINE_LEN`].
fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= MAX_LINE_LEN {
        return line.to_vec();
    }
    // Not within a character of UTF-8: the bytes after a character's first are 10xxxxxx.
    let end = (0..=MAX_LINE_LEN).rev().find(|end| line[*end] & 0xc0 != 0x80).unwrap_or(0);
    let mark = format!("… ({} bytes cut)\n", line.len() - end);
    [&line[..end], mark.as_bytes()].concat()
}

fn plain_notice(lost: u64) -> String {
    let notice = format!("catalog-proxy: {lost} lines were lost, because standard error did not take them\n");
    String::from_utf8_lossy(&with_priority(notice.as_bytes(), Priority::Warning)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// Longer than any test may take; what is asserted is that the end comes.
    const LIMIT: Duration = Duration::from_secs(30);

    /// A file that takes `room` bytes, a few at once, and then fails.
    struct FakeDisk {
        room: usize,
        text: Vec<u8>,
    }

    impl FakeDisk {
        fn with_room(room: usize) -> Self {
            Self { room, text: Vec::new() }
        }

        fn text(&self) -> &str {
            std::str::from_utf8(&self.text).expect("text")
        }
    }

    impl Write for FakeDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.room).min(5);
            if len == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= len;
            self.text.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> Queue {
        let queue = Queue::new();
        queue.set_notice(|lost| format!("lost {lost}\n"));
        queue
    }

    fn push_all(queue: &Queue, lines: &[&str]) {
        lines.iter().for_each(|line| queue.push(line.as_bytes(), Rank::Log));
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_at_its_place() {
        let queue = queue();
        for n in 0..MAX_LINES + 3 {
            queue.push(format!("{n}\n").as_bytes(), Rank::Log);
        }
        assert_eq!(queue.lost(), 3);
        queue.state.lock().next();
        queue.push(b"later\n", Rank::Log);
        let mut disk = FakeDisk::with_room(usize::MAX);
        queue.drain(&mut disk);
        assert!(disk.text().starts_with("1\n2\n"));
        assert!(disk.text().ends_with(&format!("\n{}\nlost 3\nlater\n", MAX_LINES - 1)));
        assert!(!queue.state.lock().is_busy());
    }

    #[test]
    fn requests_leave_room_for_what_goes_wrong() {
        let queue = queue();
        for _ in 0..2 * MAX_LINES {
            queue.push(b"request\n", Rank::Access);
        }
        assert_eq!(queue.lost(), (2 * MAX_LINES - MAX_LINES / 2) as u64);
        push_all(&queue, &["warning\n"]);
        queue.push(b"request\n", Rank::Access);
        let mut disk = FakeDisk::with_room(usize::MAX);
        queue.drain(&mut disk);
        assert!(
            disk.text().ends_with("request\nlost 12288\nwarning\nlost 1\n"),
            "{}",
            &disk.text()[disk.text().len() - 60..]
        );
    }

    #[test]
    fn a_loss_is_told_though_nothing_follows() {
        let queue = queue();
        let line = vec![b'a'; MAX_LINE_LEN];
        for _ in 0..MAX_BYTES / MAX_LINE_LEN + 2 {
            queue.push(&line, Rank::Log);
        }
        let mut disk = FakeDisk::with_room(usize::MAX);
        queue.drain(&mut disk);
        assert_eq!((queue.lost(), disk.text.len()), (2, MAX_BYTES + "lost 2\n".len()));
        assert!(disk.text().ends_with("alost 2\n"));
    }

    #[test]
    fn failed_writes_are_told_with_the_next_good_one() {
        let queue = queue();
        push_all(&queue, &["one\n", "two\n", "three\n"]);
        let mut disk = FakeDisk::with_room("one\ntw".len());
        queue.drain(&mut disk);
        assert_eq!((queue.lost(), disk.text()), (2, "one\ntw"));
        // Nothing more is tried before there is a line, or a full disk would be written to without pause.
        assert!(!queue.state.lock().is_busy());
        push_all(&queue, &["four\n", "five\n"]);
        let mut disk = FakeDisk::with_room(usize::MAX);
        queue.drain(&mut disk);
        assert_eq!((queue.lost(), disk.text()), (2, "lost 2\nfour\nfive\n"));
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let mut sink = LineSink { inner: FakeDisk::with_room(5), torn: false };
        assert!(sink.write_line(b"one\ntwo\n").is_err());
        sink.inner.room = 100;
        sink.write_line(b"three\n").expect("room");
        sink.write_line(b"four\n").expect("room");
        assert_eq!(sink.inner.text(), "one\nt\nthree\nfour\n");
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let check = |line: &str, expected: &str| assert_eq!(cut(line.as_bytes()), expected.as_bytes());
        let most = "a".repeat(MAX_LINE_LEN);
        check(&most, &most);
        check(&format!("{most}bc"), &format!("{most}… (2 bytes cut)\n"));
        let less = &most[1..];
        check(&format!("{less}ü\n"), &format!("{less}… (3 bytes cut)\n"));
    }

    #[test]
    fn a_stuck_file_holds_up_neither_lines_nor_the_end() {
        /// Takes nothing until it is let go.
        struct Stuck(std::sync::mpsc::Receiver<()>);

        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let queue = Arc::new(queue());
        let (release, released) = std::sync::mpsc::channel();
        let writing = Arc::clone(&queue);
        thread::spawn(move || writing.write_for_ever(Stuck(released)));
        for _ in 0..2 * MAX_LINES {
            queue.push(b"line\n", Rank::Log);
        }
        queue.wait_until_written(Duration::from_millis(1));
        assert!(queue.state.lock().is_busy() && queue.lost() > 0);
        drop(release);
        queue.wait_until_written(LIMIT);
        assert!(!queue.state.lock().is_busy());
    }
}
