//! The lines of docs/api.md do what it says.

use serde_json::json;

use crate::admin_port::{AdminPort, EDITOR, body, show};

/// Splits a line as a shell does: words in quotes, `\"` in double ones, variables outside of single ones.
fn words(line: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', Some('"')) => word.extend(chars.next()),
            (' ', None) => words.push(std::mem::take(&mut word)),
            ('$', None | Some('"')) => {
                let mut name = String::new();
                while let Some(c) = chars.next_if(|c| c.is_ascii_uppercase()) {
                    name.push(c);
                }
                let value = variables.iter().find(|(known, _)| *known == name);
                word += value.unwrap_or_else(|| panic!("{name} in {line}")).1;
            }
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words
}

#[tokio::test]
async fn every_call_works_as_written() {
    let port = AdminPort::start().await;
    let text = include_str!("../../docs/api.md");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("curl ")).collect();
    assert!(lines.len() >= 10, "{lines:?}");
    let first = body(&port.edit(&port.digest("default").await, &show("xovi")).await);
    let mut calls = Vec::new();
    for line in lines {
        // The edit to take back is of the shop at `/`; the others are of gold.
        let shop = if line.contains("undo") { "default" } else { "gold" };
        let (digest, id) = (port.digest(shop).await, first["edit"]["id"].as_str().unwrap());
        let words = words(line, &[("ADMIN", ""), ("TOKEN", EDITOR), ("DIGEST", &digest), ("ID", id)]);
        let (mut method, mut fields, mut data, mut target) = ("GET", Vec::new(), "", "");
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "-X" => method = rest.next().unwrap(),
                "-H" => fields.push(rest.next().unwrap().split_once(": ").unwrap()),
                "-d" => data = rest.next().unwrap(),
                other => target = other,
            }
        }
        let answer = port.call(method, target, &fields, data).await;
        assert_eq!(answer.status, 200, "{line}: {answer:?}");
        let answer = body(&answer);
        assert_eq!(answer["format"], json!(2), "{line}");
        let name = target.rsplit('/').next().unwrap().split('?').next().unwrap();
        let member = match name {
            "preview" | "undo" => "changes",
            "edits" if method == "POST" => "edit",
            name => name,
        };
        assert!(!answer[member].is_null(), "{line}: {answer}");
        calls.push(format!("{method} {name}"));
    }
    for call in ["shops", "packages", "categories", "news", "status", "servers", "edits"] {
        assert!(calls.contains(&format!("GET {call}")), "{call} is not documented");
    }
    for call in ["preview", "edits", "undo"] {
        assert!(calls.contains(&format!("POST {call}")), "{call} is not documented");
    }
}
