//! Tests of who is behind, with made-up shops, answers and clocks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::rows::{FORGOTTEN_AFTER, MAX_ROWS};
use super::*;
use crate::policy::Verdict;
use crate::reloading::{Part, Reloading};
use crate::seller::Seller;
use crate::shops::ShopFiles;
use crate::sim;
use crate::watch::Check;

const DAY: Duration = Duration::from_hours(24);

/// What the made-up catalog has.
const PACKAGES: [(&str, Seller); 3] = [("a", Seller::Plesk), ("b", Seller::Plesk), ("f", Seller::Free)];

/// Shops over pretended files, and their servers. The time of day is that of tokio's clock, from 2100 on.
struct Fixture {
    files: Arc<Mutex<BTreeMap<String, Part>>>,
    shops: Arc<WatchedShops>,
    servers: Arc<Servers>,
}

/// An answer under way.
#[derive(Clone)]
struct AnswerUnderWay {
    address: IpAddr,
    shop: ShopName,
    order: RulesOrder,
}

fn part(text: &str) -> Part {
    Ok(text.as_bytes().to_vec())
}

fn shown(rules: &Rules) -> Vec<bool> {
    PACKAGES.map(|(code, seller)| rules.verdict(Some(code), seller) == Verdict::Shown).into()
}

fn address(n: usize) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n as u32).into()
}

impl Fixture {
    /// Starts with a shop at `/` that sells `a`.
    fn new() -> Self {
        sim::clock::start_day();
        let files = BTreeMap::from([(ShopName::DEFAULT.to_owned(), part("extensions = [\"a\"]"))]);
        let files = Arc::new(Mutex::new(files));
        let content = Arc::clone(&files);
        let read = move |_: &ShopFiles| {
            let files = content.lock();
            let named = || files.iter().filter(|(name, _)| **name != ShopName::DEFAULT);
            let listing = named().map(|(name, _)| format!("{name}.toml")).collect::<Vec<_>>().join("\n");
            let default = files.get(ShopName::DEFAULT).cloned().expect("a file");
            [default, part(&listing)].into_iter().chain(named().map(|(_, part)| part.clone())).collect()
        };
        let origin = ShopFiles {
            default: Some(PathBuf::from("whitelist.toml")),
            directory: Some(PathBuf::from("shops")),
        };
        let shops = Reloading::load_with(origin, Box::new(read)).expect("shops");
        let servers = Servers::start(&shops, |before, now| shown(before) != shown(now));
        Self { files, shops, servers }
    }

    fn check(&self, check: Check) {
        while self.shops.check(check).is_some() {}
    }

    fn write(&self, shop: &str, text: &str) {
        self.files.lock().insert(shop.to_owned(), part(text));
        self.check(Check::IfChanged);
    }

    fn edit(&self, text: &str) {
        self.write(ShopName::DEFAULT, text);
    }

    fn begin(&self, n: usize, shop: &str) -> AnswerUnderWay {
        let shop = Arc::clone(self.shops.current().get(shop).expect("a shop"));
        let list = shop.list().expect("a list");
        AnswerUnderWay { address: address(n), shop: shop.name.clone(), order: list.order_of(&list.rules()) }
    }

    fn end(&self, AnswerUnderWay { address, shop, order }: AnswerUnderWay) {
        self.servers.record(address, &shop, order);
    }

    fn answer(&self, n: usize) {
        self.end(self.begin(n, ShopName::DEFAULT));
    }

