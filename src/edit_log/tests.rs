//! What outlives the process, what `file` did, and what is not made when it cannot be written down.

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::metrics::Metrics;
use crate::wall_clock;

/// The files of shops at one moment: the default shop's text, and gold's.
fn shops(default: &str, gold: &str) -> Shops {
    Shops::of_texts(Some(default), &[("gold", gold)]).expect("shops")
}

const NONE: &str = "extensions = []";
const A: &str = "extensions = ['a']";
const AB: &str = "extensions = ['a', 'b']";

fn digest(text: &str) -> FileDigest {
    FileDigest::of(text.as_bytes())
}

fn directory(path: &Path) -> Arc<CacheDirectory> {
    let directory = CacheDirectory::new(path, &Metrics::default());
    directory.claim();
    directory
}

fn open(path: &Path, shops: &Shops) -> EditLog {
    EditLog::new(Some(directory(path)), shops)
}

/// Makes an edit of gold from one text to another.
fn edit(log: &EditLog, before: &str, after: &str, is_made: bool) -> Result<Option<()>, EditLogError> {
    let codes = EditedCodes { show: vec!["a".to_owned()], ..EditedCodes::default() };
    let shop = ShopName::parse("gold").expect("a name");
    let digests = (digest(before), digest(after));
    let who = ("alice", IpAddr::V4(Ipv4Addr::LOCALHOST));
    let record = EditRecord::new(who, &shop, codes, digests, wall_clock::now());
    log.make(&shop, &record, digests, EditedCodes::default, || Ok(is_made.then_some(())))
}

impl EditLog {
    /// Records what a reload put into force.
    fn observe(&self, before: &Shops, now: &Shops) {
        changed_lists(before, now).iter().for_each(|list| self.record(list));
    }
}

