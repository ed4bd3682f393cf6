//! Several edits in one, their typed outcomes, and refusals. The table of effects is that of the commands' texts.

use super::*;
use crate::feed::listing;
use crate::feed::packages::PackagesIndex;
use crate::place::Place;

const CATALOG: &str = r#"[
    {"code":"xovi","name":"XOVI \u001b[31m","buy_url":"https://go.plesk.com/a"},
    {"code":"docker","name":"Docker","buy_url":"https://go.plesk.com/b"},
    {"code":"offer-1","buy_url":"https://go.plesk.com/c"},
    {"code":"git","name":"Git"}
]"#;

const SHOW: Verb = Verb::Place(Verdict::Shown);
const RETIRE: Verb = Verb::Place(Verdict::Retired);
const HIDE: Verb = Verb::Place(Verdict::Hidden);

fn apply(text: &str, edits: &[(Verb, &str)], hosts_key: HostsKey) -> Result<EditedList, EditRefusal> {
    let body = bytes::Bytes::from(CATALOG);
    let packages = listing::list(&body, &PackagesIndex::of(&body).expect("a feed"));
    let edits: Vec<_> =
        edits.iter().map(|(verb, code)| CodeEdit { verb: *verb, code: (*code).to_owned() }).collect();
    let context = EditContext {
        catalog: Some(&packages),
        accepted: AcceptedCodes::Known,
        hosts_key,
        today: Day::parse("2026-11-29").expect("a day"),
    };
    edit(text, &edits, &context)
}

#[test]
fn several_verbs_are_one_edit() {
    let text = "extensions = [\n  \"docker\", # for Bob\n]\nhidden = [\n  \"offer-1\",\n]\n";
    let edits = [(SHOW, "xovi"), (RETIRE, "docker"), (HIDE, "git"), (Verb::Forget, "offer-1")];
    let edited = apply(text, &edits, HostsKey::Allowed).expect("an edit");
    assert_eq!(
        edited.text,
        "extensions = [\n  \"xovi\", # XOVI \u{fffd}[31m\n]\nhidden = [\n  \"git\", # Git\n]\nretired = [\n  \"docker\", # for Bob\n]\n"
    );
    let effects: Vec<_> =
        edited.outcomes.iter().map(|outcome| (outcome.effect.clone(), outcome.line)).collect();
    let placed = |verdict, was, was_under: &[&'static str]| CodeEffect::Placed {
        verdict,
        was: Some(was),
        was_under: was_under.to_vec(),
    };
    let by_default = StateByDefault { verdict: Verdict::Hidden, star: None };
    assert_eq!(
        effects,
        [
            (placed(Verdict::Shown, Verdict::Hidden, &[]), Some(2)),
            (placed(Verdict::Retired, Verdict::Shown, &["extensions"]), Some(8)),
            (placed(Verdict::Hidden, Verdict::Shown, &[]), Some(5)),
            (CodeEffect::Forgotten { now: Some(by_default), was: Some(Verdict::Hidden) }, Some(5)),
        ]
    );
    assert_eq!(
        edited.outcomes[0].subject,
        EditSubject::Package { name: Some("XOVI \u{fffd}[31m".to_owned()) }
    );
    assert_eq!(edited.stranded, [Stranded { code: "git".to_owned(), packages: 1 }]);
    // Nothing to do gives the same text.
    let again = apply(&edited.text, &edits, HostsKey::Allowed).expect("an edit");
    assert_eq!((&again.text, again.stranded), (&edited.text, Vec::new()));
    assert_eq!(
        apply("# none\n", &[], HostsKey::Allowed).map(|edited| edited.text),
        Ok("# none\n".to_owned())
    );
}

#[test]
fn one_refusal_refuses_all() {
    let check = |text: &str, edits: &[(Verb, &str)], hosts_key, expected: EditRefusal| {
        assert_eq!(apply(text, edits, hosts_key), Err(expected), "{edits:?} in {text}");
    };
    let unknown = |code: &str, missing_in, meant: Option<&str>| UnknownCode {
        code: code.to_owned(),
        missing_in,
        meant: meant.map(str::to_owned),
    };
    let (none, allowed) = ("extensions = []\n", HostsKey::Allowed);
    check(
        "extensions = [\"gone\"]\n",
        &[(SHOW, "docker"), (HIDE, "dokcer"), (RETIRE, "nothing"), (Verb::Forget, "gonne")],
        allowed,
        EditRefusal::Unknown(vec![
            unknown("dokcer", MissingIn::Catalog, Some("docker")),
            unknown("nothing", MissingIn::Catalog, None),
            unknown("gonne", MissingIn::Whitelist, Some("gone")),
        ]),
    );
    check(
        none,
        &[(SHOW, "docker"), (HIDE, "git"), (RETIRE, "docker")],
        allowed,
        EditRefusal::TwoVerbs("docker".to_owned()),
    );
    check(none, &[(SHOW, "docker"), (HIDE, "a*b")], allowed, EditRefusal::Star("a*b".to_owned()));
    check("[[extensions]]\ncode = \"git\"", &[(HIDE, "git")], allowed, EditRefusal::Layout);
    // What the proxy would not read is not written, and the place is that in the file.
    let invalid = |text: &str, hosts_key, line, column| {
        let Err(EditRefusal::Invalid(finding)) = apply(text, &[(SHOW, "docker")], hosts_key) else {
            panic!("no refusal: {text}")
        };
        assert_eq!(finding.place, Place { line, column }, "{finding}");
    };
    invalid("extensions = [\n  1]", allowed, 2, 3);
    invalid("extensions = []\nhosts = [\"a.example\"]\n", HostsKey::Refused, 4, 10);
    apply("extensions = []\nhosts = [\"a.example\"]\n", &[(SHOW, "docker")], allowed).expect("an edit");
    let large = format!("# {}\nextensions = []\n", "x".repeat(1 << 20));
    check(&large, &[(SHOW, "docker")], allowed, EditRefusal::TooLarge);
}
