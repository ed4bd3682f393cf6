//! The commands around the catalog and the whitelist, as sessions in a directory with the sample catalog.
//!
//! `INSTA_UPDATE=always cargo test tools` writes the expected output anew; look at what changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::client::until;
use crate::proxy::{Proxy, array, free, list, plesk, vendor};
use crate::upstream::{Step, Upstream, ok, status};

/// A directory to work in.
pub struct Session {
    directory: tempfile::TempDir,
}

impl Session {
    /// Makes one with the sample catalog and a whitelist.
    pub fn new(whitelist: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("packages.json"),
            include_bytes!("../../assets/sample/packages.json"),
        )
        .unwrap();
        fs::write(directory.path().join("whitelist.toml"), whitelist).unwrap();
        Self { directory }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn whitelist(&self) -> String {
        fs::read_to_string(self.path("whitelist.toml")).unwrap()
    }

    /// Creates a command with a time limit, in case that it serves where it should refuse.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("/usr/bin/timeout");
        // Whoever runs the tests may have a proxy, and settings of their own.
        command
            .args(["--foreground", "60", env!("CARGO_BIN_EXE_catalog-proxy")])
            .env_clear()
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .args(line.split_whitespace());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs some command lines and writes them down with what they print.
    pub fn play(&self, lines: &[&str]) -> String {
        let mut played = String::new();
        for line in lines {
            let Output { status, stdout, stderr } = self.run(line);
            played += &format!("$ catalog-proxy {line}\n");
            played += std::str::from_utf8(&stdout).unwrap();
            for message in std::str::from_utf8(&stderr).unwrap().lines() {
                played += &format!("! {message}\n");
            }
            played += &format!("= {}\n\n", status.code().unwrap());
        }
        played
    }
}

/// Compares with the file of that name in `snapshots`.
pub fn assert_played(name: &str, played: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, played));
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const WHITELIST: &str = include_str!("../../whitelist.toml");

#[test]
fn help() {
    let session = Session::new(WHITELIST);
    let edits = ["allow", "retire", "hide", "forget"];
    let others = [
        "init",
        "list",
        "shops",
        "explain",
        "diff",
        "check",
        "news",
        "servers",
        "edits",
        "token",
        "completions",
        "man",
        "serve",
        "config",
        "healthcheck",
    ];
    for command in edits.into_iter().chain(others) {
        let played = session.play(&[&format!("{command} -h")]);
        // Those of `serve` belong to other tests.
        let own = match command {
            "check" | "config" => played.split("\nListening:").next().unwrap(),
            _ => &played,
        };
        assert_played(&format!("help-{command}"), own);
    }
    assert_played("help", &session.play(&["--help"]));
    assert_played("help-serve-long", &session.play(&["serve --help"]));
}

/// The sessions in the README are what one gets.
#[test]
fn the_readme_is_right() {
    let session = Session::new(WHITELIST);
    symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"), session.path("assets")).unwrap();
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let sessions: Vec<_> = blocks.flat_map(|block| block.split("$ catalog-proxy ").skip(1)).collect();
    assert!(sessions.len() >= 5, "{sessions:?}");
    for expected in sessions {
        let (line, expected) = expected.split_once('\n').unwrap();
        let Output { stdout, stderr, .. } = session.run(line);
        assert_eq!([text(&stdout), text(&stderr)].concat(), expected, "{line}");
    }
}

#[test]
fn list_shows_the_catalog() {
    let session = Session::new(WHITELIST);
    assert_played(
        "list",
        &session.play(&[
            "list --feed packages.json",
            "list --feed packages.json --hidden",
            "list --feed packages.json --shown --seller plesk",
            "list --feed packages.json --seller vendor --hidden",
            "list --feed packages.json --shown --seller plesk --format json",
            "list --feed packages.json --shown --hidden",
            "list --feed packages.json --seller nobody",
            "list --feed no-such.json",
            "list --feed whitelist.toml",
            "list --feed packages.json --max-feed-size 1KiB",
            "list --feed packages.json --whitelist no-such.toml",
        ]),
    );
}

#[test]
fn explain_says_why() {
    let session = Session::new("extensions = [\n  \"wp-toolkit\",\n  \"git\", \"old-one\",\n]\n");
    assert_played(
        "explain",
        &session.play(&[
            "explain wp-toolkit --feed packages.json",
            "explain docker --feed packages.json --whitelist ./whitelist.toml",
            "explain git --feed packages.json",
            "explain litespeed --feed packages.json",
            "explain docker --feed packages.json --format json",
            "explain git --feed packages.json --format json",
            "explain dokcer --feed packages.json",
            "explain old-one --feed packages.json",
        ]),
    );
}

