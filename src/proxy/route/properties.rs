//! Whose list a request gets, for any shops, hosts and prefixes, against a model of the rule.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::cache::cached_feed::{Feed, FeedIndex};
use crate::feed::packages::PackagesIndex;
use crate::policy::ViewRules;

const CODES: [&str; 4] = ["a", "b", "c", "d"];
/// Names of shops that may have a file.
const NAMES: [&str; 3] = ["gold", "silver", "bronze"];
const HOSTS: [&str; 2] = ["one.example", "two.example"];

/// Per code the number of its key: none, `extensions`, `retired`, `hidden`.
type CodeStates = [u8; CODES.len()];

/// The files of the named shops: a list with a bit for each host that it claims, or nothing if it is broken.
type ShopLists = BTreeMap<&'static str, Option<(CodeStates, u8)>>;

/// What a request must get.
#[derive(Debug, PartialEq)]
enum DueAnswer {
    Feed(CodeStates),
    Status(u16),
    Forward(String),
    Probe,
}

/// The rule. The path is `prefix`, which is empty or one segment, and `rest`.
fn expected(
    default: Option<CodeStates>,
    files: &ShopLists,
    host: Option<usize>,
    prefix: &str,
    rest: &str,
) -> DueAnswer {
    let claims: Vec<_> = files
        .iter()
        .filter(|(_, file)| file.is_some_and(|(_, hosts)| host.is_some_and(|host| hosts >> host & 1 == 1)))
        .map(|(name, _)| *name)
        .collect();
    let is_feed = rest.starts_with("/api");
    let shop = prefix.strip_prefix('/').and_then(|name| files.get_key_value(name));
    let list = match (shop, claims.as_slice()) {
        (Some((name, _)), [_, ..]) if !claims.contains(name) => return DueAnswer::Status(404),
        (Some((_, file)), _) => file.map(|(list, _)| list).ok_or(503),
        (None, _) if prefix.contains('%') || prefix.starts_with("//") => return DueAnswer::Status(400),
        (None, _) if !prefix.is_empty() => Err(404),
        (None, []) => default.ok_or(404),
        (None, [name]) => files[name].map(|(list, _)| list).ok_or(503),
        (None, _) => Err(503),
    };
    match (list, rest) {
        (Ok(list), _) if is_feed => DueAnswer::Feed(list),
        (Err(status), _) if is_feed => DueAnswer::Status(status),
        (_, "/livez") if prefix.is_empty() => DueAnswer::Probe,
        (_, "") if shop.is_some() || prefix.is_empty() => DueAnswer::Forward("/".into()),
        _ if shop.is_some() => DueAnswer::Forward(rest.into()),
        _ => DueAnswer::Forward(format!("{prefix}{rest}")),
    }
}

fn shows(list: CodeStates, code: usize, is_plesk: bool, view: ViewKind) -> bool {
    match list[code] {
        0 => !is_plesk,
        1 => true,
        2 => view == ViewKind::Update,
        _ => false,
    }
}

fn text(list: CodeStates, hosts: u8) -> String {
    let mut text = String::new();
    for (n, key) in [(1, "extensions"), (2, "retired"), (3, "hidden")] {
        let codes: Vec<_> = CODES.iter().zip(list).filter(|(_, of)| *of == n).map(|(code, _)| code).collect();
        text += &format!("{key} = {codes:?}\n");
    }
    let hosts: Vec<_> = (0..HOSTS.len()).filter(|n| hosts >> n & 1 == 1).map(|n| HOSTS[n]).collect();
    if hosts.is_empty() { text } else { format!("{text}hosts = {hosts:?}\n") }
}

