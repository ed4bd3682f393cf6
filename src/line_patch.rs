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
    let lines: Vec<(char, &str)> = lines.iter().filter_map(|line| split(line)).collect();
    let mut end = lines.len();
    // From the last on, so that the places of those before stay as they are.
    while let Some(last) = lines[..end].iter().rposition(|(sign, _)| is_change(*sign)) {
        let first =
            lines[..last].iter().rposition(|(sign, _)| !is_change(*sign)).map_or(0, |before| before + 1);
        let stays = |line: &&(char, &str)| line.0 == ' ';
        let leading = lines[..first].iter().rev().take_while(stays).count();
        let trailing = lines[last + 1..].iter().take_while(stays).count();
        let (at, taken) = find(&text, &lines[first - leading..=last + trailing], (leading, trailing))?;
        let (after, before) = sides(taken);
        text.splice(at..at + after.len(), before);
        end = first;
    }
    Some(text.concat())
}

fn split(line: &str) -> Option<(char, &str)> {
    let sign = line.chars().next()?;
    Some((sign, &line[sign.len_utf8()..]))
}

fn is_change(sign: char) -> bool {
    matches!(sign, '-' | '+')
}

/// Returns the lines around a change and of it, after it and before it.
fn sides<'a>(lines: &[(char, &'a str)]) -> (Vec<&'a str>, Vec<&'a str>) {
    let side = |gone| lines.iter().filter(move |(sign, _)| *sign != gone).map(|(_, line)| *line).collect();
    (side('-'), side('+'))
}

/// Finds the one place that a change leads to, with as much of its context as fits.
fn find<'c, 'a>(
    text: &[&str],
    lines: &'c [(char, &'a str)],
    (leading, trailing): (usize, usize),
) -> Option<(usize, &'c [(char, &'a str)])> {
    let mut contexts: Vec<_> =
        (0..=leading).flat_map(|before| (0..=trailing).map(move |after| (before, after))).collect();
    contexts.sort_by_key(|(before, after)| std::cmp::Reverse(before + after));
    for (before, after) in contexts {
        let part = &lines[leading - before..lines.len() - (trailing - after)];
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
        check(
            &long(""),
            &format!("0\n{}9\n", long("x\n")),
            &format!("0\n{}9\n", long("x\ny\n")),
            Some(&long("y\n")),
        );
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
