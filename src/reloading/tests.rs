//! Tests of reloading without files and threads, and of what a panic leaves.

use super::*;

/// What the pretended file says.
type FakeFile = Arc<Mutex<Part>>;

/// A number; `panic` makes the parser panic, `panic-log` the logging.
#[derive(Debug)]
struct ReloadedNumber(u64);

#[derive(Debug, thiserror::Error)]
#[error("no number: {0}")]
struct NoNumber(String);

const GOOD: Duration = Duration::from_millis(30);
const BROKEN: Duration = Duration::from_millis(250);
const NO_PAUSE: [Duration; 0] = [];
/// Taken at start.
const FIRST: &str = "1";
/// A value whose log line panics.
const UNLOGGABLE: u64 = 13;

impl Reloadable for ReloadedNumber {
    type Origin = ();
    type Error = NoNumber;
    const NAME: &'static str = "number";
    const SETTLE: Settle = Settle { good: GOOD, broken: BROKEN };

    fn files((): &()) -> Vec<PathBuf> {
        Vec::new()
    }

    fn poll_interval((): &()) -> Duration {
        Duration::from_millis(1)
    }

    fn read((): &()) -> Vec<Part> {
        unreachable!("tests read for themselves")
    }

    fn parse((): &(), content: FileContents<'_, Self>) -> Result<Parsed<Self>, NoNumber> {
        let bytes = content.parts[0].as_ref().map_err(|reason| NoNumber(reason.clone()))?;
        let text = String::from_utf8_lossy(bytes);
        assert_ne!(text, "panic");
        let value = text.parse().map(ReloadedNumber).map_err(|_| NoNumber(text.into_owned()))?;
        Ok(Parsed { value, warnings: Vec::new(), is_partial: false })
    }

    fn log_loaded((): &(), before: Option<&Self>, now: &Self) {
        assert!(before.is_none() || now.0 != UNLOGGABLE, "the log line that panics");
    }
}

fn start() -> (FakeFile, Arc<Reloading<ReloadedNumber>>) {
    let file: FakeFile = Arc::new(Mutex::new(Ok(FIRST.into())));
    let content = Arc::clone(&file);
    let number = Reloading::load_with((), Box::new(move |()| vec![content.lock().clone()]));
    (file, number.expect("a number"))
}

fn write(file: &FakeFile, text: &str) {
    *file.lock() = Ok(text.into());
}

/// Makes one check after the other until it is finished; returns the pauses between them.
fn finish(number: &Reloading<ReloadedNumber>, check: Check) -> Vec<Duration> {
    std::iter::from_fn(|| number.check(check)).collect()
}

fn state(number: &Reloading<ReloadedNumber>) -> (u64, u64, bool) {
    let status = number.status();
    (number.current().0, status.generation, status.in_force)
}

#[test]
fn takes_content_that_stays_as_it_is() {
    let (file, number) = start();
    assert_eq!(finish(&number, Check::IfChanged), NO_PAUSE);
    write(&file, "2");
    assert_eq!(number.check(Check::IfChanged), Some(GOOD));
    assert_eq!(state(&number), (1, 1, true), "it may still be changing");
    assert_eq!(number.check(Check::IfChanged), None);
    assert_eq!(state(&number), (2, 2, true));
    assert_eq!(finish(&number, Check::Forced), [GOOD]);
    assert_eq!(state(&number), (2, 3, true), "a forced reload is a load");
}

#[test]
fn broken_content_changes_nothing_and_is_told() {
    let (file, number) = start();
    write(&file, "x");
    assert_eq!(finish(&number, Check::IfChanged), [BROKEN]);
    assert_eq!(state(&number), (1, 1, false));
    assert_eq!(number.status().last_error.expect("an error").to_string(), "no number: x");
    assert_eq!(finish(&number, Check::IfChanged), NO_PAUSE, "it is told once");
    *file.lock() = Err("gone".to_owned());
    assert_eq!(finish(&number, Check::IfChanged), [BROKEN]);
    assert_eq!(number.status().last_error.expect("an error").to_string(), "no number: gone");
    write(&file, FIRST);
    assert_eq!(finish(&number, Check::IfChanged), [GOOD]);
    assert_eq!(state(&number), (1, 2, true));
    assert!(number.status().last_error.is_none());
}

#[test]
fn content_that_goes_back_is_no_change() {
    let (file, number) = start();
    write(&file, "");
    assert_eq!(number.check(Check::IfChanged), Some(BROKEN));
    write(&file, FIRST);
    assert_eq!(number.check(Check::IfChanged), None);
    assert_eq!(state(&number), (1, 1, true));
}

