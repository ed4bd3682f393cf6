//! Tests of the claim on a directory.

use std::sync::mpsc;
use std::thread;

use super::*;

fn directory(path: &Path) -> Arc<CacheDirectory> {
    CacheDirectory::new(path, &Metrics::default())
}

#[test]
fn one_process_at_a_time_has_it() {
    let path = tempfile::tempdir().expect("a directory");
    let (old, new) = (directory(path.path()), directory(path.path()));
    assert_eq!((old.claim(), old.claim(), new.claim()), (Claimed::Now, Claimed::Before, Claimed::No));
    assert_eq!((old.status(), new.status()), (Status::Usable, Status::Busy));
    assert!(old.hold().is_some() && new.hold().is_none());
    assert!(old.give_up(Duration::ZERO));
    assert_eq!((new.claim(), old.claim()), (Claimed::Now, Claimed::No));
    assert!(old.hold().is_none() && new.hold().is_some());
    assert_eq!(old.status(), Status::GivenUp);
}

#[test]
fn a_change_under_way_ends_before_the_lock_is_given_up() {
    let path = tempfile::tempdir().expect("a directory");
    let (old, new) = (directory(path.path()), directory(path.path()));
    old.claim();
    let hold = old.hold().expect("a claim");
    assert!(!old.give_up(Duration::ZERO));
    assert_eq!(new.claim(), Claimed::No);
    drop(hold);
    assert_eq!(new.claim(), Claimed::Now);
}

#[test]
fn an_error_is_tried_again() {
    let parent = tempfile::tempdir().expect("a directory");
    let path = parent.path().join("cache");
    std::fs::write(&path, "in its way").expect("a file");
    let directory = directory(&path);
    assert_eq!(directory.claim(), Claimed::No);
    assert!(matches!(directory.status(), Status::Unavailable(_)));
    std::fs::remove_file(&path).expect("a removal");
    assert_eq!((directory.claim(), directory.status()), (Claimed::Now, Status::Usable));
}

#[test]
fn no_status_waits_for_a_disk_that_hangs() {
    let path = tempfile::tempdir().expect("a directory");
    let (release, released) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel();
    let (started, released) = (Mutex::new(started), Mutex::new(released));
    let files = Files::with_fault(move |operation, _| {
        if operation == Operation::Remove {
            let _ = started.lock().send(());
            let _ = released.lock().recv();
        }
        Ok(())
    });
    let directory = CacheDirectory::with_files(path.path(), &Metrics::default(), files);
    directory.claim();
    let hung = Arc::clone(&directory);
    let thread = thread::spawn(move || hung.hold().expect("a claim").remove("x"));
    running.recv().expect("an operation");
    assert!(directory.is_claimed() && directory.is_in_place());
    assert_eq!(directory.status(), Status::Usable);
    assert!(directory.hold_within(Duration::ZERO).is_none());
    assert!(!directory.give_up(Duration::ZERO));
    drop(release);
    thread.join().expect("an end").expect("a removal");
    assert_eq!(directory.claim(), Claimed::No);
}
