//! All that is wrong with a file, in plain words, each with its line.

use proptest::prelude::*;

use super::*;

/// Loads a file and returns the places and messages of what is wrong.
fn mistakes(text: impl AsRef<[u8]>) -> Vec<(String, String)> {
    let (_file, path) = file(text);
    let typed = settings(&["--config", &path]).expect("arguments");
    let place = |mistake: &ConfigMistake| match &mistake.at {
        Source::File { place, .. } => place.to_string(),
        other => other.to_string(),
    };
    match Config::load(typed) {
        Err(ConfigError::Wrong(mistakes)) => {
            mistakes.iter().map(|mistake| (place(mistake), mistake.message.clone())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_is_told_with_its_place_in_plain_words() {
    let check = |text: &str, place: &str, part: &str| {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].0 == place && found[0].1.contains(part), "{text}: {found:?}");
    };
    // Keys.
    check("fresh-for = \"1m\"\nstale = \"1d\"", "2:1", "unknown key `stale`; did you mean `stale-for`?");
    check("fresh_for = \"1m\"", "1:1", "did you mean `fresh-for`?");
    check("whatever = 1", "1:1", "unknown key `whatever`; `catalog-proxy serve --help` has all");
    check("config = \"x.toml\"", "1:1", "cannot name another");
    check("admin.listen = \"off\"", "1:1", "did you mean `admin-listen`?");
    check("\"a\\u001b\" = 1", "1:1", "unknown key `a\\u{1b}`");
    check("fresh for = \"1m\"", "1:1", "a key has no blanks; did you mean `fresh-for`?");
    check("[server]\nlisten = \":1\"", "1:1", "no sections");
    check("[[server]]\nlisten = \":1\"", "1:1", "no sections");
    check(
        "fresh-for = \"1m\"\n\nfresh-for = \"2m\"",
        "3:1",
        "`fresh-for` is there a second time; the first is in line 1",
    );
    // Units and types.
    check("fresh-for = 10", "1:13", "a duration needs a unit, such as \"10m\"");
    check("fresh-for = 1.5", "1:13", "a duration needs a unit, such as \"1.5m\"");
    check("fresh-for = \"10\"", "1:13", "a duration needs a unit, such as \"10m\"");
    check("fresh-for = \"soon\"", "1:13", "expected a duration such as \"10m\"");
    check("fresh-for = true", "1:13", "expected text in quotes");
    check("fresh-for = [\"1m\"]", "1:13", "expected one value, not a list");
    check("cache-size = 256", "1:14", "a size needs a unit, such as \"256MiB\"");
    check("cache-size = \"256\"", "1:14", "a size needs a unit: 256MiB");
    check("max-connections = \"10\"", "1:19", "a number has no quotes: max-connections = 10");
    check("max-connections = 0", "1:19", "expected a whole number, at least 1");
    check("max-connections = -1", "1:19", "expected a whole number, at least 1");
    check("max-connections = 1.5", "1:19", "expected a whole number, at least 1");
    check("max-connections = 4k", "1:19", "expected a whole number");
    check("max-connections = 99999999999999999999", "1:19", "expected a whole number");
    check("admin-tls = \"true\"\n", "1:13", "expected true or false, without quotes");
    check("admin-tls = 1", "1:13", "expected true or false, without quotes");
    check("admin-tls = yes", "1:13", "expected true or false");
    check("admin-tls = True", "1:13", "expected true or false, in small letters");
    check("log-format = \"xml\"", "1:14", "unknown variant `xml`, expected `text` or `json`");
    check("whitelist = \"\"", "1:13", "the value is empty");
    check("whitelist = { path = \"x\" }", "1:13", "expected text in quotes");
    check("max-feed-size = \"0\"", "1:17", "must be more than 0");
    // Addresses.
    check("listen = 8080", "1:10", "listen = \"0.0.0.0:8080\"");
    check("listen = \"8080\"", "1:10", "8080 is a port alone: expected an address like 0.0.0.0:8080");
    check("listen = \"nowhere\"", "1:10", "expected an address like 0.0.0.0:8080");
    check("listen = \"10.0.0.1\"", "1:10", "10.0.0.1 has no port: expected an address like 10.0.0.1:8080");
    check("listen = 127.0.0.1:8080", "1:10", "a value needs quotes: listen = \"127.0.0.1:8080\"");
    check("listen = :8080   # all", "1:10", "a value needs quotes: listen = \":8080\"");
    check("listen = localhost:8080", "1:10", "a value needs quotes: listen = \"localhost:8080\"");
    check("listen = [\":1\", 2]", "1:17", "an address needs quotes");
    check("listen = [\n\":1\",\n\"x\"]", "3:1", "expected an address");
    check("listen = [127.0.0.1:8080]", "1:10", "each value of a list needs quotes");
    check("listen = \":1\", \":2\"", "1:10", "several values need brackets: listen = [\":1\", \":2\"]");
    check("admin-listen = \"x\"", "1:16", ", or `off`");
    // Quotes.
    check("fresh-for = “10m”", "1:13", "curly quotes: write straight ones, fresh-for = \"10m\"");
    check("fresh-for = ‘10m’", "1:13", "curly quotes");
    check("listen = [“:1”, \":2\"]", "1:10", "curly quotes");
    check("fresh-for = \"10m", "1:13", "the closing \" is missing");
    check("fresh-for = '10m", "1:13", "the closing ' is missing");
    check("whitelist = /etc/x.toml", "1:13", "a value needs quotes: whitelist = \"/etc/x.toml\"");
    check("whitelist = \"C:\\Users\\x.toml\"", "1:13", "use single quotes");
    check("log-level = \"\"\"\ninfo\n", "1:13", "not closed with \"\"\"");
    // Shape.
    check("fresh-for: \"10m\"", "1:10", "stands `=`, not `:`");
    check("fresh-for \"10m\"", "1:10", "`=` and a value are missing behind `fresh-for`");
    check("fresh-for =", "1:11", "a value is missing behind `=`");
    check("fresh-for = # soon", "1:11", "a value is missing behind `=`");
    check("= \"10m\"", "1:1", "a key is missing before `=`");
    check("The settings", "1:1", "expected key = value");
    check("listen = [\n\":1\",\n", "1:10", "this list is not closed with `]`");
    check("listen = [\n\":1\"\n\":2\"]", "3:1", "missing comma");
    check("upstream = \"nowhere\"", "1:12", "\"nowhere\" has no scheme or host");
    check("notify-url = 'x'", "1:14", "not an http or https URL");
    check("tls-key = \"key.pem\"", "1:11", "belong together");
    // What depends on a value that is wrong is not told as well.
    check("tls-cert = \"x\"\ntls-key = y\nadmin-tls = true", "2:11", "a value needs quotes");
    check("admin-user-header = \"X\"\nadmin-trusted-proxy = 1", "2:23", "expected text in quotes");
    check("admin-user-header = 1\nadmin-trusted-proxy = \"::1\"", "1:21", "expected text in quotes");
    // Other systems' files.
    check("\u{feff}fresh-for = 10\r\n", "1:13", "a duration needs a unit");
    check("\tfresh-for = 10\r\n", "1:14", "a duration needs a unit");
}

#[test]
fn one_hides_no_other() {
    let check = |text: &str, expected: &[&str]| {
        let found: Vec<_> = mistakes(text).into_iter().map(|(place, _)| place).collect();
        assert_eq!(found, expected, "{text}");
    };
    check("listen = “:1”\nfresh-for = 10\nupstream = \"x\"\n", &["1:10", "2:13", "3:12"]);
    check(
        "fresh-for: 10m\nlisten \"x\"\nwhitelist = /x\nlog-level = 'loud\nnope = 1",
        &["1:10", "2:7", "3:13", "4:13", "5:1"],
    );
    check("listen = [\n\":1\",\nfresh-for = 10\nstale-for = 7\n", &["1:10", "3:13", "4:13"]);
    check("[a]\nfresh-for = 10\n[b]\nfresh-for = 11\n", &["1:1", "2:13", "3:1", "4:1"]);
    check("listen = [\"x\", 1, \":1\", \"y\"]", &["1:11", "1:16", "1:25"]);
    check(
        "tls-cert = \"x\"\nadmin-tls = true\nadmin-user-header = \"X User\"\nmax-feed-size = \"0\"",
        &["1:12", "3:21", "3:21", "4:17"],
    );
    check(
        "= 1\n".repeat(60).as_str(),
        &vec!["1:1"; 50]
            .iter()
            .enumerate()
            .map(|(n, _)| format!("{}:1", n + 1))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_file_that_is_no_text_is_told() {
    let check = |bytes: &[u8], place: &str, part: &str| {
        let found = mistakes(bytes);
        assert!(found.len() == 1 && found[0].0 == place && found[0].1.contains(part), "{found:?}");
    };
    check(b"fresh-for = \"1m\"\nlog-level = \"\xe9\"", "2:14", "not UTF-8");
    check(b"\xff\xfel\0i\0", "1:1", "UTF-16: save it as UTF-8");
}

#[test]
fn a_message_shows_the_line() {
    let (_file, path) =
        file("# x\nfresh-for = 10\nlisten = [“:1”]\r\n\tcache-size = \"1\"\nupstream = \"x\"\n");
    let said = load(&["--config", &path, "--admin-tls"]).expect_err("mistakes").replace(&path, "FILE");
    let expected = "5 mistakes in the settings\n\
        --admin-tls: needs --tls-cert and --tls-key\n\
        FILE:2:13: a duration needs a unit, such as \"10m\"\n\
        2 | fresh-for = 10\n  \
          |             ^^\n\
        FILE:3:10: curly quotes: write straight ones, listen = [\":1\"]\n\
        3 | listen = [“:1”]\n  \
          |          ^^^^^^\n\
        FILE:4:15: a size needs a unit: 1MiB, or 1B if bytes are meant\n\
        4 |     cache-size = \"1\"\n  \
          |                  ^^^\n\
        FILE:5:12: \"x\" has no scheme or host; expected a URL like https://ext.plesk.com\n\
        5 | upstream = \"x\"\n  \
          |            ^^^";
    assert_eq!(said, expected);
}

#[test]
fn no_secret_is_shown() {
    for text in [
        "notify-url = \"hooks.example/s3cret\"",
        "notify-url = “https://hooks.example/s3cret”",
        "notify-url = https://hooks.example/s3cret",
        "notify-url = s3cret",
        "notify-url: \"https://hooks.example/s3cret\"",
        "notify-url \"https://hooks.example/s3cret\"",
        "notify-url = \"https://hooks.example/s3cret",
        "notify-url = [\"https://hooks.example/s3cret\"]",
        "notify-url = \"ftp://s3cret@hooks.example/s3cret\"",
        "notify-url = \"https://hooks.example/s3cret\\q\"",
        "notify-url = \"a\", \"https://hooks.example/s3cret\"",
        "notify-url = \"\"\"\ns3cret",
        "notify-ulr = \"s3cret\"",
        "webhook = \"https://hooks.example/s3cret\"",
        "upstream = \"https://user:s3cret@ext.plesk.com\"",
        "upstream = https://user:s3cret@ext.plesk.com",
    ] {
        let (_file, path) = file(text);
        let said = load(&["--config", &path]).expect_err(text);
        assert!(!said.contains("s3cret") && said.contains(" | "), "{said}");
    }
}

proptest! {
    /// Whatever a file has, reading it ends, without a panic, and shows nothing of a secret.
    #[test]
    fn any_text_is_read(
        parts in prop::collection::vec(
            prop_oneof![
                "(listen|fresh-for|cache-size|max-connections|admin-tls|notify-url|nope|a\\.b)",
                "( ?= ?|: |\\[|\\]|\\{|\\}|,|#|\\.)",
                "(\"|'|\"\"\"|'''|\u{201c}|\u{201d}|\\\\)",
                "(\n|\r\n|\n\n|\t| )",
                "(10|10m|true|0x1|1979-05-27|https://s3cret@a\\.example/s3cret|\u{feff}|\u{e9}|\u{1b})",
            ],
            0..30,
        ),
    ) {
        let (_file, path) = file(parts.concat());
        let said = load(&["--config", &path]).err().unwrap_or_default();
        prop_assert!(!said.contains("/s3cret") && !said.contains('\u{1b}'), "{}", said);
    }
}
