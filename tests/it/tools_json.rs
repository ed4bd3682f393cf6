//! docs/json.md is what the commands print: its examples, and the members that it lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::tools::{Session, text};

const DOCS: &str = include_str!("../../docs/json.md");

/// Lines of the history that the examples of `news` show.
const NEWS: [&str; 2] = [
    r#"{"at":"2026-03-01T02:03:04Z","api":"v4","change":"new","code":"xovi","name":"SEO-Werkzeugkasten","seller":"plesk","was":null,"whitelisted":false}"#,
    r#"{"at":"2026-03-02T02:03:04Z","api":"v4","change":"renamed","code":"kolab","renamed_from":"premium-email","name":null,"seller":"plesk","was":"vendor","whitelisted":true,"shops":["default","gold"]}"#,
];

/// What the catalog may have besides whole packages.
const ODD: &str = r#"[7, {"buy_url":"https://go.plesk.com/x"}, {"code":"bare"}, {"code":"link","buy_url":"https://"},
    {"code":"twice","buy_url":"https://go.plesk.com/x"}, {"code":"twice","buy_url":"https://shop.example/"}]"#;

/// Makes a directory with the files of the examples.
fn session() -> Session {
    let mut files = DOCS.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let session = Session::new(files.next().unwrap());
    session.write("new.toml", files.next().unwrap());
    fs::create_dir(session.path("shops")).unwrap();
    session.write("shops/gold.toml", files.next().unwrap());
    session.write("shops/silver.toml", files.next().unwrap());
    symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"), session.path("assets")).unwrap();
    fs::create_dir(session.path("cache")).unwrap();
    let line = |(version, json): (usize, &str)| {
        let sum = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
        let sum: String = sum.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{version} {sum} {json}\n")
    };
    let history = [line((1, NEWS[0])), line((2, NEWS[1]))].concat();
    session.write("cache/news.jsonl", &history);
    session
}

#[test]
fn the_examples_are_what_one_gets() {
    let session = session();
    let blocks = DOCS.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<_> = blocks.flat_map(|block| block.split("$ catalog-proxy ").skip(1)).collect();
    assert_eq!(examples.len(), 7);
    for expected in examples {
        let (line, expected) = expected.split_once('\n').unwrap();
        let output = session.run(line);
        let printed = [text(&output.stdout), text(&output.stderr)].concat().replace("\r\n", "\n");
        assert_eq!(printed, expected, "{line}");
    }
}

/// The tables of the document: by path of an object, the types of its members.
fn documented() -> BTreeMap<&'static str, BTreeMap<&'static str, BTreeSet<&'static str>>> {
    let sections = DOCS.split("\n### `").skip(1).map(|section| section.split_once('`').unwrap());
    let tables = sections.map(|(path, text)| {
        let text = text.split("\n## ").next().unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let rows = rows.map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            let (member, types) = (cells.next().unwrap().trim_matches('`'), cells.next().unwrap());
            (member, types.split([',', ' ']).filter(|word| !matches!(*word, "" | "or")).collect())
        });
        (path, rows.collect())
    });
    tables.collect()
}

/// Writes down which types the members of all objects have, by path; `missing` where another object of the path has it.
fn look(path: &str, value: &Value, seen: &mut BTreeMap<String, Vec<BTreeMap<String, &'static str>>>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| look(&format!("{path}[]"), value, seen)),
        Value::Object(members) => {
            let types = members.iter().map(|(name, value)| {
                look(&format!("{path}.{name}"), value, seen);
                let kind = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                (name.clone(), kind)
            });
            let types = types.collect();
            seen.entry(path.to_owned()).or_default().push(types);
        }
        _ => {}
    }
}

/// Every member that is printed is in the document with its type, and every type in the document is printed.
#[test]
fn the_members_are_those_that_are_printed() {
    let session = session();
    session.write("odd.json", ODD);
    session.write("shops/Silver.toml", "extensions = []\n");
    session.write(
        "stars.toml",
        "extensions = [\"x*\", { code = \"xovi\", from = 2020-01-01 }, \"gone\"]\nhidden = [\"bare\"]\n",
    );
    session.write("wrong.toml", "fresh-for = 10\n");
    session.write("config.toml", "fresh-for = \"5m\"\n");
    let mut seen = BTreeMap::new();
    for line in [
        "list --feed assets/sample/packages.json",
        "list --feed odd.json",
        "explain docker --feed assets/sample/packages.json",
        "explain imunify360 --feed assets/sample/packages.json",
        "explain xovi --feed assets/sample/packages.json --whitelist stars.toml",
        "explain kolab --feed assets/sample/packages.json --cache-dir cache",
        "explain bare --feed odd.json",
        "explain link --feed odd.json",
        "explain twice --feed odd.json",
        "diff new.toml --feed assets/sample/packages.json",
        "explain docker --feed assets/sample/packages.json --shops shops --whitelist whitelist.toml --shop gold,default",
        "diff stars.toml --feed odd.json",
        "diff stars.toml new.toml --feed odd.json",
        "check --feed assets/sample/packages.json --whitelist stars.toml",
        "check --feed odd.json --whitelist stars.toml",
        "shops --feed odd.json --shops shops",
        "news --cache-dir cache",
        "check --config wrong.toml",
        "config --config config.toml --cache-size 1GiB --notify-url https://hooks.example/x",
    ] {
        let output = session.run(&format!("{line} --format json"));
        let printed: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {output:?}"));
        let members = printed.as_object().unwrap();
        assert_eq!((&members["format"], members.len()), (&Value::from(2), 2), "{line}");
        let (name, value) = members.iter().find(|(name, _)| *name != "format").unwrap();
        match value.as_array() {
            Some(explanations) if name == "explanations" => {
                assert_eq!(explanations.len(), 2, "{line}");
                explanations.iter().for_each(|value| look("explanation", value, &mut seen));
            }
            _ => look(name, value, &mut seen),
        }
    }
    let documented = documented();
    let paths: Vec<_> = seen.keys().map(String::as_str).collect();
    assert_eq!(paths, documented.keys().copied().collect::<Vec<_>>());
    for (path, members) in documented {
        let objects = &seen[path];
        for object in objects {
            let unknown: Vec<_> = object.keys().filter(|name| !members.contains_key(name.as_str())).collect();
            assert!(unknown.is_empty(), "{path} has {unknown:?}, which docs/json.md does not");
        }
        for (member, types) in members {
            let printed: BTreeSet<_> =
                objects.iter().map(|object| object.get(member).copied().unwrap_or("missing")).collect();
            assert_eq!(printed, types, "{path}: {member}");
        }
    }
}
