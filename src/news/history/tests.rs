//! The history on disk: damage, other versions, and files that cannot be read or written for a while.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use super::super::{Kind, SellerName};
use super::*;
use crate::metrics::Metrics;

fn claimed(path: &Path) -> Arc<CacheDirectory> {
    let directory = CacheDirectory::new(path, &Metrics::default());
    directory.claim();
    directory
}

fn change(code: &str, change: Kind) -> Change {
    Change {
        change,
        code: code.to_owned(),
        renamed_from: None,
        name: Some("A \"name\"\n".to_owned()),
        seller: SellerName::Plesk,
        was: None,
        whitelisted: false,
        shops: Vec::new(),
    }
}

fn push(history: &History, code: &str) {
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    history.push("v4", at, &[change(code, Kind::New)]);
}

fn codes(directory: &Path) -> Vec<String> {
    read(directory).expect("a history").into_iter().map(|entry| entry.change.code).collect()
}

#[test]
fn outlives_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || History::open(Some(claimed(directory.path())));
    assert!(codes(directory.path()).is_empty());
    let history = open();
    push(&history, "a");
    push(&history, "b");
    drop(history);
    let history = open();
    push(&history, "c");
    assert_eq!(codes(directory.path()), ["a", "b", "c"]);
    let entry = &read(directory.path()).expect("a history")[0];
    assert_eq!((entry.at.as_str(), &entry.change), ("2023-11-14T22:13:20Z", &change("a", Kind::New)));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
}

#[test]
fn is_bounded() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::open(Some(claimed(directory.path())));
    let changes: Vec<_> = (0..MAX_CHANGES + 3).map(|n| change(&n.to_string(), Kind::New)).collect();
    history.push("v4", UNIX_EPOCH, &changes);
    let codes = codes(directory.path());
    assert_eq!((codes.len(), codes[0].as_str()), (MAX_CHANGES, "3"));
}

#[test]
fn damage_costs_a_line_only() {
    let check = |damage: fn(&mut Vec<u8>), expected: &[&str]| {
        let directory = tempfile::tempdir().expect("a directory");
        let history = History::open(Some(claimed(directory.path())));
        for code in ["aa", "bb", "cc"] {
            push(&history, code);
        }
        drop(history);
        let path = directory.path().join(FILE_NAME);
        let mut bytes = fs::read(&path).expect("a file");
        damage(&mut bytes);
        fs::write(&path, bytes).expect("a write");
        assert_eq!(codes(directory.path()), expected);
        push(&History::open(Some(claimed(directory.path()))), "dd");
        assert_eq!(codes(directory.path()), [expected, &["dd"]].concat());
    };
    check(|_| (), &["aa", "bb", "cc"]);
    check(|bytes| bytes.truncate(bytes.len() - 1), &["aa", "bb"]);
    check(|bytes| bytes.truncate(bytes.len() - 20), &["aa", "bb"]);
    check(|bytes| bytes[0] = b'3', &["bb", "cc"]);
    check(|bytes| bytes[60] ^= 1, &["bb", "cc"]);
    check(|bytes| bytes[60] = 0xff, &["bb", "cc"]);
    check(|bytes| bytes.extend_from_slice(b"hello\n\n1 2\n"), &["aa", "bb", "cc"]);
    check(Vec::clear, &[]);
}

#[test]
fn knows_what_was_told_last() {
    let history = History::open(None);
    assert!(!history.ends_with("v4", &change("a", Kind::New)));
    push(&history, "a");
    assert!(history.ends_with("v4", &change("a", Kind::New)));
    assert!(!history.ends_with("v3", &change("a", Kind::New)));
    assert!(!history.ends_with("v4", &change("b", Kind::New)));
    assert!(!history.ends_with("v4", &change("a", Kind::Gone)));
    history.push("v4", UNIX_EPOCH, &[change("a", Kind::Gone)]);
    assert!(!history.ends_with("v4", &change("a", Kind::New)));
    let switched = |seller| Change { seller, ..change("a", Kind::Switched) };
    history.push("v4", UNIX_EPOCH, &[switched(SellerName::Free)]);
    assert!(history.ends_with("v4", &switched(SellerName::Free)));
    assert!(!history.ends_with("v4", &switched(SellerName::Plesk)));
}