#[test]
fn diff_says_what_would_change() {
    let session = Session::new(WHITELIST);
    session.write("new.toml", "extensions = [\"wp-toolkit\", \"xovi\", \"git\", \"imunify\"]\n");
    assert_played(
        "diff",
        &session.play(&[
            "diff new.toml --feed packages.json",
            "diff whitelist.toml new.toml --feed packages.json",
            "diff whitelist.toml --feed packages.json",
            "diff new.toml --feed packages.json --format json",
            "diff no-such.toml --feed packages.json",
        ]),
    );
}

#[test]
fn edits_move_codes_between_the_keys() {
    let session = Session::new(WHITELIST);
    assert_played(
        "edits",
        &session.play(&[
            "allow xovi imunify360 --feed packages.json",
            "allow xovi docker --feed packages.json",
            "allow git litespeed --feed packages.json",
            "allow kolab imunify dokcer --feed packages.json",
            "allow my-own --feed packages.json --force",
            "retire docker xovi my-own --feed packages.json",
            "retire docker premium-* --feed packages.json",
            "allow docker --feed packages.json --dry-run",
            "hide docker git kolab --feed packages.json",
            "forget my-own git kolab --feed packages.json",
            "forget docker kolab --feed packages.json",
            "forget xov --feed packages.json",
            "forget nothing-like-it --feed packages.json",
            "forget nothing-like-it --feed packages.json --force",
            "retire a*b --feed packages.json",
            "retire",
        ]),
    );
    assert_played("whitelist-edited", &session.whitelist());
}

#[test]
fn check_finds_what_is_wrong() {
    let session = Session::new(
        "extensions = [\n  \"wp-toolkit\", \"dokcer\",\n  \"git\", # free\n  \"wp-toolkit\", \" xovi\",\n]\n",
    );
    session.write("good.toml", WHITELIST);
    session.write("broken.toml", "extensions = [\n  1\n]\n");
    session.write("proxy.toml", "whitelist = \"good.toml\"\nfresh-for = 10\n");
    session.write("file", "");
    assert_played(
        "check",
        &session.play(&[
            "check --feed packages.json --whitelist good.toml --cache-dir cache/new --url http://127.0.0.1:1/",
            "check --feed packages.json",
            "check --feed packages.json --format json",
            "check --feed packages.json --whitelist good.toml --url http://127.0.0.1:1/a-long-way",
            "check --feed packages.json --whitelist good.toml --cache-dir file/cache",
            "check --feed packages.json --whitelist broken.toml",
            "check --feed packages.json --whitelist no-such.toml",
            "check --feed good.toml --whitelist good.toml",
            "check --config proxy.toml",
            "check --upstream nowhere",
            "check --feed packages.json --whitelist good.toml --tls-cert no-such.pem --tls-key no-such.pem",
            "check --feed packages.json --whitelist good.toml --log-level loud",
            "check --whitelist good.toml --upstream-ca no-such.pem",
        ]),
    );
    assert!(!session.path("cache").exists(), "a check changes nothing");
}

#[test]
fn nothing_to_do_leaves_the_file_alone() {
    let session = Session::new(WHITELIST);
    let before = fs::metadata(session.path("whitelist.toml")).unwrap();
    let lines = ["allow docker", "allow git", "allow dokcer", "hide dokcer", "forget xovi", "forget dokcer"];
    for line in lines.into_iter().chain(["retire docker --dry-run", "forget docker --dry-run"]) {
        session.run(&format!("{line} --feed packages.json"));
        let after = fs::metadata(session.path("whitelist.toml")).unwrap();
        assert_eq!(
            (after.ino(), after.modified().unwrap()),
            (before.ino(), before.modified().unwrap()),
            "{line}"
        );
        assert_eq!(session.whitelist(), WHITELIST);
    }
}

