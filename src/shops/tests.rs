//! Tests of the files of shops: one file with real events, and a directory without files and threads.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use parking_lot::Mutex;

use super::*;
use crate::reloading::{FileContents, Part, Reloadable};
use crate::watch::{Check, Watch};

/// Fails the test if a reload takes longer than anyone would wait; what is asserted is that it comes.
const PATIENCE: Duration = Duration::from_secs(20);

struct WatchedFile {
    directory: tempfile::TempDir,
    shops: Arc<WatchedShops>,
    watch: Watch,
}

impl WatchedFile {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("whitelist.toml"), text("first")).expect("a file");
        Self::watching(directory)
    }

    fn watching(directory: tempfile::TempDir) -> Self {
        let default = Some(directory.path().join("whitelist.toml"));
        let shops = load(ShopFiles { default, directory: None }).expect("a list");
        let watch = shops.watch(Counter::default()).expect("a thread");
        Self { directory, shops, watch }
    }

    fn shop(&self) -> Arc<Shop> {
        Arc::clone(self.shops.current().default_shop().expect("a shop"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait(&self, what: &str, until: impl Fn(&Shop) -> bool) {
        let start = Instant::now();
        while !until(&self.shop()) {
            assert!(start.elapsed() < PATIENCE, "never saw {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for(&self, code: &str) {
        self.wait(code, |shop| has(shop, code));
    }

    fn wait_for_error(&self, part: &str) {
        self.wait(part, |shop| {
            shop.last_error.as_ref().is_some_and(|error| error.to_string().contains(part))
        });
    }
}

/// Returns true if the list in force names a code.
fn has(shop: &Shop, code: &str) -> bool {
    shop.rules().is_some_and(|rules| rules.has_code(code))
}

fn text(code: &str) -> String {
    format!("extensions = [\"{code}\"]\n")
}

#[test]
fn sees_a_write_in_place() {
    let fixture = WatchedFile::new();
    fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
    fixture.wait_for("second");
    assert!(!has(&fixture.shop(), "first"));
}

#[test]
fn sees_a_rename_over_and_a_backup_and_write() {
    let fixture = WatchedFile::new();
    fs::write(fixture.path("new"), text("second")).expect("a write");
    fs::rename(fixture.path("new"), fixture.path("whitelist.toml")).expect("a rename");
    fixture.wait_for("second");
    fs::rename(fixture.path("whitelist.toml"), fixture.path("whitelist.toml~")).expect("a backup");
    fs::write(fixture.path("whitelist.toml"), text("third")).expect("a write");
    fixture.wait_for("third");
    assert!(fixture.shop().last_error.is_none());
}

#[test]
fn sees_a_config_map_swap() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    for (version, code) in [("..v1", "first"), ("..v2", "second")] {
        fs::create_dir(path(version)).expect("a version");
        fs::write(path(version).join("whitelist.toml"), text(code)).expect("a write");
    }
    symlink("..v1", path("..data")).expect("a link");
    symlink("..data/whitelist.toml", path("whitelist.toml")).expect("a link");
    symlink("..v2", path("..data_tmp")).expect("a link");
    let fixture = WatchedFile::watching(directory);
    fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).expect("a swap");
    fixture.wait_for("second");
}

#[test]
fn polls_where_no_events_come() {
    let (away, directory) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("one"));
    // Events of a link's target come from a directory that is not watched.
    fs::write(away.path().join("list"), text("first")).expect("a write");
    symlink(away.path().join("list"), directory.path().join("whitelist.toml")).expect("a link");
    let fixture = WatchedFile::watching(directory);
    fs::write(away.path().join("list"), text("second")).expect("a write");
    fixture.wait_for("second");
}

#[test]
fn keeps_the_last_good_list() {
    let fixture = WatchedFile::new();
    fs::write(fixture.path("whitelist.toml"), "extensions = [\"second\"\nx").expect("a write");
    fixture.wait_for_error("whitelist.toml:2:1: ");
    fs::write(fixture.path("whitelist.toml"), "").expect("a write");
    fixture.wait_for_error("missing key");
    fs::remove_file(fixture.path("whitelist.toml")).expect("a removal");
    fixture.wait_for_error("No such file");
    assert!(has(&fixture.shop(), "first"));
    assert_eq!(fixture.shop().list().expect("a list").generation, 1);
    fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
    fixture.wait_for("second");
    assert!(fixture.shop().last_error.is_none());
}

#[test]
fn reloads_when_told() {
    let fixture = WatchedFile::new();
    drop(fixture.watch.reload());
    fixture.wait("a new generation", |shop| shop.list().expect("a list").generation == 2);
    assert!(has(&fixture.shop(), "first"));
}

#[test]
fn names_the_file_that_it_cannot_start_with() {
    let default = Some("/no/such/list.toml".into());
    let error = load(ShopFiles { default, directory: None }).expect_err("no file");
    assert_eq!(
        error.to_string(),
        "cannot read whitelist /no/such/list.toml: No such file or directory (os error 2)"
    );
}

/// What the pretended directory holds, or why it cannot be listed.
type FakeDirectory = Arc<Mutex<Result<BTreeMap<String, Part>, String>>>;

/// Shops over a pretended directory, with and without one at `/`.
struct Fake {
    origin: ShopFiles,
    default: Option<Arc<Mutex<Part>>>,
    directory: FakeDirectory,
    shops: Arc<WatchedShops>,
}

fn part(text: &str) -> Part {
    Ok(text.as_bytes().to_vec())
}

fn try_fake(default: Option<&str>, files: &[(&str, &str)]) -> Result<Fake, ShopsError> {
    let default = default.map(|text| Arc::new(Mutex::new(part(text))));
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), part(text)));
    let directory: FakeDirectory = Arc::new(Mutex::new(Ok(files.collect())));
    let (read_default, read_directory) = (default.clone(), Arc::clone(&directory));
    let read = move |_: &ShopFiles| read_fake(read_default.as_deref(), &read_directory);
    let origin = ShopFiles {
        default: default.as_ref().map(|_| PathBuf::from("whitelist.toml")),
        directory: Some(PathBuf::from("shops")),
    };
    let shops = Reloading::load_with(origin.clone(), Box::new(read))?;
    Ok(Fake { origin, default, directory, shops })
}

