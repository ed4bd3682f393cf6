//! Decides once what a request is for, from its method and target.

use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::query;
use super::spelling::{self, PathClass};
use crate::cache::Key;
use crate::error::Error;
use crate::feed::FeedKind;
use crate::metrics::requests::RouteName;
use crate::policy::ViewKind;

/// Methods that the feeds and probes answer.
pub const READ_METHODS: &str = "GET, HEAD";

/// Longest target of a feed in bytes: Plesk's longest is some 100 bytes.
pub const MAX_TARGET: usize = 2048;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// One of the two feeds.
    Feed(WantedFeed),
    /// The liveness probe.
    Live,
    /// The readiness probe.
    Ready,
    /// Anything else, which is streamed through.
    Forward(PathAndQuery),
    /// Nothing that is served.
    Refused(Refusal),
}

/// A view of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFeed {
    pub key: Key,
    /// For categories, the packages feed of the same version and query, by which they are filtered.
    pub packages: Option<Key>,
    pub view: ViewKind,
}

/// Why a request is for nothing that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The path has the fault that this text describes.
    PathNotNormal(String),
    /// A part of the query is a feed's path, so some servers may answer with the feed.
    QueryNamesFeed,
    /// A feed's path behind this prefix, in printable form, under which there are no feeds.
    UnknownPrefix(String),
    /// A target that a reverse proxy does not serve.
    NoResource,
    /// The resource answers only the methods of this list.
    MethodNotAllowed(&'static str),
    /// No resource answers this method.
    MethodNotImplemented,
    /// A feed's target of more than [`MAX_TARGET`] bytes.
    TargetTooLong,
}

impl Route {
    /// Decides what a request is for. Of the target only path and query count.
    ///
    /// SECURITY: only a path in normal form that is no feed's is ever streamed through.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        Self::for_target(method, uri).unwrap_or_else(Self::Refused)
    }

    fn for_target(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        // Only a tunnel's end answers it (RFC 9110 §9.3.6), so no resource here ever does.
        if *method == Method::CONNECT {
            return Err(Refusal::MethodNotImplemented);
        }
        let target = uri.path_and_query().ok_or(Refusal::NoResource)?;
        // `OPTIONS` is known, and `*` is a resource (RFC 9110 §9.3.7), but one of the upstream's: this one
        // has no methods. Hence 405, with a list that is empty, and not 501.
        if target.as_str() == "*" && *method == Method::OPTIONS {
            return Err(Refusal::MethodNotAllowed(""));
        }
        if !target.as_str().starts_with('/') {
            return Err(Refusal::NoResource);
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let read_only = || if is_read { Ok(()) } else { Err(Refusal::MethodNotAllowed(READ_METHODS)) };
        let (kind, version) = match PathClass::of(target.path()) {
            PathClass::Feed { kind, version } => (kind, version),
            PathClass::FeedBehind { prefix, .. } => {
                return Err(Refusal::UnknownPrefix(prefix.escape_debug().to_string()));
            }
            PathClass::NotNormal(fault) => return Err(Refusal::PathNotNormal(fault.to_string())),
            PathClass::Other => {
                return match target.path() {
                    "/livez" => read_only().map(|()| Self::Live),
                    "/readyz" => read_only().map(|()| Self::Ready),
                    // No resource answers it. 405 would have to list the methods that one does answer
                    // (RFC 9110 §15.5.6), which only the upstream knows.
                    _ if *method == Method::TRACE => Err(Refusal::MethodNotImplemented),
                    path => match target.query() {
                        Some(query) if spelling::query_names_feed(path, query) => {
                            Err(Refusal::QueryNamesFeed)
                        }
                        _ => Ok(Self::Forward(target.clone())),
                    },
                };
            }
        };
        read_only()?;
        let key = |kind: FeedKind| Key::of(kind, version, target.query());
        let own = key(kind);
        if own.as_str().len() > MAX_TARGET {
            return Err(Refusal::TargetTooLong);
        }
        Ok(Self::Feed(match kind {
            FeedKind::Packages => WantedFeed { key: own, packages: None, view: query::view(target.query()) },
            FeedKind::Categories => {
                WantedFeed { key: own, packages: Some(key(FeedKind::Packages)), view: ViewKind::Shop }
            }
        }))
    }

    /// Returns the route's name in logs and metrics.
    pub fn name(&self) -> RouteName {
        match self {
            Self::Feed(wanted) => match wanted.key.kind() {
                FeedKind::Packages => RouteName::Packages,
                FeedKind::Categories => RouteName::Categories,
            },
            Self::Live => RouteName::Livez,
            Self::Ready => RouteName::Readyz,
            Self::Forward(_) => RouteName::Forward,
            Self::Refused(_) => RouteName::Refused,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PathNotNormal(fault) => Self::PathNotNormal(fault),
            Refusal::QueryNamesFeed => Self::Refused("a part of the query names a feed's path"),
            Refusal::UnknownPrefix(prefix) => Self::UnknownPrefix(prefix),
            Refusal::NoResource => Self::Refused("this method or target is not served here"),
            Refusal::MethodNotAllowed(allow) => Self::MethodNotAllowed { allow },
            Refusal::MethodNotImplemented => Self::MethodNotImplemented,
            Refusal::TargetTooLong => Self::TargetTooLong(MAX_TARGET),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, target: &str) -> Route {
        Route::of(&method.parse().expect("a method"), &target.parse().expect(target))
    }

    fn key(kind: FeedKind, target: &str) -> Key {
        Key::new(kind, &target.parse().expect("a target"))
    }

    fn packages(target: &str, view: ViewKind) -> Route {
        Route::Feed(WantedFeed { key: key(FeedKind::Packages, target), packages: None, view })
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
}
