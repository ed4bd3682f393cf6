//! Tables of files and verdicts, and a property against a model of the rules.

use proptest::prelude::*;

use super::model::{Line, lines, verdict, write};
use super::*;
use crate::seller::Seller;

fn day(text: &str) -> Day {
    Day::parse(text).expect(text)
}

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes(), HostsKey::Allowed).expect(text).0
}

#[test]
fn decides_by_entry_seller_and_day() {
    let text = r#"
        extensions = ["a", "offer-*", { code = "kolab", from = 2026-12-01, until = 2027-01-31, note = "winter" }]
        retired = ["xovi", { code = "kolab", from = 2027-02-01 }, "offer-old-*"]
        hidden = ["free-tool", "offer-old-1", { code = "late", until = 2026-11-30 }]
    "#;
    let check = |code: &str, seller, on: &str, expected| {
        assert_eq!(policy(text).on(day(on)).verdict(Some(code), seller), expected, "{code} on {on}");
    };
    use Seller::{Free, Plesk, Vendor};
    use Verdict::{Hidden, Retired, Shown};
    check("a", Plesk, "2026-11-29", Shown);
    check("A", Plesk, "2026-11-29", Hidden);
    check("b", Plesk, "2026-11-29", Hidden);
    check("b", Vendor, "2026-11-29", Shown);
    check("free-tool", Free, "2026-11-29", Hidden);
    check("xovi", Vendor, "2026-11-29", Retired);
    check("offer-", Plesk, "2026-11-29", Shown);
    check("offer-x", Plesk, "2026-11-29", Shown);
    check("offer", Plesk, "2026-11-29", Hidden);
    check("offer-old-2", Plesk, "2026-11-29", Retired);
    check("offer-old-1", Plesk, "2026-11-29", Hidden);
    check("kolab", Plesk, "2026-11-30", Hidden);
    check("kolab", Plesk, "2026-12-01", Shown);
    check("kolab", Plesk, "2027-01-31", Shown);
    check("kolab", Plesk, "2027-02-01", Retired);
    check("kolab", Free, "2026-11-30", Shown);
    check("late", Free, "2026-11-30", Hidden);
    check("late", Free, "2026-12-01", Shown);
    let rules = policy("extensions = [\"*\"]\nunlisted = \"retired\"").on(day("2026-11-29"));
    assert_eq!(rules.verdict(None, Plesk), Hidden);
    assert_eq!(rules.verdict(None, Free), Shown);
    assert_eq!(rules.verdict(Some(""), Plesk), Shown);
    let rules = policy("extensions = []\nunlisted = \"retired\"").on(day("2026-11-29"));
    assert_eq!(rules.verdict(Some("a"), Plesk), Retired);
    assert_eq!(rules.verdict(Some("a"), Free), Shown);
}

#[test]
fn an_ended_entry_falls_to_a_star_and_then_to_the_default() {
    let text = "extensions = [{ code = \"offer-1\", until = 2026-11-30 }]\nretired = [\"offer-*\"]";
    let on = |on: &str| policy(text).on(day(on)).verdict(Some("offer-1"), Seller::Plesk);
    assert_eq!(on("2026-11-30"), Verdict::Shown);
    assert_eq!(on("2026-12-01"), Verdict::Retired);
}

#[test]
fn rules_hold_until_a_boundary() {
    let policy = policy(
        "extensions = [{ code = \"a\", from = 2026-12-01, until = 2026-12-24 }, { code = \"b\", until = 2026-12-24 }]",
    );
    let check = |on: &str, next: Option<&str>, holds: &[&str], not: &[&str]| {
        let rules = policy.on(day(on));
        assert_eq!(rules.next_change(), next.map(day), "{on}");
        holds.iter().for_each(|other| assert!(rules.hold_on(day(other)), "{on}, {other}"));
        not.iter().for_each(|other| assert!(!rules.hold_on(day(other)), "{on}, {other}"));
    };
    check("2026-11-29", Some("2026-12-01"), &["1970-01-01", "2026-11-30"], &["2026-12-01", "2027-01-01"]);
    check("2026-12-01", Some("2026-12-25"), &["2026-12-01", "2026-12-24"], &["2026-11-30", "2026-12-25"]);
    check("2026-12-25", None, &["2026-12-25", "9999-12-31"], &["2026-12-24"]);
}

