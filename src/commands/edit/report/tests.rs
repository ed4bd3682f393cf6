//! What is said about edits, and which of them are refused.

use super::*;
use crate::editing::{self, AcceptedCodes, CodeEdit, EditContext, Verb};
use crate::feed::listing;
use crate::feed::packages::PackagesIndex;
use crate::policy::{Day, HostsKey};

const CATALOG: &str = r#"[
    {"code":"xovi","name":"XOVI NOW ","buy_url":"https://go.plesk.com/a"},
    {"code":"docker","name":"Docker","buy_url":"https://go.plesk.com/b"},
    {"code":"offer-1","name":"One","buy_url":"https://go.plesk.com/c"},
    {"code":"offer-2","name":"Two","buy_url":"https://go.plesk.com/d"},
    {"code":"git","name":"Git"},
    {"code":"litespeed","name":"LiteSpeed","buy_url":"https://litespeed.example/"}
]"#;

const ALLOW: Verb = Verb::Place(Verdict::Shown);
const RETIRE: Verb = Verb::Place(Verdict::Retired);
const HIDE: Verb = Verb::Place(Verdict::Hidden);
const FORGET: Verb = Verb::Forget;

/// What an edit said: a line a code, and warnings.
#[derive(Debug)]
struct Said {
    done: String,
    warnings: Vec<String>,
}

/// How an edit is set up.
#[derive(Clone, Copy)]
struct Setup {
    has_catalog: bool,
    force: bool,
}

const USUAL: Setup = Setup { has_catalog: true, force: false };
const FORCED: Setup = Setup { has_catalog: true, force: true };
const BLIND: Setup = Setup { has_catalog: false, force: false };

fn apply(setup: Setup, text: &str, verb: Verb, codes: &[&str]) -> Result<(Said, String), CommandError> {
    let body = CATALOG.into();
    let index = PackagesIndex::of(&body).expect("a feed");
    let packages = listing::list(&body, &index);
    let context = EditContext {
        catalog: setup.has_catalog.then_some(&packages),
        accepted: if setup.force { AcceptedCodes::Any } else { AcceptedCodes::Known },
        hosts_key: HostsKey::Allowed,
        today: Day::parse("2026-11-29").expect("a day"),
    };
    let codes: Vec<_> = codes.iter().map(ToString::to_string).collect();
    let shop = SelectedShop { name: ShopName::default_shop(), path: "w.toml".into() };
    let given = GivenFiles { whitelist: Some("w.toml".into()), ..GivenFiles::default() };
    let edited = editing::edit(text, &CodeEdit::all(verb, &codes), &context)
        .map_err(|refusal| refused(vec![(&shop.path, refusal)], Some("c.json")))?;
    let report = EditReport { given: &given, is_of_several: false };
    let said = Said { done: report.done(&edited, &shop), warnings: report.warnings(&edited, &shop.name) };
    Ok((said, edited.text))
}

#[track_caller]
fn assert_said(setup: Setup, text: &str, verb: Verb, codes: &[&str], expected: &[&str]) {
    let (report, _) = apply(setup, text, verb, codes).expect("an edit");
    let said: Vec<_> = report.done.lines().map(str::to_owned).chain(report.warnings).collect();
    assert_eq!(said, expected, "{verb:?} {codes:?} in {text}");
}

fn warning(code: &str, what: &str) -> String {
    format!(
        "warning: {code}: servers that have {what} get no updates any more; to keep updates: catalog-proxy retire \
         {} --whitelist w.toml",
        if code.ends_with('*') { format!("'{code}'") } else { code.to_owned() }
    )
}