    /// Tells which servers of the shop at `/` are current, by the end of their addresses.
    fn current(&self) -> Vec<(u8, bool)> {
        let rows = self.servers.report(Some(ShopName::DEFAULT)).servers;
        let row = |row: ServerRow| {
            let IpAddr::V4(address) = row.address else { panic!("{row:?}") };
            assert_eq!(row.behind_since.is_some(), row.state == ServerState::Behind);
            (address.octets()[3], row.state == ServerState::Current)
        };
        rows.into_iter().map(row).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_decides_otherwise_leaves_servers_behind_until_they_are_answered() {
    let fixture = Fixture::new();
    fixture.answer(1);
    fixture.answer(2);
    assert_eq!(fixture.current(), [(1, true), (2, true)]);
    fixture.edit("extensions = [\"a\", \"b\"]");
    assert_eq!(fixture.current(), [(1, false), (2, false)]);
    fixture.answer(2);
    assert_eq!(fixture.current(), [(1, false), (2, true)]);
}

#[tokio::test(start_paused = true)]
async fn there_and_back_leaves_servers_behind() {
    let fixture = Fixture::new();
    fixture.answer(1);
    fixture.edit("extensions = []");
    fixture.edit("extensions = [\"a\"]");
    assert_eq!(fixture.current(), [(1, false)], "it may have been answered, and cut off, meanwhile");
}

#[tokio::test(start_paused = true)]
async fn edits_that_decide_the_same_leave_nobody_behind() {
    let fixture = Fixture::new();
    fixture.answer(1);
    for text in [
        "extensions = [\"a\"] # a comment",
        "extensions = [\"a\", \"not-there\", \"f\"]",
        "extensions = [\"a\"]\nretired = [\"b\"]",
        "extensions = [\"a\"]\nhidden = [\"b\"]\nunlisted = \"retired\"",
        "extensions = [",
        "extensions = [\"a*\"]",
    ] {
        fixture.edit(text);
        fixture.check(Check::Forced);
        assert_eq!(fixture.current(), [(1, true)], "{text}");
    }
    fixture.edit("extensions = [\"a\"]\nretired = [\"f\"]");
    assert_eq!(fixture.current(), [(1, false)], "a free package went out of the shop");
}

#[tokio::test(start_paused = true)]
async fn the_answer_counts_that_began_last_under_the_rules_it_was_made_by() {
    let fixture = Fixture::new();
    let begun = fixture.begin(1, ShopName::DEFAULT);
    fixture.edit("extensions = []");
    fixture.end(begun.clone());
    assert_eq!(fixture.current(), [(1, false)], "begun before the edit, ended after it");
    fixture.answer(1);
    assert_eq!(fixture.current(), [(1, true)]);
    fixture.end(begun);
    assert_eq!(fixture.current(), [(1, false)], "what it got last is old");
}

#[tokio::test(start_paused = true)]
async fn dates_take_effect_by_themselves_on_their_day() {
    let fixture = Fixture::new();
    fixture.edit("extensions = [\"a\", { code = \"b\", from = 2100-01-03, until = 2100-01-04 }]");
    fixture.answer(1);
    advance(DAY).await;
    assert_eq!(fixture.current(), [(1, true)]);
    advance(DAY).await;
    assert_eq!(fixture.current(), [(1, false)]);
    fixture.answer(2);
    assert_eq!(fixture.current(), [(1, false), (2, true)]);
    // Nobody looks while the day passes on which it ends.
    advance(3 * DAY).await;
    assert_eq!(fixture.current(), [(1, false), (2, false)]);
    let report = fixture.servers.report(None);
    let since = |n: usize| report.servers[n].behind_since.as_deref();
    assert_eq!((since(0), since(1)), (Some("2100-01-03T00:00:00Z"), Some("2100-01-05T00:00:00Z")));
    assert_eq!(report.counts[0].changed_at, "2100-01-05T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn dates_of_a_list_that_is_replaced_count() {
    let fixture = Fixture::new();
    fixture.edit("extensions = [\"a\", { code = \"b\", from = 2100-01-02, until = 2100-01-02 }]");
    fixture.answer(1);
    advance(2 * DAY).await;
    fixture.edit("extensions = [\"a\"]");
    assert_eq!(fixture.current(), [(1, false)], "b came and went");
    assert_eq!(fixture.servers.report(None).counts[0].changed_at, "2100-01-03T00:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn rows_are_forgotten_after_seven_days() {
    let fixture = Fixture::new();
    fixture.answer(1);
    advance(DAY).await;
    fixture.answer(2);
    advance(FORGOTTEN_AFTER - DAY - Duration::from_secs(1)).await;
    assert_eq!(fixture.current(), [(1, true), (2, true)]);
    advance(Duration::from_secs(1)).await;
    assert_eq!(fixture.current(), [(2, true)]);
    fixture.answer(3);
    assert_eq!(fixture.servers.rows.lock().kept(Instant::now() - 7 * DAY).count(), 2, "not only hidden");
}

#[tokio::test(start_paused = true)]
async fn when_full_the_row_goes_that_was_answered_longest_ago() {
    let fixture = Fixture::new();
    for n in 0..MAX_ROWS {
        fixture.answer(n);
    }
    fixture.answer(0);
    fixture.answer(MAX_ROWS);
    let report = fixture.servers.report(None);
    assert_eq!(report.servers.len(), MAX_ROWS);
    assert_eq!((report.servers[0].address, report.servers[1].address), (address(0), address(2)));
    assert_eq!(report.counts[0].current, MAX_ROWS);
}

#[tokio::test(start_paused = true)]
async fn shops_are_apart_and_one_that_is_forgotten_loses_its_rows() {
    let fixture = Fixture::new();
    fixture.write("gold", "extensions = [\"b\"]");
    fixture.answer(1);
    fixture.end(fixture.begin(1, "gold"));
    let under_way = fixture.begin(2, "gold");
    fixture.edit("extensions = []");
    let states = || -> Vec<_> {
        let rows = fixture.servers.report(None).servers;
        rows.into_iter().map(|row| format!("{} {} {:?}", row.shop, row.address, row.state)).collect()
    };
    let default = "default 10.0.0.1 Behind";
    assert_eq!(states(), [default, "gold 10.0.0.1 Current"]);
    // A file that is gone is no reason yet.
    fixture.files.lock().remove("gold");
    fixture.check(Check::IfChanged);
    assert_eq!(states(), [default, "gold 10.0.0.1 Current"]);
    fixture.check(Check::Forced);
    assert_eq!(states(), [default]);
    assert_eq!(fixture.servers.rows.lock().kept(Instant::now()).count(), 1);
    // What ends later is nobody's, also when a shop of this name comes back.
    fixture.end(under_way.clone());
    assert_eq!(states(), [default]);
    for _ in 0..3 {
        fixture.write("gold", "extensions = [\"b\"]");
        fixture.check(Check::Forced);
    }
    assert_eq!(states(), [default]);
    fixture.end(under_way);
    assert_eq!(states(), [default]);
    fixture.end(fixture.begin(3, "gold"));
    assert_eq!(states(), [default, "gold 10.0.0.3 Current"]);
}

#[tokio::test(start_paused = true)]
async fn the_report_is_json() {
    let fixture = Fixture::new();
    fixture.write("gold", "extensions = [\"b\"]");
    fixture.write("silver", "extensions = 1");
    advance(Duration::from_secs(60)).await;
    fixture.answer(1);
    advance(Duration::from_secs(60)).await;
    fixture.edit("extensions = []");
    fixture.end(fixture.begin(2, ShopName::DEFAULT));
    advance(Duration::from_secs(60)).await;
    let json = |shop| serde_json::to_value(fixture.servers.report(shop)).expect("JSON");
    let row = |address: &str, state: &str, last_seen: &str| serde_json::json!({"address": address, "shop": "default", "state": state, "last_seen": last_seen});
    let mut behind = row("10.0.0.1", "behind", "2100-01-01T00:01:00Z");
    behind["behind_since"] = "2100-01-01T00:02:00Z".into();
    let default = serde_json::json!(
        {"shop": "default", "current": 1, "behind": 1, "changed_at": "2100-01-01T00:02:00Z"});
    let gold =
        serde_json::json!({"shop": "gold", "current": 0, "behind": 0, "changed_at": "2100-01-01T00:00:00Z"});
    let mut expected = serde_json::json!({
        "format": 2,
        "servers": [behind, row("10.0.0.2", "current", "2100-01-01T00:02:00Z")],
        "counts": [default, gold],
        "since": "2100-01-01T00:00:00Z",
    });
    assert_eq!(json(None), expected);
    expected["counts"] = serde_json::json!([gold]);
    expected["servers"] = serde_json::json!([]);
    assert_eq!(json(Some("gold")), expected);
}

/// What can happen.
#[derive(Debug, Clone)]
enum Step {
    /// The list gets these entries: a code with its first and last day in January 2100, 0 for none; retired ones with them.
    Edit {
        shown: Vec<(char, u32, u32)>,
        retired: bool,
    },
    /// A server is answered at once.
    Answer(usize),
    /// A server's answer begins, and ends later.
    Begin(usize),
    End,
    /// A day passes, seen or unseen.
    Day,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let entry = (prop::sample::select(vec!['a', 'b', 'c']), 0..6u32, 0..6u32);
    let shown = prop::collection::btree_map(
        prop::sample::select(vec!['a', 'b', 'c']),
        entry.prop_map(|(_, from, until)| (from, until)),
        0..3,
    );
    let shown =
        shown.prop_map(|map| map.into_iter().map(|(code, (from, until))| (code, from, until)).collect());
    let step = prop_oneof![
        3 => (shown, any::<bool>()).prop_map(|(shown, retired)| Step::Edit { shown, retired }),
        3 => (0..3usize).prop_map(Step::Answer),
        1 => (0..3usize).prop_map(Step::Begin),
        1 => Just(Step::End),
        1 => Just(Step::Day),
        2 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..40)
}

/// The rule in a few lines: whoever was answered since what is shown last changed is current.
struct Model {
    entries: Vec<(char, u32, u32)>,
    day: u32,
    shown: Vec<bool>,
    changes: usize,
    /// Number of changes when the last complete answer of each server began.
    answered: BTreeMap<u8, usize>,
}

impl Model {
    fn judge(&mut self) {
        let counts = |from, until| (from == 0 || from <= self.day) && (until == 0 || self.day <= until);
        let is_named = |code| self.entries.iter().any(|(c, from, until)| *c == code && counts(*from, *until));
        let now = ['a', 'b'].map(is_named).to_vec();
        self.changes += usize::from(now != self.shown);
        self.shown = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn who_is_behind_is_what_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}

async fn play(steps: Vec<Step>) {
    let fixture = Fixture::new();
    let mut model = Model {
        entries: vec![('a', 0, 0)],
        day: 1,
        shown: vec![true, false],
        changes: 0,
        answered: BTreeMap::new(),
    };
    let mut under_way = Vec::new();
    for step in steps {
        match step {
            Step::Edit { shown, retired } => {
                // A window that ends before it begins is an error.
                if shown.iter().any(|(_, from, until)| *until != 0 && from > until) {
                    continue;
                }
                let bound = |name: &str, day: u32| match day {
                    0 => String::new(),
                    day => format!(", {name} = 2100-01-{day:02}"),
                };
                let entry = |(code, from, until): &(char, u32, u32)| {
                    format!("{{ code = \"{code}\"{}{} }}", bound("from", *from), bound("until", *until))
                };
                let entries = shown.iter().map(entry).collect::<Vec<_>>().join(", ");
                let retired = if retired { "retired = [\"z\"]" } else { "" };
                fixture.edit(&format!("extensions = [{entries}]\n{retired}"));
                model.entries = shown;
                model.judge();
            }
            Step::Answer(n) => {
                fixture.answer(n);
                model.answered.insert(n as u8, model.changes);
            }
            Step::Begin(n) => under_way.push((n, fixture.begin(n, ShopName::DEFAULT), model.changes)),
            Step::End => {
                if let Some((n, begun, changes)) = under_way.pop() {
                    fixture.end(begun);
                    model.answered.insert(n as u8, changes);
                }
            }
            Step::Day => {
                advance(DAY).await;
                model.day += 1;
                model.judge();
            }
            Step::Look => look(&fixture, &model),
        }
        // Far enough from the seven days.
        if model.day > 6 {
            break;
        }
    }
    look(&fixture, &model);
}

fn look(fixture: &Fixture, model: &Model) {
    let expected: Vec<_> =
        model.answered.iter().map(|(n, changes)| (*n, *changes == model.changes)).collect();
    assert_eq!(fixture.current(), expected);
}
