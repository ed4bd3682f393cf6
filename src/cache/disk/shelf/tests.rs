//! Tests of the files of cached feeds.

use std::sync::atomic::{AtomicI32, Ordering};

use bytes::Bytes;

use super::*;
use crate::cache::cached_feed::{Feed, Meta};
use crate::feed::FeedKind;
use crate::metrics::Metrics;

const DAY: Duration = Duration::from_hours(24);

pub(in crate::cache::disk) fn key(query: &str) -> Key {
    Key::of(FeedKind::Packages, "4", Some(query))
}

pub(in crate::cache::disk) fn copy(body: &'static str) -> CachedFeed {
    let (body, index) =
        format::index(FeedKind::Packages, &Bytes::from_static(body.as_bytes())).expect("a feed");
    CachedFeed { feed: Arc::new(Feed::new(body, index)), meta: Meta::bare() }
}

/// A shelf on a directory of its own, whose operations fail as told.
struct ShelfFixture {
    path: tempfile::TempDir,
    shelf: Shelf,
    directory: Arc<CacheDirectory>,
    metrics: Metrics,
    /// The operation that fails and the number of its error; 0 if none does.
    faults: Arc<[AtomicI32; Operation::ALL.len()]>,
}

impl ShelfFixture {
    fn new(max_bytes: u64) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), max_bytes)
    }

    fn on(path: tempfile::TempDir, max_bytes: u64) -> Self {
        let faults = Arc::<[AtomicI32; Operation::ALL.len()]>::default();
        let fault = {
            let faults = Arc::clone(&faults);
            move |operation: Operation, _: &Path| match faults[operation as usize].load(Ordering::SeqCst) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            }
        };
        let metrics = Metrics::default();
        let directory = CacheDirectory::with_files(path.path(), &metrics, Files::with_fault(fault));
        let shelf = Shelf::new(Arc::clone(&directory), max_bytes);
        let fixture = Self { path, shelf, directory, metrics, faults };
        fixture.claim();
        fixture
    }

    /// Does what the thread that writes does.
    fn claim(&self) {
        self.directory.claim();
        let hold = self.directory.hold().expect("a claim");
        self.shelf.list(&hold, SystemTime::now()).expect("a list");
    }

    fn fail(&self, operation: Operation, errno: i32) {
        self.faults[operation as usize].store(errno, Ordering::SeqCst);
    }

    fn save(&self, query: &str, body: &'static str) {
        self.shelf.save(&key(query), &copy(body), SystemTime::now()).expect("a claim");
    }

    fn load(&self, query: &str) -> Option<String> {
        let copy = self.shelf.load(&key(query), SystemTime::now())?;
        Some(String::from_utf8(copy.feed.body.to_vec()).expect("text"))
    }

    fn file(&self, query: &str) -> std::path::PathBuf {
        self.path.path().join(&names(&key(query))[0])
    }

    fn failures(&self, operation: Operation) -> u64 {
        let label = crate::metrics::OperationName { operation: operation.name() };
        self.metrics.cache_directory_failures.get_or_create(&label).get()
    }

    fn restarted(self, max_bytes: u64) -> Self {
        self.directory.give_up(Duration::ZERO);
        Self::on(self.path, max_bytes)
    }
}

#[test]
fn a_clock_that_jumps_makes_no_copy_wrong() {
    let fixture = ShelfFixture::new(u64::MAX);
    let now = SystemTime::now();
    let check = |saved: SystemTime, loaded: SystemTime, held: Duration| {
        fixture.shelf.save(&key("q"), &copy("[1,2]"), saved).expect("a claim");
        let found = fixture.shelf.load(&key("q"), loaded).expect("a copy");
        assert_eq!((&found.feed.body[..], found.meta.freshness.age), (&b"[1,2]"[..], Duration::ZERO));
        let off = found.meta.held.abs_diff(held);
        assert!(off < Duration::from_mins(1), "{:?} instead of {held:?}", found.meta.held);
    };
    check(now, now, Duration::ZERO);
    check(now, now + DAY, DAY);
    check(now, now - DAY, Duration::ZERO);
    // Saved while the clock was a day ahead, or confirmed then.
    check(now + DAY, now, Duration::ZERO);
    check(now + DAY, now + 2 * DAY, DAY);
    check(now, now, Duration::ZERO);
    check(now - DAY, now, Duration::ZERO);
}