#[test]
fn tells_the_state_before_and_after() {
    let check =
        |text: &str, verb, code: &str, expected: &str| assert_said(USUAL, text, verb, &[code], &[expected]);
    let lists =
        "extensions = [\n  \"docker\",\n  \"offer-*\",\n]\nretired = [\n  \"xovi\",\n]\nhidden = [\"git\"]\n";
    check(lists, ALLOW, "docker", "docker (Docker): already shown, w.toml:2");
    check(lists, ALLOW, "xovi", "xovi (XOVI NOW): shown now (was retired), w.toml:4");
    check(lists, ALLOW, "git", "git (Git): shown now (was hidden), w.toml:4");
    check(
        lists,
        ALLOW,
        "litespeed",
        "litespeed (LiteSpeed): not listed: sold by its vendor, so it is shown whether listed or not",
    );
    check(lists, ALLOW, "offer-1", "offer-1 (One): shown, as before, w.toml:4");
    check(lists, RETIRE, "docker", "docker (Docker): retired now (was shown), w.toml:6");
    check(lists, RETIRE, "xovi", "xovi (XOVI NOW): already retired, w.toml:6");
    check(lists, RETIRE, "litespeed", "litespeed (LiteSpeed): retired now (was shown), w.toml:7");
    check(lists, RETIRE, "offer-*", "offer-* (2 extensions): in retired now (was in extensions), w.toml:6");
    check(lists, HIDE, "git", "git (Git): already hidden, w.toml:8");
    check("extensions = []\n", HIDE, "xovi", "xovi (XOVI NOW): hidden, as before, w.toml:3");
    check("# none\n", ALLOW, "xovi", "xovi (XOVI NOW): shown now (was hidden), w.toml:3");
    check("# none\n", RETIRE, "xovi", "xovi (XOVI NOW): retired now (was hidden), w.toml:4");
    check(
        "extensions = [\"*\"]\n",
        RETIRE,
        "*",
        "* (6 extensions): in retired now (was in extensions), w.toml:3",
    );
    // A star may hide a free one; dates count.
    check(
        "extensions = []\nhidden = [\"g*\"]\n",
        ALLOW,
        "git",
        "git (Git): shown now (was hidden), w.toml:2",
    );
    check(
        "extensions = [\n  { code = \"xovi\", from = 2026-12-01, until = 2027-01-31 },\n]\n",
        RETIRE,
        "xovi",
        "xovi (XOVI NOW): retired now (was hidden), w.toml:4; its dates (from 2026-12-01 until 2027-01-31) are gone",
    );
    check(
        "extensions = [\n  { code = \"git\", until = 2026-11-28 },\n  { code = \"git\", from = 2027-01-31 },\n]\n",
        ALLOW,
        "git",
        "git (Git): shown, as before, w.toml:2; its dates (until 2026-11-28, from 2027-01-31) are gone",
    );
    check(
        "extensions = [\n  \"docker\", \"xovi\", # both\n]\n",
        RETIRE,
        "xovi",
        "xovi (XOVI NOW): retired now (was shown), w.toml:5 (the comment beside it stays)",
    );
}

#[test]
fn forgets_to_what_else_decides() {
    let check =
        |text: &str, code: &str, expected: &str| assert_said(USUAL, text, FORGET, &[code], &[expected]);
    check("extensions = []\n", "docker", "docker (Docker): not named; hidden by default");
    check("extensions = []\n", "git", "git (Git): not named; shown by default");
    check("extensions = [\"o*\"]\n", "offer-1", "offer-1 (One): not named; shown by \"o*\"");
    check("# none\n", "docker", "docker (Docker): not named; hidden by default");
    check(
        "extensions = [\"docker\"]\nunlisted = \"retired\"\n",
        "docker",
        "docker (Docker): no longer named; retired by default now (was shown), w.toml:1",
    );
    check(
        "extensions = [\n  \"offer-*\"]\nhidden = [\n  \"offer-1\", # why\n]\n",
        "offer-1",
        "offer-1 (One): no longer named; shown by \"offer-*\" now (was hidden), w.toml:4 (the comment beside it stays)",
    );
    check(
        "extensions = []\nhidden = [\"docker\"]\n",
        "docker",
        "docker (Docker): no longer named; hidden by default, as before, w.toml:2",
    );
    let said = "docker (Docker): no longer named; hidden by default now (was retired), w.toml:2";
    let text = "extensions = []\nretired = [\"docker\"]\n";
    assert_said(USUAL, text, FORGET, &["docker"], &[said, &warning("docker", "it")]);
    check("extensions = [\"gone\"]\n", "gone", "gone: no longer named, w.toml:1");
    check("extensions = [\"g-*\"]\n", "g-*", "g-* (0 extensions): no longer named, w.toml:1");
}

#[test]
fn warns_before_servers_get_no_updates() {
    let check = |setup, text: &str, verb, codes: &[&str], warnings: &[String]| {
        let (report, _) = apply(setup, text, verb, codes).expect("an edit");
        assert_eq!(report.warnings, warnings, "{verb:?} {codes:?} in {text}");
    };
    let lists = "extensions = [\"docker\", \"offer-*\"]\nretired = [\"xovi\"]\n";
    check(USUAL, lists, HIDE, &["docker"], &[warning("docker", "it")]);
    check(USUAL, lists, HIDE, &["xovi", "git"], &[warning("xovi", "it"), warning("git", "it")]);
    check(USUAL, "# none\n", HIDE, &["litespeed"], &[warning("litespeed", "it")]);
    check(USUAL, "extensions = []", HIDE, &["docker"], &[]);
    check(USUAL, lists, HIDE, &["offer-*"], &[warning("offer-*", "one of 2 extensions")]);
    check(USUAL, lists, FORGET, &["docker", "xovi"], &[warning("docker", "it"), warning("xovi", "it")]);
    check(USUAL, lists, RETIRE, &["docker", "git", "offer-*"], &[]);
    check(USUAL, lists, ALLOW, &["xovi"], &[]);
    check(BLIND, lists, HIDE, &["any"], &[warning("any", "it")]);
    check(BLIND, "extensions = []\nhidden = ['any']", HIDE, &["any"], &[]);
    check(BLIND, lists, RETIRE, &["docker"], &[]);
}

