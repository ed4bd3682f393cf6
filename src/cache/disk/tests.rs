//! Tests of what the cache sees of a disk that hangs, or comes late.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use super::shelf::tests::{copy, key};
use super::*;
use crate::cache::tests::Scripted;
use crate::cache_directory::files::{Files, Operation};
use crate::config::CacheConfig;

/// Longer than any wait here may take; what is asserted is that the end comes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Hangs each operation of one kind from when it is told to until it is dropped.
struct Hang {
    hangs: Arc<Mutex<bool>>,
    release: Option<mpsc::Sender<()>>,
}

fn hanging(operation: Operation) -> (Hang, Files) {
    let (release, released) = mpsc::channel::<()>();
    let (hangs, released) = (Arc::new(Mutex::new(false)), Mutex::new(released));
    let told = Arc::clone(&hangs);
    let files = Files::with_fault(move |other, _| {
        if other == operation && *told.lock() {
            let _ = released.lock().recv();
        }
        Ok(())
    });
    (Hang { hangs, release: Some(release) }, files)
}

impl Hang {
    fn begin(&self) {
        *self.hangs.lock() = true;
    }

    fn end(&mut self) {
        *self.hangs.lock() = false;
        self.release = None;
    }
}

async fn open(path: &Path, files: Files) -> Disk {
    let metrics = Metrics::default();
    let directory = CacheDirectory::with_files(path, &metrics, files);
    Disk::open(directory, u64::MAX, &metrics).await.expect("threads")
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.expect("a pause");
        // Lets a clock that is paused go on.
        sleep(Duration::from_millis(20)).await;
    }
}

/// Closes on a thread of its own, as the proxy does.
async fn close(disk: Arc<Disk>) {
    let closing = tokio::task::spawn_blocking(move || {
        disk.close();
        disk.give_up();
    });
    timeout(PATIENCE, closing).await.expect("an end").expect("no panic");
}

