//! Tables of targets and what they are for.

use super::*;

fn shops() -> Shops {
    let gold = ("gold", "extensions = []\nhosts = [\"gold.example\", \"both.example\"]");
    let silver = ("silver", "extensions = []\nhosts = [\"both.example\"]");
    let bad = ("bad", "extensions = 1");
    Shops::of_texts(Some("extensions = []"), &[gold, silver, bad]).expect("shops")
}

fn route(method: &str, target: &str) -> Route {
    route_on("proxy", method, target)
}

fn route_on(host: &str, method: &str, target: &str) -> Route {
    Route::of(&method.parse().expect("a method"), &target.parse().expect(target), Some(host), &shops())
}

fn shop(name: &str) -> Arc<Shop> {
    Arc::clone(shops().get(name).expect(name))
}

fn forward(target: &str) -> Route {
    Route::Forward { target: target.parse().expect("a target"), prefix: None }
}

fn key(kind: FeedKind, target: &str) -> Key {
    Key::new(kind, &target.parse().expect("a target"))
}

fn packages(target: &str, view: ViewKind) -> Route {
    Route::Feed(WantedFeed {
        key: key(FeedKind::Packages, target),
        packages: None,
        view,
        shop: shop("default"),
    })
}

#[test]
fn finds_the_feeds() {
    let check = |target: &str| {
        assert_eq!(route("GET", target), packages(target, ViewKind::Shop), "{target}");
        assert_eq!(route("HEAD", target), packages(target, ViewKind::Shop), "{target}");
    };
    check("/api/v4/packages");
    check("/api/v0/packages");
    check("/api/v12345678901234567890/packages");
    check("/api/v4/packages?");
    let update = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
    assert_eq!(route("GET", update), packages(update, ViewKind::Update));
    check("/api/v4/packages?x=%zz&&=;'(~)*!");
    // Categories have no update view, whatever they are asked for with.
    let categories = route("GET", "/api/v4/categories?platform=unix");
    let expected = Route::Feed(WantedFeed {
        key: key(FeedKind::Categories, "/api/v4/categories?platform=unix"),
        packages: Some(key(FeedKind::Packages, "/api/v4/packages?platform=unix")),
        view: ViewKind::Shop,
        shop: shop("default"),
    });
    assert_eq!(categories, expected);
}

#[test]
fn one_feed_has_one_key() {
    let expected = packages("/api/v4/packages?q", ViewKind::Shop);
    for path in
        ["//api/v4/packages", "/API/V4/Packages/", "/api/v4.0/packages;x", "/api/v4/packages/index.html"]
    {
        assert_eq!(route("GET", &format!("{path}?q")), expected, "{path}");
    }
}

#[test]
fn takes_path_and_query_only() {
    let feed = packages("/api/v4/packages?q", ViewKind::Shop);
    assert_eq!(route("GET", "http://elsewhere.example/api/v4/packages?q"), feed);
    assert_eq!(route("GET", "http://elsewhere.example:1/x?y"), forward("/x?y"));
}

#[test]
fn forwards_the_rest() {
    let check = |method: &str, target: &str| {
        assert_eq!(route(method, target), forward(target), "{method} {target}");
    };
    check("GET", "/");
    check("GET", "/api/v4/packages/wp-toolkit");
    check("GET", "/api/v4/packages2");
    check("GET", "/api/v4/packages/wp-toolkit/Icon%20of%20it.SVG");
    check("GET", "/odd/...;/%3f%25/caf%c3%a9");
    check("GET", "/search?q=packages&next=/api/v4/packages/wp-toolkit");
    check("GET", "/api/v4");
    check("GET", "/api/packages");
    check("GET", "/api/v/packages");
    check("GET", "/api/vx/packages");
    check("GET", "/api/v4x/packages");
    check("GET", "/packages");
    check("GET", "/icons/wp-toolkit.svg?v=1");
    check("GET", "/livez/");
    check("PUT", "/upload");
    check("DELETE", "/api/v4/packages/x");
    check("OPTIONS", "/anything");
    check("BREW", "/pot");
}

