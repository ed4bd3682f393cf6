//! What a request is about, decided once.

use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::spelling::{self, Spelling};
use crate::catalog::Key;
use crate::feed::Kind;
use crate::metrics::requests::RouteName;

/// Methods that the feeds and probes answer.
pub const READ_METHODS: &str = "GET, HEAD";

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The packages feed.
    Packages(Key),
    /// The categories feed, which takes the packages feed of the same version and query.
    Categories {
        /// Of the categories.
        key: Key,
        /// Of the packages.
        packages: Key,
    },
    /// Is the process alive?
    Live,
    /// Is it ready to serve?
    Ready,
    /// Anything else: streamed through.
    Forward(PathAndQuery),
    /// A feed or probe, asked with a method that it does not answer.
    MethodNotAllowed,
    /// A method or target that no proxy of an origin takes.
    Refused,
    /// A feed's target of more than [`MAX_TARGET`] bytes.
    TargetTooLong,
}

/// Longest target of a feed: Plesk's longest is some 100 bytes.
pub const MAX_TARGET: usize = 2048;

impl Route {
    /// Decides what a request is about. Only path and query of the target count.
    ///
    /// SECURITY: a spelling of a feed's path that some upstream might take for it is the feed, so that it
    /// can never be streamed through unfiltered.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let Some(target) = uri.path_and_query().filter(|target| target.as_str().starts_with('/')) else {
            return Self::Refused;
        };
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return Self::Refused;
        }
        let read = matches!(*method, Method::GET | Method::HEAD);
        match (target.path(), read) {
            ("/livez", true) => return Self::Live,
            ("/readyz", true) => return Self::Ready,
            ("/livez" | "/readyz", false) => return Self::MethodNotAllowed,
            _ => {}
        }
        let (version, kind) = match Spelling::of(target.path()) {
            Spelling::Feed { version, kind } => (version, kind),
            Spelling::Doubtful => return Self::Refused,
            Spelling::Other if spelling::names_feed(target) => return Self::Refused,
            // As nginx does: what servers make of a broken encoding is anybody's guess.
            Spelling::Other if !spelling::is_well_encoded(target.path()) => return Self::Refused,
            Spelling::Other => return Self::Forward(target.clone()),
        };
        if !read {
            return Self::MethodNotAllowed;
        }
        let key = |kind: Kind| Key::of(kind, &version, target.query());
        match (kind, key(kind)) {
            (_, key) if key.as_str().len() > MAX_TARGET => Self::TargetTooLong,
            (Kind::Packages, key) => Self::Packages(key),
            (Kind::Categories, own) => Self::Categories { key: own, packages: key(Kind::Packages) },
        }
    }

    /// Returns the route's name in logs and metrics.
    pub fn name(&self) -> RouteName {
        match self {
            Self::Packages(_) => RouteName::Packages,
            Self::Categories { .. } => RouteName::Categories,
            Self::Live => RouteName::Livez,
            Self::Ready => RouteName::Readyz,
            Self::Forward(_) => RouteName::Forward,
            Self::MethodNotAllowed | Self::Refused | Self::TargetTooLong => RouteName::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(method: &str, target: &str) -> Route {
        Route::of(&method.parse().expect("a method"), &target.parse().expect(target))
    }

    fn key(kind: Kind, target: &str) -> Key {
        Key::new(kind, &target.parse().expect("a target"))
    }

    #[test]
    fn finds_the_feeds() {
        let check = |target: &str| {
            assert_eq!(route("GET", target), Route::Packages(key(Kind::Packages, target)), "{target}");
            assert_eq!(route("HEAD", target), Route::Packages(key(Kind::Packages, target)), "{target}");
        };
        check("/api/v4/packages");
        check("/api/v0/packages");
        check("/api/v12345678901234567890/packages");
        check("/api/v4/packages?");
        check("/api/v4/packages?platform=unix&with-hidden&with-unstable");
        check("/api/v4/packages?x=%zz&&=;'(~)*!");
        let categories = route("GET", "/api/v4/categories?version=18.0.64&country=XX");
        let expected = Route::Categories {
            key: key(Kind::Categories, "/api/v4/categories?version=18.0.64&country=XX"),
            packages: key(Kind::Packages, "/api/v4/packages?version=18.0.64&country=XX"),
        };
        assert_eq!(categories, expected);
    }

    #[test]
    fn knows_every_spelling_of_a_feed() {
        let check = |target: &str| {
            let expected = Route::Packages(key(Kind::Packages, "/api/v4/packages?q"));
            assert_eq!(route("GET", &format!("{target}?q")), expected, "{target}");
        };
        check("//api/v4/packages");
        check("/api//v4///packages");
        check("/api/v4/packages/");
        check("/api/v4/packages//");
        check("/api/v4/packages/.");
        check("/api/v4/packages/x/..");
        check("/./api/v4/packages");
        check("/../api/v4/packages");
        check("/x/../api/v4/packages");
        check("/api/v4/x/../packages");
        check("/api/v4/x/%2e%2e/packages");
        check("/api/v4/x/%2E./packages");
        check("/api/v4/x%2f..%2fpackages");
        check("/api%2fv4%2Fpackages");
        check("/api/v4/%70ackages");
        check("/%61%70%69/%76%34/%70%61%63%6b%61%67%65%73");
        check("/api/v4/%2570ackages");
        check("/api/v4/%252570ackages");
        check("/api/v4%5cpackages");
        check("/api/v4\\packages");
        check("/api/v4/PACKAGES");
        check("/API/V4/Packages");
        check("/api/v4/packages;jsessionid=1");
        check("/api;x/v4;y=z/packages");
        check("/api/v4/packages;/../zzz");
        check("/api/v4/packages;%2f..%2fzzz");
        check("/api/v4/packages%3b");
        check("/api/v4/packages%3fx");
        check("/api/v4/packages%3f/../zzz");
        check("/api/v4/packages%23");
        check("/api/v4/packages%00");
        check("/api/v4/packages%00.html");
        check("/api/v4/packages%20");
        check("/api/v4/packages.");
        check("/api/v4/pack%09ages");
        check("/api/v4/%0apackages");
        check("/api/v4/%ef%bd%90ackages");
        check("/api%ef%bc%8fv4/packages");
        check("/api%ef%bc%bcv4/packages");
        check("/index.php/api/v4/packages");
        check("/public/index.php/api/v4/packages");
        check("//ext.plesk.com/api/v4/packages");
        check("/api/v4/packages%20.");
        check("/api/v4/packages.%20.");
        check("/api/v4/%20packages");
        check("/api/v4/%25252570ackages");
        check("/api/v4/%2525252570ackages");
        check("/api/v4/packages%c0%af");
        check("/api/v4/packages%80");
        check("/api/v4/%u0070ackages");
        check("/api/v4/pac%e2%84%aaages");
        check("/api/v4/package%c5%bf");
        check("/api/v4/pack%c2%adages");
        check("/api/v4/pack%cc%81ages");
        check("/api/v4/p%c3%a0ckages");
        check("/api/v4/%f0%9d%92%91ackages");
        check("/api/v%e2%91%a3/packages");
        check("/api/v%e2%81%b4/packages");
        check("/api%2fv4%2fpackages%e2%80%8b");
        check("/api/v4/%ef%bc%8570ackages");
        check("/api/v4/%%e2%80%8b70ackages");
        check("/api/v4//../v4/packages");
        check("/api/v4//../packages");
        check("/api/v4/x//../../packages");
        check("/api/.../v4/packages");
        check("/api/v4.0/packages");
        check("/api/v4/packages.json");
        check("/api/v4/packages.php/x/y");
        check("/api/v4/packages/index.html");
        check("/api/v4/packages::$DATA");
        check("/api/v4/packages&x=1");
        check("/api/v4/packages,x");
    }

    #[test]
    fn takes_path_and_query_only() {
        let feed = Route::Packages(key(Kind::Packages, "/api/v4/packages?q"));
        assert_eq!(route("GET", "http://elsewhere.example/api/v4/packages?q"), feed);
        let forward = Route::Forward(PathAndQuery::from_static("/x?y"));
        assert_eq!(route("GET", "http://elsewhere.example:1/x?y"), forward);
    }

    #[test]
    fn forwards_the_rest() {
        let check = |method: &str, target: &str| {
            let expected = Route::Forward(target.parse().expect("a target"));
            assert_eq!(route(method, target), expected, "{method} {target}");
        };
        check("GET", "/");
        check("GET", "/api/v4/packages/wp-toolkit");
        check("GET", "/api/v4/packages2");
        check("GET", "/api/v4/packages/wp-toolkit/Icon%20of%20it.SVG");
        check("GET", "/odd//..;/%2f%25/caf%c3%a9");
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
    fn refuses_what_is_doubtful() {
        let check = |target: &str| assert_eq!(route("GET", target), Route::Refused, "{target}");
        check(&format!("/x/%{}41", "25".repeat(20)));
        check("/api/v4/%c1%b0ackages");
        check("/api/v4/%c1pcategories");
        check("/api/v4/%e0%81%b0ackages");
        check("/api/v4/%f0%80%81%b0ackages");
        check("/api/v4/packages/..;/x");
        check("/api/v4//packages/x");
        check("/api/v4/packages%2fx");
        check("/api/v4/packages%252fx");
        check("/x?/../api/v4/packages");
        check("/?/api/v4/packages");
        check("/index.php?r=api/v4/packages&x");
        check("/index.php?x&route=%2fapi%2fv4%2fcategories");
        check("/index.php?route=%252fapi%252fv4%252fcategories");
    }

    #[test]
    fn refuses_methods() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "X"] {
            assert_eq!(route(method, "/api/v4/packages"), Route::MethodNotAllowed, "{method}");
            assert_eq!(route(method, "//api/v4/categories/"), Route::MethodNotAllowed, "{method}");
            assert_eq!(route(method, "/readyz"), Route::MethodNotAllowed, "{method}");
        }
        assert_eq!(route("CONNECT", "example.com:443"), Route::Refused);
        assert_eq!(route("TRACE", "/"), Route::Refused);
        assert_eq!(route("OPTIONS", "*"), Route::Refused);
        assert_eq!(route("GET", "/100%"), Route::Refused);
        assert_eq!(route("GET", "/100%2"), Route::Refused);
        assert_eq!(route("GET", "/%u0061b"), Route::Refused);
        assert_eq!(route("GET", "/livez"), Route::Live);
        assert_eq!(route("HEAD", "/readyz"), Route::Ready);
    }

    #[test]
    fn bounds_the_target() {
        let target = |len: usize| format!("/api/v4/packages?{}", "x".repeat(len - 17));
        assert!(matches!(route("GET", &target(MAX_TARGET)), Route::Packages(_)));
        assert_eq!(route("GET", &target(MAX_TARGET + 1)), Route::TargetTooLong);
    }

    proptest! {
        #[test]
        fn encoding_hides_nothing(
            rounds in prop::collection::vec(prop::collection::vec(any::<bool>(), 60), 0..3),
        ) {
            let mut path = "/api/v4/packages".to_owned();
            for round in rounds {
                path = path.chars().zip(round.iter().chain(std::iter::repeat(&false)))
                    .map(|(c, encode)| if *encode && c != '%' { format!("%{:02x}", u32::from(c)) } else { c.into() })
                    .collect();
            }
            // A target begins with a slash of its own.
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            prop_assert!(matches!(route("GET", &path), Route::Packages(_)), "{}", path);
        }
    }
}