/// Returns who made the edits, and from which text to which.
fn told(records: &[EditRecord]) -> String {
    let name = |digest: &str| {
        let texts = [("none", NONE), ("a", A), ("ab", AB)];
        texts.iter().find(|(_, text)| self::digest(text).to_string() == digest).map_or("?", |(name, _)| name)
    };
    let line = |record: &EditRecord| {
        let before = record.before.as_deref().map_or("-", name);
        format!("{} {} {before}>{}", record.by, record.shop, name(&record.after))
    };
    records.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn edits_outlive_the_process() {
    let path = tempfile::tempdir().expect("a directory");
    let log = open(path.path(), &shops(A, NONE));
    edit(&log, NONE, A, true).expect("a log");
    log.observe(&shops(A, NONE), &shops(A, A));
    drop(log);
    let log = open(path.path(), &shops(A, A));
    assert_eq!(told(&log.records().expect("a log")), "alice gold none>a");
    let record = &log.records().expect("a log")[0];
    assert_eq!(log.find(&record.id).expect("a log").as_ref(), Some(record));
    assert_eq!(log.find("x").expect("a log"), None);
    edit(&log, A, AB, true).expect("a log");
    assert_eq!(told(&read(path.path()).expect("a file")), "alice gold none>a, alice gold a>ab");
}

#[test]
fn a_list_that_no_edit_explains_is_by_file() {
    let log = EditLog::new(None, &shops(A, NONE));
    log.observe(&shops(A, NONE), &shops(A, A));
    assert_eq!(told(&log.records().expect("a log")), "file gold none>a");
    assert_eq!(log.records().expect("a log")[0].codes.show, ["a"]);
    // Seen together with an edit of this port that came before it.
    edit(&log, A, NONE, true).expect("a log");
    log.observe(&shops(A, A), &shops(AB, AB));
    let expected = "file gold none>a, alice gold a>none, file default a>ab, file gold a>ab";
    assert_eq!(told(&log.records().expect("a log")), expected);
    // The same content again, or a forced reload, is no edit; what is forgotten is told.
    log.observe(&shops(AB, AB), &shops(AB, AB));
    log.observe(&shops(AB, AB), &shops(AB, A));
    assert_eq!(log.records().expect("a log")[4].codes.forget, ["b"]);
    assert_eq!(log.records().expect("a log").len(), 5);
    // One that this port sees before it is in force.
    edit(&log, AB, A, true).expect("a log");
    assert!(
        told(&log.records().expect("a log")).ends_with("file gold a>ab, alice gold ab>a"),
        "{}",
        told(&log.records().expect("a log"))
    );
    log.observe(&shops(AB, A), &shops(AB, AB));
    log.observe(&shops(AB, AB), &shops(AB, A));
    assert_eq!(log.records().expect("a log").len(), 7);
    // Several edits of this port that one reload takes.
    edit(&log, A, AB, true).expect("a log");
    edit(&log, AB, NONE, true).expect("a log");
    log.observe(&shops(AB, A), &shops(AB, NONE));
    assert_eq!(log.records().expect("a log").len(), 9);
    // Back to what an edit of this port once made.
    log.observe(&shops(AB, NONE), &shops(AB, AB));
    assert!(told(&log.records().expect("a log")).ends_with("file gold none>ab"));
}

#[test]
fn an_edit_that_was_not_made_leaves_no_line() {
    let path = tempfile::tempdir().expect("a directory");
    let log = open(path.path(), &shops(A, NONE));
    edit(&log, NONE, A, true).expect("a log");
    assert_eq!(edit(&log, A, AB, false).expect("a log"), None);
    assert_eq!(told(&read(path.path()).expect("a file")), "alice gold none>a");
    // The process ended between the line and the file.
    edit(&log, A, AB, true).expect("a log");
    drop(log);
    let log = open(path.path(), &shops(A, A));
    assert_eq!(told(&log.records().expect("a log")), "alice gold none>a");
    edit(&log, A, NONE, true).expect("a log");
    assert_eq!(told(&read(path.path()).expect("a file")), "alice gold none>a, alice gold a>none");
    drop(log);
    // One that was made, and a hand edit while nobody looked.
    let log = open(path.path(), &shops(A, AB));
    assert_eq!(
        told(&log.records().expect("a log")),
        "alice gold none>a, alice gold a>none, file gold none>ab"
    );
    // Before the log was read, the file changed again.
    drop(log);
    let log = open(path.path(), &shops(A, NONE));
    log.observe(&shops(A, NONE), &shops(A, A));
    let now = told(&log.records().expect("a log"));
    assert_eq!(
        now, "alice gold none>a, alice gold a>none, file gold none>a",
        "as if it had been off all the time"
    );
}

#[test]
fn what_cannot_be_written_is_not_made() {
    let path = tempfile::tempdir().expect("a directory");
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let injected = Arc::clone(&fails);
    let files = Files::with_fault(move |operation, _| {
        let fails = operation == Operation::Write && injected.load(std::sync::atomic::Ordering::SeqCst);
        if fails { Err(io::Error::other("full")) } else { Ok(()) }
    });
    let directory = CacheDirectory::with_files(path.path(), &Metrics::default(), files);
    let log = EditLog::new(Some(Arc::clone(&directory)), &shops(A, NONE));
    let error = edit(&log, NONE, A, true).expect_err("not claimed yet").to_string();
    assert!(error.contains("not opened yet"), "{error}");
    directory.claim();
    fails.store(true, std::sync::atomic::Ordering::SeqCst);
    let was_asked = Cell::new(false);
    let shop = ShopName::parse("gold").expect("a name");
    let record = EditRecord::by_file(&shop, EditedCodes::default(), (None, String::new()), wall_clock::now());
    let made: Result<Option<()>, EditLogError> =
        log.make(&shop, &record, (digest(NONE), digest(A)), EditedCodes::default, || {
            was_asked.set(true);
            Ok(Some(()))
        });
    assert!(made.is_err() && !was_asked.get());
    // A hand edit meanwhile is written with the next.
    log.observe(&shops(A, NONE), &shops(A, A));
    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    edit(&log, A, AB, true).expect("a log");
    assert_eq!(told(&read(path.path()).expect("a file")), "file gold none>a, alice gold a>ab");
}

#[test]
fn damage_and_numbers_are_bounded() {
    let path = tempfile::tempdir().expect("a directory");
    let log = open(path.path(), &shops(A, NONE));
    edit(&log, NONE, A, true).expect("a log");
    let file = path.path().join(FILE_NAME);
    let mut bytes = fs::read(&file).expect("a file");
    bytes.extend_from_slice(b"{\"id\": \"torn");
    fs::write(&file, &bytes).expect("a write");
    drop(log);
    let log = open(path.path(), &shops(A, A));
    edit(&log, A, AB, true).expect("a log");
    assert_eq!(told(&read(path.path()).expect("a file")), "alice gold none>a, alice gold a>ab");
    // More than are kept.
    let line = fs::read_to_string(&file).expect("a file").lines().last().expect("a line").to_owned() + "\n";
    fs::write(&file, line.repeat(MAX_EDITS + MAX_EXTRA_EDITS + 1)).expect("a write");
    drop(log);
    let log = open(path.path(), &shops(A, AB));
    edit(&log, AB, A, true).expect("a log");
    let records = read(path.path()).expect("a file");
    assert_eq!((records.len(), records.last().map(|record| record.by.as_str())), (MAX_EDITS, Some("alice")));
}

#[test]
fn what_file_did_is_written_by_itself() {
    let path = tempfile::tempdir().expect("a directory");
    let directory = CacheDirectory::new(path.path(), &Metrics::default());
    let log = Arc::new(EditLog::new(Some(Arc::clone(&directory)), &shops(A, NONE)));
    log.settle();
    log.observe(&shops(A, NONE), &shops(A, A));
    log.settle();
    assert!(read(path.path()).expect("no file").is_empty(), "another process has the directory");
    directory.claim();
    directory.run_retries();
    assert_eq!(told(&read(path.path()).expect("a file")), "file gold none>a");
    log.observe(&shops(A, A), &shops(A, AB));
    log.settle();
    assert_eq!(told(&read(path.path()).expect("a file")), "file gold none>a, file gold a>ab");
}

#[test]
fn a_disk_that_hangs_holds_up_no_reload_and_no_editor_for_ever() {
    let path = tempfile::tempdir().expect("a directory");
    let (held, holds) = std::sync::mpsc::channel::<()>();
    let holds = parking_lot::Mutex::new(holds);
    let (writes, writing) = std::sync::mpsc::channel();
    let files = Files::with_fault(move |operation, path| {
        if operation == Operation::Write && path.ends_with(FILE_NAME) {
            let _ = writes.send(());
            // Until the test is over.
            let _ = holds.lock().recv();
        }
        Ok(())
    });
    let directory = CacheDirectory::with_files(path.path(), &Metrics::default(), files);
    directory.claim();
    let watched = crate::shops::load(crate::shops::ShopFiles {
        default: Some(write(path.path(), "list.toml", NONE)),
        directory: None,
    });
    let watched = watched.expect("shops");
    let log = Arc::new(EditLog::new(Some(directory), &watched.current()));
    log.watch(&watched, Counter::default()).expect("a thread");
    for text in [A, AB, NONE, A] {
        write(path.path(), "list.toml", text);
        while watched.check(crate::watch::Check::IfChanged).is_some() {}
        assert_eq!(
            watched.current().default_shop().and_then(|shop| shop.list()).map(|list| list.digest),
            Some(digest(text))
        );
    }
    // The first of these lists is being written, and goes on being.
    writing.recv_timeout(Duration::from_mins(1)).expect("a write");
    assert!(matches!(log.records(), Err(EditLogError::Hanging)));
    assert!(matches!(edit(&log, NONE, A, true), Err(EditLogError::Hanging)));
    drop(held);
}

fn write(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("a file");
    path
}
