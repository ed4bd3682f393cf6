//! Table tests at every split point and on every path, and property tests against serde_json.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::super::block::BLOCK_LEN;
use super::super::name::MAX_NAME;
use super::*;

const NAMES: &[&str] = &["code", "buy_url"];

/// Scans `chunks` on every path, checks that all results are equal, and returns them.
fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Result<Vec<Event>, ScanError> {
    let chunks = chunks.into_iter();
    let mut answers = ScanPath::all().map(|path| scan_on(path, chunks.clone()));
    let answer = answers.next().expect("a path");
    answers.for_each(|other| assert_eq!(other, answer, "the fast path"));
    answer
}

fn scan_on<'a>(path: ScanPath, chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Event>, ScanError> {
    let mut scanner = Scanner::new(NAMES).on(path);
    let mut events = Vec::new();
    for chunk in chunks {
        scanner.push(chunk, |event| events.push(event))?;
    }
    scanner.finish()?;
    Ok(events)
}

/// Scans the input in two parts at every split, byte by byte, and at every position in the scanner's blocks;
/// all results must equal that of the whole input.
fn scan_every_way(input: &[u8]) -> Result<Vec<Event>, ScanError> {
    let whole = scan([input]);
    for at in 0..=input.len() {
        let (a, b) = input.split_at(at);
        assert_eq!(scan([a, b]), whole, "split at {at} of {}", String::from_utf8_lossy(input));
        assert_eq!(scan([a, b"", b]), whole, "split at {at} with an empty chunk");
        if at <= BLOCK_LEN {
            let moved = [b" ".repeat(BLOCK_LEN - at), input.to_vec()].concat();
            let expected = shifted(whole.clone(), BLOCK_LEN - at);
            assert_eq!(
                scan([moved.as_slice()]),
                expected,
                "{} at a block's edge",
                String::from_utf8_lossy(b)
            );
        }
    }
    assert_eq!(scan(input.chunks(1)), whole, "byte by byte: {}", String::from_utf8_lossy(input));
    whole
}

/// Returns the result expected when `by` blanks stand before the input.
fn shifted(whole: Result<Vec<Event>, ScanError>, by: usize) -> Result<Vec<Event>, ScanError> {
    let shift = |range: std::ops::Range<usize>| range.start + by..range.end + by;
    match whole {
        Ok(events) => Ok(events
            .into_iter()
            .map(|event| match event {
                Event::Member { name, value } => Event::Member { name, value: shift(value) },
                Event::Element(span) => Event::Element(shift(span)),
            })
            .collect()),
        Err(ScanError { problem: Problem::Empty, .. }) if by > 0 => {
            Err(ScanError { offset: by, problem: Problem::CutOff })
        }
        Err(ScanError { offset, problem }) => Err(ScanError { offset: offset + by, problem }),
    }
}

fn elements(input: &[u8], events: &[Event]) -> Vec<String> {
    let spans = events.iter().filter_map(|event| match event {
        Event::Element(span) => Some(span.clone()),
        Event::Member { .. } => None,
    });
    spans.map(|span| String::from_utf8_lossy(&input[span]).into_owned()).collect()
}

