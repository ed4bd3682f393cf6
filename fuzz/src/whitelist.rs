//! Whitelist: the list is what untyped TOML reads, or an error whose place is in the file; an edit lists exactly what
//! was asked for.

use std::collections::{BTreeSet, HashSet};

use catalog_proxy::digest::Digest;
use catalog_proxy::policy::{Verdict, edit};
use catalog_proxy::whitelist::Whitelist;
use toml::{Table, Value};

/// Checks one file.
pub fn check(data: &[u8]) {
    let expected = codes(data);
    match Whitelist::parse(data) {
        Ok((list, warnings)) => {
            let codes = expected.expect("a file that says anything else was taken");
            let distinct: HashSet<&str> = codes.iter().map(String::as_str).collect();
            assert_eq!(list.len(), distinct.len());
            assert_eq!(list.is_empty(), distinct.is_empty());
            assert!(distinct.iter().all(|code| list.contains(code)));
            let sorted: BTreeSet<&str> = distinct.iter().copied().collect();
            assert_eq!(list.digest, Digest::of_parts(sorted.into_iter().map(str::as_bytes)));
            let odd = codes.iter().filter(|code| code.trim() != **code || code.is_empty()).count();
            assert_eq!(warnings.len(), codes.len() - distinct.len() + odd);
            let (none, _) = Whitelist::parse(b"extensions = []").expect("a list");
            assert_eq!(list.minus(&none).into_iter().collect::<HashSet<_>>(), distinct);
            assert!(list.minus(&list).is_empty());
            warnings.iter().for_each(|warning| is_inside(data, warning.place.line, warning.place.column));
            edits(std::str::from_utf8(data).expect("a list is text"), &codes);
        }
        Err(error) => {
            assert!(expected.is_none(), "a good file was refused: {error}");
            is_inside(data, error.place.line, error.place.column);
        }
    }
}

/// Reads the file as untyped TOML: one key, an array of strings.
fn codes(data: &[u8]) -> Option<Vec<String>> {
    let table: Table = std::str::from_utf8(data).ok()?.parse().ok()?;
    let mut entries = table.into_iter();
    let (Some((key, Value::Array(codes))), None) = (entries.next(), entries.next()) else { return None };
    let text = |code| match code {
        Value::String(code) => Some(code),
        _ => None,
    };
    codes.into_iter().map(text).collect::<Option<Vec<_>>>().filter(|_| key == "extensions")
}

/// Adds a code that is not listed and removes one that is; an edit may only be refused for the layout.
fn edits(text: &str, listed: &[String]) {
    let new = "not-listed-yet";
    let first = listed.first().map_or(new, String::as_str);
    let meant: Vec<String> = listed.iter().filter(|code| *code != first).cloned().collect();
    match edit::forget(text, first, None) {
        Ok(Some(edited)) => assert_eq!(codes(edited.text.as_bytes()), Some(meant)),
        Ok(None) => assert!(listed.is_empty()),
        Err(error) => assert_eq!(error, edit::EditError::Layout),
    }
    match edit::place(text, new, Verdict::Shown, Some("A name")) {
        Ok(Some(edited)) => {
            let meant = listed.iter().cloned().chain([new.to_owned()]).collect();
            assert_eq!(codes(edited.text.as_bytes()), Some(meant));
        }
        Ok(None) => assert!(listed.iter().any(|code| code == new)),
        Err(error) => assert_eq!(error, edit::EditError::Layout),
    }
}

fn is_inside(data: &[u8], line: usize, column: usize) {
    let text = String::from_utf8_lossy(data);
    let there = text.split('\n').nth(line.checked_sub(1).expect("from 1")).expect("a line of the file");
    assert!((1..=there.chars().count() + 1).contains(&column), "{line}:{column}");
}
