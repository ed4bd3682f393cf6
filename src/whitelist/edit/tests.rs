//! Tests of edits: tables of layouts, and any layout against what must hold of it.

use proptest::prelude::*;

use super::*;

#[test]
fn allows_a_code() {
    let check = |text: &str, expected: &str| {
        for newline in ["\n", "\r\n"] {
            let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
            assert_eq!(allow(&text, "x", Some("Name")), Ok(Some(expected)), "{text}");
        }
    };
    check("extensions = [\n  \"a\",\n]\n", "extensions = [\n  \"a\",\n  \"x\", # Name\n]\n");
    check("extensions = [\n  \"a\"\n]\n", "extensions = [\n  \"a\",\n  \"x\" # Name\n]\n");
    check("extensions=[\n\t'a' # A, B\n]", "extensions=[\n\t'a', # A, B\n\t\"x\" # Name\n]");
    check(
        "extensions = [\n    \"a\", # A\n    # \"b\",\n\n]\n# end",
        "extensions = [\n    \"a\", # A\n    # \"b\",\n\n    \"x\", # Name\n]\n# end",
    );
    check("extensions = [\n  # none\n]\n", "extensions = [\n  # none\n  \"x\", # Name\n]\n");
    check("extensions = [\n  \"a\", \"b\",\n]\n", "extensions = [\n  \"a\", \"b\",\n  \"x\", # Name\n]\n");
    check("extensions = [\n  \"a\",\n  \"b\"]\n", "extensions = [\n  \"a\",\n  \"b\",\n  \"x\"]\n");
    check("extensions = [\n  \"a\"\n  , \"b\" ]\n", "extensions = [\n  \"a\"\n  , \"b\", \"x\" ]\n");
    check("extensions = [\n  \"a\"\n  ,]\n", "extensions = [\n  \"a\"\n  ,\n  \"x\",]\n");
    check("# none\nextensions = []\n", "# none\nextensions = [\n  \"x\", # Name\n]\n");
    check("extensions = [ ]\n", "extensions = [\n  \"x\", # Name\n]\n");
    check("extensions = [\"a\"]\n", "extensions = [\"a\", \"x\"]\n");
    check("extensions = [\"a\", ] # b, c\n", "extensions = [\"a\", \"x\", ] # b, c\n");
    check("# list\n", "# list\nextensions = [\n  \"x\", # Name\n]\n");
    check("\u{feff}extensions = [\"a\"]\n", "\u{feff}extensions = [\"a\", \"x\"]\n");
    assert_eq!(allow("", "x", None), Ok(Some("extensions = [\n  \"x\",\n]\n".to_owned())));
    assert_eq!(allow("# a", "x", None), Ok(Some("# a\nextensions = [\n  \"x\",\n]\n".to_owned())));
    assert_eq!(allow("extensions = ['x']", "x", None), Ok(None));
    assert_eq!(
        allow("extensions = [\"a\"]", "\"\\\n", None),
        Ok(Some("extensions = [\"a\", \"\\\"\\\\\\u000A\"]".to_owned()))
    );
}

fn text_without(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
    Ok(hide(text, code, comment)?.map(|hidden| hidden.text))
}

#[test]
fn tells_of_a_comment_that_stays() {
    let check = |text: &str, leaves: bool| {
        let hidden = hide(text, "x", Some("X")).expect("an edit").expect("a code to hide");
        assert_eq!(hidden.leaves_comment, leaves, "{text}");
    };
    check("extensions = [\n  \"x\", # X\n  # X\n]\n", false);
    check("extensions = [\n  \"x\",\n  # above a\n  \"a\", # A\n]\n", false);
    check("extensions = [\n  \"x\", # X, for Bob\n]\n", true);
    check("extensions = [\n  \"a\", \"x\", # both\n]\n", true);
    check("extensions = [\n  \"x\", # X\n  \"x\", # twice\n]\n", true);
}