#[test]
fn reports_elements() {
    let check = |input: &str, expected: &[&str]| {
        let events = scan_every_way(input.as_bytes()).expect(input);
        assert_eq!(elements(input.as_bytes(), &events), expected, "{input}");
    };
    check("[]", &[]);
    check(" \r\n\t[ \n ] \t\r\n", &[]);
    check("[1]", &["1"]);
    check("[1,2]", &["1", "2"]);
    check("[ 1 , -0.5e+10 ,0, 1E5,1.25e-3 ]", &["1", "-0.5e+10", "0", "1E5", "1.25e-3"]);
    check(
        "[10,[0,20,3.5,-4,1e5],{\"a\":12345678901234567890}]",
        &["10", "[0,20,3.5,-4,1e5]", "{\"a\":12345678901234567890}"],
    );
    check("[true,false,null]", &["true", "false", "null"]);
    check(r#"["",[],{}]"#, &[r#""""#, "[]", "{}"]);
    check(r#"["a,b]",{"x":"]}"},[[1],[{"y":[]}]]]"#, &[r#""a,b]""#, r#"{"x":"]}"}"#, r#"[[1],[{"y":[]}]]"#]);
    check(r#"["\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"]"#, &[r#""\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00""#]);
    check(
        "[\"é\u{800}\u{ffff}\u{10000}\u{10ffff}\u{7f}\"]",
        &["\"é\u{800}\u{ffff}\u{10000}\u{10ffff}\u{7f}\""],
    );
    check(r#"["\ud800"]"#, &[r#""\ud800""#]);
    check(
        r#"[{"code":"a","n":{"code":"b"}} , {"code":1}]"#,
        &[r#"{"code":"a","n":{"code":"b"}}"#, r#"{"code":1}"#],
    );
}

#[test]
fn reports_own_members_only() {
    let check = |input: &str, expected: &[(&str, &str)]| {
        let events = scan_every_way(input.as_bytes()).expect(input);
        let members: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Member { name, value } => Some((NAMES[*name], &input[value.clone()])),
                Event::Element(_) => None,
            })
            .collect();
        assert_eq!(members, expected, "{input}");
    };
    check(r#"[{"code":"a","buy_url":null}]"#, &[("code", r#""a""#), ("buy_url", "null")]);
    check(r#"[{ "code" : 12 , "buy_url" : [ 1 ] }]"#, &[("code", "12"), ("buy_url", "[ 1 ]")]);
    check(r#"[{"x":{"code":"n"},"y":[{"code":"n"}],"code":{"code":"n"}}]"#, &[("code", r#"{"code":"n"}"#)]);
    check(r#"[{"code":"a","code":"b"}]"#, &[("code", r#""a""#), ("code", r#""b""#)]);
    check(r#"[{"\u0063ode":"a","buy\u005furl":"u"}]"#, &[("code", r#""a""#), ("buy_url", r#""u""#)]);
    check(r#"[{"Code":1,"cod":2,"codes":3,"":4,"x":"code"}]"#, &[]);
    check(r#"[["code","x"],"code",[{"code":1}]]"#, &[]);
    check(r#"[{"code":-1.5e3},{"code":true}]"#, &[("code", "-1.5e3"), ("code", "true")]);
    let long = "k".repeat(500);
    check(&format!(r#"[{{"{long}":1,"code":2}}]"#), &[("code", "2")]);
}

#[test]
fn finds_the_longest_name_at_every_split() {
    let name: String = "top_packages".bytes().map(|byte| format!("\\u00{byte:02x}")).collect();
    let input = format!("[{{\"{name}\" : 1,\"{name}x\":2}}]");
    assert_eq!(name.len(), MAX_NAME);
    for path in ScanPath::all() {
        for at in 0..input.len() {
            let mut scanner = Scanner::new(&["top_packages"]).on(path);
            let mut events = Vec::new();
            for part in [&input[..at], &input[at..at + 1], &input[at + 1..]] {
                scanner.push(part.as_bytes(), |event| events.push(event)).expect("well-formed");
            }
            assert_eq!(events[0], Event::Member { name: 0, value: 79..80 }, "split at {at}");
            assert_eq!(events.len(), 2, "split at {at}");
        }
    }
}

#[test]
fn refuses_what_is_no_array() {
    use Problem as P;
    let check = |input: &[u8], problem: Problem, offset: usize| {
        let error = scan_every_way(input).expect_err(&String::from_utf8_lossy(input));
        assert_eq!((error.problem, error.offset), (problem, offset), "{}", String::from_utf8_lossy(input));
    };
    check(b"", P::Empty, 0);
    check(b"  ", P::CutOff, 2);
    check(b"<html></html>", P::NotAnArray, 0);
    check(b"{}", P::NotAnArray, 0);
    check(b"null", P::NotAnArray, 0);
    check(b"12", P::NotAnArray, 0);
    check(b"]", P::NotAnArray, 0);
    check(b",", P::NotAnArray, 0);
    check(b"\"\\x", P::NotAnArray, 0);
    check(b"\xff", P::NotAnArray, 0);
    check(b"[]1", P::Trailing, 2);
    check(b"[] :", P::Trailing, 3);
    check(b"[]\xff", P::Trailing, 2);
    check(b"\xef\xbb\xbf[]", P::NotAnArray, 0);
    check(b"\0[]", P::NotAnArray, 0);
    check(b"[", P::CutOff, 1);
    check(b"[1", P::CutOff, 2);
    check(b"[1,", P::CutOff, 3);
    check(b"[{\"a\":", P::CutOff, 6);
    check(b"[\"a", P::CutOff, 3);
    check(b"[tru", P::CutOff, 4);
    check(b"[1,]", P::Expected("a value"), 3);
    check(b"[,1]", P::Expected("a value"), 1);
    check(b"[1,,2]", P::Expected("a value"), 3);
    check(b"[1 2]", P::Expected("`,` or `]`"), 3);
    check(b"[{}{}]", P::Expected("`,` or `]`"), 3);
    check(b"[\"a\"\"b\"]", P::Expected("`,` or `]`"), 4);
    check(b"[1}", P::Expected("`,` or `]`"), 2);
    check(b"[[1,2}]", P::Expected("`,` or `]`"), 5);
    check(b"[{\"a\":1]", P::Expected("`,` or `}`"), 7);
    check(b"[{\"a\" 1}]", P::Expected("`:`"), 6);
    check(b"[{\"a\":1,}]", P::Expected("a member name"), 8);
    check(b"[{a:1}]", P::Expected("a member name or `}`"), 2);
    check(b"[{1 :1}]", P::Expected("a member name or `}`"), 2);
    check(b"[{\"code\":1,2 :3}]", P::Expected("a member name"), 11);
    check(b"[{1:1}]", P::Expected("a member name or `}`"), 2);
    check(b"[{\"a\":}]", P::Expected("a value"), 6);
    check(b"[}", P::Expected("a value"), 1);
    check(b"[{]", P::Expected("a member name or `}`"), 2);
    check(b"[] []", P::Trailing, 3);
    check(b"[]]", P::Trailing, 2);
    check(b"[],", P::Trailing, 2);
    check(b"[]\0", P::Trailing, 2);
    check(b"[01]", P::Expected("`,` or `]`"), 2);
    check(b"[-]", P::Number, 2);
    check(b"[-a]", P::Number, 2);
    check(b"[1.]", P::Number, 3);
    check(b"[.5]", P::Expected("a value"), 1);
    check(b"[1.e1]", P::Number, 3);
    check(b"[1e]", P::Number, 3);
    check(b"[1e+]", P::Number, 4);
    check(b"[+1]", P::Expected("a value"), 1);
    check(b"[[00]]", P::Expected("`,` or `]`"), 3);
    check(b"[{\"a\":{\"b\":12,\"c\":012}}]", P::Expected("`,` or `}`"), 19);
    check(b"[[12x]]", P::Expected("`,` or `]`"), 4);
    check(b"[[1.x]]", P::Number, 4);
    check(b"[[12 3]]", P::Expected("`,` or `]`"), 5);
    check(b"[[12[3]]]", P::Expected("`,` or `]`"), 4);
    check(b"[[12\"3\"]]", P::Expected("`,` or `]`"), 4);
    check(b"[{\"a\":1 12:3}]", P::Expected("`,` or `}`"), 8);
    check(b"[{\"a\":{}:1}]", P::Expected("`,` or `}`"), 8);
    check(b"[{\"a\":[]:1}]", P::Expected("`,` or `}`"), 8);
    check(b"[0x1]", P::Expected("`,` or `]`"), 2);
    check(b"[NaN]", P::Expected("a value"), 1);
    check(b"[Infinity]", P::Expected("a value"), 1);
    check(b"[1a]", P::Expected("`,` or `]`"), 2);
    check(b"[True]", P::Expected("a value"), 1);
    check(b"[trux]", P::Literal, 4);
    check(b"[nul]", P::Literal, 4);
    check(b"[nulll]", P::Expected("`,` or `]`"), 5);
    check(b"['a']", P::Expected("a value"), 1);
    check(b"[\"\\x\"]", P::Escape, 3);
    check(b"[\"\\u12g4\"]", P::Escape, 6);
    check(b"[\"\\u123\"]", P::Escape, 7);
    check(b"[\"\\U1234\"]", P::Escape, 3);
    check(b"[\"a\nb\"]", P::Control, 3);
    check(b"[\"a\tb\"]", P::Control, 3);
    check(b"[\"\0\"]", P::Control, 2);
    check(b"[\"\x1f\"]", P::Control, 2);
    check(b"[\x0c]", P::Expected("a value"), 1);
    check(b"[\xc2\xa0]", P::Expected("a value"), 1);
    check(b"[\"\x80\"]", P::Utf8, 2);
    check(b"[\"\xff\"]", P::Utf8, 2);
    check(b"[\"\xc3\"]", P::Utf8, 3);
    check(b"[\"\xc0\xaf\"]", P::Utf8, 2);
    check(b"[\"\xe0\x80\xaf\"]", P::Utf8, 3);
    check(b"[\"\xed\xa0\x80\"]", P::Utf8, 3);
    check(b"[\"\xf0\x80\x80\x80\"]", P::Utf8, 3);
    check(b"[\"\xf4\x90\x80\x80\"]", P::Utf8, 3);
    check(b"[\"\xf5\x80\x80\x80\"]", P::Utf8, 2);
    check(b"[{\"\xff\":1}]", P::Utf8, 3);
    check(b"[// comment\n]", P::Expected("a value"), 1);
    check(b"[]\"a\"", P::Trailing, 2);
    check(b"[]\"a", P::Trailing, 2);
    check(b"[\"a\" \"b\"]", P::Expected("`,` or `]`"), 5);
    check(b"[1\"a\"]", P::Expected("`,` or `]`"), 2);
    check(b"[\"a\"1]", P::Expected("`,` or `]`"), 4);
    check(b"[\"a\"\x0c]", P::Expected("`,` or `]`"), 4);
    check(b"[{\"a\",1}]", P::Expected("`:`"), 5);
    check(b"[{\"a\"}]", P::Expected("`:`"), 5);
    check(b"[{\"a\":\"b\":1}]", P::Expected("`,` or `}`"), 9);
    check(b"[{\"a\":\"b\"]", P::Expected("`,` or `}`"), 9);
    check(b"[\"a\"}", P::Expected("`,` or `]`"), 4);
    check(b"[\\\"a\"]", P::Expected("a value"), 1);
    check(b"\"a\"", P::NotAnArray, 0);
    check(b"\"a\" ", P::NotAnArray, 0);
    check(b"[\"\\", P::CutOff, 3);
    check(b"[\"\xc3", P::CutOff, 3);
    check(b"[\"\\\x01\"]", P::Escape, 3);
    check(b"[\"\\\xff\"]", P::Escape, 3);
    check(b"[\"\\u00\xc3\xa9\"]", P::Escape, 6);
    check(b"[\"\xc3\x01\"]", P::Utf8, 3);
    check(b"[\xff]", P::Expected("a value"), 1);
    check(b"[1\xff]", P::Expected("`,` or `]`"), 2);
}

/// The scalar before ends with one block, the next block has none, and the last one begins with a third
/// block.
#[test]
fn scalars_begin_anew_behind_a_block_without_any() {
    let check = |last: &str, expected: bool| {
        let text = "a".repeat(BLOCK_LEN - 6);
        let input = format!("{}[[12,[\"{text}\"],{last}]]", " ".repeat(BLOCK_LEN - 4));
        assert_eq!(input.find(last), Some(2 * BLOCK_LEN));
        assert_eq!(scan([input.as_bytes()]).is_ok(), expected, "{input}");
    };
    check("34", true);
    check("x4", false);
    check("04", false);
}

#[test]
fn nests_to_the_limit_and_no_deeper() {
    let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
    let objects = |depth: usize| [b"[".to_vec(), b"{\"a\":".repeat(depth), b"1".to_vec()].concat();
    assert!(scan([nested(MAX_DEPTH).as_slice()]).is_ok());
    let error = scan([nested(MAX_DEPTH + 1).as_slice()]).expect_err("too deep");
    assert_eq!(error, ScanError { offset: MAX_DEPTH, problem: Problem::TooDeep });
    assert_eq!(scan([nested(200_000).as_slice()]).expect_err("too deep").problem, Problem::TooDeep);
    assert_eq!(scan([objects(200_000).as_slice()]).expect_err("too deep").problem, Problem::TooDeep);
}

#[test]
fn elements_have_a_limit() {
    let array = |len: usize| format!("[1,\"{}\",2]", "x".repeat(len)).into_bytes();
    // The comma and two quotes count as well.
    assert!(scan([array(MAX_ELEMENT - 3).as_slice()]).is_ok());
    let whole = scan([array(MAX_ELEMENT - 2).as_slice()]).expect_err("too large");
    assert_eq!(whole.problem, Problem::ElementTooLarge);
    assert_eq!(scan(array(MAX_ELEMENT - 2).chunks(1000)).expect_err("too large"), whole);
    let blanks = [b"[1".to_vec(), b" ".repeat(MAX_ELEMENT + 1)].concat();
    assert_eq!(scan(blanks.chunks(4096)).expect_err("too large").problem, Problem::ElementTooLarge);
}

#[test]
fn elements_can_be_counted() {
    let count = |limit: usize| {
        let mut scanner = Scanner::new(NAMES).limited(limit);
        scanner.push(b"[[1,2,3],{},0]", |_| ()).and_then(|()| scanner.finish())
    };
    assert_eq!(count(3), Ok(()));
    assert_eq!(count(2), Err(ScanError { offset: 13, problem: Problem::TooMany }));
}

#[test]
fn an_error_is_final() {
    let mut scanner = Scanner::new(NAMES);
    let error = scanner.push(b"[x", |_| ()).expect_err("no value");
    assert_eq!(scanner.push(b"1]", |_| ()), Err(error.clone()));
    assert_eq!(scanner.finish(), Err(error));
}

/// What serde_json takes for an array of anything, strictly and without a depth limit.
fn serde_accepts(input: &[u8]) -> bool {
    std::str::from_utf8(input).is_ok_and(|text| serde_json::from_str::<Vec<IgnoredAny>>(text).is_ok())
}

fn chunks(input: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = input;
    let mut out = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            return out;
        }
        let (chunk, tail) = rest.split_at((*size).min(rest.len()));
        out.push(chunk.to_vec());
        rest = tail;
    }
    out
}

/// JSON values with the names that matter, spelled in more than one way.
fn json(depth: u32) -> BoxedStrategy<String> {
    let name = prop_oneof![
        Just("code".to_owned()),
        Just("buy_url".to_owned()),
        Just(r"\u0063ode".to_owned()),
        "[a-z\\u{80}-\\u{3000}]{0,6}",
    ];
    let space = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r ")];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a string")),
        Just(r#""https:\/\/go.plesk.com\/buy""#.to_owned()),
        Just(r#""\ud83d\ude00\u00e9\\\"""#.to_owned()),
    ];
    leaf.prop_recursive(depth, 40, 6, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..5), space.clone())
            .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},{s}"))));
        let object =
            (prop::collection::vec((name.clone(), inner), 0..6), space.clone()).prop_map(|(members, s)| {
                let members: Vec<_> =
                    members.iter().map(|(n, v)| format!("{s}\"{n}\"{s}:{s}{v}{s}")).collect();
                format!("{{{}}}", members.join(","))
            });
        prop_oneof![array, object]
    })
    .boxed()
}

proptest! {
    #[test]
    fn agrees_with_the_tree(items in prop::collection::vec(json(4), 0..8), sizes in prop::collection::vec(1usize..40, 1..6)) {
        let input = format!("[{}]", items.join(" ,"));
        let events = scan(chunks(input.as_bytes(), &sizes).iter().map(Vec::as_slice)).expect("well-formed");
        let tree: Vec<Value> = serde_json::from_str(&input).expect("well-formed");
        let mut tree = tree.iter();
        let mut members: [Option<Value>; 2] = [None, None];
        for event in events {
            match event {
                Event::Member { name, value } => {
                    members[name] = Some(serde_json::from_str(&input[value]).expect("a value"));
                }
                Event::Element(span) => {
                    let element: Value = serde_json::from_str(&input[span]).expect("an element");
                    prop_assert_eq!(Some(&element), tree.next());
                    for (name, member) in NAMES.iter().zip(&mut members) {
                        let member = member.take();
                        prop_assert_eq!(member.as_ref(), element.get(name));
                    }
                }
            }
        }
        prop_assert_eq!(tree.next(), None);
    }

    #[test]
    fn accepts_what_serde_json_accepts(
        items in prop::collection::vec(json(3), 0..4),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4),
        size in 1usize..20,
    ) {
        let mut input = format!("[{}]", items.join(",")).into_bytes();
        for (at, byte, kind) in edits {
            let at = at.index(input.len());
            // Mostly bytes that mean something in JSON.
            let byte = *b"[]{},:\"\\0-.eEtfn \x00\xff\x80\xc3".get(usize::from(byte) % 32).unwrap_or(&byte);
            match kind {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                _ if input.len() > 1 => drop(input.remove(at)),
                _ => {}
            }
        }
        let accepted = scan([input.as_slice()]);
        prop_assert_eq!(accepted.is_ok(), serde_accepts(&input), "{:?}: {:?}", String::from_utf8_lossy(&input), accepted);
        prop_assert_eq!(scan(input.chunks(size)), accepted);
    }

    #[test]
    fn survives_any_bytes(input in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..20) {
        let input = [b"[".as_slice(), &input].concat();
        let whole = scan([input.as_slice()]);
        prop_assert_eq!(whole.is_ok(), serde_accepts(&input));
        prop_assert_eq!(scan(input.chunks(size)), whole);
    }
}
