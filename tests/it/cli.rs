//! The command line: output, messages, exit codes.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::proxy::{array, free, list, plesk, vendor};

fn run(arguments: &[&str], input: &[u8]) -> Output {
    run_with(&[], arguments, input)
}

fn run_with(variables: &[(&str, &str)], arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    // Whoever runs the tests may have a proxy for other things.
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end without reading all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A whitelist in a directory of its own.
fn whitelist(content: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("whitelist.toml");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

/// Returns what git prints in the checkout, or `None` where the sources are none.
fn git(arguments: &[&str]) -> Option<String> {
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").current_dir(root).env("TZ", "UTC").args(arguments).output().ok()?;
    output.status.success().then(|| text(&output.stdout).trim().to_owned())
}

#[test]
fn the_version_names_the_commit() {
    let output = run(&["--version"], b"");
    let version = text(&output.stdout).trim();
    let plain = concat!("catalog-proxy ", env!("CARGO_PKG_VERSION"));
    // Whoever builds without git may say which commit it is; what then is printed is theirs.
    if option_env!("SOURCE_REVISION").is_some_and(|revision| !revision.is_empty()) {
        assert!(version.starts_with(plain), "{version}");
        return;
    }
    let in_checkout = git(&["rev-parse", "--show-cdup"]).is_some_and(|way_up| way_up.is_empty());
    if !in_checkout {
        assert_eq!(version, plain);
        return;
    }
    // Not HEAD's own: a commit may have been made while the tests were built.
    let commit = version.split(['(', '-', ' ']).find(|word| word.len() == 12).expect("a commit");
    let is_of_branch = git(&["merge-base", "--is-ancestor", commit, "HEAD"]).is_some();
    assert!(is_of_branch, "{version} is none of {:?}", git(&["rev-parse", "HEAD"]));
    let day = git(&["show", "--no-patch", "--date=format-local:%Y-%m-%d", "--format=%cd", commit]).unwrap();
    let unchanged = version.replace("-dirty ", " ");
    assert_eq!(unchanged, format!("{plain} ({commit} {day})"), "{version}");
}

#[test]
fn filter_is_the_engine_as_a_pipe() {
    let (_directory, path) = whitelist(&list(&["wp-toolkit"]));
    let feed = format!(" {} \n", array(&[plesk("xovi"), plesk("wp-toolkit"), vendor("warden"), free("git")]));
    let output = run(&["filter", "--whitelist", &path], feed.as_bytes());
    assert_eq!(output.status.code(), Some(0));
    let expected = format!(" {} \n", array(&[plesk("wp-toolkit"), vendor("warden"), free("git")]));
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn filter_takes_the_sample_whitelist_of_the_repository() {
    let sample = include_bytes!("../../assets/sample/packages.json");
    let output =
        run(&["filter", "--whitelist", concat!(env!("CARGO_MANIFEST_DIR"), "/whitelist.toml")], sample);
    let packages: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let sold_by_plesk = |package: &&serde_json::Value| {
        package["buy_url"].as_str().is_some_and(|url| url.starts_with("https://go.plesk.com/"))
    };
    let codes: Vec<_> =
        packages.iter().filter(sold_by_plesk).map(|package| package["code"].as_str().unwrap()).collect();
    assert_eq!((packages.len(), codes), (28, vec!["wp-toolkit", "docker"]));
}

#[test]
fn filter_refuses_what_is_no_feed() {
    let (_directory, path) = whitelist(&list(&[]));
    for (input, message) in [
        ("", "empty at byte 0"),
        ("{}", "not a JSON array at byte 0"),
        ("[1,]", "expected a value at byte 3"),
        ("[1,2", "cut off at byte 4"),
    ] {
        let output = run(&["filter", "--whitelist", &path], input.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{input}");
        let expected = format!("catalog-proxy: standard input is not a packages feed: {message}\n");
        assert_eq!(text(&output.stderr), expected);
        assert!(!text(&output.stdout).ends_with(']'), "{input}");
    }
}

#[test]
fn startup_errors_are_one_clear_message() {
    let check = |arguments: &[&str], code: i32, part: &str| {
        let output = run(arguments, b"");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(part), "{arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(text(&output.stdout), "");
    };
    let (_good, good) = whitelist(&list(&[]));
    let (_bad, bad) = whitelist("extensions = [\n  1,\n]");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    check(&["serve", "--whitelist", "/no/such.toml"], 2, "cannot read whitelist /no/such.toml: No such file");
    check(&["serve", "--whitelist", &bad], 2, &format!("{bad}:2:3: "));
    check(&["filter", "--whitelist", &bad], 2, &format!("{bad}:2:3: "));
    check(&["serve", "--no-such-flag"], 2, "--no-such-flag");
    check(&["serve", "--listen", "nowhere"], 2, "--listen");
    check(&["serve", "--upstream", "nowhere"], 2, "--upstream");
    check(&["serve", "--config", "/no/such.toml"], 2, "/no/such.toml");
    check(
        &["serve", "--whitelist", &good, "--upstream-ca", "/no/such.pem"],
        2,
        "--upstream-ca: /no/such.pem",
    );
    check(&["no-such-command"], 2, "no-such-command");
    check(&[], 2, "Usage");
    check(&["serve", "--whitelist", &good, "--listen", &taken], 1, &format!("cannot listen on {taken}"));
    check(
        &["serve", "--whitelist", &good, "--listen", "127.0.0.1:0", "--admin-listen", &taken],
        1,
        &format!("cannot listen on {taken}"),
    );
}

#[test]
fn a_proxy_that_cannot_be_used_is_a_startup_error() {
    let (_good, good) = whitelist(&list(&[]));
    for (name, url, part) in [
        ("HTTPS_PROXY", "socks5h://user:secret@127.0.0.1:1", "socks5h proxies are not supported"),
        ("https_proxy", "https://user:secret@127.0.0.1:1", "https proxies are not supported"),
        ("ALL_PROXY", "http://user:secret@", "not a proxy's URL"),
    ] {
        let output = run_with(&[(name, url)], &["serve", "--whitelist", &good], b"");
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with(&format!("catalog-proxy: {name}: {part}; expected")), "{message}");
        assert!(message.lines().count() == 1 && !message.contains("secret"), "{message}");
    }
}

#[test]
fn an_empty_variable_is_none() {
    let (_directory, path) = whitelist(&list(&[]));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
        .args(["serve", "--whitelist", &path, "--listen", &taken.local_addr().unwrap().to_string()])
        .envs(
            ["CACHE_DIR", "FRESH_FOR", "ADMIN_LISTEN", "UPSTREAM"]
                .map(|name| (format!("CATALOG_PROXY_{name}"), "")),
        )
        .output()
        .unwrap();
    // It got as far as the port.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn panel_ini_prints_the_lines() {
    let output = run(&["panel-ini"], b"");
    assert_eq!(text(&output.stdout), "[extensions]\ncatalog.url = http://proxy:8080\n");
    let output = run(
        &[
            "panel-ini",
            "--url",
            "http://catalog.hosting.example:8080/",
            "--buy-url",
            "https://shop.example/?ext=1&x",
        ],
        b"",
    );
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "[extensions]\ncatalog.url = http://catalog.hosting.example:8080\nbuyUrl = \"https://shop.example/?ext=1&x\"\n"
    );
    assert!(text(&output.stderr).contains("35 characters"), "{output:?}");
    for more in [&[][..], &["--env"]] {
        let output = run(&[&["panel-ini", "--url", "proxy:8080"], more].concat(), b"");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn panel_ini_prints_variables() {
    let output = run(&["panel-ini", "--env"], b"");
    assert_eq!(text(&output.stdout), "PLESK_CONFIG__extensions__catalog__url=http://proxy:8080\n");
    let url = "http://catalog.hosting.example:8080/";
    let output =
        run(&["panel-ini", "--env", "--url", url, "--buy-url", "https://shop.example/?ext=1&x=(y)"], b"");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        text(&output.stdout),
        "PLESK_CONFIG__extensions__catalog__url=http://catalog.hosting.example:8080\n\
         PLESK_CONFIG__extensions__buyUrl=https://shop.example/?ext=1&x=(y)\n"
    );
    assert!(text(&output.stderr).contains("35 characters"), "{output:?}");
    let help = run(&["panel-ini", "--help"], b"");
    assert!(text(&help.stdout).contains("--ext-catalog-url"), "{help:?}");
}

#[test]
fn help_names_every_command() {
    let output = run(&["--help"], b"");
    assert_eq!(output.status.code(), Some(0));
    for command in ["serve", "demo", "init", "filter", "panel-ini", "news", "servers", "healthcheck"] {
        assert!(text(&output.stdout).contains(&format!("\n  {command} ")), "{}", text(&output.stdout));
    }
    assert!(text(&run(&["--version"], b"").stdout).starts_with("catalog-proxy "));
}
