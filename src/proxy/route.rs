//! What a request is about, decided once.

use http::uri::PathAndQuery;
use http::{Method, Uri};

use crate::catalog::Key;
use crate::feed::Kind;

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

/// Rounds of percent-decoding after which a path must be plain: no client encodes twice, let alone more.
const MAX_DECODINGS: usize = 8;

/// What a path may be taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Spelling {
    Feed {
        version: String,
        kind: Kind,
    },
    /// It can still be decoded after so many rounds.
    Endless,
    Other,
}

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
            Spelling::Endless => return Self::Refused,
            Spelling::Other => return Self::Forward(target.clone()),
        };
        if !read {
            return Self::MethodNotAllowed;
        }
        let key = |kind: Kind| {
            let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
            let target = format!("/api/v{version}/{}{query}", kind.name());
            // It differs from a valid target by plain letters only.
            PathAndQuery::try_from(target).ok().map(|target| Key::new(kind, &target))
        };
        match (kind, key(kind)) {
            (_, None) => Self::Refused,
            (_, Some(key)) if key.as_str().len() > MAX_TARGET => Self::TargetTooLong,
            (Kind::Packages, Some(key)) => Self::Packages(key),
            (Kind::Categories, Some(own)) => match key(Kind::Packages) {
                Some(packages) => Self::Categories { key: own, packages },
                None => Self::Refused,
            },
        }
    }

    /// Returns the route's name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Packages(_) => "packages",
            Self::Categories { .. } => "categories",
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Forward(_) => "forward",
            Self::MethodNotAllowed | Self::Refused | Self::TargetTooLong => "refused",
        }
    }
}

impl Spelling {
    /// Recognises a feed in a path, however it is written.
    fn of(path: &str) -> Self {
        let mut path = path.as_bytes().to_vec();
        for _ in 0..MAX_DECODINGS {
            // Upstreams cut parameters, queries and NULs off before or after they resolve dots.
            let cut = path.iter().position(|byte| b";?#\0".contains(byte)).unwrap_or(path.len());
            if let Some((version, kind)) = canonical_feed(&path).or_else(|| canonical_feed(&path[..cut])) {
                return Self::Feed { version, kind };
            }
            let decoded = percent_decode(&path);
            if decoded == path {
                return Self::Other;
            }
            path = decoded;
        }
        Self::Endless
    }
}

/// Recognises a feed once a path is normalised: slashes, dots, parameters, case, blanks, odd letters.
///
/// Only the end of the path counts: a host, a mount or a front controller may come before.
fn canonical_feed(path: &[u8]) -> Option<(String, Kind)> {
    let path = fold(&String::from_utf8_lossy(path));
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default().trim_matches(' ') {
            "" | "." => {}
            ".." => drop(segments.pop()),
            // Some servers ignore dots and blanks at a name's end, as Windows does.
            name => segments.push(name.trim_matches([' ', '.'])),
        }
    }
    let [.., "api", version, name] = segments[..] else { return None };
    let version = version.strip_prefix('v').filter(|version| is_number(version))?;
    let kind = [Kind::Packages, Kind::Categories].into_iter().find(|kind| kind.name() == name)?;
    Some((version.to_owned(), kind))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Makes letters plain as lax servers do: backslashes to slashes, wide and other look-alikes of ASCII to
/// ASCII (as NFKC and case folding do), lower case. Drops control characters and the rest beyond ASCII.
fn fold(path: &str) -> String {
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xff01 + 0x21).unwrap_or(c),
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c,
    };
    let plain = |c: char| if c == '\\' { '/' } else { c.to_ascii_lowercase() };
    path.chars().map(narrow).map(plain).filter(|c| c.is_ascii() && !c.is_control()).collect()
}

/// Decodes one round of percent-encoding, with the `%uXXXX` of some servers; what is no encoding stays.
fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let hex = |digits: &[u8]| {
        let text = std::str::from_utf8(digits).ok()?;
        let all_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            if let Some(byte) = after.get(..2).and_then(hex) {
                out.push(byte as u8);
                rest = &after[2..];
                continue;
            }
            if let [b'u' | b'U', digits @ ..] = after
                && let Some(c) = digits.get(..4).and_then(hex).and_then(char::from_u32)
            {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &digits[4..];
                continue;
            }
        }
        out.push(*first);
    }
    out
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
        check("GET", "/api/v4/packages.json");
        check("GET", "/api/v4/packages2");
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
    fn refuses_what_never_ends() {
        let endless = format!("/x/%{}41", "25".repeat(20));
        assert_eq!(route("GET", &endless), Route::Refused);
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
