//! Model of the rules for tests, which shares nothing with the product.

use proptest::prelude::*;

use super::Verdict;
use crate::seller::Seller;

/// Entry of a made-up file: key, pattern, first and last day of December 2026, 0 for none.
pub(crate) type Line = (usize, String, u32, u32);

/// The rules in ten lines: of the entries that count, the longest that matches, an exact one before all stars.
pub(crate) fn verdict(
    lines: &[Line],
    retire_unlisted: bool,
    code: Option<&str>,
    seller: Seller,
    day: u32,
) -> Verdict {
    let matches = |pattern: &str, code: &str| match pattern.strip_suffix('*') {
        Some(prefix) => code.starts_with(prefix),
        None => code == pattern,
    };
    let counts = |line: &&Line| (line.2 == 0 || line.2 <= day) && (line.3 == 0 || day <= line.3);
    let matching = lines.iter().filter(counts).filter(|line| code.is_some_and(|code| matches(&line.1, code)));
    match matching.max_by_key(|line| (!line.1.ends_with('*'), line.1.len())) {
        Some(line) => Verdict::ALL[line.0],
        None if seller != Seller::Plesk => Verdict::Shown,
        None if code.is_some() && retire_unlisted => Verdict::Retired,
        None => Verdict::Hidden,
    }
}

pub(crate) fn write(lines: &[Line], retire_unlisted: bool) -> String {
    let mut text = String::new();
    for (n, verdict) in Verdict::ALL.iter().enumerate() {
        text += &format!("{} = [\n", verdict.key());
        for (_, pattern, from, until) in lines.iter().filter(|line| line.0 == n) {
            let bound = |name: &str, day: u32| match day {
                0 => String::new(),
                day => format!(", {name} = 2026-12-{day:02}"),
            };
            text +=
                &format!("  {{ code = {pattern:?}{}{} }},\n", bound("from", *from), bound("until", *until));
        }
        text += "]\n";
    }
    text + if retire_unlisted { "unlisted = \"retired\"\n" } else { "" }
}

/// Made-up files, of few codes, so that their entries meet.
pub(crate) fn lines() -> impl Strategy<Value = Vec<Line>> {
    proptest::collection::vec((0..3usize, "[ab]{0,3}\\*?", 0..9u32, 0..9u32), 0..8)
}
