//! Whether a change has been told already, by the history.

use super::history::PastChange;
use super::{Change, Kind};

/// Returns true if the last thing that the history says about the package of a change is that change. `entries` are those
/// of one interface version, the newest first.
pub(super) fn is_told<'a>(entries: impl Iterator<Item = &'a PastChange>, change: &Change) -> bool {
    match &change.renamed_from {
        Some(old) => ends_with_rename(entries, old, &change.code),
        None => ends_with_code(entries, change),
    }
}

/// Returns true if a rename is in the history, and the old code has not come back since.
fn ends_with_rename<'a>(entries: impl Iterator<Item = &'a PastChange>, old: &str, new: &str) -> bool {
    let mut back: Option<&str> = None;
    for PastChange { at, change, .. } in entries {
        if change.renamed_from.as_deref() == Some(old) && change.code == new {
            // Two codes that were swapped are in one report.
            return back.is_none_or(|back| back == at);
        }
        if change.code == old && change.change != Kind::Gone {
            back.get_or_insert(at);
        }
    }
    false
}

/// Returns true if the newest entry about the code of a change, which is no rename, says the same.
fn ends_with_code<'a>(mut entries: impl Iterator<Item = &'a PastChange>, change: &Change) -> bool {
    let is_old = |entry: &PastChange| entry.change.renamed_from.as_ref() == Some(&change.code);
    let is_new = |entry: &PastChange| entry.change.code == change.code;
    let Some(mut last) = entries.find(|entry| is_old(entry) || is_new(entry)) else { return false };
    if !is_new(last) {
        // Another package may have taken the code in the same report.
        let mut report = entries.take_while(|entry| entry.at == last.at);
        last = report.find(|entry| is_new(entry)).unwrap_or(last);
    }
    match last.change.change {
        Kind::Renamed if !is_new(last) => change.change == Kind::Gone,
        Kind::Renamed => change.change != Kind::Gone && last.change.seller == change.seller,
        kind => kind == change.change && last.change.seller == change.seller,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SellerName;
    use super::*;

    /// A change written as `new a`, `gone a`, `switched a` or `renamed a b`; a `$` behind it is Plesk as seller.
    fn change(text: &str) -> Change {
        let seller = if text.ends_with('$') { SellerName::Plesk } else { SellerName::Free };
        let mut words = text.trim_end_matches('$').split(' ');
        let (change, code) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let kinds = [Kind::New, Kind::Gone, Kind::Switched, Kind::Renamed];
        let change = kinds.into_iter().find(|kind| kind.name() == change).expect("a kind");
        let (code, renamed_from) = match words.next() {
            Some(new) => (new, Some(code.to_owned())),
            None => (code, None),
        };
        let code = code.to_owned();
        Change {
            change,
            code,
            renamed_from,
            name: None,
            seller,
            was: None,
            whitelisted: false,
            shops: Vec::new(),
        }
    }

    #[test]
    fn knows_what_the_history_has_told() {
        // Reports of the history, the oldest first, each with changes between commas; then what may be told.
        let check = |history: &[&str], told: &str, expected: bool| {
            let past = |(n, report): (usize, &&str)| -> Vec<PastChange> {
                let past =
                    |text| PastChange { at: n.to_string(), api: "v4".to_owned(), change: change(text) };
                report.split(", ").map(past).collect()
            };
            let entries: Vec<PastChange> = history.iter().enumerate().flat_map(past).collect();
            assert_eq!(is_told(entries.iter().rev(), &change(told)), expected, "{told} after {history:?}");
        };
        check(&[], "new a", false);
        check(&[], "renamed a b", false);
        check(&["new a"], "new a", true);
        check(&["new a"], "new a$", false);
        check(&["new a"], "new b", false);
        check(&["new a", "gone a"], "new a", false);
        check(&["switched a"], "switched a", true);
        check(&["switched a"], "switched a$", false);
        // Renamed once, whatever happens to the new code.
        check(&["renamed a b"], "renamed a b", true);
        check(&["renamed a b"], "renamed a c", false);
        check(&["renamed a b"], "renamed b a", false);
        check(&["renamed a b", "switched b$"], "renamed a b", true);
        check(&["renamed a b", "gone b"], "renamed a b", true);
        check(&["renamed a b", "gone a"], "renamed a b", true);
        // Until the old code is back.
        check(&["renamed a b", "new a"], "renamed a b", false);
        check(&["renamed a b", "renamed b a"], "renamed a b", false);
        check(&["renamed a b", "renamed b a", "renamed a b"], "renamed a b", true);
        // Codes that were swapped.
        check(&["renamed b a, renamed a b"], "renamed a b", true);
        check(&["renamed b a, renamed a b"], "renamed b a", true);
        check(&["renamed b a, renamed a b"], "gone a", false);
        check(&["renamed b a, renamed a b"], "gone b", false);
        check(&["renamed b a, renamed a b", "renamed a b, renamed b a"], "renamed a b", true);
        // A renamed package is gone under the old code and there under the new one.
        check(&["renamed a b"], "gone a", true);
        check(&["renamed a b"], "gone b", false);
        check(&["renamed a b"], "new a", false);
        check(&["renamed a b"], "new b", true);
        check(&["renamed a b"], "new b$", false);
        check(&["renamed a b", "new a"], "gone a", false);
        check(&["renamed a b", "new a", "renamed a c"], "gone a", true);
    }
}
