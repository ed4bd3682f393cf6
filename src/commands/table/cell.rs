//! Text of a cell in a width: cut, or wrapped.
//!
//! Widths are those of grapheme clusters, since a character may have none (accents) or change that of the one before
//! (emoji that are joined or have a presentation).

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Characters behind which a word may be wrapped, if the blanks do not suffice: codes, links, paths and addresses have
/// them.
const JOINTS: [&str; 7] = ["-", "/", ".", ":", "_", "?", "&"];

/// Cuts a text to a width, with an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let (fits, _) = split(text, columns.saturating_sub(1));
    format!("{}…", fits.trim_end())
}

/// Breaks a text into lines of a width: at blanks if possible, else behind a joint, else anywhere.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while rest.width() > columns {
        let (fits, beyond) = split(rest, columns);
        // A blank right behind the line ends it as well.
        let blank = if beyond.starts_with(' ') { Some(fits.len()) } else { fits.rfind(' ') };
        let joint = || JOINTS.iter().filter_map(|joint| Some(fits.rfind(joint)? + joint.len())).max();
        let end = blank.filter(|end| *end > 0).or_else(joint).unwrap_or(fits.len());
        lines.push(rest[..end].trim_end());
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() || lines.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Splits a text behind the last cluster that fits a width. The first part has one cluster at least.
fn split(text: &str, columns: usize) -> (&str, &str) {
    let mut used = 0;
    let beyond = text.grapheme_indices(true).find(|(at, cluster)| {
        used += cluster.width();
        used > columns && *at > 0
    });
    text.split_at(beyond.map_or(text.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A family, joined from three emoji.
    const FAMILY: &str = "👨\u{200d}👩\u{200d}👧";

    #[test]
    fn cuts_by_columns() {
        let check = |text: &str, columns, expected: &str| {
            let cut = cut(text, columns);
            assert_eq!(cut, expected, "{text}");
            assert!(cut.width() <= columns, "{text}");
        };
        check("toolkit", 7, "toolkit");
        check("toolkit", 6, "toolk…");
        check("tool kit", 6, "tool…");
        check("日本語", 6, "日本語");
        check("日本語", 5, "日本…");
        check("日本語", 4, "日…");
        check("éa\u{301}bc", 3, "éa\u{301}…");
        // Whole or not at all: joined emoji, a heart with its presentation, a flag, a skin tone.
        check(&format!("{FAMILY}abc"), 4, &format!("{FAMILY}a…"));
        check(&format!("ab{FAMILY}c"), 4, "ab…");
        check("ab❤\u{fe0f}cd", 5, "ab❤\u{fe0f}…");
        check("ab❤\u{fe0f}cd", 4, "ab…");
        check("a🇯🇵bc", 4, "a🇯🇵…");
        check("a🇯🇵bc", 3, "a…");
        check("👍🏽👍🏽", 3, "👍🏽…");
    }

    #[test]
    fn wraps_where_it_hurts_least() {
        let check = |text: &str, columns, expected: &[&str]| {
            let lines = wrap(text, columns);
            assert_eq!(lines, expected, "{text} in {columns}");
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&lines.concat()), letters(text), "nothing is lost");
        };
        check("", 5, &[""]);
        check("plesk, whitelisted", 18, &["plesk, whitelisted"]);
        check("plesk, whitelisted", 17, &["plesk,", "whitelisted"]);
        check("plesk, whitelisted", 6, &["plesk,", "whitel", "isted"]);
        check("plesk whitelisted", 5, &["plesk", "white", "liste", "d"]);
        check("site-speed-kit", 12, &["site-speed-", "kit"]);
        check("seo-toolkit -> xovi", 12, &["seo-toolkit", "-> xovi"]);
        check("2001:db8::16", 8, &["2001:", "db8::16"]);
        check("日本語", 3, &["日", "本", "語"]);
        check("日本語", 1, &["日", "本", "語"]);
        check("  a  b ", 2, &["a", "b"]);
        check(&format!("x{FAMILY}{FAMILY}"), 3, &[&format!("x{FAMILY}"), FAMILY]);
    }
}