#[test]
fn content_that_never_rests_is_taken_in_the_end() {
    let (file, number) = start();
    for n in 0..MAX_SETTLE_ROUNDS {
        write(&file, &format!("{}", 100 + n));
        assert_eq!(number.check(Check::IfChanged), Some(GOOD), "{n}");
    }
    write(&file, "7");
    assert_eq!(number.check(Check::IfChanged), None);
    assert_eq!(state(&number), (7, 2, true));
}

#[test]
fn a_forced_check_stays_forced_while_it_settles() {
    let (_file, number) = start();
    assert_eq!(number.check(Check::Forced), Some(GOOD));
    assert_eq!(number.check(Check::IfChanged), None);
    assert_eq!(state(&number), (1, 2, true));
}

/// Has the values before and after each reload collected.
fn observed(number: &Reloading<ReloadedNumber>) -> Arc<Mutex<Vec<(u64, u64)>>> {
    let observed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&observed);
    number.observe(move |before, now| told.lock().push((before.0, now.0)));
    observed
}

#[test]
fn observers_are_told_each_reload_in_order() {
    let (file, number) = start();
    let all = observed(&number);
    let take = |text: &str| {
        write(&file, text);
        finish(&number, Check::IfChanged);
    };
    // There and back, faster than anybody looks; what is broken is no reload.
    for text in ["2", FIRST, "x", "2", FIRST] {
        take(text);
    }
    let later = observed(&number);
    finish(&number, Check::Forced);
    assert_eq!(*all.lock(), [(1, 2), (2, 1), (1, 2), (2, 1), (1, 1)]);
    assert_eq!(*later.lock(), [(1, 1)]);
}

#[test]
fn observers_find_the_value_in_force() {
    let (file, number) = start();
    let found = Arc::new(Mutex::new(Vec::new()));
    let (told, observer) = (Arc::clone(&found), Arc::downgrade(&number));
    number.observe(move |_, now| {
        let number = observer.upgrade().expect("what is observed");
        told.lock().push((number.current().0, number.status().generation, now.0));
        // One more, from the next reload on.
        observed(&number);
    });
    write(&file, "2");
    finish(&number, Check::IfChanged);
    assert_eq!(*found.lock(), [(2, 2, 2)]);
}

#[test]
fn an_observer_that_panics_harms_nobody_else() {
    let (file, number) = start();
    let first = observed(&number);
    number.observe(|_, now| assert_ne!(now.0, 2, "the observer that panics"));
    let last = observed(&number);
    let panics = Counter::default();
    let _watch = number.watch(panics.clone()).expect("a thread");
    write(&file, "2");
    wait("the panic", || panics.get() == 1);
    assert_eq!(state(&number), (2, 2, true));
    write(&file, "3");
    wait("the next edit", || last.lock().len() == 2);
    assert_eq!((&*first.lock(), &*last.lock()), (&vec![(1, 2), (2, 3)], &vec![(1, 2), (2, 3)]));
    assert_eq!((state(&number), panics.get()), ((3, 3, true), 1));
}

/// Waits until `until` is true; the test fails if that takes longer than anyone would wait.
fn wait(what: &str, until: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !until() {
        assert!(start.elapsed() < Duration::from_secs(20), "never saw {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_value_whose_log_line_panics_is_in_force_and_edits_are_still_taken() {
    let (file, number) = start();
    let panics = Counter::default();
    let _watch = number.watch(panics.clone()).expect("a thread");
    write(&file, &UNLOGGABLE.to_string());
    wait("the panic", || panics.get() == 1);
    assert_eq!(state(&number), (UNLOGGABLE, 2, true));
    write(&file, "3");
    wait("the next edit", || number.current().0 == 3);
    assert_eq!((state(&number), panics.get()), ((3, 3, true), 1));
}

#[test]
fn content_that_makes_the_parser_panic_is_tried_once() {
    let (file, number) = start();
    let panics = Counter::default();
    let _watch = number.watch(panics.clone()).expect("a thread");
    write(&file, "panic");
    wait("the panic", || panics.get() == 1);
    assert_eq!(state(&number), (1, 1, false), "the last good value stays, and the metrics tell");
    write(&file, "4");
    wait("the next edit", || number.current().0 == 4);
    assert_eq!((state(&number), panics.get()), ((4, 2, true), 1));
}