#[test]
fn reads_all_spellings() {
    let check = |text: &str, expected: &[&str]| {
        let (policy, warnings) = Policy::parse(text.as_bytes(), HostsKey::Refused).expect(text);
        let written = |entry: &WhitelistEntry| format!("{}:{}", entry.verdict.key(), entry.pattern);
        assert_eq!(policy.entries().iter().map(written).collect::<Vec<_>>(), expected, "{text}");
        assert!(warnings.is_empty(), "{warnings:?}");
        for entry in policy.entries() {
            assert_eq!(Place::of(text, entry.span.start), entry.place);
        }
    };
    check("extensions = []", &[]);
    check("# paid\nextensions = [\n  \"a\", # yes\n  'docker',\n]\n", &["extensions:a", "extensions:docker"]);
    check("\u{feff}extensions = [\"a\"]\r\n", &["extensions:a"]);
    check("extensions = [\"\\u00e9\"]", &["extensions:é"]);
    check("retired = [\"a\"]\nextensions = [\"b\"]\nhidden = []", &["retired:a", "extensions:b"]);
    check(
        "extensions = [\n  { note = \"x\", code = 'a' },\n  \"b-*\",\n]",
        &["extensions:a", "extensions:b-*"],
    );
    check("extensions = []\n[[hidden]]\ncode = \"a\"\n", &["hidden:a"]);
}

#[test]
fn refuses_with_the_place() {
    let check = |text: &[u8], place: &str, part: &str| {
        let error = Policy::parse(text, HostsKey::Allowed).expect_err("a bad list").to_string();
        assert!(error.starts_with(place) && error.contains(part), "{error}");
    };
    check(b"", "1:1: ", "missing key `extensions`");
    check(b"# only a comment\n", "1:1: ", "missing key `extensions`");
    check(b"retired = [\"a\"]", "1:1: ", "missing key `extensions`");
    check(b"extensions = [\"a\",\n", "", "");
    check(b"extensions = [\"a\" \"b\"]", "1:19: ", "");
    check(b"extensions = [\"a]", "1:", "");
    check(b"extensions = \"a\"", "1:14: ", "expected an array of codes");
    check(b"extensions = [\n  \"a\",\n  7,\n]", "3:3: ", "expected a code in quotes, or a table");
    check(b"extension = []", "1:1: ", "unknown key `extension`; did you mean `extensions`?");
    check(
        b"extensions = []\nallow = true",
        "2:1: ",
        "unknown key `allow`; there are `extensions`, `retired`",
    );
    check(b"'ex\xc2\x9b31m' = []", "1:1: ", "unknown key `ex\\u{9b}31m`");
    check(b"extensions = []\nextensions = []", "2:1: ", "duplicate key");
    check(b"extensions = [\"\xc3\xa9\xff\"]", "1:17: ", "not UTF-8");
    check(b"[extensions]\na = 1", "1:", "expected an array");
    check(b"extensions = [\"a*b\"]", "1:15: ", "only one can be there, at the end");
    check(b"extensions = [\"a**\"]", "1:15: ", "only one can be there, at the end");
    check(b"extensions = [\"a\", {}]", "1:20: ", "an entry needs a `code`");
    check(b"extensions = [{ cod = \"a\" }]", "1:17: ", "unknown key `cod`; did you mean `code`?");
    check(b"extensions = [{ code = 7 }]", "1:24: ", "expected a string in quotes, not a number");
    check(
        b"extensions = [{ code = \"a\", from = \"2026-12-01\" }]",
        "1:36: ",
        "expected a date without quotes",
    );
    check(b"extensions = [{ code = \"a\", from = 2026-12-01T10:00:00Z }]", "1:36: ", "expected a date");
    check(b"extensions = [{ code = \"a\", from = 2026-02-30 }]", "1:", "");
    check(b"extensions = [{ code = \"a\", until = 1969-12-31 }]", "1:37: ", "before 1970");
    check(
        b"extensions = [\n{ code = \"a\", from = 2026-12-02, until = 2026-12-01 }]",
        "2:1: ",
        "`from` (2026-12-02) is after `until` (2026-12-01)",
    );
    check(b"extensions = []\nunlisted = \"shown\"", "2:12: ", "to show all: extensions = [\"*\"]");
    check(b"extensions = []\nunlisted = \"x\"", "2:12: ", "\"hidden\" or \"retired\"");
    check(b"extensions = []\nunlisted = true", "2:12: ", "expected a string");
    for host in ["*.example", "a:80", "a b", "", "a/b", "ex\u{e4}mple.org", "a..b"] {
        let text = format!("extensions = []\nhosts = [\"ok.example\", {host:?}]");
        check(text.as_bytes(), "2:24: ", "is no host name");
    }
    let error =
        Policy::parse(b"extensions = []\nhosts = [\"a\"]", HostsKey::Refused).expect_err("a shop's key");
    assert_eq!(
        error.to_string(),
        "2:10: `hosts` is only for a shop of --shops: this file is the default shop's"
    );
}