#[test]
fn a_file_that_cannot_be_read_is_not_begun_anew() {
    let path = tempfile::tempdir().expect("a directory");
    push(&History::open(Some(claimed(path.path()))), "a");
    let fails = Arc::new(AtomicBool::new(true));
    let fault = {
        let fails = Arc::clone(&fails);
        move |operation, _: &Path| match fails.load(Ordering::SeqCst) && operation == Operation::Read {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        }
    };
    let files = Files::with_fault(fault);
    let directory = CacheDirectory::with_files(path.path(), &Metrics::default(), files);
    directory.claim();
    let history = History::open(Some(Arc::clone(&directory)));
    push(&history, "b");
    push(&history, "c");
    assert_eq!(codes(path.path()), ["a"]);
    fails.store(false, Ordering::SeqCst);
    directory.run_retries();
    assert_eq!(codes(path.path()), ["a", "b", "c"]);
    assert!(history.ends_with("v4", &change("a", Kind::New)));
    push(&history, "d");
    directory.run_retries();
    assert_eq!(codes(path.path()), ["a", "b", "c", "d"]);
}

#[test]
fn waits_for_the_directory() {
    let path = tempfile::tempdir().expect("a directory");
    let old = claimed(path.path());
    let told = History::open(Some(Arc::clone(&old)));
    push(&told, "a");
    let new = claimed(path.path());
    let history = History::open(Some(Arc::clone(&new)));
    push(&history, "b");
    assert_eq!(codes(path.path()), ["a"]);
    assert!(old.give_up(Duration::ZERO));
    push(&told, "never written");
    new.claim();
    new.run_retries();
    assert_eq!(codes(path.path()), ["a", "b"]);
}

/// Lines as versions without renames wrote them, and those that have them.
#[test]
fn old_lines_are_read_and_renames_are_lines_of_their_own_version() {
    let path = tempfile::tempdir().expect("a directory");
    let json = r#"{"at":"2026-03-01T02:03:04Z","api":"v4","change":"gone","code":"a","name":null,"seller":"free","was":null,"whitelisted":true}"#;
    let old = format!("1 {} {json}\n", checksum(json));
    fs::write(path.path().join(FILE_NAME), &old).expect("a file");
    let history = History::open(Some(claimed(path.path())));
    let renamed = Change { renamed_from: Some("b".to_owned()), ..change("c", Kind::Renamed) };
    history.push("v4", UNIX_EPOCH, std::slice::from_ref(&renamed));
    push(&history, "d");
    drop(history);
    let text = fs::read_to_string(path.path().join(FILE_NAME)).expect("a file");
    let versions: Vec<&str> = text.lines().map(|line| &line[..2]).collect();
    assert!(text.starts_with(&old), "{text}");
    assert_eq!(versions, ["1 ", "2 ", "1 "]);
    assert!(text.contains(r#""change":"renamed","code":"c","renamed_from":"b","#), "{text}");
    let read = read(path.path()).expect("a history");
    assert_eq!((&*read[0].change.code, &read[1].change), ("a", &renamed));
    assert!(History::open(Some(claimed(path.path()))).ends_with("v4", &renamed));
    // Damage is found in either.
    fs::write(path.path().join(FILE_NAME), text.replace("\"c\"", "\"x\"")).expect("a file");
    assert_eq!(codes(path.path()), ["a", "d"]);
}

#[test]
fn lines_of_another_version_stay() {
    let path = tempfile::tempdir().expect("a directory");
    fs::write(path.path().join(FILE_NAME), "3 {\"new\":true}\ndamaged\n").expect("a file");
    push(&History::open(Some(claimed(path.path()))), "a");
    push(&History::open(Some(claimed(path.path()))), "b");
    assert_eq!(codes(path.path()), ["a", "b"]);
    let text = fs::read_to_string(path.path().join(FILE_NAME)).expect("a file");
    assert!(text.starts_with("3 {\"new\":true}\n1 "), "{text}");
}