fn read_fake(default: Option<&Mutex<Part>>, directory: &FakeDirectory) -> Vec<Part> {
    let mut parts: Vec<Part> = default.iter().map(|part| part.lock().clone()).collect();
    match &*directory.lock() {
        Ok(files) => {
            parts.push(Ok(files.keys().cloned().collect::<Vec<_>>().join("\n").into_bytes()));
            parts.extend(files.values().cloned());
        }
        Err(reason) => parts.push(Err(reason.clone())),
    }
    parts
}

fn fake(default: Option<&str>, files: &[(&str, &str)]) -> Fake {
    try_fake(default, files).expect("shops")
}

impl Fake {
    /// Makes checks until nothing changes any more.
    fn check(&self, check: Check) {
        while self.shops.check(check).is_some() {}
    }

    /// Looks once, takes nothing: returns whether the files may be half-written, and the warnings.
    fn look(&self, check: Check) -> (bool, Vec<String>) {
        let (parts, last) = (read_fake(self.default.as_deref(), &self.directory), self.shops.current());
        let content = FileContents { parts: &parts, last: Some(&*last), check };
        let parsed = Shops::parse(&self.origin, content).expect("shops");
        (parsed.is_partial, parsed.warnings)
    }

    fn write(&self, name: &str, text: &str) {
        self.directory.lock().as_mut().expect("a directory").insert(name.to_owned(), part(text));
        self.check(Check::IfChanged);
    }

