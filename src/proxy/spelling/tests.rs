//! Paths and what they stand for.

use proptest::prelude::*;

use super::*;

/// What is expected of a path, in short.
#[derive(Debug, PartialEq)]
enum Expected {
    Feed,
    Behind(&'static str),
    Other,
    /// The text and the byte of a fault.
    NotNormal(&'static str, usize),
}
use Expected::{Behind, Feed, NotNormal, Other};

#[test]
fn classifies_paths() {
    let (kind, version) = (FeedKind::Packages, "4");
    for (path, expected) in ROWS {
        let class = PathClass::of(path);
        let matches = match expected {
            Feed => class == PathClass::Feed { kind, version },
            Behind(prefix) => class == PathClass::FeedBehind { prefix, kind, version },
            Other => class == PathClass::Other,
            NotNormal(text, at) => matches!(
                &class,
                PathClass::NotNormal(fault) if fault.to_string().starts_with(&format!("`{text}` at byte {at} ("))
            ),
        };
        assert!(matches, "{path}: {class:?} instead of {expected:?}");
    }
}

const ROWS: &[(&str, Expected)] = &[
    // A feed.
    ("/api/v4/packages", Feed),
    ("/API/V4/Packages", Feed),
    ("/api/v4/packages/", Feed),
    ("//api/v4/packages", Feed),
    ("///API/v4/packages/", Feed),
    ("/api/v4/packages.json", Feed),
    ("/api/v4/PACKAGES.", Feed),
    ("/api/v4/packages;jsessionid=1", Feed),
    ("/api/v4/packages::$DATA", Feed),
    ("/api/v4/packages&x=1", Feed),
    ("/api/v4/packages,x/", Feed),
    ("/api;x/v4;y=z/packages;w", Feed),
    ("/api.x/v4.0/packages", Feed),
    ("/api/v4/packages/index.html", Feed),
    ("/api/v4/packages/Index", Feed),
    ("/api/v4/packages/default.aspx/", Feed),
    ("/api/v4/packages.php/index.php/x", Feed),
    // A feed behind something.
    ("/index.php/api/v4/packages", Behind("/index.php")),
    ("/public/index.php/api/v4/packages/", Behind("/public/index.php")),
    ("/gold/api/v4/packages", Behind("/gold")),
    ("/gold//api/v4/packages", Behind("/gold")),
    ("/gold///api/v4/packages;x", Behind("/gold")),
    ("/api/api/v4/packages", Behind("/api")),
    ("/api/v4/api/v4/packages", Behind("/api/v4")),
    ("/api/v4/packages/api/v4/packages", Behind("/api/v4/packages")),
    ("/%20/api/v4/packages", Behind("/%20")),
    ("/;x/api/v4/packages", Behind("/;x")),
    // Something else.
    ("/", Other),
    ("", Other),
    ("/x/", Other),
    ("/api", Other),
    ("//api", Other),
    ("//api/v4/packages/wp-toolkit", Other),
    ("/x//api/v4", Other),
    ("/api/v4", Other),
    ("/api/v4/", Other),
    ("/api/packages", Other),
    ("/api/v/packages", Other),
    ("/api/vx/packages", Other),
    ("/api/v4x/packages", Other),
    ("/packages", Other),
    ("/v4/packages", Other),
    ("/api/v4/packages2", Other),
    ("/api/v4/packages/wp-toolkit", Other),
    ("/api/v4/packages/wp-toolkit/Icon%20of%20it.SVG", Other),
    ("/api/v4/packages/packages.json", Other),
    ("/api/v4/x/packages", Other),
    ("/.well-known/security.txt", Other),
    ("/x/.../y", Other),
    ("/x/:y/;z/&", Other),
    ("/a:b@c!$&'()*+,;=~-._", Other),
    ("/100%25", Other),
    ("/100%25/%25x%25", Other),
    ("/%254g/%25g4", Other),
    ("/x/...x/v4/packages", Other),
    ("/x/api/x/...x/v4/packages", NotNormal(".", 9)),
    ("/api/x/...json/v4/x/...y/packages", NotNormal(".", 7)),
    ("/api/x/..x/v4/packages", Other),
    ("/caf%c3%a9/%F0%9F%98%80", Other),
    ("/caf\u{e9}", Other),
    ("/a%20b%3fc%23d%5b%5d", Other),
    ("/\"{}|^`", Other),
    // Letters of Unicode are not folded.
    ("/api/v4/%ef%bd%90ackages", Other),
    ("/api%ef%bc%8fv4/packages", Other),
    ("/api/v4/pac%e2%84%aaages", Other),
    ("/api/v4/pack%e2%80%8bages", Other),
    // Characters.
    ("/api/v4/%70ackages", NotNormal("%70", 8)),
    ("/x/%41", NotNormal("%41", 3)),
    ("/x/%7e", NotNormal("%7e", 3)),
    ("/x/%2E%2e/y", NotNormal("%2E", 3)),
    ("/api%2fv4%2Fpackages", NotNormal("%2f", 4)),
    ("/api/v4%5Cpackages", NotNormal("%5C", 7)),
    ("/api/v4\\packages", NotNormal("\\", 7)),
    ("/x%00", NotNormal("%00", 2)),
    ("/api/v4/pack%09ages", NotNormal("%09", 12)),
    ("/x%7f", NotNormal("%7f", 2)),
    ("/x\u{7f}", NotNormal("DEL", 2)),
    ("/api/v4/%2570ackages", NotNormal("%25", 8)),
    ("/api/v4/%25u0070ackages", NotNormal("%25", 8)),
    ("/x/%25+7", NotNormal("%25", 3)),
    ("/api/v4/%u0070ackages", NotNormal("%", 8)),
    ("/100%", NotNormal("%", 4)),
    ("/100%2", NotNormal("%", 4)),
    ("/100%2/f", NotNormal("%", 4)),
    ("/100%\u{e9}\u{e9}", NotNormal("%", 4)),
    ("/100%+1", NotNormal("%", 4)),
    ("/api/v4/%c1%b0ackages", NotNormal("%c1", 8)),
    ("/api/v4/%c1pcategories", NotNormal("%c1", 8)),
    ("/api/v4/%e0%81%b0ackages", NotNormal("%e0", 8)),
    ("/api/v4/%f0%80%81%b0ackages", NotNormal("%f0", 8)),
    ("/api/v4/packages%c0%af", NotNormal("%c0", 16)),
    ("/api/v4/packages%80", NotNormal("%80", 16)),
    ("/api/v4/packages%e2%80", NotNormal("%e2", 16)),
    ("/api/v4/packages%e2%80x", NotNormal("%e2", 16)),
    ("/caf%e9", NotNormal("%e9", 4)),
    // Segments.
    ("//", NotNormal("//", 0)),
    ("//x", NotNormal("//", 0)),
    ("/x//y", NotNormal("//", 2)),
    ("/x//", NotNormal("//", 2)),
    ("/x///y/z", NotNormal("//", 2)),
    ("/api//v4/packages", NotNormal("//", 4)),
    ("/api/v4//packages", NotNormal("//", 7)),
    ("/api/v4/packages//", NotNormal("//", 16)),
    ("/api/v4/packages//x", NotNormal("//", 16)),
    ("//ext.plesk.com/api/v4/packages", NotNormal("//", 0)),
    ("/https://ext.plesk.com/api/v4/packages", NotNormal("//", 7)),
    ("//api.x/v4/packages", NotNormal("//", 0)),
    ("//apis/v4/packages", NotNormal("//", 0)),
    ("/./x", NotNormal(".", 1)),
    ("/x/..", NotNormal(".", 3)),
    ("/x/../api/v4/packages", NotNormal(".", 3)),
    ("/api/v4/packages/.", NotNormal(".", 17)),
    ("/api/v4/packages/..;/x", NotNormal(".", 17)),
    ("/x/..;a=b/y", NotNormal(".", 3)),
    ("/x/..%3by", NotNormal(".", 3)),
    ("/x/%20../y", NotNormal(".", 3)),
    ("/x/..%20/y", NotNormal(".", 3)),
    // What some servers read as a feed.
    ("/api/v4/packages%20", NotNormal("packages", 8)),
    ("/api/v4/%20packages", NotNormal("packages", 8)),
    ("/api/v4/packages%3bx", NotNormal("packages", 8)),
    ("/api/v4/packages%3fx", NotNormal("packages", 8)),
    ("/api/v4/packages%3fx/y", NotNormal("packages", 8)),
    ("/api/v4/packages%23", NotNormal("packages", 8)),
    ("/api%2cx/v4/packages", NotNormal("packages", 12)),
    ("/api/v4%20/packages", NotNormal("packages", 11)),
    ("/api/.../v4/packages", NotNormal("packages", 12)),
    ("/api/;x/v4/packages", NotNormal("packages", 11)),
    ("/api/v4/%20/packages", NotNormal("packages", 12)),
    ("/api/v4/packages/;x", NotNormal("packages", 8)),
    ("/api/v4/packages/%3fx/y", NotNormal("packages", 8)),
    ("/api/v4/packages/...", NotNormal("packages", 8)),
    ("/api/v4/packages.php/x", NotNormal("packages", 8)),
    ("/api/v4/packages.json/x/y", NotNormal("packages", 8)),
    ("/api/v4/packages;x/y", NotNormal("packages", 8)),
    ("/x/api/v4/packages;x/y", NotNormal("packages", 10)),
];

#[test]
fn finds_feeds_in_queries() {
    let check = |expected: bool, path: &str, query: &str| {
        assert_eq!(query_names_feed(path, query), expected, "{path}?{query}");
    };
    for query in [
        "/api/v4/packages",
        "/../api/v4/packages",
        "api/x/../v4/packages",
        "r=api/v4/packages&x",
        "x&route=%2fapi%2fv4%2fcategories",
        "x;route=/api/v4/packages/",
        "x;api/v4/packages",
        "r=/api;a/v4;b/packages;c",
        "r=/api/v4/packages%26x=1",
        "r=/api/v4/packages?x/y",
        "r=/api/v4/packages.php/y",
        "r=%61pi\\v4/./%70ack%09ages//",
        "r=%20api/v4/packages%20",
        "u=https://ext.plesk.com/API/v4/packages/index.php",
        "/api/v4/packages=",
    ] {
        check(true, "/index.php", query);
    }
    for query in [
        "",
        "q=packages&next=/api/v4/packages/wp-toolkit",
        "q=packages&next=./api/v4/packages/wp-toolkit",
        "a=/api&b=/v4&c=/packages",
        "a=/api/v4/packages2",
        "a=/%2561pi/v4/packages",
        "a=%zz%",
        "a=\u{e9}%ff",
    ] {
        check(false, "/index.php", query);
    }
    check(true, "/api", "v4/packages");
    check(true, "/api/v4", "packages&x");
    check(true, "/api/v4/", "packages");
    check(false, "/api/v4", "x&packages");
}

/// Rewrites a path at one place in one of the ways that some server undoes.
fn disguised(path: &str, at: usize, way: usize) -> String {
    let (before, after) = path.split_at(1 + at % (path.len() - 1));
    let (first, rest) = after.split_at(1);
    let byte = first.as_bytes()[0];
    let instead = match way {
        0 | 1 => format!("%{byte:02x}"),
        2 => format!("%u{byte:04X}"),
        3 => format!("%{:02x}%{:02x}", 0xc0 | byte >> 6, 0x80 | byte & 0x3f),
        4 => first.to_ascii_uppercase(),
        5 => format!("%0d{first}"),
        6 => return format!("{path}{}", ["/", ";x", "%20", ".json", "/.", "%00", "/index.php", "?"][at % 8]),
        _ if byte != b'/' => first.to_owned(),
        7 => "\\".to_owned(),
        8 => "//".to_owned(),
        9 => "/x/../".to_owned(),
        10 => ";x=y/".to_owned(),
        11 => "/%20".to_owned(),
        12 => "/;/".to_owned(),
        13 => ".x/".to_owned(),
        _ => "%20/".to_owned(),
    };
    format!("{before}{instead}{rest}")
}

proptest! {
    #[test]
    fn no_disguise_hides_a_feed(
        prefix in prop::sample::select(vec!["", "/x", "/index.php", "/x;y", "/%3f"]),
        ways in prop::collection::vec((any::<usize>(), 0..15usize), 0..5),
    ) {
        let mut path = format!("{prefix}/api/v4/packages");
        for (at, way) in ways {
            path = disguised(&path, at, way);
        }
        // A raw question mark begins the query.
        let path = path.split('?').next().unwrap_or_default();
        prop_assert_ne!(PathClass::of(path), PathClass::Other, "{}", path);
    }

    #[test]
    fn what_a_library_normalizes_is_accepted(
        segments in prop::collection::vec("[^/\\\\%\\pC]{1,12}", 0..6),
        end in prop::bool::ANY,
    ) {
        let mut url = url::Url::parse("http://x/").expect("a URL");
        url.path_segments_mut().expect("a path").extend(&segments);
        let is_dots = |text: &String| {
            let stem = text.split([';', ',', ':', '&', '?', '#']).next().unwrap_or_default();
            matches!(&*stem.replace(' ', ""), "." | "..")
        };
        let has_dots = segments.iter().any(is_dots);
        let path = if end { format!("{}/", url.path().trim_end_matches('/')) } else { url.path().to_owned() };
        prop_assume!(!has_dots);
        prop_assert_eq!(PathClass::of(&path), PathClass::Other);
    }

    #[test]
    fn any_text_has_one_class(text in "(/|\\\\|%|%2|%25|2|f|api|v4|packages|index|[.;:&?# ]|\\PC){0,12}") {
        let path = format!("/{text}");
        match PathClass::of(&path) {
            PathClass::FeedBehind { prefix, .. } => {
                prop_assert!(prefix.len() > 1 && path.starts_with(prefix));
                let rest = &path[prefix.len()..];
                prop_assert!(matches!(PathClass::of(rest), PathClass::Feed { .. }), "{}", rest);
            }
            PathClass::Feed { version, .. } => prop_assert_eq!(version, "4"),
            PathClass::NotNormal(fault) => {
                prop_assert!(fault.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
            PathClass::Other => {}
        }
    }

    #[test]
    fn what_is_canonical_is_the_same_feed_by_segments(version in "[0-9]{1,30}", name in "packages|categories") {
        let path = format!("/api/v{version}/{name}");
        prop_assert!(canonical(&path).is_some());
        prop_assert_eq!(PathClass::by_segments(&path), Ok(PathClass::of(&path)));
    }
}