#[test]
fn hides_a_code() {
    let check = |text: &str, expected: &str| {
        for newline in ["\n", "\r\n"] {
            let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
            assert_eq!(text_without(&text, "x", Some("X")), Ok(Some(expected)), "{text}");
        }
    };
    check("extensions = [\n  \"x\", # X\n  \"a\",\n]\n", "extensions = [\n  \"a\",\n]\n");
    check(
        "extensions = [\n  # first\n  \"a\", # A\n  # second\n  'x' # X\n  # end\n]\n",
        "extensions = [\n  # first\n  \"a\", # A\n  # second\n  # end\n]\n",
    );
    check("extensions = [\n  \"a\", \"x\", # both\n]\n", "extensions = [\n  \"a\", # both\n]\n");
    check("extensions = [\n  \"x\", \"a\", # both\n]\n", "extensions = [\n  \"a\", # both\n]\n");
    check("extensions = [\"x\"]", "extensions = []");
    check("extensions = [ \"x\", ]", "extensions = []");
    check("extensions = [\"a\", \"x\"]", "extensions = [\"a\"]");
    check("extensions = [\"a\", \"x\", ]", "extensions = [\"a\", ]");
    check("extensions = [\"a\", \"x\", \"b\"]", "extensions = [\"a\", \"b\"]");
    check("extensions = [\"x\", \"a\", \"x\", \"b\", \"x\"]", "extensions = [\"a\", \"b\"]");
    check("extensions = [\"x\", # X\n  \"a\"]", "extensions = [\n  \"a\"]");
    check("extensions = [\n  \"a\",\n  \"x\"]\n", "extensions = [\n  \"a\",\n]\n");
    check("extensions = [ # paid\n  \"x\"]\n", "extensions = [ # paid\n]\n");
    check("extensions = [\n    \"x\"\n  # a,\n  , \"a\"\n]\n", "extensions = [\n  # a,\n   \"a\"\n]\n");
    check("extensions = [\n  \"a\"\n  , \"x\" # X\n]", "extensions = [\n  \"a\"\n  , \n]");
    // Somebody's comments stay.
    check(
        "extensions = [\n  \"a\",\n  \"x\", # X, for Bob\n]\n",
        "extensions = [\n  \"a\",\n  # X, for Bob\n]\n",
    );
    check("extensions = [\n  \"x\" # keep\n  , \"a\"\n]\n", "extensions = [\n  # keep\n   \"a\"\n]\n");
    check("extensions = [\"x\", # keep\n  \"a\"]", "extensions = [# keep\n  \"a\"]");
    check("extensions = [\n  \"x\", # X\n  \"x\", # twice\n]\n", "extensions = [\n  # twice\n]\n");
    assert_eq!(text_without("extensions = [\n'x', #\n]", "x", None), Ok(Some("extensions = [\n#\n]".into())));
    assert_eq!(text_without("extensions = ['a']", "x", None), Ok(None));
    assert_eq!(text_without("# none", "x", None), Ok(None));
    assert!(matches!(text_without("extension = []", "x", None), Err(EditError::Invalid(_))));
    assert!(matches!(allow("extensions = 1", "x", None), Err(EditError::Invalid(_))));
}

/// One code in some layout: the text from behind the comma before to its own comma.
#[derive(Debug, Clone)]
struct Piece {
    before: String,
    code: String,
    quote: char,
    /// Between the code and its comma.
    between: String,
    /// Behind the comma.
    after: String,
}

fn blanks() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", " ", "  ", "\t", "\n", "\n  ", " \n\n\t"]).prop_map(str::to_owned)
}

fn comments() -> impl Strategy<Value = String> {
    let text = prop_oneof![3 => "[ a-z,\"'\\]\\[é#]{0,6}", 1 => " ?N "];
    let comment = ("[ \n]?", text, blanks());
    prop_oneof![
        3 => blanks(),
        2 => comment.prop_map(|(before, text, blanks)| format!("{before}#{text}\n{blanks}")),
    ]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let between = prop_oneof![5 => Just(String::new()), 1 => comments()];
    let piece = (comments(), "[a-d]", prop::sample::select(vec!['"', '\'']), between, comments());
    let piece =
        piece.prop_map(|(before, code, quote, between, after)| Piece { before, code, quote, between, after });
    prop::collection::vec(piece, 0..7)
}

/// Writes the list, and says which codes and comments are in it.
fn write(pieces: &[Piece], trailing_comma: bool, around: &str, crlf: bool) -> String {
    let mut text = format!("{around}extensions = [");
    for (n, piece) in pieces.iter().enumerate() {
        let Piece { before, code, quote, between, after } = piece;
        let comma = if n + 1 < pieces.len() || trailing_comma { "," } else { "" };
        text += &format!("{before}{quote}{code}{quote}{between}{comma}{after}");
    }
    text += &format!("]{around}");
    if crlf { text.replace('\n', "\r\n") } else { text }
}

