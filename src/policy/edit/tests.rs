//! Tables of layouts: what an edit makes of each.

use super::*;
use crate::policy::Day;

fn placed(
    text: &str,
    code: &str,
    verdict: Verdict,
    comment: Option<&str>,
) -> Result<Option<String>, EditError> {
    Ok(place(text, code, verdict, comment)?.map(|edited| edited.text))
}

fn allow(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
    placed(text, code, Verdict::Shown, comment)
}

fn forgotten(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
    Ok(forget(text, code, comment)?.map(|edited| edited.text))
}

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

#[test]
fn tells_of_a_comment_that_stays() {
    let check = |text: &str, leaves: bool| {
        let edited = forget(text, "x", Some("X")).expect("an edit").expect("a code to forget");
        assert_eq!(edited.leaves_comment, leaves, "{text}");
    };
    check("extensions = [\n  \"x\", # X\n  # X\n]\n", false);
    check("extensions = [\n  \"x\",\n  # above a\n  \"a\", # A\n]\n", false);
    check("extensions = [\n  \"x\", # X, for Bob\n]\n", true);
    check("extensions = [\n  \"a\", \"x\", # both\n]\n", true);
    check("extensions = [\n  \"x\", # X\n  \"x\", # twice\n]\n", true);
}

#[test]
fn forgets_a_code() {
    let check = |text: &str, expected: &str| {
        for newline in ["\n", "\r\n"] {
            let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
            assert_eq!(forgotten(&text, "x", Some("X")), Ok(Some(expected)), "{text}");
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
    assert_eq!(forgotten("extensions = [\n'x', #\n]", "x", None), Ok(Some("extensions = [\n#\n]".into())));
    assert_eq!(forgotten("extensions = ['a']", "x", None), Ok(None));
    assert_eq!(forgotten("# none", "x", None), Ok(None));
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = ['x', \"x*\"]\nhidden = [{ code = \"x\", until = 2026-12-01 }]",
        "extensions = [\n]\nretired = [\"x*\"]\nhidden = []",
    );
    assert!(matches!(forgotten("extension = []", "x", None), Err(EditError::Invalid(_))));
    assert!(matches!(allow("extensions = 1", "x", None), Err(EditError::Invalid(_))));
}

fn retire(text: &str) -> Result<Option<String>, EditError> {
    placed(text, "x", Verdict::Retired, Some("Name"))
}

/// Checks what becomes of a text when `x` is retired, with both kinds of line ends.
fn check_retired(text: &str, expected: &str) {
    for newline in ["\n", "\r\n"] {
        let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
        assert_eq!(retire(&text), Ok(Some(expected.clone())), "{text}");
        assert_eq!(retire(&expected), Ok(None), "twice: {text}");
    }
}

#[test]
fn moves_a_code_with_its_comment() {
    let check = check_retired;
    check(
        "extensions = [\n  \"a\",\n  \"x\", # X, for Bob\n  \"b\",\n]\nretired = [\n  \"c\",\n]\n",
        "extensions = [\n  \"a\",\n  \"b\",\n]\nretired = [\n  \"c\",\n  \"x\", # X, for Bob\n]\n",
    );
    // Quotes, blanks before the comment, indentation and the last comma are those of the place that they come from or
    // go to.
    check(
        "hidden = [\n  'x'    #X \n]\nextensions = []\nretired=[\n\t'c' # C\n]",
        "hidden = [\n]\nextensions = []\nretired=[\n\t'c', # C\n\t'x'    #X \n]",
    );
    // Without a comment none is written.
    check("extensions = [\n  \"x\",\n]\nretired = [\n]\n", "extensions = [\n]\nretired = [\n  \"x\",\n]\n");
    check(
        "extensions = [\"a\", \"x\"]\nretired = [\"c\"]\n",
        "extensions = [\"a\"]\nretired = [\"c\", \"x\"]\n",
    );
    // A comment about two codes stays with the other one.
    check(
        "extensions = [\n  \"a\", \"x\", # both\n]\nretired = []\n",
        "extensions = [\n  \"a\", # both\n]\nretired = [\n  \"x\",\n]\n",
    );
    check(
        "extensions = [\"x\", # X\n  \"a\"]\nretired = [\n]",
        "extensions = [\n  \"a\"]\nretired = [\n  \"x\", # X\n]",
    );
    check(
        "extensions = [\n  \"a\"\n  , \"x\" # X\n]\nretired = [\n]",
        "extensions = [\n  \"a\"\n  , \n]\nretired = [\n  \"x\", # X\n]",
    );
    // A comment needs a line that ends before the bracket.
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = [\"a\"]\n",
        "extensions = [\n]\nretired = [\"a\",\n  \"x\" # X\n]\n",
    );
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = [ \"a\", ] # b\n",
        "extensions = [\n]\nretired = [ \"a\",\n  \"x\", # X\n] # b\n",
    );
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = [\n    \"a\",\n    \"b\" ]\n",
        "extensions = [\n]\nretired = [\n    \"a\",\n    \"b\",\n    \"x\" # X\n]\n",
    );
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = [\n    \"a\" # A\n    , ]\n",
        "extensions = [\n]\nretired = [\n    \"a\" # A\n    ,\n    \"x\", # X\n]\n",
    );
    // Of several, the first one moves; what others say about the rest stays.
    check(
        "extensions = [\n  \"x\", # X\n  \"x\", # twice\n  \"x\", # Name\n]\nretired = [\n]\n",
        "extensions = [\n  # twice\n]\nretired = [\n  \"x\", # X\n]\n",
    );
    check(
        "extensions = [\n  \"x\", # X\n]\nretired = [\n  \"x\",\n  \"a\",\n  \"x\", # Name\n]\n",
        "extensions = [\n  # X\n]\nretired = [\n  \"x\",\n  \"a\",\n]\n",
    );
}

#[test]
fn writes_a_key_that_is_missing() {
    let check = check_retired;
    check("extensions = [\n  \"x\", # X\n]\n", "extensions = [\n]\nretired = [\n  \"x\", # X\n]\n");
    check(
        "# a\nextensions = [\"x\", \"a\"] # b\n\nunlisted = \"retired\"\n",
        "# a\nextensions = [\"a\"] # b\nretired = [\n  \"x\",\n]\n\nunlisted = \"retired\"\n",
    );
    check(
        "hosts = [\"h\"]\nextensions = []\nhidden = [\n\t'a'\n]",
        "hosts = [\"h\"]\nextensions = []\nhidden = [\n\t'a'\n]\nretired = [\n\t\"x\", # Name\n]",
    );
    check("hidden = []\nextensions = []", "hidden = []\nextensions = []\nretired = [\n  \"x\", # Name\n]");
    check("\u{feff}# a\nextensions = ['x']", "\u{feff}# a\nextensions = []\nretired = [\n  'x',\n]");
    check("# a\n", "# a\nextensions = []\nretired = [\n  \"x\", # Name\n]\n");
    check(
        "extensions = []\n[[hidden]]\ncode = \"a\"\n",
        "extensions = []\nretired = [\n  \"x\", # Name\n]\n[[hidden]]\ncode = \"a\"\n",
    );
    assert_eq!(retire(""), Ok(Some("extensions = []\nretired = [\n  \"x\", # Name\n]\n".to_owned())));
    assert_eq!(
        placed("extensions = ['x']\nretired = ['a']\n", "x", Verdict::Hidden, None),
        Ok(Some("extensions = []\nretired = ['a']\nhidden = [\n  'x',\n]\n".to_owned()))
    );
}

#[test]
fn drops_dates_and_keeps_notes() {
    let check = |text: &str, expected: &str, dropped: &[&str]| {
        let edited =
            place(text, "x", Verdict::Retired, Some("Name")).expect("an edit").expect("something to do");
        assert_eq!(edited.text, expected, "{text}");
        assert_eq!(edited.dropped.iter().map(ToString::to_string).collect::<Vec<_>>(), dropped, "{text}");
    };
    check(
        "extensions = [\n  { note = 'n', code = \"x\" }, # X\n]\nretired = []\n",
        "extensions = [\n]\nretired = [\n  { note = 'n', code = \"x\" }, # X\n]\n",
        &[],
    );
    check(
        "extensions = [\n  { code = 'x', from = 2026-12-01, until = 2027-01-31, note = 'the \"n\"' }, # X\n]\n",
        "extensions = [\n]\nretired = [\n  { code = \"x\", note = \"the \\\"n\\\"\" }, # X\n]\n",
        &["from 2026-12-01 until 2027-01-31"],
    );
    // In the right place already.
    check(
        "extensions = []\nretired = [\n  \"a\",\n  { code = \"x\", from = 2026-12-01 }, # X\n  \"b\",\n]\n",
        "extensions = []\nretired = [\n  \"a\",\n  \"x\", # X\n  \"b\",\n]\n",
        &["from 2026-12-01"],
    );
    // One entry with the notes of all, in the place of the one that is without dates or else the first.
    check(
        "extensions = [{ code = \"x\", until = 2026-11-30, note = \"a\" }]\n\
         retired = [{ code = \"x\", from = 2026-12-01, note = \"b\" }, \"c\", { code = \"x\", note = \"a\" }]\n",
        "extensions = []\nretired = [\"c\", { code = \"x\", note = \"a; b\" }]\n",
        &["until 2026-11-30", "from 2026-12-01"],
    );
    // A table may have lines, and comments of its own: it moves as it is, but is not written anew.
    check(
        "extensions = [\n  {\n    code = \"x\", # why\n    note = \"n\",\n  }, # X\n]\nretired = [\n]\n",
        "extensions = [\n]\nretired = [\n  {\n    code = \"x\", # why\n    note = \"n\",\n  }, # X\n]\n",
        &[],
    );
    assert_eq!(
        retire("extensions = [{\n  code = \"x\", # why\n  until = 2026-12-01 }]\n"),
        Err(EditError::Layout)
    );
    let edited = forget("extensions = [{ code = \"x\", until = 2026-12-01 }]", "x", None).expect("an edit");
    let until = Window { from: None, until: Day::parse("2026-12-01") };
    assert_eq!(edited.expect("something to do").dropped, [until]);
}

#[test]
fn edits_a_star_as_it_is_written() {
    let star =
        |verdict| placed("extensions = [\"x-*\", \"x-1\", \"x-\"]\nretired = []\n", "x-*", verdict, None);
    assert_eq!(star(Verdict::Shown), Ok(None));
    assert_eq!(
        star(Verdict::Retired),
        Ok(Some("extensions = [\"x-1\", \"x-\"]\nretired = [\n  \"x-*\",\n]\n".to_owned()))
    );
    assert_eq!(
        allow("extensions = [\"x-*\"]", "x-1", None),
        Ok(Some("extensions = [\"x-*\", \"x-1\"]".to_owned()))
    );
    assert_eq!(allow("extensions = []", "x*y", None), Err(EditError::Star("x*y".to_owned())));
    assert_eq!(forgotten("extensions = []", "x*y", None), Ok(None));
}

#[test]
fn leaves_other_layouts_alone() {
    let check = |text: &str| {
        assert_eq!(retire(text), Err(EditError::Layout), "{text}");
    };
    check("[[extensions]]\ncode = \"a\"\n");
    check("[[extensions]]\ncode = \"x\"\n");
    check("retired = [\"a\"]\n[[extensions]]\ncode = \"x\" # X\n");
    check("extensions = [\"x\"]\n[[retired]]\ncode = \"a\"\n");
    check("extensions = []\n[[retired]]\ncode = \"x\"\nfrom = 2026-12-01\n");
    assert_eq!(forgotten("[[extensions]]\ncode = \"x\"\n", "x", None), Err(EditError::Layout));
    // A comment is a comment, whoever wrote the name.
    assert_eq!(allow("extensions = []\n", "x", Some("a\n\"b\",")), Err(EditError::Layout));
    // What is not touched may be written in any way.
    assert_eq!(
        forgotten("extensions = [\"x\"]\n[[retired]]\ncode = \"a\"\n", "x", None),
        Ok(Some("extensions = []\n[[retired]]\ncode = \"a\"\n".to_owned()))
    );
    assert!(matches!(retire("extensions = [\"x\"]\nretire = []\n"), Err(EditError::Invalid(_))));
}