#[tokio::test]
async fn a_read_that_hangs_is_given_up_and_those_behind_it_at_once() {
    let path = tempfile::tempdir().expect("a directory");
    let (mut hang, files) = hanging(Operation::Read);
    let disk = Arc::new(open(path.path(), files).await);
    for query in ["a", "b"] {
        disk.save(&key(query), &copy("[1]"));
    }
    until("the files", async || disk.contains(&key("a")) && disk.contains(&key("b"))).await;
    hang.begin();
    // Nothing but the limit can end this wait, so the clock may jump.
    tokio::time::pause();
    assert!(disk.load(&key("a")).await.is_none());
    tokio::time::resume();
    assert_eq!(disk.status(), Status::Hanging);
    // No time passes, and nothing is queued.
    let other = key("b");
    assert!(futures_util::FutureExt::now_or_never(disk.load(&other)).expect("no wait").is_none());
    // Writes go on.
    disk.save(&key("c"), &copy("[2]"));
    until("the write", async || disk.contains(&key("c"))).await;
    hang.end();
    until("an end of it", async || disk.status() == Status::Usable).await;
    assert_eq!(disk.load(&key("a")).await.expect("a copy").feed.body, "[1]");
    close(disk).await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_hangs_at_start_holds_nothing_up() {
    let path = tempfile::tempdir().expect("a directory");
    let (mut hang, files) = hanging(Operation::Claim);
    hang.begin();
    let disk = Arc::new(open(path.path(), files).await);
    assert!(!disk.contains(&key("a")) && !disk.is_claimed());
    disk.save(&key("a"), &copy("[1]"));
    assert!(disk.take_unsaved().is_empty(), "not while there is no directory");
    let (stop, stopped) = watch::channel(false);
    let keeper = tokio::spawn(Arc::clone(&disk).keep_claimed(stopped.clone()));
    sleep(WRITE_STALL_LIMIT).await;
    until("notice", async || disk.status() == Status::Hanging).await;
    hang.end();
    until("the directory", async || disk.status() == Status::Usable).await;
    assert_eq!(disk.take_unsaved(), HashSet::from([key("a")]));
    // The cache saves what it has of them.
    disk.unsaved.note(key("a"));
    let upstream = Scripted::after(3600);
    let cache = upstream.cache_with(&CacheConfig::default(), Some(Arc::clone(&disk)), None);
    cache.0.store.insert(&key("a"), copy("[1]"), tokio::time::Instant::now());
    let saver = tokio::spawn(cache.keep_fresh(stopped));
    until("the file", async || disk.contains(&key("a"))).await;
    stop.send(true).expect("a keeper");
    for task in [keeper, saver] {
        timeout(PATIENCE, task).await.expect("an end").expect("no panic");
    }
    close(disk).await;
}

#[tokio::test]
async fn a_write_that_hangs_holds_up_neither_reads_nor_the_end() {
    let path = tempfile::tempdir().expect("a directory");
    let (mut hang, files) = hanging(Operation::Write);
    let disk = Arc::new(open(path.path(), files).await);
    disk.save(&key("a"), &copy("[1]"));
    until("the file", async || disk.contains(&key("a"))).await;
    hang.begin();
    let queued = || disk.queued_writes.load(Ordering::SeqCst);
    disk.save(&key("first"), &copy("[2]"));
    until("a write that hangs", async || queued() == 0).await;
    for n in 0..MAX_QUEUED_WRITES + 8 {
        disk.save(&key(&n.to_string()), &copy("[2]"));
    }
    // What finds no room is noted.
    assert_eq!((queued(), disk.unsaved.0.lock().len()), (MAX_QUEUED_WRITES, 8));
    assert_eq!(disk.load(&key("a")).await.expect("a copy").feed.body, "[1]");
    let closing = {
        let disk = Arc::clone(&disk);
        tokio::task::spawn_blocking(move || {
            disk.close_within(Duration::from_millis(100));
            disk.give_up_within(Duration::from_millis(100));
        })
    };
    timeout(PATIENCE, closing).await.expect("an end").expect("no panic");
    let next = open(path.path(), Files::default()).await;
    assert_eq!(next.status(), Status::Busy, "the write may still end");
    hang.end();
    until("the lock", async || {
        next.check().await;
        next.status() == Status::Usable
    })
    .await;
    assert!(!next.contains(&key("5")), "nothing more is written");
}

/// The way to one who does not wait for a reply any more.
fn given_up<T>() -> oneshot::Sender<T> {
    let (reply, _) = oneshot::channel();
    reply
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_read() {
    let path = tempfile::tempdir().expect("a directory");
    let reads = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&reads);
    let files = Files::with_fault(move |operation, _| {
        counted.fetch_add(usize::from(operation == Operation::Read), Ordering::SeqCst);
        Ok(())
    });
    let disk = Arc::new(open(path.path(), files).await);
    disk.save(&key("a"), &copy("[1]"));
    until("the file", async || disk.contains(&key("a"))).await;
    let name = disk.recent_files().remove(0).name;
    read(&disk.shelf, Read::Key { key: key("a"), reply: given_up() });
    read(&disk.shelf, Read::File { name: name.clone(), reply: given_up() });
    assert_eq!(reads.load(Ordering::SeqCst), 0);
    assert!(disk.load(&key("a")).await.is_some() && disk.load_file(name).await.is_some());
    assert_eq!(reads.load(Ordering::SeqCst), 2);
    close(disk).await;
}

#[test]
fn only_so_many_keys_are_noted_as_unsaved() {
    let unsaved = Unsaved::default();
    for n in 0..=MAX_UNSAVED {
        unsaved.note(key(&n.to_string()));
    }
    assert_eq!(unsaved.0.lock().len(), MAX_UNSAVED);
}

#[tokio::test]
async fn a_lane_waits_as_long_as_there_is_progress() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let lane = Lane::start("test", 8, Default::default(), move |reply: oneshot::Sender<()>| {
        let _ = released.lock().recv();
        let _ = reply.send(());
    })
    .expect("a thread");
    let limit = Duration::from_millis(200);
    let mut replies: Vec<_> = (0..3)
        .map(|_| {
            let (reply, read) = oneshot::channel();
            lane.send(reply).expect("room");
            read
        })
        .collect();
    let mut last = replies.pop().expect("a reply");
    assert_eq!(lane.wait(&mut last, limit).await, Err(lane::NoReply::Hangs));
    assert!(lane.hangs());
    release.send(()).expect("a thread");
    replies.remove(0).await.expect("a reply");
    until("progress", async || !lane.hangs()).await;
    drop(release);
    assert_eq!(lane.wait(&mut last, PATIENCE).await, Ok(()));
}