fn package((code, is_plesk): (usize, bool)) -> String {
    let link = if is_plesk { r#","buy_url":"https:\/\/go.plesk.com\/x""# } else { "" };
    format!(r#"{{"code":"{}"{link}}}"#, CODES[code])
}

fn array(packages: impl Iterator<Item = (usize, bool)>) -> String {
    format!("[{}]", packages.map(package).collect::<Vec<_>>().join(","))
}

fn list() -> impl Strategy<Value = CodeStates> {
    prop::array::uniform4(0..4_u8)
}

fn files() -> impl Strategy<Value = ShopLists> {
    let file = option::weighted(0.8, option::weighted(0.8, (list(), 0..4_u8)));
    vec(file, NAMES.len()).prop_map(|files| {
        let there = NAMES.into_iter().zip(files);
        there.filter_map(|(name, file)| Some((name, file?))).collect()
    })
}

proptest! {
    #[test]
    fn a_request_gets_the_list_of_its_shop_and_no_other(
        default in option::weighted(0.8, list()),
        files in files(),
        host in option::of(select(vec![0, 1, 2])),
        is_odd_host in any::<bool>(),
        prefix in select(vec!["", "", "/gold", "/silver", "/bronze", "/Gold", "/%67old", "//gold", "/iron"]),
        rest in select(vec!["/api/v4/packages", "/api/v4/packages", "/api/v2/categories", "/icons/a.svg", "", "/livez"]),
        query in select(vec!["q", "platform=unix", "platform=unix&locale=de"]),
        feed in vec((0..CODES.len(), any::<bool>()), 0..8),
    ) {
        let content = |file: &Option<(CodeStates, u8)>| file.map_or("extensions = 1".into(), |(list, hosts)| text(list, hosts));
        let texts: Vec<_> = files.iter().map(|(name, file)| (*name, content(file))).collect();
        let named: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let is_good = default.is_some() || files.values().any(Option::is_some);
        let shops = Shops::of_texts(default.map(|list| text(list, 0)).as_deref(), &named);
        prop_assert_eq!(shops.is_ok(), is_good);
        let Ok(shops) = shops else { return Ok(()) };
        let name = host.map(|host| HOSTS.get(host).map_or("other.example".to_owned(), |host| (*host).to_owned()));
        let name = name.map(|name| if is_odd_host { format!("{}.", name.to_uppercase()) } else { name });
        let path = format!("{prefix}{rest}");
        let target = format!("{}?{query}", if path.is_empty() { "/" } else { &path });
        let route = Route::of(&Method::GET, &target.parse().expect("a target"), name.as_deref(), &shops);
        let claimed = host.filter(|host| *host < HOSTS.len());
        match (expected(default, &files, claimed, prefix, rest), route) {
            (DueAnswer::Feed(list), Route::Feed(wanted)) => {
                prop_assert_eq!(wanted.key.as_str(), format!("{rest}?{query}"));
                let is_update = rest.ends_with("packages") && query == "platform=unix";
                let kind = if is_update { ViewKind::Update } else { ViewKind::Shop };
                prop_assert_eq!(wanted.view, kind);
                let body = Bytes::from(array(feed.iter().copied()));
                let index = FeedIndex::Packages(PackagesIndex::of(&body).expect("a feed"));
                let rules = ViewRules { rules: wanted.shop.rules().expect("a list"), kind };
                let view = Feed::new(body, index).view(None, &rules);
                let shown = feed.iter().copied().filter(|(code, is_plesk)| shows(list, *code, *is_plesk, kind));
                prop_assert_eq!(&view.body, &array(shown));
            }
            (DueAnswer::Status(status), Route::Refused(refusal)) => {
                prop_assert_eq!(Error::from(refusal).answer().status.as_u16(), status, "{}", target);
            }
            (DueAnswer::Forward(path), Route::Forward { target: behind, .. }) => {
                prop_assert_eq!(behind.as_str(), format!("{path}?{query}"));
            }
            (DueAnswer::Probe, Route::Live) => {}
            (due, route) => prop_assert!(false, "{target}: {route:?}, not {due:?}"),
        }
    }
}
