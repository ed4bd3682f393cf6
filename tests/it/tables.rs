//! Tables on terminals of 80, 120 and 200 columns, with a catalog as it is and with one that is made to break them.

use std::fs;

use unicode_width::UnicodeWidthStr;

use crate::client;
use crate::process::Process;
use crate::proxy::{array, plesk};
use crate::tools::{Session, assert_played, on_a_terminal, text};
use crate::upstream::Upstream;

/// Widths of a small terminal, of a large one and of a whole screen.
const WIDTHS: [usize; 3] = [80, 120, 200];

/// Sixty characters, which the longest real code does not reach by far.
const LONG_CODE: &str = "the-longest-code-that-anybody-has-ever-made-up-for-a-package";

/// Packages whose names and links are hard to print: wide, joined, controlling, long, from right to left.
fn nasty() -> String {
    let long = "Name ".repeat(40);
    let link = format!("https:\\/\\/go.plesk.com\\/{}", "x".repeat(180));
    let packages = [
        format!(r#"{{"code":"{LONG_CODE}","name":"Long","buy_url":"https:\/\/go.plesk.com\/x"}}"#),
        r#"{"code":"cjk","name":"日本語の拡張機能のとても長い名前はここで切られます日本語の拡張機能","buy_url":"https:\/\/shop.example\/日本"}"#.to_owned(),
        r#"{"code":"emoji","name":"👨‍👩‍👧 Familie ❤️‍🔥 🇯🇵 👍🏽 1️⃣"}"#.to_owned(),
        r#"{"code":"control","name":"A\u001b]0;owned\u0007\u009b31m\n\t\"b\"\u202e\u200d"}"#.to_owned(),
        format!(r#"{{"code":"long-name","name":"{long}","buy_url":"{link}"}}"#),
        r#"{"code":"rtl","name":"עברית العربية","buy_url":"https:\/\/go.plesk.com\/rtl"}"#.to_owned(),
        r#"{"name":"No code","buy_url":"https:\/\/go.plesk.com\/none"}"#.to_owned(),
        r#"{"code":"مثال-日本","name":"Zalgo a̸̢͈b̷͙","buy_url":"javascript:alert(1)"}"#.to_owned(),
    ];
    format!("[{}]", packages.join(","))
}

/// A directory with all that the commands print tables of.
fn session() -> Session {
    let session = Session::new("extensions = [\"wp-toolkit\", \"docker\"]\nretired = [\"xovi\"]\n");
    session.write("nasty.json", &nasty());
    session.write("new.toml", &format!("extensions = [\"{LONG_CODE}\", \"emjoi\", \"xovi\", \"rtl\"]\n"));
    fs::create_dir(session.path("shops")).unwrap();
    session.write(
        "shops/gold-of-the-west.toml",
        "extensions = [\"kolab\"]\nhosts = [\"gold.catalog.example\", \"catalog.gold-of-the-west.example\"]\n",
    );
    session.write("shops/broken.toml", "extensions = [\"kolab\"\n");
    fs::create_dir(session.path("cache")).unwrap();
    let news = [
        r#"{"at":"2026-03-01T02:03:04Z","api":"v4","change":"new","code":"xovi","name":"SEO-Werkzeugkasten","seller":"plesk","was":null,"whitelisted":false}"#.to_owned(),
        r#"{"at":"2026-03-02T02:03:04Z","api":"v4","change":"switched","code":"cjk","name":"日本語の拡張機能のとても長い名前","seller":"plesk","was":"vendor","whitelisted":true}"#.to_owned(),
        format!(r#"{{"at":"2026-03-03T02:03:04Z","api":"v4","change":"gone","code":"{LONG_CODE}","name":"👨‍👩‍👧 Familie","seller":"plesk","was":null,"whitelisted":true}}"#),
    ];
    session.write("cache/news.jsonl", &news.map(|json| line(1, &json)).concat());
    let renamed = format!(
        r#"{{"at":"2026-03-04T02:03:04Z","api":"v4","change":"renamed","code":"plesk-premium-email","renamed_from":"kolab-groupware","name":"{}","seller":"plesk","was":"free","whitelisted":true}}"#,
        "Name ".repeat(40)
    );
    let all = fs::read_to_string(session.path("cache/news.jsonl")).unwrap() + &line(2, &renamed);
    session.write("cache/news.jsonl", &all);
    let edit = |id: &str, by: &str, codes: &str, note: &str| {
        format!(
            "{{\"id\":\"{id}\",\"at\":\"2026-03-05T02:03:04Z\",\"by\":\"{by}\",\"from\":null,\"shop\":\"default\",{codes},\
             \"note\":\"{note}\",\"before\":null,\"after\":\"00\",\"undoes\":null}}\n"
        )
    };
    let edits = [
        edit("00000000000000a1", "alice", r#""show":["xovi","docker"],"hide":["git"]"#, "winter offer"),
        edit(
            "00000000000000a2",
            "bob.the-builder@example.com",
            &format!(r#""retire":["{LONG_CODE}","a","b","c","d","e","f"]"#),
            "Eine sehr lange Bemerkung über 日本語 und mehr",
        ),
    ];
    session.write("cache/edits.jsonl", &edits.concat());
    session
}

/// A line of the history of changes.
fn line(version: u8, json: &str) -> String {
    let sum = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
    let sum: String = sum.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{version} {sum} {json}\n")
}

const LINES: [&str; 8] = [
    "list --feed packages.json",
    "list k --feed packages.json --shops shops --whitelist whitelist.toml --shop default,gold-of-the-west",
    "list --feed nasty.json",
    "shops --feed packages.json --shops shops --whitelist whitelist.toml",
    "diff new.toml --feed packages.json",
    "diff new.toml --feed nasty.json",
    "news --cache-dir cache",
    "edits --cache-dir cache",
];

/// Words that must stand on terminals of all widths as they are: times, sellers, states, codes, identifiers.
const WHOLE: [&[&str]; 8] = [
    &[
        "wp-toolkit",
        "さくら",
        "plesk",
        "vendor",
        "free",
        "shown",
        "retired",
        "hidden",
        "cookie-consent-banner",
    ],
    &["kolab", "plesk", "hidden", "shown", "gold-of-the-west"],
    &["cjk", "emoji", "👨‍👩‍👧", "control", "long-name", "rtl", "plesk", "vendor", "hidden", "shown"],
    &["default", "gold-of-the-west", "broken", "SHOWN", "RETIRED", "HIDDEN"],
    &["xovi", "shown (was retired)", "docker", "wp-toolkit"],
    &["rtl", "shown (was hidden)", "emjoi"],
    &["2026-03-01T02:03:04Z", "2026-03-04T02:03:04Z", "switched", "renamed", "xovi", "cjk"],
    &["2026-03-05T02:03:04Z", "alice", "00000000000000a1", "00000000000000a2", "default"],
];

#[test]
fn tables_fit_terminals_and_keep_what_matters() {
    let session = session();
    for width in WIDTHS {
        let mut played = String::new();
        for (line, words) in LINES.iter().zip(WHOLE) {
            let shown = on_a_terminal(&session, width, "NO_COLOR=1", line);
            assert!(!shown.contains('\u{1b}'), "no color: {shown}");
            for line in shown.lines() {
                assert!(line.width() <= width, "{} of {width} columns: {line}", line.width());
            }
            for word in words {
                assert!(shown.contains(word), "{word} in\n{shown}");
            }
            let tight = shown.split_whitespace().collect::<String>();
            assert!(
                !words.contains(&"cjk")
                    || tight.contains(LONG_CODE)
                    || joined_column(&shown).contains(LONG_CODE),
                "{shown}"
            );
            played += &format!("$ catalog-proxy {line}\n{shown}\n");
        }
        assert_played(&format!("tables-{width}"), &played);
    }
}

/// Puts together what stands where the longest code begins.
fn joined_column(table: &str) -> String {
    let start = table.lines().find_map(|line| line.find("the-"));
    let cells = table.lines().filter_map(|line| line.get(start?..)?.split(' ').next());
    cells.collect()
}

#[test]
fn pipes_get_whole_tables() {
    let session = session();
    for line in LINES {
        let output = session.command(line).env("COLUMNS", "20").output().unwrap();
        let printed = text(&output.stdout);
        assert!(!printed.contains(['…', '\u{1b}']), "{line}: {printed}");
        let wide = on_a_terminal(&session, 1000, "NO_COLOR=1", line);
        assert_eq!(wide, printed, "{line}");
    }
}

#[test]
fn the_width_is_that_of_the_terminal_unless_told() {
    let session = session();
    let line = "list --feed packages.json";
    let narrow = on_a_terminal(&session, 80, "NO_COLOR=1", line);
    assert_eq!(on_a_terminal(&session, 200, "NO_COLOR=1 COLUMNS=80", line), narrow);
    // What is no width counts as not told.
    for columns in ["0", "''", "wide", "-1"] {
        assert_eq!(on_a_terminal(&session, 80, &format!("NO_COLOR=1 COLUMNS={columns}"), line), narrow);
    }
    let whole = text(&session.run(line).stdout).to_owned();
    assert_eq!(
        on_a_terminal(&session, 0, "NO_COLOR=1", line),
        whole,
        "a terminal that does not know its width"
    );
}

#[tokio::test]
async fn servers_fit_too() {
    let upstream = Upstream::with_feeds(array(&[plesk("wp-toolkit")]), "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--trusted-proxy", "127.0.0.0/8"]);
    });
    for address in ["192.0.2.11", "2001:db8:1234:5678:9abc:def0:1234:5678"] {
        let request = http::Request::get("/api/v4/packages").header("x-forwarded-for", address);
        let answer = client::request(process.address, request.body(Default::default()).unwrap()).await;
        assert_eq!(answer.status, 200);
    }
    process.edit("extensions = []\n");
    client::until("the edit", async || client::get(process.address, "/api/v4/packages").await.text() == "[]")
        .await;
    let session = Session::new("extensions = []\n");
    let url = format!("http://{}", process.admin);
    for width in WIDTHS {
        let line = format!("servers --admin-url {url}");
        let shown = tokio::task::spawn_blocking({
            let session = Session::new("extensions = []\n");
            move || on_a_terminal(&session, width, "NO_COLOR=1", &line)
        });
        let shown = shown.await.unwrap();
        let rows: Vec<_> = shown.lines().take_while(|line| !line.is_empty()).collect();
        assert!(rows.iter().all(|line| line.width() <= width), "{shown}");
        assert!(shown.contains("192.0.2.11") && shown.matches("  behind  ").count() == 2, "{shown}");
        let times = shown.split_whitespace().filter(|word| word.len() == 20 && word.ends_with('Z')).count();
        assert!(times >= 5, "seen and behind since, of both, and since when: {shown}");
        let digits: String = shown.split_whitespace().filter(|word| word.contains(':')).collect();
        assert!(digits.contains("2001:db8:") && digits.contains("5678"), "{shown}");
    }
    drop(session);
}