#[test]
fn an_edit_keeps_mode_and_link() {
    let session = Session::new("");
    fs::create_dir(session.path("real")).unwrap();
    fs::rename(session.path("whitelist.toml"), session.path("real/list.toml")).unwrap();
    fs::write(session.path("real/list.toml"), WHITELIST).unwrap();
    fs::set_permissions(session.path("real/list.toml"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink("real/list.toml", session.path("whitelist.toml")).unwrap();
    assert!(session.run("allow xovi --feed packages.json").status.success());
    assert!(session.whitelist().contains("\"xovi\", # SEO-Werkzeugkasten"));
    assert!(fs::symlink_metadata(session.path("whitelist.toml")).unwrap().is_symlink());
    assert_eq!(fs::metadata(session.path("real/list.toml")).unwrap().mode() & 0o7777, 0o604);
    assert_eq!(fs::read_dir(session.path("real")).unwrap().count(), 1);
}

#[test]
fn edits_at_once_all_count() {
    let session = Session::new("extensions = []\n");
    let codes: Vec<_> = (0..12).map(|n| format!("code-{n}")).collect();
    let start = |code| {
        session.command(&format!("allow {code} --feed packages.json --force")).stdout(Stdio::null()).spawn()
    };
    let running: Vec<_> = codes.iter().map(|code| start(code).unwrap()).collect();
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    let text = session.whitelist();
    assert!(codes.iter().all(|code| text.contains(&format!("  \"{code}\",\n"))), "{text}");
}

#[test]
fn what_the_feed_says_commands_no_terminal() {
    let session = Session::new(&list(&["x"]));
    session.write(
        "evil.json",
        r#"[{"code":"x","name":"A\u001b]0;owned\u0007\u009b31m\n\"b\" ]\nextensions = []\u202e","buy_url":"https:\/\/go.plesk.com\/\u001b[2J"}]"#,
    );
    session.run("forget x --feed evil.json");
    let evil = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    for line in ["list", "list --format json", "explain x", "explain x --format json", "allow x", "forget x"]
    {
        let output = session.run(&format!("{line} --feed evil.json"));
        assert!(output.status.success(), "{line}: {output:?}");
        assert!(
            !text(&output.stdout).is_empty() && !text(&output.stdout).contains(evil),
            "{line}: {output:?}"
        );
        if line == "allow x" {
            assert_eq!(session.whitelist().lines().count(), 3, "{}", session.whitelist());
        }
        assert!(!session.whitelist().contains(evil));
    }
}

/// Returns the output on a terminal of so many columns. `script` (from Debian's essential bsdutils) provides it.
pub fn on_a_terminal(session: &Session, columns: usize, variables: &str, line: &str) -> String {
    let program = env!("CARGO_BIN_EXE_catalog-proxy");
    let shell = format!("stty rows 40 cols {columns} && {variables} {program} {line} 2>/dev/null");
    let mut command = Command::new("script");
    command.args(["-qec", &shell, "/dev/null"]).current_dir(session.directory.path());
    for name in ["NO_COLOR", "COLUMNS", "CATALOG_PROXY_WHITELIST", "CATALOG_PROXY_CONFIG"] {
        command.env_remove(name);
    }
    let output = command.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).replace("\r\n", "\n")
}

#[test]
fn a_terminal_gets_colors_and_what_fits() {
    let session = Session::new(WHITELIST);
    let line = "list --feed packages.json";
    let colored = on_a_terminal(&session, 200, "", line);
    assert!(colored.contains("\x1b[33mhidden\x1b[0m"), "{colored}");
    for variables in ["NO_COLOR=1", "TERM=dumb"] {
        let plain = on_a_terminal(&session, 200, variables, line);
        assert_eq!(plain, text(&session.run(line).stdout), "{variables}");
    }
    let narrow = on_a_terminal(&session, 80, "NO_COLOR=1", line);
    assert!(narrow.lines().all(|line| unicode_width::UnicodeWidthStr::width(line) <= 80), "{narrow}");
    // A link of a few characters is of no use, so there is none.
    assert!(narrow.contains("さくらアクセス解析          vendor  shown\n"), "{narrow}");
    let wider = on_a_terminal(&session, 100, "NO_COLOR=1", line);
    assert!(wider.contains("さくらアクセス解析          vendor  shown   https://shop."), "{wider}");
}

#[test]
fn a_reader_may_leave_early() {
    let session = Session::new(WHITELIST);
    let mut list = session.command("list --feed packages.json");
    let mut list = list.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(list.stdout.take());
    assert!(list.wait().unwrap().success());
}

#[tokio::test]
async fn the_upstream_is_asked_as_plesk_does() {
    let feed = array(&[plesk("wp-toolkit"), plesk("docker"), vendor("warden"), free("git")]);
    let upstream = Upstream::with_feeds(feed, "[{\"top_packages\":[]}]").await;
    let session = Session::new(&list(&["docker"]));
    let run = async |line: &str| {
        let mut command = session.command(line);
        command.env("CATALOG_PROXY_UPSTREAM", upstream.url());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let listed = run("list --format json --hidden").await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let hidden = listed["packages"].as_array().unwrap();
    assert_eq!((hidden.len(), &hidden[0]["code"]), (1, &Value::from("wp-toolkit")));
    let target = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
    assert_eq!(upstream.requests()[0].target, target);
    let checked = run("check").await;
    let expected =
        format!("whitelist.toml: good: 1 entry\n{}: good: 4 packages, 1 category\n", upstream.url());
    let said = text(&checked.stdout);
    assert!(said.ends_with(&expected) && checked.status.code() == Some(0), "{said}");
    let targets: Vec<_> = upstream.requests()[1..].iter().map(|request| request.target.clone()).collect();
    assert_eq!(targets.len(), 2);
    assert!(targets[0] == target && targets[1].starts_with("/api/v4/categories?version="), "{targets:?}");
    assert!(run("allow wp-toolkit").await.status.success());
    assert!(session.whitelist().contains("wp-toolkit"));
}

#[tokio::test]
async fn an_upstream_that_fails_is_a_finding() {
    let upstream = Upstream::start(|request| match request.target.contains("packages") {
        true => ok(b"[]"),
        false => status(200, "text/html", b"<h1>soon back</h1>"),
    })
    .await;
    let session = Session::new("extensions = []");
    let mut command = session.command(&format!("check --upstream {}", upstream.url()));
    let checked = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let url = upstream.stop().await;
    assert_eq!(checked.status.code(), Some(1));
    let message = format!(
        "http://{url}: error: no categories: the upstream's feed is not valid: not a JSON array at byte 0"
    );
    assert_eq!(text(&checked.stdout).lines().next(), Some(message.as_str()));
    let refused = session.run(&format!("list --upstream http://{url}"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("the upstream refused the connection"), "{refused:?}");
    assert!(text(&refused.stderr).contains("--feed FILE"), "{refused:?}");
}

#[tokio::test]
async fn without_the_upstream_the_last_copy_has_to_do() {
    let upstream = Upstream::with_feeds(array(&[plesk("wp-toolkit"), plesk("docker")]), "[]").await;
    let session = Session::new("extensions = [\n]\n");
    let cache = session.path("cache");
    let proxy =
        Proxy::start_with(&upstream.url(), |config| config.cache_dir = Some(cache.clone().into())).await;
    proxy.get("/api/v4/packages").await;
    until("a copy on disk", async || {
        fs::read_dir(&cache).is_ok_and(|files| {
            files
                .filter_map(Result::ok)
                .any(|file| file.path().extension().is_some_and(|kind| kind == "copy"))
        })
    })
    .await;
    let url = upstream.stop().await;
    let run = |line: &str| session.run(&format!("{line} --upstream http://{url} --cache-dir cache"));
    let listed = run("list");
    assert_eq!(text(&listed.stdout).lines().count(), 3, "{listed:?}");
    assert!(
        text(&listed.stderr).contains("refused the connection")
            && text(&listed.stderr).contains("the copy in cache")
    );
    assert_eq!(run("allow dokcer").status.code(), Some(1));
    assert_eq!(run("allow docker").status.code(), Some(0));
    assert_eq!(session.whitelist(), "extensions = [\n  \"docker\",\n]\n");
    // With no copy at all, an edit is made unchecked.
    let unchecked = session.run(&format!("allow dokcer --upstream http://{url}"));
    assert_eq!(unchecked.status.code(), Some(0), "{unchecked:?}");
    assert!(text(&unchecked.stderr).contains("not checked"), "{unchecked:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn an_edit_does_not_wait_long_for_the_upstream() {
    // It answers when the test ends.
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let closed = std::sync::Arc::clone(&gate);
    let upstream = Upstream::start(move |_| vec![Step::Gate(std::sync::Arc::clone(&closed))]).await;
    let session = Session::new("extensions = []");
    let mut command = session.command(&format!("allow docker --upstream {}", upstream.url()));
    let edited = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(edited.status.code(), Some(0), "{edited:?}");
    assert!(text(&edited.stderr).contains("no answer within 3 s"), "{edited:?}");
    gate.notify_one();
}

#[test]
fn completions_and_pages_know_every_command() {
    let session = Session::new(WHITELIST);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = session.run(&format!("completions {shell}"));
        assert!(script.status.success() && text(&script.stdout).contains("panel-ini"), "{shell}");
        session.write(shell, text(&script.stdout));
    }
    let complete = |words: &str| {
        let script = format!(
            "source ./bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _catalog__proxy catalog-proxy \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output =
            Command::new("bash").current_dir(session.path("")).args(["-c", &script]).output().unwrap();
        text(&output.stdout).trim_end().to_owned() + text(&output.stderr)
    };
    assert_eq!(complete("catalog-proxy exp"), "explain");
    assert_eq!(complete("catalog-proxy list --se"), "--seller");
    assert_eq!(complete("catalog-proxy list --seller p"), "plesk");
    assert_eq!(complete("catalog-proxy allow --whi"), "--whitelist");
    assert_eq!(complete("catalog-proxy panel-ini --b"), "--buy-url");
    assert_eq!(session.run("completions tcsh").status.code(), Some(2));
    let page = session.run("man");
    assert!(
        text(&page.stdout).contains(".TH catalog-proxy 1") && text(&page.stdout).contains("explain"),
        "{page:?}"
    );
    assert!(session.run("man pages").status.success());
    for page in ["catalog-proxy.1", "catalog-proxy-list.1", "catalog-proxy-serve.1"] {
        assert!(Path::new(&session.path("pages")).join(page).exists(), "{page}");
    }
    assert_eq!(session.run("man whitelist.toml/pages").status.code(), Some(1));
}
