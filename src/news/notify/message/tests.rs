//! Tests of what receivers are sent.

use serde_json::Value;

use super::*;

const AT: SystemTime = SystemTime::UNIX_EPOCH;

fn change(change: Kind, code: &str, name: Option<&str>, was: Option<SellerName>) -> Change {
    Change {
        change,
        code: code.to_owned(),
        renamed_from: (change == Kind::Renamed).then(|| format!("old-{code}")),
        name: name.map(str::to_owned),
        seller: SellerName::Plesk,
        was,
        whitelisted: true,
        shops: Vec::new(),
    }
}

fn changes() -> Vec<Change> {
    let shops = vec!["default".to_owned(), "gold".to_owned()];
    vec![
        change(Kind::New, "a", Some("Tool A & more"), None),
        Change { shops, ..change(Kind::Gone, "b", None, None) },
        change(Kind::Switched, "c", Some(" "), Some(SellerName::Free)),
        change(Kind::Renamed, "d", Some("日本 ツール"), Some(SellerName::Vendor)),
    ]
}

/// What a vendor might write to be heard.
fn hostile() -> Change {
    let name = "<!channel> @here @everyone <https://evil.example|x> [x](https://evil.example) ![](//t) `*_~";
    change(Kind::New, "<users/all>\u{1b}[2J\n", Some(name), None)
}

fn parsed(format: NotifyFormat, occasion: Occasion<'_>) -> Value {
    serde_json::from_slice(&body(format, occasion, AT)).expect("JSON")
}

fn changed(format: NotifyFormat, changes: &[Change]) -> Value {
    parsed(format, Occasion::Changed { api: "v4", changes })
}

#[test]
fn says_what_changed() {
    let mut changes = changes();
    let said = "Plesk's extension catalog (v4): new a (plesk), gone b (plesk, whitelisted), \
                switched c (plesk, was free), renamed old-d to d (plesk, was vendor, whitelisted)";
    assert_eq!(text("v4", &changes), said);
    assert!(text("v4", &[hostile()]).contains(r"new <users/all>\u{1b}[2J\n ("));
    changes.extend((0..20).map(|n| change(Kind::New, &n.to_string(), None, None)));
    assert!(text("v4", &changes).ends_with("new 15 (plesk) and 4 more"), "{}", text("v4", &changes));
}

#[test]
fn programs_get_every_member() {
    let mut generic = changed(NotifyFormat::Generic, &changes());
    let members = generic.as_object_mut().expect("an object");
    let id = members.remove("id").expect("an id");
    assert_eq!(id.as_str().map(str::len), Some(32));
    let listed = members.remove("changes").expect("changes");
    assert_eq!(listed, serde_json::to_value(changes()).expect("JSON"));
    let rest = json!({
        "text": text("v4", &changes()), "event": "catalog-changed", "format": 2, "at": "1970-01-01T00:00:00Z",
        "api": "v4", "omitted": 0,
    });
    assert_eq!(generic, rest);
    let many: Vec<_> = (0..1001).map(|n| change(Kind::New, &n.to_string(), None, None)).collect();
    let generic = changed(NotifyFormat::Generic, &many);
    assert_eq!((&generic["changes"][999]["code"], &generic["omitted"]), (&"999".into(), &1.into()));
    assert_eq!(generic["changes"][1000], Value::Null);
}

#[test]
fn chats_get_a_line_a_change() {
    let said = "Plesk's extension catalog (v4): 1 new, 1 gone, 1 switched, 1 renamed\n\
                • gone: `b`, sold by Plesk, whitelisted (default, gold)\n\
                • renamed: `old-d` to `d` (`日本 ツール`), sold by Plesk, before: sold by its vendor, whitelisted\n\
                • new: `a` (`Tool A & more`), sold by Plesk\n\
                • switched: `c`, sold by Plesk, before: free";
    assert_eq!(changed(NotifyFormat::Text, &changes()), json!({ "text": said }));
    let discord = json!({ "content": said, "allowed_mentions": { "parse": [] }, "flags": 4 });
    assert_eq!(changed(NotifyFormat::Discord, &changes()), discord);
    let runs = said.replace('`', "");
    let mut runs = runs.lines();
    let headline = runs.next().expect("a line");
    let block = |line| json!({ "type": "RichTextBlock", "spacing": "Small", "inlines": [{ "type": "TextRun", "text": line }] });
    let headline = json!({ "type": "TextBlock", "text": headline, "weight": "Bolder", "wrap": true });
    let blocks: Vec<_> = [headline].into_iter().chain(runs.map(block)).collect();
    let teams = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": blocks,
            },
        }],
    });
    assert_eq!(changed(NotifyFormat::Teams, &changes()), teams);
}