fn listed(text: &str) -> Vec<String> {
    crate::whitelist::array(text).expect("a list").1.into_iter().map(|entry| entry.code).collect()
}

/// The comments of a file that has no `#` in its codes, each with whether it may be one of ours.
fn comments_in(text: &str) -> Vec<(bool, String)> {
    let comments = text.lines().filter_map(|line| line.split_once('#'));
    comments
        .map(|(code, comment)| (code.contains(['"', '\'']) && comment.trim() == "N", comment.to_owned()))
        .collect()
}

proptest! {
    #[test]
    fn edits_any_layout(
        pieces in pieces(),
        trailing_comma in any::<bool>(),
        around in prop::sample::select(vec!["", "\n", "\n# around\n"]),
        crlf in any::<bool>(),
        code in "[a-e]",
    ) {
        let text = write(&pieces, trailing_comma, around, crlf);
        let before = listed(&text);

        let allowed = allow(&text, &code, Some("N")).expect("an edit");
        prop_assert_eq!(allowed.is_none(), before.contains(&code));
        let allowed = allowed.unwrap_or_else(|| text.clone());
        let with: Vec<_> = before.iter().cloned().chain((!before.contains(&code)).then(|| code.clone())).collect();
        prop_assert_eq!(listed(&allowed), with);
        prop_assert_eq!(allow(&allowed, &code, Some("N")), Ok(None));
        // Nothing is lost: what was there is there still, in order.
        let mut rest = allowed.chars();
        prop_assert!(text.chars().all(|c| rest.any(|other| other == c)), "{:?}", allowed);
        let bare = |text: &str| text.matches('\n').count() - text.matches("\r\n").count();
        prop_assert!(!crlf || !text.contains('\n') || bare(&allowed) == 0, "{:?}", allowed);

        let hidden = text_without(&text, &code, Some("N")).expect("an edit");
        prop_assert_eq!(hidden.is_some(), before.contains(&code));
        let hidden = hidden.unwrap_or_else(|| text.clone());
        prop_assert_eq!(listed(&hidden), before.into_iter().filter(|listed| *listed != code).collect::<Vec<_>>());
        prop_assert_eq!(text_without(&hidden, &code, Some("N")), Ok(None));
        // What is left was there before, in order; no comment goes but those that `allow` wrote.
        let mut all = text.chars();
        prop_assert!(hidden.chars().all(|c| all.any(|other| other == c)), "{:?}", hidden);
        let kept: Vec<_> = comments_in(&hidden).into_iter().map(|(_, comment)| comment).collect();
        let mut kept = kept.iter();
        for (_, comment) in comments_in(&text).iter().filter(|(ours, _)| !ours) {
            prop_assert!(kept.any(|other| other == comment), "{:?} lost {:?}", hidden, comment);
        }
        let allowed_and_hidden = text_without(&allowed, &code, Some("N")).expect("an edit").expect("a code to hide");
        prop_assert_eq!(allowed_and_hidden.matches('#').count() <= text.matches('#').count(), true);
    }

    #[test]
    fn one_code_a_line_loses_that_line_only(
        codes in prop::collection::vec("[a-d]", 0..8),
        comments in prop::collection::vec("[a-z ]{0,5}|N", 8),
        trailing_comma in any::<bool>(),
        code in "[a-e]",
    ) {
        let line = |n: usize, listed: bool| {
            let comma = if n + 1 < codes.len() || trailing_comma { "," } else { "" };
            match (listed, comments[n].as_str()) {
                (true, comment) => format!("  \"{}\"{comma} # {comment}\n", codes[n]),
                (false, "N") => String::new(),
                (false, comment) => format!("  # {comment}\n"),
            }
        };
        let text = |listed: &dyn Fn(usize) -> bool| {
            let lines: String = (0..codes.len()).map(|n| line(n, listed(n))).collect();
            format!("# top\nextensions = [\n  # inside\n{lines}  # end\n]\n")
        };
        let before = text(&|_| true);
        let expected = text(&|n| codes[n] != code);
        prop_assert_eq!(text_without(&before, &code, Some("N")).expect("an edit").unwrap_or(before), expected);
    }
}
