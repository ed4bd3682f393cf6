//! How much of a whitelist the catalog knows, and when to warn about it.
//!
//! A list of misspelled codes is a valid list: it is taken, and hides what the shop sells. Nobody notices but those who
//! miss it, so the log warns, and an alert watches the same numbers in the metrics.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;
use crate::policy::Rules;
use crate::policy::suggestion::suggest;
use crate::printable::escaped;

/// Most codes that a warning names; the rest is a number.
const MAX_NAMED_CODES: usize = 10;

/// Judges each list once it is in force, and again when the catalog changes.
#[derive(Debug, Default)]
pub(crate) struct CoverageJudge {
    /// The list that was judged last.
    judged: Option<Arc<Rules>>,
    /// True if the catalog hardly knew that list when it was judged: one warning a list will do, whatever the catalog
    /// does meanwhile.
    warned: bool,
}

/// Codes of a whitelist that the catalog does not know, and that are worth a warning.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownCodes<'a> {
    pub(crate) reason: WarningReason,
    /// Sorted, each with the code that was probably meant.
    codes: Vec<(&'a str, Option<&'a str>)>,
    /// Codes beyond those that are named.
    unnamed: usize,
}

/// Why unknown codes are worth a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarningReason {
    /// The catalog knows less than half of the list: it is probably the wrong list, or a broken one. Some unknown codes
    /// are normal in any list, for vendors withdraw extensions.
    HardlyKnown,
    /// An edit added them.
    Added,
}

/// Returns the codes of a list that are not among the known ones, sorted.
pub(crate) fn unknown_codes<'a>(list: &'a Rules, known: &BTreeSet<&str>) -> Vec<&'a str> {
    let mut codes: Vec<_> = list.codes().filter(|code| !known.contains(code)).collect();
    codes.sort_unstable();
    codes
}

impl CoverageJudge {
    /// Returns the digest of the list that was judged last, if any was.
    pub(crate) fn judged(&self) -> Option<Digest> {
        self.judged.as_ref().map(|list| list.digest)
    }

    /// Judges a list by the codes that the catalog knows. Returns what is to be warned about: at most once for each
    /// reason and list.
    pub(crate) fn judge<'a>(
        &mut self,
        list: &'a Arc<Rules>,
        known: &BTreeSet<&'a str>,
    ) -> Option<UnknownCodes<'a>> {
        let is_new = self.judged() != Some(list.digest);
        let before = self.judged.replace(Arc::clone(list)).filter(|_| is_new);
        let unknown = unknown_codes(list, known);
        if is_new {
            self.warned = false;
        }
        if 2 * unknown.len() > list.codes().count() {
            let warned = std::mem::replace(&mut self.warned, true);
            return (!warned).then(|| UnknownCodes::new(WarningReason::HardlyKnown, &unknown, known));
        }
        // At start there is nothing to compare with: the unknown codes may have been there for years.
        let before = before?;
        let added: Vec<_> = unknown.into_iter().filter(|code| !before.has_code(code)).collect();
        (!added.is_empty()).then(|| UnknownCodes::new(WarningReason::Added, &added, known))
    }
}

impl<'a> UnknownCodes<'a> {
    fn new(reason: WarningReason, codes: &[&'a str], known: &BTreeSet<&'a str>) -> Self {
        let named = &codes[..codes.len().min(MAX_NAMED_CODES)];
        let codes_named = named.iter().map(|code| (*code, suggest(code, known.iter().copied()))).collect();
        Self { reason, codes: codes_named, unnamed: codes.len() - named.len() }
    }

    /// Returns how many codes there are.
    pub(crate) fn len(&self) -> usize {
        self.codes.len() + self.unnamed
    }
}

impl fmt::Display for UnknownCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (code, meant)) in self.codes.iter().enumerate() {
            f.write_str(if n == 0 { "" } else { ", " })?;
            f.write_str(&escaped(code))?;
            if let Some(meant) = meant {
                write!(f, " (did you mean {}?)", escaped(meant))?;
            }
        }
        match self.unnamed {
            0 => Ok(()),
            unnamed => write!(f, " and {unnamed} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(codes: &str) -> Arc<Rules> {
        let codes: Vec<_> = codes.split_whitespace().collect();
        Arc::new(Rules::of_text(&format!("extensions = {codes:?}")))
    }

    #[test]
    fn warns_once_a_list_and_reason() {
        // Each step is a list, the codes that the catalog has, and the warning.
        type Step<'a> = (&'a str, &'a str, &'a str);
        let check = |steps: &[Step<'_>]| {
            let mut judge = CoverageJudge::default();
            for (n, (codes, known, expected)) in steps.iter().enumerate() {
                let (list, known) = (list(codes), known.split_whitespace().collect());
                let warning = judge.judge(&list, &known);
                let warning = warning.map(|unknown| match unknown.reason {
                    WarningReason::HardlyKnown => format!("hardly known: {unknown}"),
                    WarningReason::Added => format!("added: {unknown}"),
                });
                assert_eq!(warning.unwrap_or_default(), *expected, "step {n} of {steps:?}");
            }
        };
        let catalog = "docker kolab wp-toolkit xovi";
        // A list that replaces a good one.
        let typo = "hardly known: dokcer (did you mean docker?)";
        check(&[("docker kolab xovi", catalog, ""), ("dokcer", catalog, typo), ("dokcer", "docker", "")]);
        // One that was so at start, and one that stays so when it is edited.
        check(&[
            ("dokcer", catalog, typo),
            (
                "dokcer xvoi",
                catalog,
                "hardly known: dokcer (did you mean docker?), xvoi (did you mean xovi?)",
            ),
        ]);
        // Half of it is known. At start nobody is told about the rest, after an edit only about what is new.
        check(&[("docker old", catalog, ""), ("docker kolab old", catalog, "")]);
        check(&[("docker old", catalog, ""), ("docker kolab old new", catalog, "added: new")]);
        check(&[
            ("docker", catalog, ""),
            ("docker kolab xvoi", catalog, "added: xvoi (did you mean xovi?)"),
            ("docker kolab xvoi", "docker kolab", ""),
        ]);
        // The catalog changes under a list: one warning, however often it changes.
        check(&[
            ("docker kolab", catalog, ""),
            ("docker kolab", "git", "hardly known: docker, kolab"),
            ("docker kolab", catalog, ""),
            ("docker kolab", "git", ""),
        ]);
        // Whoever sells nothing means it.
        check(&[("", catalog, ""), ("docker", catalog, ""), ("", catalog, "")]);
    }

    #[test]
    fn a_warning_is_short() {
        let codes: Vec<String> = (0..300).map(|n| format!("code-{n:03}")).collect();
        let list = list(&codes.join(" "));
        let (mut judge, known) = (CoverageJudge::default(), BTreeSet::new());
        let unknown = judge.judge(&list, &known).expect("a warning");
        let named = codes[..10].join(", ");
        assert_eq!((unknown.len(), unknown.to_string()), (300, format!("{named} and 290 more")));
        let odd = Arc::new(Rules::of_text("extensions = [\"a\\u001b[2J\"]"));
        let unknown =
            CoverageJudge::default().judge(&odd, &BTreeSet::new()).map(|unknown| unknown.to_string());
        assert_eq!(unknown, Some(r"a\u{1b}[2J".to_owned()));
    }
}