    fn remove(&self, name: &str) {
        let removed = self.directory.lock().as_mut().expect("a directory").remove(name);
        assert!(removed.is_some(), "{name}");
        self.check(Check::IfChanged);
    }

    /// Describes the shops: codes in force, generation, and what is wrong.
    fn state(&self) -> Vec<String> {
        let shops = self.shops.current();
        let describe = |shop: &Arc<Shop>| {
            let rules = shop.rules();
            let mut codes: Vec<_> = rules.iter().flat_map(|rules| rules.codes()).map(str::to_owned).collect();
            codes.sort_unstable();
            let generation = shop.list().map_or(0, |list| list.generation);
            let wrong = if shop.is_gone {
                " gone"
            } else if shop.last_error.is_some() {
                " broken"
            } else {
                ""
            };
            format!("{} {generation} [{}]{wrong}", shop.name, codes.join(" "))
        };
        shops.all().map(describe).collect()
    }

    /// Tells who owns the feeds at a path of a host.
    fn owner(&self, host: &str, path: &str) -> String {
        let shops = self.shops.current();
        let Location { owner, rest, .. } = shops.locate(Some(host), path);
        let owner = match owner {
            Owner::Shop(shop) => shop.name.to_string(),
            other => format!("{other:?}").to_lowercase(),
        };
        format!("{owner} {rest}")
    }
}

#[test]
fn files_come_change_break_and_go() {
    let fake =
        fake(Some("extensions = [\"d\"]"), &[("gold.toml", "extensions = [\"g\"]"), ("notes.txt", "")]);
    assert_eq!(fake.state(), ["default 1 [d]", "gold 1 [g]"]);
    fake.write("silver.toml", "extensions = [\"s\"]");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 1 [g]", "silver 1 [s]"]);
    fake.write("gold.toml", "extensions = [\"h\"]");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 2 [h]", "silver 1 [s]"]);
    // What is broken keeps the last good list, and holds up no other.
    fake.write("gold.toml", "extensions = [");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 2 [h] broken", "silver 1 [s]"]);
    fake.write("silver.toml", "extensions = [\"t\"]");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 2 [h] broken", "silver 2 [t]"]);
    fake.write("gold.toml", "extensions = [\"i\"]");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 3 [i]", "silver 2 [t]"]);
    // So does what is gone, until an operator asks for a reload.
    fake.remove("silver.toml");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 3 [i]", "silver 2 [t] gone"]);
    fake.write("gold.toml", "extensions = [\"j\"]");
    assert_eq!(fake.state(), ["default 1 [d]", "gold 4 [j]", "silver 2 [t] gone"]);
    fake.check(Check::Forced);
    assert_eq!(fake.state(), ["default 2 [d]", "gold 5 [j]"]);
    // A file that comes back while it counts as gone.
    fake.remove("gold.toml");
    fake.write("gold.toml", "extensions = [\"k\"]");
    assert_eq!(fake.state(), ["default 2 [d]", "gold 6 [k]"]);
    // One that never had a list is there all the same, and gone when its file is.
    fake.write("new.toml", "hosts = 1");
    assert_eq!(fake.state(), ["default 2 [d]", "gold 6 [k]", "new 0 [] broken"]);
    fake.remove("new.toml");
    assert_eq!(fake.state(), ["default 2 [d]", "gold 6 [k]"]);
}

#[test]
fn a_directory_that_cannot_be_read_changes_nothing() {
    let fake = fake(Some("extensions = [\"d\"]"), &[("gold.toml", "extensions = [\"g\"]")]);
    let files = std::mem::replace(&mut *fake.directory.lock(), Err("gone".to_owned()));
    fake.check(Check::IfChanged);
    assert_eq!(fake.state(), ["default 1 [d]", "gold 1 [g]"]);
    assert_eq!(fake.shops.current().directory_error(), Some("gone"));
    // Not even a reload, and the shop at / goes on being read.
    *fake.default.as_ref().expect("a file").lock() = part("extensions = [\"e\"]");
    fake.check(Check::Forced);
    assert_eq!(fake.state(), ["default 2 [e]", "gold 1 [g]"]);
    *fake.directory.lock() = files;
    fake.check(Check::IfChanged);
    assert_eq!(fake.state(), ["default 2 [e]", "gold 1 [g]"]);
    assert_eq!(fake.shops.current().directory_error(), None);
}

