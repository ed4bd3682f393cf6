//! Finds in the history which code a package has now, and which ones it had before.

use serde::Serialize;

use super::Kind;
use super::history::PastChange;

/// Renames by the history of all versions of the vendor's interface.
#[derive(Debug, Default)]
pub(crate) struct PastRenames(Vec<PastChange>);

/// Code that a package had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct FormerCode<'a> {
    pub(crate) code: &'a str,
    /// Time in RFC 3339, UTC, when the package was first seen with another one.
    pub(crate) until: &'a str,
}

impl PastRenames {
    /// Creates them from a history, the oldest change first.
    pub(crate) fn new(history: Vec<PastChange>) -> Self {
        Self(history)
    }

    /// Returns the newest code of the package that was last called so, if the code was renamed away.
    pub(crate) fn newest_code(&self, code: &str) -> Option<&str> {
        let renamed = |entry: &&PastChange, code: &str| entry.change.renamed_from.as_deref() == Some(code);
        let first = self.0.iter().rposition(|entry| renamed(&entry, code))?;
        let mut last = &self.0[first];
        for entry in &self.0[first..] {
            // Codes that were swapped are in one report: none of its changes follows another one.
            if entry.at != last.at && renamed(&entry, &last.change.code) {
                last = entry;
            }
        }
        Some(&*last.change.code).filter(|newest| *newest != code)
    }

    /// Returns the codes that the package with a code had before, the last one first.
    pub(crate) fn former_codes<'a>(&'a self, code: &'a str) -> Vec<FormerCode<'a>> {
        let (mut former, mut now, mut after) = (Vec::new(), code, "");
        for PastChange { at, change, .. } in self.0.iter().rev() {
            if change.code != now || at == after {
                continue;
            }
            match (change.change, &change.renamed_from) {
                (Kind::Renamed, Some(old)) => {
                    former.push(FormerCode { code: old, until: at });
                    (now, after) = (old, at);
                }
                // It was another package before.
                (Kind::New | Kind::Gone, _) => break,
                _ => {}
            }
        }
        former
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, SellerName};
    use super::*;

    /// Makes a history of reports, the oldest first, each with changes such as `new a` or `renamed a b` between commas.
    fn renames(history: &[&str]) -> PastRenames {
        let change = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            let kinds = [Kind::New, Kind::Gone, Kind::Switched, Kind::Renamed];
            let change = kinds.into_iter().find(|kind| kind.name() == words[0]).expect("a kind");
            let code = words.last().map(|code| (*code).to_owned()).unwrap_or_default();
            let renamed_from = words.get(1).filter(|_| words.len() == 3).map(|old| (*old).to_owned());
            Change {
                change,
                code,
                renamed_from,
                name: None,
                seller: SellerName::Free,
                was: None,
                whitelisted: false,
                shops: Vec::new(),
            }
        };
        let reports = history.iter().enumerate().flat_map(|(n, report)| {
            let past =
                move |text| PastChange { at: n.to_string(), api: "v4".to_owned(), change: change(text) };
            report.split(", ").map(past).collect::<Vec<_>>()
        });
        PastRenames::new(reports.collect())
    }

    #[test]
    fn finds_the_newest_code() {
        let check = |history: &[&str], code: &str, expected: Option<&str>| {
            assert_eq!(renames(history).newest_code(code), expected, "{code} after {history:?}");
        };
        check(&["new a", "gone b"], "a", None);
        check(&["renamed a b"], "a", Some("b"));
        check(&["renamed a b"], "b", None);
        check(&["renamed a b", "switched b", "renamed b c", "renamed x y"], "a", Some("c"));
        check(&["renamed a b", "renamed b a"], "a", None);
        check(&["renamed a b", "renamed b a", "renamed a c"], "a", Some("c"));
        check(&["renamed b a, renamed a b"], "a", Some("b"));
        check(&["renamed b a, renamed a b"], "b", Some("a"));
        check(&["renamed a b", "new a", "renamed a c"], "a", Some("c"));
    }

    #[test]
    fn finds_former_codes() {
        let check = |history: &[&str], code: &str, expected: &[(&str, &str)]| {
            let renames = renames(history);
            let former = renames.former_codes(code);
            let former: Vec<_> = former.iter().map(|former| (former.code, former.until)).collect();
            assert_eq!(former, expected, "{code} after {history:?}");
        };
        check(&["new a"], "a", &[]);
        check(&["renamed a b"], "a", &[]);
        check(&["renamed a b"], "b", &[("a", "0")]);
        check(&["renamed a b", "switched b", "renamed b c"], "c", &[("b", "2"), ("a", "0")]);
        check(&["renamed a b", "renamed b a"], "a", &[("b", "1"), ("a", "0")]);
        check(&["renamed b a, renamed a b"], "a", &[("b", "0")]);
        check(&["renamed b a, renamed a b"], "b", &[("a", "0")]);
        // Another package has the code now.
        check(&["renamed a b", "gone b", "new b"], "b", &[]);
        check(&["renamed x a", "gone a", "new a", "renamed a b"], "b", &[("a", "3")]);
    }
}
