//! Changed lines of a text, which can be taken back while the text around them changes.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

/// Lines of context around a change, by which its place is found again.
const CONTEXT_LINES: usize = 3;
/// Longest search for a shorter list of changed lines.
const SEARCH_LIMIT: Duration = Duration::from_millis(200);

/// Returns the changed lines from `before` to `after` with some lines around them: `@@` begins each group, and the first
/// character of a line tells whether it stays (a blank), goes (`-`) or comes (`+`). Lines have their line breaks.
pub(crate) fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let diff = TextDiff::configure().timeout(SEARCH_LIMIT).diff_lines(before, after);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(CONTEXT_LINES) {
        let first = group.first().map_or(0, |op| op.new_range().start);
        lines.push(format!("@@ {}", first + 1));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            lines.push(format!("{sign}{}", change.value()));
        }
    }
    lines
}

/// Takes changed lines back. Returns `None` if they are not there any more, or cannot be told from others.
pub(crate) fn take_back(text: &str, lines: &[String]) -> Option<String> {
    let mut text: Vec<&str> = text.split_inclusive('\n').collect();
    let groups: Vec<_> = lines.split(|line| line.starts_with('@')).filter(|group| !group.is_empty()).collect();
    // From the last on, so that the places of those before stay as they are.
    for group in groups.iter().rev() {
        let changes: Vec<(char, &str)> = group.iter().filter_map(|line| split(line)).collect();
        let (at, taken) = find(&text, &changes)?;
        let (after, before) = sides(taken);
        text.splice(at..at + after.len(), before);
    }
    Some(text.concat())
}

fn split(line: &str) -> Option<(char, &str)> {
    let sign = line.chars().next()?;
    Some((sign, &line[sign.len_utf8()..]))
}

/// Returns the lines of a group after its change, and before it.
fn sides<'a>(changes: &[(char, &'a str)]) -> (Vec<&'a str>, Vec<&'a str>) {
    let side = |gone| changes.iter().filter(move |(sign, _)| *sign != gone).map(|(_, line)| *line).collect();
    (side('-'), side('+'))
}

/// Finds the one place that a group leads to, with as much of its context as fits.
fn find<'c, 'a>(text: &[&str], changes: &'c [(char, &'a str)]) -> Option<(usize, &'c [(char, &'a str)])> {
    let stays = |change: &&(char, &str)| change.0 == ' ';
    let leading = changes.iter().take_while(stays).count();
    let trailing = changes.iter().rev().take_while(stays).count();
    let mut contexts: Vec<_> = (0..=leading).flat_map(|one| (0..=trailing).map(move |other| (one, other))).collect();
    contexts.sort_by_key(|(one, other)| std::cmp::Reverse(one + other));
    for (before, after) in contexts {
        let part = &changes[leading - before..changes.len() - (trailing - after)];
        let (wanted, _) = sides(part);
        if wanted.is_empty() {
            continue;
        }
        let mut places = text.windows(wanted.len()).enumerate().filter(|(_, lines)| **lines == wanted);
        match (places.next(), places.next()) {
            (Some((at, _)), None) => return Some((at, part)),
            (Some(_), Some(_)) => return None,
            (None, _) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_what_goes_and_comes() {
        let lines = changed_lines("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\nx\nf");
        assert_eq!(lines, ["@@ 2", " b\n", " c\n", " d\n", "-e\n", "-f\n", "+x\n", "+f"]);
        assert_eq!(changed_lines("a\n", "a\n"), Vec::<String>::new());
    }

    #[test]
    fn is_taken_back_while_other_lines_change() {
        let check = |before: &str, after: &str, now: &str, expected: Option<&str>| {
            let taken_back = take_back(now, &changed_lines(before, after));
            assert_eq!(taken_back.as_deref(), expected, "{before:?} {after:?} {now:?}");
        };
        check("a\nb\n", "a\nx\nb\n", "a\nx\nb\n", Some("a\nb\n"));
        check("a\nb\n", "a\nx\nb\n", "new\na\nx\ny\nb\n", Some("new\na\ny\nb\n"));
        check("a\nb\n", "a\nx\nb\n", "a\nb\n", None);
        check("a\nb\n", "a\nx\nb\n", "x\na\nc\nx\n", None);
        check("a\nb\nc\n", "a\nc\n", "a\nc\nd\n", Some("a\nb\nc\nd\n"));
        check("a\nb\nc\n", "a\nc\n", "a\nx\nc\nd\n", Some("a\nx\nb\nc\nd\n"));
        check("a\nb\nc\n", "a\nc\n", "a\nx\ny\n", Some("a\nb\nx\ny\n"));
        check("a\r\nb", "a\r\nb\r\nc", "a\r\nb\r\nc", Some("a\r\nb"));
        check("", "x\n", "x\n", Some(""));
        let long = |middle: &str| format!("1\n2\n3\n4\n{middle}5\n6\n7\n8\n");
        check(&long(""), &format!("0\n{}9\n", long("x\n")), &format!("0\n{}9\n", long("x\ny\n")), Some(&long("y\n")));
    }

    proptest! {
        #[test]
        fn any_change_can_be_taken_back_at_once(before in "[ab\n]{0,40}", after in "[ab\n]{0,40}") {
            // Lines that repeat cannot always be told apart, but what is taken back is right.
            let taken_back = take_back(&after, &changed_lines(&before, &after));
            if let Some(text) = taken_back {
                prop_assert_eq!(text, before);
            }
        }

        #[test]
        fn distinct_lines_are_always_found(
            before in prop::collection::btree_set(0..30u8, 0..20),
            after in prop::collection::btree_set(0..30u8, 1..20),
        ) {
            let text = |lines: &std::collections::BTreeSet<u8>| lines.iter().map(|n| format!("{n}\n")).collect::<String>();
            let (before, after) = (text(&before), text(&after));
            prop_assert_eq!(take_back(&after, &changed_lines(&before, &after)), Some(before));
        }
    }
}