#[test]
fn refuses_unknown_codes() {
    let check = |text: &str, verb, codes: &[&str], expected: &[&str]| {
        let error = apply(USUAL, text, verb, codes).expect_err("a refusal");
        let lines: Vec<_> = error.message.lines().collect();
        let last = "Nothing was changed; --force does it all the same.";
        assert_eq!(lines, [expected, &[last]].concat(), "{verb:?} {codes:?}");
        assert_eq!(error.code, 1);
    };
    let missing = "\"dokcer\" is not in the catalog (c.json); did you mean \"docker\"?";
    for verb in [ALLOW, RETIRE, HIDE] {
        check(
            "extensions = [\"xovi\"]",
            verb,
            &["docker", "dokcer", "nothing"],
            &[missing, "\"nothing\" is not in the catalog (c.json)"],
        );
        check("extensions = []", verb, &["x-*"], &["\"x-*\" is not in the catalog (c.json)"]);
    }
    check(
        "extensions = [\"xovi\"]",
        FORGET,
        &["xov", "dokcer"],
        &["\"xov\" is not named in w.toml; did you mean \"xovi\"?", missing],
    );

    let said = |setup, verb, code: &str, expected: &str| {
        assert_said(setup, "extensions = [\n  \"gone\",\n]\n", verb, &[code], &[expected]);
    };
    // What the file names can be moved, whatever the catalog has.
    said(USUAL, RETIRE, "gone", "gone: in retired now (was in extensions), w.toml:4");
    said(USUAL, ALLOW, "gone", "gone: already in extensions, w.toml:2");
    said(FORCED, ALLOW, "dokcer", "dokcer: in extensions now, w.toml:3");
    said(FORCED, ALLOW, "git", "git (Git): shown, as before, w.toml:3");
    said(FORCED, FORGET, "dokcer", "dokcer: not named");
    said(BLIND, RETIRE, "dokcer", "dokcer: in retired now, w.toml:5");
    said(BLIND, FORGET, "dokcer", "dokcer: not named");
}

#[test]
fn makes_all_edits_or_none() {
    let (report, text) = apply(
        USUAL,
        "extensions = [\n  \"docker\",\n  \"xovi\", # seo\n]\n",
        RETIRE,
        &["docker", "xovi", "git"],
    )
    .expect("an edit");
    assert_eq!(
        text,
        "extensions = [\n]\nretired = [\n  \"docker\",\n  \"xovi\", # seo\n  \"git\", # Git\n]\n"
    );
    // The places are those of the file as it is written.
    let places: Vec<_> = report.done.lines().map(|line| line.rsplit_once(':').expect("a place").1).collect();
    assert_eq!(places, ["4", "5", "6"]);

    let refused = |text: &str, codes: &[&str]| apply(USUAL, text, RETIRE, codes).expect_err("a refusal");
    let error = refused("extensions = []", &["docker", "a*b"]);
    assert_eq!((error.code, error.message.starts_with("\"a*b\": a star stands for")), (2, true), "{error}");
    let error = refused("extensions = [\n  1]", &["docker"]);
    assert_eq!((error.code, error.message.starts_with("w.toml:2:3: expected a code")), (2, true), "{error}");
    let error = refused("[[extensions]]\ncode = \"docker\"", &["docker"]);
    assert_eq!(
        (error.code, error.message.starts_with("w.toml: the file is written in a way")),
        (1, true),
        "{error}"
    );
    // An edit may end a contradiction, but not leave one.
    let contradiction = "extensions = [\"docker\"]\nhidden = [\n  \"docker\"]\n";
    let (report, _) = apply(USUAL, contradiction, RETIRE, &["docker"]).expect("an edit");
    assert_eq!(report.done, "docker (Docker): retired now, w.toml:5\n");
    let error = refused(contradiction, &["xovi"]);
    assert_eq!(
        (error.code, error.message.starts_with("w.toml:3:3: \"docker\" is in `hidden`")),
        (2, true),
        "{error}"
    );
}
