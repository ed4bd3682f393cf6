//! Tests of who is behind, with made-up shops, answers and clocks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::advance;

use super::rows::{FORGOTTEN_AFTER, MAX_ROWS};
use super::*;
use crate::policy::Verdict;
use crate::reloading::{Part, Reloading};
use crate::seller::Seller;
use crate::shops::ShopFiles;
use crate::sim;
use crate::watch::Check;

mod model_tests;

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
async fn an_edit_of_another_shop_leaves_dates_that_took_effect() {
    let fixture = Fixture::new();
    fixture.edit("extensions = [\"a\", { code = \"b\", from = 2100-01-02 }]");
    fixture.answer(1);
    advance(DAY).await;
    assert_eq!(fixture.current(), [(1, false)]);
    fixture.answer(1);
    fixture.write("gold", "extensions = []");
    assert_eq!(fixture.current(), [(1, true)]);
    assert_eq!(fixture.servers.report(None).counts[0].changed_at, "2100-01-02T00:00:00Z");
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
    advance(Duration::from_mins(1)).await;
    fixture.answer(1);
    advance(Duration::from_mins(1)).await;
    fixture.edit("extensions = []");
    fixture.end(fixture.begin(2, ShopName::DEFAULT));
    advance(Duration::from_mins(1)).await;
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
