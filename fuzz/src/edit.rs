//! Edits of whitelist files: one that is made does exactly what was asked for, whatever the file's layout.

use catalog_proxy::policy::document::Document;
use catalog_proxy::policy::edit::{EditError, forget, place};
use catalog_proxy::policy::{Verdict, WhitelistEntry, Window};

/// Codes that few files have: a new one, a star, one that must be escaped, and one that no list can have.
const CODES: [&str; 4] = ["not-listed-yet", "offer-*", "\"\\\n", "a*b"];

/// Checks one edit: the verb and the code in two bytes, then the file.
pub fn check(data: &[u8]) {
    let Some(([verb, code], data)) = data.split_first_chunk() else { return };
    let Ok(text) = std::str::from_utf8(data) else { return };
    let target = Verdict::ALL.get(usize::from(*verb) % 4).copied();
    let Ok(before) = Document::read(text) else {
        // Only a file that sets nothing can be edited though it is no whitelist yet.
        let edited = run(text, CODES[0], target);
        assert!(
            matches!(edited, Err(EditError::Invalid(_)))
                || text.parse::<toml::Table>().is_ok_and(|table| table.is_empty())
        );
        return;
    };
    let code = match before.entries.get(usize::from(*code)) {
        Some(entry) => entry.pattern.to_string(),
        None => CODES[usize::from(*code) % CODES.len()].to_owned(),
    };
    let named: Vec<_> = before.entries.iter().filter(|entry| is_named(entry, &code)).collect();
    let is_done = match target {
        Some(verdict) => {
            matches!(&*named, [one] if one.verdict == verdict && one.window == Window::default())
        }
        None => named.is_empty(),
    };
    match run(text, &code, target) {
        Ok(None) => assert!(is_done),
        Ok(Some(edited)) => {
            assert!(!is_done);
            let after = Document::read(&edited).expect("a whitelist");
            let now: Vec<_> = after.entries.iter().filter(|entry| is_named(entry, &code)).collect();
            match (target, &*now) {
                (Some(verdict), [one]) => {
                    assert_eq!((one.verdict, one.window), (verdict, Window::default()));
                    assert!(named.iter().all(|entry| has_note(one, entry)));
                }
                (target, now) => assert!(target.is_none() && now.is_empty(), "{edited:?}"),
            }
            for verdict in Verdict::ALL {
                assert_eq!(others(&edited, &after, &code, verdict), others(text, &before, &code, verdict));
            }
            assert_eq!(after.unlisted, before.unlisted);
            assert_eq!(hosts(&after), hosts(&before));
            assert_eq!(run(&edited, &code, target), Ok(None));
        }
        Err(EditError::Star(_)) => assert_eq!(code, CODES[3]),
        Err(error) => assert_eq!(error, EditError::Layout),
    }
}

fn run(text: &str, code: &str, target: Option<Verdict>) -> Result<Option<String>, EditError> {
    let edited = match target {
        Some(verdict) => place(text, code, verdict, Some("A name"))?,
        None => forget(text, code, Some("A name"))?,
    };
    Ok(edited.map(|edited| edited.text))
}

fn is_named(entry: &WhitelistEntry, code: &str) -> bool {
    entry.pattern.to_string() == code
}

fn has_note(one: &WhitelistEntry, other: &WhitelistEntry) -> bool {
    other.note.as_deref().is_none_or(|note| one.note.as_deref().is_some_and(|all| all.contains(note)))
}

/// The entries of other codes under a key, as they are written.
fn others<'a>(text: &'a str, document: &'a Document, code: &str, verdict: Verdict) -> Vec<&'a str> {
    let others = document.entries.iter().filter(|entry| entry.verdict == verdict && !is_named(entry, code));
    others.map(|entry| &text[entry.span.clone()]).collect()
}

fn hosts(document: &Document) -> Vec<&String> {
    document.hosts.iter().map(|host| host.get_ref()).collect()
}
