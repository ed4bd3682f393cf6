//! Which code was probably meant by one that does not exist.

/// Least likeness of a code to be suggested (Jaro-Winkler, 0 to 1): one or two letters wrong, missing or swapped.
const MIN_LIKENESS: f64 = 0.85;
/// Longer codes are compared with nothing; the longest real one has some 40 characters.
const MAX_CODE_LEN: usize = 100;

/// Returns the candidate that is most like what was typed, if any is like it at all.
pub(crate) fn suggest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.trim().to_lowercase();
    if typed.len() > MAX_CODE_LEN {
        return None;
    }
    candidates
        .filter(|candidate| candidate.len() <= MAX_CODE_LEN)
        .map(|candidate| (strsim::jaro_winkler(&typed, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let check = |typed: &str, expected: Option<&str>| {
            let codes = ["wp-toolkit", "docker", "ssh-terminal", "kaspersky-antivirus", "git"];
            assert_eq!(suggest(typed, codes.into_iter()), expected, "{typed}");
        };
        check("wp-toolkitt", Some("wp-toolkit"));
        check("wptoolkit", Some("wp-toolkit"));
        check("WP-Toolkit ", Some("wp-toolkit"));
        check("dokcer", Some("docker"));
        check("kaspersky", Some("kaspersky-antivirus"));
        check("gti", None);
        check("nothing-like-it", None);
        check("", None);
        check(&"docker".repeat(50), None);
        // Up to the limit, codes are compared, beyond it they are not.
        let longest = "x".repeat(MAX_CODE_LEN);
        let typed = "x".repeat(MAX_CODE_LEN - 1) + "y";
        assert_eq!(suggest(&typed, [&*longest].into_iter()), Some(&*longest));
        assert_eq!(suggest(&(longest.clone() + "x"), [&*longest].into_iter()), None);
    }
}
