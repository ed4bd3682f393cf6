//! Routes: no spelling of a feed's path that some upstream might take for it is ever forwarded, under any prefix and on
//! any host, and no host serves another shop than its own.

use arbitrary::{Result, Unstructured};
use catalog_proxy::cache::Key;
use catalog_proxy::policy::ViewKind;
use catalog_proxy::proxy::route::{MAX_TARGET, Refusal, Route, WantedFeed};
use catalog_proxy::shops::Shops;
use http::{Method, Uri};

mod upstream;

/// Set in the first byte: the rest says how to disguise a feed; else it is the target itself.
const DISGUISED: u8 = 0x80;
/// Bits of the first byte that choose the host, and the prefix of a disguised feed.
const HOST: u8 = 0x03;
const PREFIX: u8 = 0x0c;
/// A host that one shop claims, one that two claim, and one that none does.
const HOSTS: [Option<&str>; 4] = [None, Some("gold.example"), Some("Both.example."), Some("proxy")];
const PREFIXES: [&str; 4] = ["", "/gold", "/silver", "/iron"];

/// Checks one target.
pub fn check(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let target = match first & DISGUISED {
        0 => rest.to_vec(),
        _ => [PREFIXES[usize::from((first & PREFIX) >> 2)].as_bytes(), &disguise(rest)].concat(),
    };
    let Ok(uri) = Uri::try_from(target.as_slice()) else { return };
    let Some(given) = uri.path_and_query() else { return };
    let is_feed = first & DISGUISED != 0 || upstream::may_take_for_feed(given.path());
    let shops = shops();
    let host = HOSTS[usize::from(first & HOST)];
    let route = |method: &Method, uri: &Uri| Route::of(method, uri, host, &shops);
    for method in [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS] {
        let read = matches!(method, Method::GET | Method::HEAD);
        match route(&method, &uri) {
            Route::Forward { target, prefix } => {
                assert!(!is_feed, "{method} {given} is forwarded");
                assert!(
                    !upstream::may_take_for_feed(target.path()),
                    "{method} {given} is forwarded as {target}"
                );
                let prefix = prefix.map_or_else(String::new, |prefix| format!("/{prefix}"));
                assert!(host != Some("gold.example") || prefix != "/silver", "{given} on a host of gold");
                let whole = format!("{prefix}{target}");
                // The prefix alone is the root.
                let root = whole.replacen(&format!("{prefix}/"), &prefix, 1);
                assert!(whole == *given || root == *given, "{given} {whole}");
            }
            Route::Feed(feed) => {
                assert!(read);
                is_wanted(&feed, given.query());
                let name = feed.shop.name.as_str();
                let prefix = if feed.shop.name.is_default() { String::new() } else { format!("/{name}") };
                let is_prefixed = given.path().starts_with(&format!("{prefix}/"));
                match host {
                    Some("gold.example") => assert_eq!(name, "gold", "{given}"),
                    Some("Both.example.") => assert!(name != "default" && is_prefixed, "{given} of {name}"),
                    _ => assert!(is_prefixed, "{given} of {name}"),
                }
                let again = format!("{prefix}{}", feed.key.as_str());
                let Route::Feed(again) = route(&method, &again.parse().expect("a target")) else {
                    panic!("{again} is no feed");
                };
                assert_eq!((again.key, again.packages, again.view), (feed.key, feed.packages, feed.view));
                assert_eq!(again.shop.name, feed.shop.name);
            }
            Route::Live | Route::Ready => assert!(read && matches!(given.path(), "/livez" | "/readyz")),
            Route::Refused(Refusal::TargetTooLong) => {
                assert!(read && given.as_str().len() + 10 > MAX_TARGET);
            }
            Route::Refused(Refusal::MethodNotAllowed(_)) => assert!(!read),
            Route::Refused(_) => {}
        }
    }
    assert!(matches!(route(&Method::CONNECT, &uri), Route::Refused(_)));
    assert!(matches!(route(&Method::TRACE, &uri), Route::Refused(_)));
}