#[test]
fn no_error_of_reading_costs_the_file() {
    let fixture = ShelfFixture::new(u64::MAX);
    fixture.save("q", "[1]");
    // EIO, EACCES, ENFILE, EMFILE, EROFS, ESTALE; and ENOENT of a directory that is away for a while.
    for (n, errno) in [5, 13, 23, 24, 30, 116].into_iter().enumerate() {
        fixture.fail(Operation::Read, errno);
        assert_eq!(fixture.load("q"), None, "{errno}");
        assert!(fixture.file("q").exists() && fixture.shelf.contains(&key("q")), "{errno}");
        assert_eq!(fixture.failures(Operation::Read), n as u64 + 1);
        fixture.fail(Operation::Read, 0);
        assert_eq!(fixture.load("q").as_deref(), Some("[1]"), "{errno}");
    }
    let away = fixture.path.path().with_extension("away");
    fs::rename(fixture.path.path(), &away).expect("a rename");
    assert_eq!(fixture.load("q"), None);
    fs::rename(&away, fixture.path.path()).expect("a rename");
    assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let fixture = ShelfFixture::new(u64::MAX);
    fixture.save("q", "[1]");
    // ENOSPC, EROFS, EIO.
    for errno in [28, 30, 5] {
        fixture.fail(Operation::Write, errno);
        fixture.save("q", "[2]");
        fixture.save("other", "[3]");
        assert!(matches!(fixture.directory.status(), crate::cache_directory::Status::NotWritable(_)));
        assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
        assert_eq!(fixture.load("other"), None);
        fixture.fail(Operation::Write, 0);
        fixture.directory.claim();
        assert_eq!(fixture.directory.status(), crate::cache_directory::Status::Usable, "{errno}");
    }
    fixture.save("q", "[2]");
    assert_eq!(fixture.load("q").as_deref(), Some("[2]"));
    assert_eq!(
        fs::read_dir(fixture.path.path()).expect("a directory").count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_directory_that_cannot_be_synced_is_no_failed_write() {
    // EINVAL, EOPNOTSUPP: not known there. EIO: counted, but the file is there.
    for (errno, failures) in [(22, 0), (95, 0), (5, 1)] {
        let fixture = ShelfFixture::new(u64::MAX);
        fixture.fail(Operation::Sync, errno);
        fixture.save("q", "[1]");
        assert_eq!(fixture.load("q").as_deref(), Some("[1]"), "{errno}");
        assert_eq!(fixture.directory.status(), crate::cache_directory::Status::Usable);
        assert_eq!((fixture.failures(Operation::Sync), fixture.failures(Operation::Write)), (failures, 0));
    }
}

#[test]
fn only_what_is_proved_bad_is_removed() {
    type Damage = fn(&mut Vec<u8>);
    let check = |name: &str, removed: bool, damage: Damage| {
        let fixture = ShelfFixture::new(u64::MAX);
        fixture.save("q", "[1]");
        let path = fixture.file("q");
        let mut file = fs::read(&path).expect("a file");
        damage(&mut file);
        fs::write(&path, file).expect("a write");
        assert_eq!(fixture.load("q"), None, "{name}");
        assert_eq!(path.exists(), !removed, "{name}");
    };
    check("a flipped bit", true, |file| *file.last_mut().expect("a byte") ^= 1);
    check("a cut-off end", true, |file| file.truncate(file.len() - 1));
    check("nothing in it", true, Vec::clear);
    check("another version", false, |file| file[19] = b'2');
    check("a later version with more digits", false, |file| file.splice(19..20, *b"12").for_each(drop));
    check("a checked header that this version cannot read", false, |file| {
        let sealed = [&b"{\"keys\":[]}\n"[..], b"[1]"].concat();
        *file =
            [format!("catalog-proxy copy 1 {}\n", format::checksum([&sealed])).as_bytes(), &sealed].concat();
    });
}

#[test]
fn a_file_under_the_name_of_another_key_is_not_used() {
    let fixture = ShelfFixture::new(u64::MAX);
    fixture.save("a", "[1]");
    fixture.save("b", "[2]");
    fs::copy(fixture.file("a"), fixture.file("b")).expect("a file");
    let by_name = |query: &str| fixture.shelf.load_name(&names(&key(query))[0], SystemTime::now());
    assert!(by_name("b").is_none() && by_name("a").is_some_and(|(found, _)| found == key("a")));
    assert_eq!((fixture.load("b"), fixture.load("a").as_deref()), (None, Some("[1]")));
}

#[test]
fn a_file_that_is_gone_is_no_error() {
    let fixture = ShelfFixture::new(u64::MAX);
    fixture.save("q", "[1]");
    fs::remove_file(fixture.file("q")).expect("a file");
    assert_eq!(fixture.load("q"), None);
    assert_eq!((fixture.shelf.contains(&key("q")), fixture.failures(Operation::Read)), (false, 0));
}

#[test]
fn the_file_of_an_unchanged_feed_is_written_again_after_an_hour() {
    let fixture = ShelfFixture::new(u64::MAX);
    let now = SystemTime::now();
    let inode = |after: Duration| {
        fixture.shelf.save(&key("q"), &copy("[1]"), now + after).expect("a claim");
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(fixture.file("q")).expect("a file"))
    };
    let first = inode(Duration::ZERO);
    assert_eq!(inode(REWRITE_AFTER - Duration::from_millis(1)), first);
    assert_ne!(inode(REWRITE_AFTER), first);
}

#[test]
fn another_version_keeps_its_file_beside_this_ones() {
    let fixture = ShelfFixture::new(u64::MAX);
    let newer = "catalog-proxy copy 2 who knows\n";
    fs::write(fixture.file("q"), newer).expect("a file");
    // This one does not know yet what is there.
    fixture.claim();
    fixture.save("q", "[1]");
    assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
    let fixture = fixture.restarted(1);
    assert!(fixture.shelf.contains(&key("q")));
    assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
    fixture.save("q", "[2]");
    // All that counts is over the bound of one byte, and goes.
    assert_eq!(fixture.load("q"), None);
    assert_eq!(fs::read_to_string(fixture.file("q")).expect("a file"), newer);
}

#[test]
fn evicts_the_oldest_and_nothing_because_of_an_error() {
    let fixture = ShelfFixture::new(u64::MAX);
    let now = SystemTime::now();
    for (n, query) in ["a", "b", "c"].into_iter().enumerate() {
        let at = now - DAY + Duration::from_secs(n as u64);
        fixture.shelf.save(&key(query), &copy("[1,2,3]"), at).expect("a claim");
    }
    let len = fs::metadata(fixture.file("a")).expect("a file").len();
    for query in ["a", "b", "c"] {
        fixture.load(query).expect("a copy");
    }
    let fixture = fixture.restarted(3 * len);
    // What cannot be looked at may be of another version: nothing is removed.
    fixture.fail(Operation::Read, 13);
    fixture.save("d", "[1,2,3]");
    fixture.fail(Operation::Read, 0);
    assert!(["a", "b", "c", "d"].iter().all(|query| fixture.file(query).exists()));
    fixture.save("e", "[1,2,3]");
    let left: Vec<_> =
        ["a", "b", "c", "d", "e"].into_iter().filter(|query| fixture.file(query).exists()).collect();
    assert_eq!(left, ["c", "d", "e"]);
}

#[test]
fn the_oldest_file_that_may_be_removed_makes_room() {
    // The file of `a` was left by the process before, that of `b` is this one's, and that of `c` needs room.
    let check = |prepare: fn(&ShelfFixture), expected: [&str; 2]| {
        let fixture = ShelfFixture::new(u64::MAX);
        fixture.save("a", "[1]");
        let len = fs::metadata(fixture.file("a")).expect("a file").len();
        let fixture = fixture.restarted(2 * len);
        let save = |query: &str, seconds: u64| {
            let at = SystemTime::now() + Duration::from_secs(seconds);
            fixture.shelf.save(&key(query), &copy("[1]"), at).expect("a claim");
        };
        save("b", 10);
        prepare(&fixture);
        save("c", 20);
        let left: Vec<_> = ["a", "b", "c"].into_iter().filter(|query| fixture.file(query).exists()).collect();
        assert_eq!(left, expected);
    };
    check(|_| {}, ["b", "c"]);
    check(|fixture| fs::remove_file(fixture.file("a")).expect("a file"), ["b", "c"]);
    // One that cannot be looked at may be of another version, unless it was read before.
    check(|fixture| fixture.fail(Operation::Read, 13), ["a", "c"]);
    let read_before = |fixture: &ShelfFixture| {
        fixture.load("a").expect("a copy");
        fixture.fail(Operation::Read, 13);
    };
    check(read_before, ["b", "c"]);
}

#[test]
fn only_so_many_files_are_kept() {
    let fixture = ShelfFixture::new(u64::MAX);
    for n in 0..MAX_FILES + 2 {
        fs::write(fixture.file(&n.to_string()), "[]").expect("a file");
    }
    fixture.claim();
    fixture.save("q", "[1]");
    let left = fs::read_dir(fixture.path.path()).expect("a directory");
    let is_copy = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(is_feed_name);
    assert_eq!(left.map(|entry| entry.expect("an entry")).filter(is_copy).count(), MAX_FILES);
    assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
}

#[test]
fn the_newest_packages_feed_in_a_directory_is_found() {
    let fixture = ShelfFixture::new(u64::MAX);
    let tree = (key("a").as_kind(FeedKind::Categories), crate::cache::tests::categories("[]"));
    let copies = [(key("b"), copy("[2]")), (key("a"), copy("[1]")), tree];
    // Saved again, a file gets the time.
    for (n, (key, copy)) in copies.iter().chain(&copies).enumerate() {
        let at = SystemTime::now() + Duration::from_secs(n as u64);
        fixture.shelf.save(key, copy, at).expect("a claim");
    }
    let newest = |is_wanted: fn(&str) -> bool| {
        newest_packages(fixture.path.path(), is_wanted).map(|(copy, _)| copy.body)
    };
    assert_eq!(newest(|_| true).as_deref(), Some(&b"[1]"[..]));
    assert_eq!(newest(|key| key.ends_with("?b")).as_deref(), Some(&b"[2]"[..]));
    assert_eq!(newest(|_| false), None);
}

#[test]
fn temporary_files_and_copies_are_told_by_age_and_name() {
    let now = SystemTime::now();
    assert!(!is_abandoned(now, now) && !is_abandoned(now - TEMPORARY_AGE, now));
    assert!(is_abandoned(now - TEMPORARY_AGE - Duration::from_secs(1), now));
    // The clock went back.
    assert!(!is_abandoned(now + DAY, now));
    let digits = "0123456789abcdef".repeat(2);
    for (name, expected) in [
        (format!("{digits}.copy"), true),
        (format!("{digits}.1.copy"), true),
        (format!("{digits}.2.copy"), false),
        (format!("{digits}.json"), false),
        (format!("{digits}0.copy"), false),
        (format!("{}.copy", digits.replace('a', "g")), false),
        ("0.copy".to_owned(), false),
    ] {
        assert_eq!(is_feed_name(&name), expected, "{name}");
    }
}

#[test]
fn files_of_a_crash_are_removed_and_others_are_not() {
    let fixture = ShelfFixture::new(u64::MAX);
    let path = fixture.path.path();
    for name in [".tmp-abc", "else", "0.copy", ".hidden"] {
        fs::write(path.join(name), "x").expect("a file");
    }
    fixture.claim();
    let mut left: Vec<_> =
        fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    left.sort();
    assert_eq!(left, [".hidden", "0.copy", "else"]);
}

#[test]
fn another_directory_in_its_place_is_claimed_before_it_is_written() {
    let fixture = ShelfFixture::new(u64::MAX);
    fixture.save("q", "[1]");
    let away = fixture.path.path().with_extension("away");
    fs::rename(fixture.path.path(), &away).expect("a rename");
    fs::create_dir(fixture.path.path()).expect("a directory");
    assert!(fixture.shelf.save(&key("q"), &copy("[2]"), SystemTime::now()).is_err());
    assert!(!fixture.shelf.contains(&key("q")));
    fixture.claim();
    fixture.save("q", "[2]");
    assert_eq!(fixture.load("q").as_deref(), Some("[2]"));
    // The first one is back, with what it had.
    fs::remove_dir_all(fixture.path.path()).expect("a removal");
    fs::rename(&away, fixture.path.path()).expect("a rename");
    fixture.claim();
    assert_eq!(fixture.load("q").as_deref(), Some("[1]"));
}