#[test]
fn refuses_contradictions_and_names_both_lines() {
    let check = |text: &str, expected: Option<&str>| {
        let result =
            Policy::parse(text.as_bytes(), HostsKey::Allowed).map(drop).map_err(|error| error.to_string());
        assert_eq!(result.err().as_deref(), expected, "{text}");
    };
    check(
        "extensions = [\n  \"a\",\n]\nretired = [\n  \"a\"]",
        Some(
            "5:3: \"a\" is in `retired` here and in `extensions` in line 2: it can have one state only on a day",
        ),
    );
    check(
        "hidden = [\"a-*\"]\nextensions = [\"a-*\"]",
        Some(
            "2:15: \"a-*\" is in `extensions` here and in `hidden` in line 1: it can have one state only on a day",
        ),
    );
    check("hidden = [\"a-*\"]\nextensions = [\"a-\", \"a-b*\"]", None);
    let windows = |one: &str, other: &str| {
        format!("extensions = [{{ code = \"a\"{one} }}]\nretired = [{{ code = \"a\"{other} }}]")
    };
    let overlap = Some(
        "2:12: \"a\" is in `retired` here and in `extensions` in line 1: it can have one state only on a day",
    );
    check(&windows(", until = 2026-12-01", ", from = 2026-12-02"), None);
    check(&windows(", until = 2026-12-01", ", from = 2026-12-01"), overlap);
    check(&windows(", from = 2026-12-02", ", until = 2026-12-01"), None);
    check(&windows(", from = 2026-12-02", ""), overlap);
    check(&windows(", from = 2026-12-02, until = 2026-12-03", ", until = 2026-12-09"), overlap);
    // An entry in between may end later than the first, and meet the third alone.
    check(
        r#"extensions = [
            { code = "a", from = 2026-12-01, until = 2026-12-03 },
            { code = "a", from = 2026-12-02, until = 2026-12-10 },
        ]
        retired = [{ code = "a", from = 2026-12-05, until = 2026-12-06 }]"#,
        Some(
            "5:20: \"a\" is in `retired` here and in `extensions` in line 3: it can have one state only on a day",
        ),
    );
}

#[test]
fn warns_about_what_can_hardly_be_meant() {
    let check = |text: &str, expected: &[&str]| {
        let (_, warnings) = Policy::parse(text.as_bytes(), HostsKey::Allowed).expect(text);
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{text}");
    };
    check(
        "extensions = [\n  \"a\", \"b\",\n  \"a\", \" c\", \"\"]",
        &[
            "3:3: \"a\" is listed twice",
            "3:8: \" c\" matches no extension: codes have no blanks around them; did you mean \"c\"?",
            "3:14: \"\" matches no extension: codes have no blanks around them",
        ],
    );
    check(
        "extensions = [\" *\"]",
        &["1:15: \" *\" matches no extension: codes have no blanks around them; did you mean \"*\"?"],
    );
    let twice = "extensions = [{ code = \"a\", until = 2026-12-01 }, { code = \"a\", from = 2026-12-01 }]";
    check(twice, &["1:51: \"a\" is listed twice"]);
    check("extensions = [{ code = \"a\", until = 2026-12-01 }, { code = \"a\", from = 2026-12-02 }]", &[]);
    check(
        "extensions = [\"*\"]",
        &["1:15: \"*\" matches every extension, free ones too; all that is not named elsewhere is shown"],
    );
}

#[test]
fn counts_the_entries_that_count_today() {
    let text = "extensions = [\"a\", \"b-*\", { code = \"c\", until = 2026-11-28 }]\nretired = [\"d\", \"e\", \"f\"]\n\
                hidden = [\"g\"]";
    let VerdictCounts { shown, retired, hidden } = policy(text).on(day("2026-11-29")).counts();
    assert_eq!((shown, retired, hidden), (2, 3, 1));
}