/// A shop at `/`, and two with prefixes and hosts.
fn shops() -> Shops {
    let gold = "extensions = []\nhosts = [\"gold.example\", \"both.example\"]";
    let silver = "extensions = []\nhosts = [\"both.example\"]";
    Shops::of_texts(Some("extensions = []"), &[("gold", gold), ("silver", silver)]).expect("good lists")
}

fn is_wanted(feed: &WantedFeed, query: Option<&str>) {
    let WantedFeed { key, packages, view, .. } = feed;
    match packages {
        None => is_canonical(key, "packages", query),
        Some(packages) => {
            is_canonical(key, "categories", query);
            is_canonical(packages, "packages", query);
            assert_eq!(key.as_str().replacen("/categories", "/packages", 1), packages.as_str());
            assert_eq!(*view, ViewKind::Shop);
        }
    }
    // As a form's fields are read, which is how PHP reads them but for its own rules for names.
    let fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let names: Vec<_> = fields.map(|(name, _)| name.trim().to_lowercase().replace('_', "-")).collect();
    let is_for_shop =
        names.iter().any(|name| ["with-details", "locale"].contains(&&**name) || name.contains(['[', ';']));
    assert!(*view == ViewKind::Shop || names.iter().any(|name| name == "platform") && !is_for_shop, "{key}");
}

fn is_canonical(key: &Key, name: &str, query: Option<&str>) {
    let (path, key_query) = match key.as_str().split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (key.as_str(), None),
    };
    assert!(upstream::is_plain_feed(path.as_bytes()) && path.ends_with(name), "{key}");
    assert!(path.starts_with("/api/v"), "{key}");
    assert_eq!(key_query, query);
    assert!(key.as_str().len() <= MAX_TARGET);
}

/// Disguises a feed's path in ways that upstreams undo.
fn disguise(choices: &[u8]) -> Vec<u8> {
    let mut choices = Unstructured::new(choices);
    let mut path = b"/api/v4/packages".to_vec();
    if choices.ratio(1, 4).unwrap_or_default() {
        path = b"/api/v12/categories".to_vec();
    }
    for _ in 0..4 {
        if choices.is_empty() {
            break;
        }
        path = layer(&mut choices, &path).unwrap_or(path);
    }
    path
}

/// What may stand behind a path without changing what it leads to.
const TAILS: &[&str] = &[
    "/",
    "//",
    "/.",
    ";",
    ";x=1",
    "/x/..",
    "?",
    "%23",
    "%00",
    "%00.html",
    ".",
    "%20",
    "%3fx",
    "%3b",
    ";/../zzz",
    "/%2e",
    "%09",
    "%0d%0a",
    "/index.php",
    "/;x",
    "/...",
    "%3f/x",
];
/// What may stand at a slash instead of it.
const SLASHES: &[&str] = &[
    "//",
    "/./",
    "/x/../",
    "\\",
    "%2f",
    "%5C",
    ";p=1/",
    "/%2e/",
    "/.x/%2e%2E/",
    "%c0%af",
    "/%20",
    "/;/",
    ".x/",
];
/// What may stand before.
const HEADS: &[&str] = &["/.", "/x/..", "/..", "/index.php", "//host", "/%2e%2e", "/;x", "/%20"];

fn layer(choices: &mut Unstructured<'_>, path: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match choices.int_in_range(0..=5u8)? {
        0 => out.extend([path, choices.choose(TAILS)?.as_bytes()].concat()),
        1 => out.extend([choices.choose(HEADS)?.as_bytes(), path].concat()),
        // Each letter its own way; the first slash is the target's.
        kind => {
            for (n, byte) in path.iter().enumerate() {
                if n == 0 || !choices.ratio(1, 3)? {
                    out.push(*byte);
                    continue;
                }
                match (kind, byte) {
                    (2, b'/') => out.extend_from_slice(choices.choose(SLASHES)?.as_bytes()),
                    (3, _) => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                    (4, _) => out.extend_from_slice(format!("%u{byte:04x}").as_bytes()),
                    (5, b'a'..=b'z') => out.push(byte.to_ascii_uppercase()),
                    _ => out.push(*byte),
                }
            }
        }
    }
    Ok(out)
}
