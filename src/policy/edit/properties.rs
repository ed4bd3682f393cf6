//! What must hold of edits in any layout, against a model of the lists.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::policy::Day;

/// Comment of `place`.
const OURS: &str = "N";

/// One entry in some layout: the text from behind the comma before to its own comma.
#[derive(Debug, Clone)]
struct Piece {
    before: String,
    entry: ModelEntry,
    quote: char,
    /// Written as a table though it needs none.
    is_table: bool,
    /// Between the entry and its comma.
    between: String,
    /// Behind the comma.
    after: String,
}

/// WhitelistEntry of a list; the days are of December 2026, 0 for none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelEntry {
    code: String,
    note: Option<String>,
    from: u8,
    until: u8,
}

/// Lists by their keys, in the order of the file.
type Lists = Vec<(Verdict, Vec<ModelEntry>)>;

fn blanks() -> impl Strategy<Value = String> {
    select(vec!["", " ", "  ", "\t", "\n", "\n  ", " \n\n\t"]).prop_map(str::to_owned)
}

fn comments() -> impl Strategy<Value = String> {
    let text = prop_oneof![3 => "[ a-z,\"'\\]\\[é#]{0,6}", 1 => " ?N "];
    let comment = ("[ \n]?", text, blanks());
    prop_oneof![
        3 => blanks(),
        2 => comment.prop_map(|(before, text, blanks)| format!("{before}#{text}\n{blanks}")),
    ]
}

fn entries() -> impl Strategy<Value = ModelEntry> {
    let plain = "[a-d]|a-\\*".prop_map(|code| ModelEntry { code, note: None, from: 0, until: 0 });
    let table =
        ("[a-d]", proptest::option::of("[n-p]"), 0..3u8, 0..3u8).prop_map(|(code, note, from, more)| {
            ModelEntry { code, note, from, until: if more == 0 { 0 } else { from + more } }
        });
    prop_oneof![3 => plain, 1 => table]
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let between = prop_oneof![5 => Just(String::new()), 1 => comments()];
    let piece = (comments(), entries(), select(vec!['"', '\'']), any::<bool>(), between, comments());
    let piece = piece.prop_map(|(before, entry, quote, is_table, between, after)| Piece {
        before,
        entry,
        quote,
        is_table,
        between,
        after,
    });
    prop::collection::vec(piece, 0..5)
}

impl Piece {
    fn text(&self) -> String {
        let Self { entry: ModelEntry { code, note, from, until }, quote, .. } = self;
        let mut members = format!("code = {quote}{code}{quote}");
        if let Some(note) = note {
            members = format!("note = {quote}{note}{quote}, {members}");
        }
        for (name, day) in [("from", from), ("until", until)].into_iter().filter(|(_, day)| **day != 0) {
            members += &format!(", {name} = 2026-12-{day:02}");
        }
        match self.is_table || note.is_some() || (*from, *until) != (0, 0) {
            true => format!("{{ {members} }}"),
            false => format!("{quote}{code}{quote}"),
        }
    }
}

/// A whole file, with what is between the arrays.
#[derive(Debug, Clone)]
struct LayoutFile {
    arrays: Vec<(Verdict, Vec<Piece>, bool)>,
    has_bom: bool,
    /// Lines before each array and behind the last one.
    around: &'static str,
    others: bool,
    end: &'static str,
    crlf: bool,
}

fn files() -> impl Strategy<Value = LayoutFile> {
    let keys = Just(Verdict::ALL.to_vec()).prop_shuffle();
    let arrays = (keys, 1..=3usize, prop::collection::vec((pieces(), any::<bool>()), 3)).prop_map(
        |(keys, len, arrays)| {
            let arrays =
                keys.into_iter().zip(arrays).map(|(verdict, (pieces, comma))| (verdict, pieces, comma));
            let (kept, rest): (Vec<_>, Vec<_>) =
                arrays.enumerate().partition(|(n, (verdict, ..))| *n < len || *verdict == Verdict::Shown);
            drop(rest);
            kept.into_iter().map(|(_, array)| array).collect()
        },
    );
    let around = select(vec!["", "\n", "# around \"it\"]\n", "\n  # [\"a\"]\n\n"]);
    (arrays, any::<bool>(), around, any::<bool>(), select(vec!["", " # end", "\n", "  \n\n"]), any::<bool>())
        .prop_map(|(arrays, has_bom, around, others, end, crlf)| LayoutFile {
            arrays,
            has_bom,
            around,
            others,
            end,
            crlf,
        })
}