#[test]
fn serves_shops_under_their_prefixes_and_hosts() {
    let feed = |host: &str, target: &str, name: &str, path: &str| {
        let expected = WantedFeed {
            key: key(FeedKind::Packages, path),
            packages: None,
            view: ViewKind::Shop,
            shop: shop(name),
        };
        assert_eq!(route_on(host, "GET", target), Route::Feed(expected), "{host} {target}");
    };
    feed("proxy", "/gold/api/v4/packages?q", "gold", "/api/v4/packages?q");
    feed("proxy", "/gold//api/v4/packages/?q", "gold", "/api/v4/packages?q");
    feed("gold.example", "/api/v4/packages", "gold", "/api/v4/packages");
    feed("gold.example", "/gold/api/v4/packages", "gold", "/api/v4/packages");
    feed("both.example", "/silver/api/v4/packages", "silver", "/api/v4/packages");
    feed("other.example", "/api/v4/packages", "default", "/api/v4/packages");
    let passes = |target: &str, rest: &str| {
        let prefix = shop("gold").name.clone();
        let expected = Route::Forward { target: rest.parse().expect(rest), prefix: Some(prefix) };
        assert_eq!(route("GET", target), expected, "{target}");
    };
    passes("/gold", "/");
    passes("/gold/", "/");
    passes("/gold?x", "/?x");
    passes("/gold/livez", "/livez");
    passes("/gold/readyz?warm", "/readyz?warm");
    passes("/gold/icons/a.svg?v=1", "/icons/a.svg?v=1");
    passes("/gold/gold/x", "/gold/x");
    let refused = |host: &str, target: &str, status: u16| match route_on(host, "GET", target) {
        Route::Refused(refusal) => {
            assert_eq!(Error::from(refusal).answer().status, status, "{host} {target}");
        }
        route => panic!("{host} {target}: {route:?}"),
    };
    // Anything behind a prefix is judged again.
    refused("proxy", "/gold/x/api/v4/packages", 404);
    refused("proxy", "/gold/gold/api/v4/packages", 404);
    refused("proxy", "/gold/silver/api/v4/packages", 404);
    refused("proxy", "/gold/%61pi/v4/packages", 400);
    refused("proxy", "/gold/../api/v4/packages", 400);
    refused("proxy", "/gold/x?r=/api/v4/packages", 400);
    refused("proxy", "/GOLD/api/v4/packages", 404);
    refused("proxy", "/%67old/api/v4/packages", 400);
    refused("proxy", "//gold/api/v4/packages", 400);
    refused("proxy", "/gold;x/api/v4/packages", 404);
    refused("proxy", "/unknown/api/v4/packages", 404);
    refused("proxy", "/bad/api/v4/packages", 503);
    refused("both.example", "/api/v4/packages", 503);
    for target in ["/silver/api/v4/packages", "/silver/icons/a.svg", "/silver"] {
        refused("gold.example", target, 404);
    }
    let method = route_on("proxy", "POST", "/gold/api/v4/packages");
    assert_eq!(method, Route::Refused(Refusal::MethodNotAllowed(READ_METHODS)));
    // Without a shop at / its feeds are nowhere.
    let shops = Shops::of_texts(None, &[("gold", "extensions = []")]).expect("shops");
    let at = |target: &str| Route::of(&Method::GET, &target.parse().expect(target), None, &shops);
    assert_eq!(at("/api/v4/packages"), Route::Refused(Refusal::NoShop));
    assert_eq!(at("/x"), forward("/x"));
    assert_eq!(at("/livez"), Route::Live);
}

fn refusal(method: &str, target: &str) -> Error {
    match route(method, target) {
        Route::Refused(refusal) => refusal.into(),
        route => panic!("{method} {target}: {route:?}"),
    }
}

#[test]
fn refuses_paths() {
    let check = |target: &str, status: u16, message: &str| {
        let error = refusal("GET", target);
        assert_eq!((error.answer().status.as_u16(), &*error.to_string()), (status, message), "{target}");
    };
    check(
        "/api/v4%2fpackages?x",
        400,
        "the path is not in normal form: `%2f` at byte 7 (an encoded slash or backslash)",
    );
    check("/x//y", 400, "the path is not in normal form: `//` at byte 2 (an empty segment)");
    check("/x?r=/api/v4/packages", 400, "a part of the query names a feed's path");
    check("/api?v4/packages", 400, "a part of the query names a feed's path");
    check("/index.php/api/v4/packages", 404, "no feeds are served under `/index.php`");
    check("*", 400, "this method or target is not served here");
}

#[test]
fn refuses_methods() {
    let check = |method: &str, target: &str, status: u16, message: &str| {
        let error = refusal(method, target);
        let found = (error.answer().status.as_u16(), &*error.to_string());
        assert_eq!(found, (status, message), "{method} {target}");
    };
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X"] {
        for target in ["/api/v4/packages", "//api/v4/categories/", "/livez", "/readyz?warm"] {
            check(method, target, 405, "this resource answers only GET, HEAD");
        }
        check(method, "/x/api/v4/packages", 404, "no feeds are served under `/x`");
    }
    check("OPTIONS", "*", 405, "this resource answers no method");
    check("TRACE", "/", 501, "no resource answers this method");
    check("TRACE", "*", 400, "this method or target is not served here");
    check("CONNECT", "example.com:443", 501, "no resource answers this method");
    check("CONNECT", "/x", 501, "no resource answers this method");
    check("CONNECT", "/api/v4/packages", 501, "no resource answers this method");
    assert_eq!(route("GET", "/livez?x"), Route::Live);
    assert_eq!(route("HEAD", "/readyz"), Route::Ready);
}

#[test]
fn bounds_the_target() {
    let target = |len: usize| format!("/api/v4/packages?{}", "x".repeat(len - 17));
    assert!(matches!(route("GET", &target(MAX_TARGET)), Route::Feed(_)));
    assert_eq!(route("GET", &target(MAX_TARGET + 1)), Route::Refused(Refusal::TargetTooLong));
}