#[test]
fn what_breaks_or_goes_is_given_time_once() {
    let fake = fake(Some("extensions = [\"d\"]"), &[("gold.toml", "extensions = []"), ("red.toml", "x = 1")]);
    let put = |name: &str, text: Option<&str>| {
        let mut directory = fake.directory.lock();
        let files = directory.as_mut().expect("a directory");
        match text {
            Some(text) => files.insert(name.to_owned(), part(text)),
            None => files.remove(name),
        };
    };
    let looks = |expected: [bool; 2], what: &str| {
        let found = [Check::IfChanged, Check::Forced].map(|check| fake.look(check).0);
        assert_eq!(found, expected, "{what}");
        fake.check(Check::IfChanged);
    };
    looks([false, false], "broken as before");
    put("gold.toml", Some("extensions = [1"));
    looks([true, true], "newly broken");
    put("red.toml", Some("extensions = []"));
    looks([false, false], "another one mended");
    put("gold.toml", None);
    looks([true, true], "newly gone");
    put("red.toml", Some("extensions = [\"r\"]"));
    looks([false, false], "gone as before");
    let files = std::mem::replace(&mut *fake.directory.lock(), Err("away".to_owned()));
    let warning = vec!["cannot read the shops' directory shops: away".to_owned()];
    assert_eq!(fake.look(Check::IfChanged), (true, warning));
    fake.check(Check::IfChanged);
    assert_eq!(fake.look(Check::Forced), (false, Vec::new()), "told already");
    *fake.directory.lock() = files;
    looks([false, false], "there again, one gone as before");
}

#[test]
fn starts_with_one_good_list_at_least() {
    let check = |default: Option<&str>, files: &[(&str, &str)], expected: Option<&str>| {
        let error = try_fake(default, files).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    };
    check(None, &[("gold.toml", "extensions = []"), ("bad.toml", "x")], None);
    check(Some("extensions = []"), &[("bad.toml", "extensions = 1")], None);
    check(Some("extensions = []"), &[], None);
    check(
        Some("hosts = 1\n"),
        &[("gold.toml", "extensions = []")],
        Some(
            "whitelist.toml:1:9: expected an array of host names, such as hosts = [\"gold.catalog.example\"], not a number",
        ),
    );
    check(
        None,
        &[("bad.toml", "allow = []")],
        Some(
            "no shop has a whitelist that can be used: shops/bad.toml:1:1: unknown key `allow`; there are `extensions`, `retired`, `hidden`, `unlisted`, `hosts`",
        ),
    );
    check(None, &[("readme.txt", "")], Some("no shop has a whitelist that can be used"));
    let files = ShopFiles { default: None, directory: Some("/no/such".into()) };
    let error = load(files).expect_err("no directory").to_string();
    assert_eq!(error, "cannot read the shops' directory /no/such: No such file or directory (os error 2)");
}

fn notices(shops: &Shops) -> Vec<String> {
    shops.notices().iter().map(ToString::to_string).collect()
}

#[test]
fn one_who_only_looks_sees_broken_shops_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = ShopFiles { default: None, directory: Some(directory.path().to_owned()) };
    assert_eq!(inspect(&files).expect("shops").all().count(), 0);
    fs::write(directory.path().join("gold.toml"), "extensions = [\n1]").expect("a file");
    load(files.clone()).expect_err("no good list");
    let shops = inspect(&files).expect("shops");
    let error = shops.get("gold").and_then(|gold| gold.last_error.as_ref()).expect("an error").to_string();
    assert!(error.contains("gold.toml:2:1: "), "{error}");
    let files = ShopFiles { default: None, directory: Some(directory.path().join("none")) };
    assert!(inspect(&files).expect_err("no directory").to_string().starts_with("cannot read the shops'"));
}