impl LayoutFile {
    fn text(&self) -> String {
        let mut text = if self.has_bom { "\u{feff}".to_owned() } else { String::new() };
        if self.others {
            text += "unlisted = \"retired\"\n";
        }
        for (n, (verdict, pieces, trailing_comma)) in self.arrays.iter().enumerate() {
            if n > 0 {
                text += "\n";
            }
            text += &format!("{}{} = [", self.around, verdict.key());
            for (n, piece) in pieces.iter().enumerate() {
                let Piece { before, between, after, .. } = piece;
                let comma = if n + 1 < pieces.len() || *trailing_comma { "," } else { "" };
                text += &format!("{before}{}{between}{comma}{after}", piece.text());
            }
            text += "]";
        }
        if self.others {
            text += "\nhosts = [\"a.example\"]";
        }
        text += self.end;
        if self.crlf { text.replace('\n', "\r\n") } else { text }
    }

    fn lists(&self) -> Lists {
        let lists = self.arrays.iter();
        lists
            .map(|(verdict, pieces, _)| (*verdict, pieces.iter().map(|piece| piece.entry.clone()).collect()))
            .collect()
    }
}

/// Puts a code under a key, or takes it out of all.
fn edit(lists: &mut Lists, code: &str, target: Option<Verdict>) {
    let is_named = |entry: &&mut ModelEntry| entry.code == code;
    let mut notes: Vec<String> = Vec::new();
    for entry in lists.iter_mut().flat_map(|(_, list)| list).filter(is_named) {
        notes.extend(entry.note.take().filter(|note| !notes.contains(note)));
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    let meant = ModelEntry { code: code.to_owned(), note, from: 0, until: 0 };
    if let Some(verdict) = target {
        if lists.iter().all(|(other, _)| *other != verdict) {
            lists.push((verdict, Vec::new()));
        }
        let list =
            lists.iter_mut().find(|(other, _)| *other == verdict).map(|(_, list)| list).expect("a list");
        let is_dated = |entry: &ModelEntry| (entry.from, entry.until) != (0, 0);
        let at = list.iter().position(|entry| entry.code == code && !is_dated(entry));
        match at.or_else(|| list.iter().position(|entry| entry.code == code)) {
            // Marked, so that the others can be told from it.
            Some(at) => list[at] = ModelEntry { code: String::new(), ..meant.clone() },
            None => list.push(ModelEntry { code: String::new(), ..meant.clone() }),
        }
    }
    for (_, list) in lists {
        list.retain(|entry| entry.code != code);
        list.iter_mut().filter(|entry| entry.code.is_empty()).for_each(|entry| entry.code = code.to_owned());
    }
}

fn read(text: &str) -> Lists {
    let document = Document::read(text).expect("a whitelist");
    let number = |day: Option<Day>| day.map_or(0, |day| day.to_string()[8..].parse().expect("a day"));
    let entry = |entry: &WhitelistEntry| ModelEntry {
        code: entry.pattern.to_string(),
        note: entry.note.clone(),
        from: number(entry.window.from),
        until: number(entry.window.until),
    };
    let lists = document.arrays.iter().map(|(verdict, _)| {
        (*verdict, document.entries.iter().filter(|entry| entry.verdict == *verdict).map(entry).collect())
    });
    lists.collect()
}

/// The entries of other codes as they are written, key by key.
fn others(text: &str, code: &str) -> Vec<(Verdict, String)> {
    let document = Document::read(text).expect("a whitelist");
    let others = document.entries.iter().filter(|entry| entry.pattern.to_string() != code);
    let mut others: Vec<_> =
        others.map(|entry| (entry.verdict, text[entry.span.clone()].to_owned())).collect();
    others.sort_by_key(|(verdict, _)| *verdict);
    others
}

/// The comments of a file that has no `#` in its codes, without those that may be ours, sorted.
fn comments_in(text: &str) -> Vec<&str> {
    let comments = text.lines().filter_map(|line| line.split_once('#')).map(|(_, comment)| comment);
    let mut comments: Vec<_> = comments.filter(|comment| comment.trim() != OURS).collect();
    comments.sort_unstable();
    comments
}

fn bare_line_feeds(text: &str) -> usize {
    text.matches('\n').count() - text.matches("\r\n").count()
}

fn is_part_of(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars().all(|c| rest.any(|other| other == c))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_edits_of_any_layout_do_what_the_model_does(
        file in files(),
        edits in prop::collection::vec((select(vec!["a", "b", "c", "d", "e", "a-*"]), 0..4usize, any::<bool>()), 1..6),
    ) {
        let mut text = file.text();
        let has_only_crlf = file.crlf && text.contains('\n');
        let mut lists = file.lists();
        prop_assert_eq!(&read(&text), &lists, "{}", text);
        for (code, verb, has_name) in edits {
            let target = Verdict::ALL.get(verb).copied();
            let name = has_name.then_some(OURS);
            let run = |text: &str| match target {
                Some(verdict) => place(text, code, verdict, name),
                None => forget(text, code, name),
            };
            let was = lists.clone();
            edit(&mut lists, code, target);
            let edited = run(&text).expect("an edit");
            prop_assert_eq!(edited.is_none(), was == lists, "{:?}", text);
            let Some(Edited { text: edited, dropped, .. }) = edited else { continue };
            prop_assert_eq!(&read(&edited), &lists, "{:?}", edited);
            prop_assert_eq!(run(&edited), Ok(None));
            let is_dated = |entry: &&ModelEntry| entry.code == code && (entry.from, entry.until) != (0, 0);
            prop_assert_eq!(dropped.len(), was.iter().flat_map(|(_, list)| list).filter(is_dated).count());
            prop_assert_eq!(others(&edited, code), others(&text, code), "{:?}", edited);
            prop_assert_eq!(comments_in(&edited), comments_in(&text), "{:?} from {:?}", edited, text);
            prop_assert!(!has_only_crlf || bare_line_feeds(&edited) == 0, "{:?}", edited);
            prop_assert_eq!(edited.ends_with('\n'), text.ends_with('\n'), "{:?}", edited);
            let is_new = was.iter().flat_map(|(_, list)| list).all(|entry| entry.code != code);
            if is_new {
                prop_assert!(is_part_of(&text, &edited), "{:?}", edited);
                let undone = forget(&edited, code, Some(OURS)).expect("an edit").expect("a code to forget");
                prop_assert_eq!(comments_in(&undone.text), comments_in(&text));
                prop_assert_eq!(undone.text.matches('#').count(), text.matches('#').count());
                prop_assert!(!undone.leaves_comment, "{:?}", undone);
            }
            if target.is_none() {
                prop_assert!(is_part_of(&edited, &text), "{:?}", edited);
            }
            text = edited;
        }
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
        let edited = forget(&before, &code, Some("N")).expect("an edit").map(|edited| edited.text);
        prop_assert_eq!(edited.unwrap_or(before), expected);
    }

    #[test]
    fn an_edit_and_its_opposite_leave_one_code_a_line_as_it_was(
        lists in prop::collection::vec(prop::collection::btree_map("[a-d]{3}", "[a-z ]{0,5}|N", 1..5), 3),
        moved in 0..3usize,
        target in 0..3usize,
        crlf in any::<bool>(),
    ) {
        let mut text = "# top\n".to_owned();
        for (verdict, list) in Verdict::ALL.into_iter().zip(&lists) {
            let lines: String = list.iter().map(|(code, comment)| format!("\t'{code}',  # {comment}\n")).collect();
            text += &format!("\n{} = [\n{lines}]\n", verdict.key());
        }
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let (from, to) = (Verdict::ALL[moved], Verdict::ALL[target]);
        let new = place(&text, "new", to, Some("N")).expect("an edit").expect("a new code").text;
        let undone = forget(&new, "new", Some("N")).expect("an edit").expect("a code to forget").text;
        prop_assert_eq!(&undone, &text);
        // Codes go to the end, so only the last one comes back to where it was.
        let (code, _) = lists[moved].last_key_value().expect("a code");
        prop_assume!(lists.iter().filter(|list| list.contains_key(code)).count() == 1);
        if let Some(there) = place(&text, code, to, Some("N")).expect("an edit") {
            let back = place(&there.text, code, from, Some("N")).expect("an edit").expect("a move back");
            prop_assert_eq!(back.text, text);
        }
    }
}