#[test]
fn a_vendor_mentions_nobody_and_marks_nothing_up() {
    let expected = "• new: `‹users/all›\\u{1b}[2J` (`‹!channel› ＠here ＠everyone ‹https://evil.example|x› \
                    [x](https://evil.example) ![](//t) '*_~`), sold by Plesk";
    let message = changed(NotifyFormat::Text, &[hostile()]);
    assert_eq!(message["text"].as_str().and_then(|text| text.lines().nth(1)), Some(expected));
    let text = changed(NotifyFormat::Discord, &[hostile()])["content"].to_string();
    // Four quotes around two texts: none of what is between ends the code.
    assert_eq!((text.matches('`').count(), text.matches(['<', '>', '@']).count()), (4, 0), "{text}");
    // A run has no markup, so there it stands as it is.
    let teams = changed(NotifyFormat::Teams, &[hostile()]);
    let body = &teams["attachments"][0]["content"]["body"];
    assert!(body[1]["inlines"][0]["text"].as_str().is_some_and(|text| text.contains("<!channel> @here")));
    assert_eq!(body.as_array().map(Vec::len), Some(2));
}

#[test]
fn long_messages_are_cut_at_a_line() {
    let limits = [(NotifyFormat::Text, 4000), (NotifyFormat::Discord, 2000), (NotifyFormat::Teams, 28 << 10)];
    // In characters, and of a card in bytes.
    let size = |json: &Value| match [&json["text"], &json["content"]].into_iter().find_map(Value::as_str) {
        Some(text) => units(text),
        None => json.to_string().len(),
    };
    let lines_of = |json: &Value| {
        let card = &json["attachments"][0]["content"]["body"];
        let runs = card.as_array().into_iter().flatten().skip(1);
        let runs = runs.map(|block| block["inlines"][0]["text"].as_str().unwrap_or_default().to_owned());
        let texts = [&json["text"], &json["content"]].into_iter().filter_map(Value::as_str);
        texts.flat_map(|text| text.lines().skip(1)).map(str::to_owned).chain(runs).collect::<Vec<_>>()
    };
    for word in ["x".to_owned(), "x".repeat(300), "🦀".repeat(300), "\"\\".repeat(100), "日".repeat(300)] {
        for (format, limit) in limits {
            for count in 1..120 {
                let mut many = vec![change(Kind::New, &word, Some(&word), None); count];
                many.push(change(Kind::Gone, "the-one-that-matters", None, None));
                let json = changed(format, &many);
                assert!(size(&json) <= limit, "{format:?} {count} {}: {}", word.len(), size(&json));
                let lines = lines_of(&json);
                assert!(lines[0].contains("the-one-that-matters"), "{lines:?}");
                let told = lines.iter().filter(|line| line.starts_with("• ")).count();
                let (rest, more) = (lines.len() - told, count + 1 - told);
                assert!(told >= 3.min(count) && told <= MAX_LINES, "{format:?} {count}: {told}");
                match more {
                    0 => assert_eq!(rest, 0),
                    more => assert!(lines[told].starts_with(&format!("and {more} more: ")), "{lines:?}"),
                }
            }
        }
    }
    let line = line(&change(Kind::New, &"x".repeat(101), None, None), as_code);
    assert_eq!(line, format!("• new: `{}…`, sold by Plesk", "x".repeat(100)));
}

#[test]
fn tests_say_that_they_are() {
    let test = |format| parsed(format, Occasion::Test { host: "a`<b" });
    let headline = "Test message from catalog-proxy";
    let said = |host| format!("It runs on {host}, and tells here what changes in Plesk's extension catalog.");
    let mut generic = test(NotifyFormat::Generic);
    generic.as_object_mut().expect("an object").remove("id");
    let expected = json!({
        "text": format!("{headline}. {}", said("a`<b")), "event": "test", "format": 2, "at": "1970-01-01T00:00:00Z", "api": "v4",
        "changes": [], "omitted": 0,
    });
    assert_eq!(generic, expected);
    let chat = format!("{headline}\n{}", said("`a'‹b`"));
    assert_eq!(test(NotifyFormat::Text)["text"], chat);
    assert_eq!(test(NotifyFormat::Discord)["content"], chat);
    let teams = test(NotifyFormat::Teams);
    assert_eq!(teams["attachments"][0]["content"]["body"][1]["inlines"][0]["text"], said("a`<b"));
}