#[test]
fn names_that_are_none_and_the_65th_are_not_served() {
    let names: Vec<_> = (0..=MAX_SHOPS).map(|n| format!("shop-{n:02}.toml")).collect();
    let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), "extensions = []")).collect();
    files.extend([("api.toml", "extensions = []"), ("Gold.toml", "extensions = []")]);
    let fake = fake(None, &files);
    let shops = fake.shops.current();
    assert_eq!(shops.all().count(), MAX_SHOPS);
    assert_eq!(
        notices(&shops),
        [
            "shops/Gold.toml: not served: a shop's name has 1 to 16 characters of a-z, 0-9 and -",
            "shops/api.toml: not served: this name is taken: the proxy or the catalog serves something else under it",
            "shops/shop-64.toml: not served: there are 64 shops already",
        ]
    );
}

#[test]
fn files_whose_names_are_no_shops_are_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let names: [&[u8]; 7] =
        [b"gold.toml", b"g\xffld.toml", b"a\nb.toml", b".#gold.toml", b"gold.toml~", b"gold.txt", b"d.toml"];
    for name in &names[..6] {
        fs::write(directory.path().join(OsStr::from_bytes(name)), "extensions = []").expect("a file");
    }
    fs::create_dir(directory.path().join(OsStr::from_bytes(names[6]))).expect("a directory");
    let files = ShopFiles { default: None, directory: Some(directory.path().to_owned()) };
    let shops = load(files).expect("shops").current();
    assert_eq!(shops.all().map(|shop| shop.name.as_str()).collect::<Vec<_>>(), ["gold"]);
    let notices = notices(&shops);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices.iter().all(|notice| !notice.contains('\n') && notice.contains("not served")));
}

#[test]
fn there_are_64_shops_whatever_comes_and_goes() {
    let names: Vec<_> = (0..MAX_SHOPS).map(|n| format!("shop-{n:02}.toml")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), "extensions = []")).collect();
    let fake = fake(None, &files);
    let served = || fake.shops.current().all().map(|shop| shop.name.to_string()).collect::<Vec<_>>();
    let before = served();
    // One that comes first by name drives out none that is served.
    fake.write("a.toml", "extensions = []");
    assert_eq!(served(), before);
    // A shop whose file is gone gives its place to one that waits.
    fake.remove("shop-07.toml");
    assert!(served().contains(&"a".to_owned()) && !served().contains(&"shop-07".to_owned()));
    // Files that are renamed again and again leave no more behind.
    for n in 0..2 * MAX_SHOPS {
        fake.remove(&if n == 0 { "a.toml".to_owned() } else { format!("b{}.toml", n - 1) });
        fake.write(&format!("b{n}.toml"), "extensions = []");
        assert!(served().len() <= MAX_SHOPS);
    }
    assert!(served().contains(&format!("b{}", 2 * MAX_SHOPS - 1)), "{:?}", served());
}