#[test]
fn an_entry_decides_what_the_default_does_not() {
    let rules = policy("extensions = [\"a\", \"b-*\"]").on(day("2026-11-29"));
    let is_decision = |code| rules.reason(Some(code), Seller::Plesk).is_decision();
    assert!(is_decision("a") && is_decision("b-1"));
    assert!(!is_decision("c"));
}

#[test]
fn entries_that_decide_the_same_are_told_from_others() {
    let entry = |text: &str| policy(text).entries()[0].clone();
    let one = entry("extensions = [\"a\"]");
    let check = |text: &str, expected| assert_eq!(one.decides_like(&entry(text)), expected, "{text}");
    check("extensions = [\n  { code = \"a\", note = \"elsewhere\" }]", true);
    check("extensions = [\"b\"]", false);
    check("extensions = [\"a*\"]", false);
    check("extensions = []\nretired = [\"a\"]", false);
    check("extensions = [{ code = \"a\", until = 2026-12-01 }]", false);
    assert_eq!(one.pattern.exact(), Some("a"));
    assert_eq!(entry("extensions = [\"a*\"]").pattern.exact(), None);
}

#[test]
fn hosts_are_normalized() {
    let policy = policy("extensions = []\nhosts = [\"Gold.Example.\", \"10.0.0.1\", \"[::1]\"]");
    assert_eq!(policy.hosts(), ["gold.example", "10.0.0.1", "[::1]"]);
}

#[test]
fn tells_what_changes() {
    let rules = |text: &str| policy(text).on(day("2026-11-29"));
    let before = rules("extensions = [\"a\", \"b\", \"c\"]\nhidden = [\"d\"]");
    let after = rules(
        "extensions = [\"a\", \"x-*\", { code = \"b\", until = 2026-11-28 }]\nretired = [\"c\", \"d\"]",
    );
    let list = |codes: &[&str]| codes.iter().filter_map(|code| Pattern::parse(code)).collect::<Vec<_>>();
    let expected = Changes {
        shown: list(&["x-*"]),
        retired: list(&["c", "d"]),
        hidden: Vec::new(),
        unlisted: list(&["b"]),
    };
    assert_eq!(after.changes(&before), expected);
    assert_eq!(after.changes(&after), Changes::default());
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        lines in lines(),
        retire_unlisted: bool,
        codes in proptest::collection::vec("[ab]{0,4}", 8),
    ) {
        let overlap = |one: &Line, other: &Line| {
            one.1 == other.1 && (1..=31).any(|day| [one, other].iter().all(|line| {
                (line.2 == 0 || line.2 <= day) && (line.3 == 0 || day <= line.3)
            }))
        };
        let reversed = lines.iter().any(|line| line.2 != 0 && line.3 != 0 && line.2 > line.3);
        let contradicts = lines.iter().enumerate().any(|(n, one)| {
            lines[n + 1..].iter().any(|other| one.0 != other.0 && overlap(one, other))
        });
        let text = write(&lines, retire_unlisted);
        let parsed = Policy::parse(text.as_bytes(), HostsKey::Refused);
        prop_assert_eq!(parsed.is_err(), reversed || contradicts, "{}", text);
        let Ok((policy, _)) = parsed else { return Ok(()) };
        let mut last: Option<Rules> = None;
        for number in 1..=12 {
            let today = day(&format!("2026-12-{number:02}"));
            let rules = policy.on(today);
            prop_assert!(rules.hold_on(today));
            if let Some(last) = &last {
                prop_assert_eq!(last.hold_on(today), last.next_change().is_none_or(|next| today < next));
                prop_assert!(!last.hold_on(today) || last.digest == rules.digest);
            }
            for code in codes.iter().map(|code| Some(code.as_str())).chain([None]) {
                for seller in [Seller::Free, Seller::Vendor, Seller::Plesk] {
                    let expected = verdict(&lines, retire_unlisted, code, seller, number);
                    prop_assert_eq!(rules.verdict(code, seller), expected, "{:?} on {} of {}", code, number, text);
                }
            }
            last = Some(rules);
        }
    }

    #[test]
    fn any_bytes_are_a_policy_or_an_error_with_a_place(text in "(extensions|retired|hidden|unlisted|[ \\[\\]{}=\"',*#\n-]|code|from|2026-12-0[1-9]|a)*") {
        if let Err(error) = Policy::parse(text.as_bytes(), HostsKey::Allowed) {
            prop_assert!(error.place.line <= text.lines().count() + 1);
        }
    }
}