#[test]
fn finds_shops_by_prefix_and_host() {
    let gold = "extensions = []\nhosts = [\"Gold.Example.\", \"10.0.0.1\"]";
    let fake = fake(Some("extensions = []"), &[("gold.toml", gold), ("silver.toml", "extensions = []")]);
    let check = |host: &str, path: &str, expected: &str| {
        assert_eq!(fake.owner(host, path), expected, "{host} {path}")
    };
    check("proxy", "/api/v4/packages", "default /api/v4/packages");
    check("proxy", "/gold/api/v4/packages", "gold /api/v4/packages");
    check("proxy", "/gold", "gold /");
    check("proxy", "/gold/", "gold /");
    check("proxy", "/gold//api/v4/packages", "gold //api/v4/packages");
    check("proxy", "/gold/gold/api", "gold /gold/api");
    check("proxy", "/default/api/v4/packages", "default /default/api/v4/packages");
    for path in ["/Gold/x", "/%67old/x", "//gold/x", "/golden/x", "/gold;x/y", "/gold.toml", "/"] {
        check("proxy", path, &format!("default {path}"));
    }
    check("gold.example", "/api/v4/packages", "gold /api/v4/packages");
    check("GOLD.example.", "/x", "gold /x");
    check("10.0.0.1", "/x", "gold /x");
    check("gold.example", "/gold/x", "gold /x");
    check("gold.example", "/silver/x", "foreign /x");
    check("a.gold.example", "/x", "default /x");
}

#[test]
fn tells_what_is_in_force_and_what_is_disputed() {
    let fake = fake(Some("extensions = []"), &[("gold.toml", "extensions = [\"g\"]")]);
    let in_force = |name: &str| fake.shops.current().get(name).expect("a shop").is_in_force();
    let with_rules =
        || fake.shops.current().rules().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    let disputes = || {
        let shops = fake.shops.current();
        shops.disputes().map(|(host, claims)| format!("{host} {}", claims.len())).collect::<Vec<_>>()
    };
    assert!(in_force("default") && in_force("gold"));
    assert!(!fake.shops.current().depend_on_host());
    fake.write("new.toml", "broken");
    assert_eq!(with_rules(), ["default", "gold"]);
    fake.write("new.toml", "extensions = []\nhosts = [\"h\"]");
    assert!(fake.shops.current().depend_on_host());
    assert_eq!(disputes(), [""; 0]);
    fake.write("gold.toml", "extensions = []\nhosts = [\"h\"]");
    assert_eq!(
        (with_rules(), disputes()),
        (["default", "gold", "new"].map(str::to_owned).to_vec(), vec!["h 2".to_owned()])
    );
    fake.write("gold.toml", "broken");
    assert!(!in_force("gold"));
    fake.remove("new.toml");
    assert!(!in_force("new") && in_force("default"));
}

#[test]
fn files_of_all_kinds_are_watched() {
    let files = ShopFiles { default: Some("a/whitelist.toml".into()), directory: Some("shops".into()) };
    assert_eq!(Shops::files(&files), [PathBuf::from("a/whitelist.toml"), PathBuf::from("shops/shop.toml")]);
    assert!(Shops::poll_interval(&files) > Duration::ZERO);
}

#[test]
fn a_host_is_one_shops() {
    let claim = |code: &str| format!("extensions = [{code:?}]\nhosts = [\"h\"]");
    let fake = fake(None, &[("one.toml", &claim("1")), ("two.toml", "extensions = []")]);
    assert_eq!(fake.owner("h", "/x"), "one /x");
    assert_eq!(fake.owner("other", "/x"), "nobody /x");
    fake.write("two.toml", &claim("2"));
    assert_eq!(fake.owner("h", "/x"), "disputed /x");
    assert_eq!(fake.owner("h", "/two/x"), "two /x");
    let shops = fake.shops.current();
    assert_eq!(
        notices(&shops),
        ["the host h is claimed by shops/one.toml, shops/two.toml, so feeds on it are refused (503)"]
    );
    // A shop whose file is gone yields to one that is there, and has its hosts while nobody else claims them.
    fake.remove("one.toml");
    assert_eq!(fake.owner("h", "/x"), "two /x");
    fake.write("two.toml", "extensions = []");
    assert_eq!(fake.owner("h", "/x"), "one /x");
    fake.check(Check::Forced);
    assert_eq!(fake.owner("h", "/x"), "nobody /x");
    // Broken is not gone.
    fake.write("two.toml", &claim("2"));
    fake.write("two.toml", "extensions = [");
    assert_eq!(fake.owner("h", "/x"), "two /x");
}
