//! The commands and the catalog that they ask for: by platform, and as a list to start from.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::client::until;
use crate::proxy::{Proxy, array, free, plesk, vendor};
use crate::tools::{Session, text};
use crate::upstream::{Upstream, ok};

const WHITELIST: &str = include_str!("../../whitelist.toml");

#[tokio::test]
async fn the_platform_is_that_of_the_servers() {
    let upstream =
        Upstream::with_feeds(array(&[plesk("docker"), plesk("xovi")]), "[{\"top_packages\":[]}]").await;
    let session = Session::new("extensions = [\"docker\"]\n");
    session.write("new.toml", "extensions = [\"xovi\"]\n");
    let mut asked = 0;
    for (line, platform) in [
        ("list", "unix"),
        ("list --platform unix", "unix"),
        ("list --platform windows", "windows"),
        ("explain docker --platform windows", "windows"),
        ("diff new.toml --platform windows", "windows"),
        ("init --platform windows", "windows"),
        ("check --platform windows", "windows"),
        ("allow xovi --platform windows", "windows"),
    ] {
        let mut command = session.command(line);
        command.env("CATALOG_PROXY_UPSTREAM", upstream.url());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        let requests = upstream.requests();
        let targets: Vec<_> = requests[asked..].iter().map(|request| request.target.as_str()).collect();
        let packages = format!("/api/v4/packages?platform={platform}&with-hidden&with-unstable");
        assert_eq!(targets[0], packages, "{line}");
        let part = format!("&platform={platform}&");
        assert!(targets[1..].iter().all(|target| target.contains(&part)), "{line}: {targets:?}");
        asked = requests.len();
    }
    assert_eq!(session.run("list --platform amiga").status.code(), Some(2));
    assert_eq!(session.run("serve --platform unix").status.code(), Some(2));
}

/// Takes the comment marks off the codes.
fn uncommented(list: &str) -> String {
    list.replace("\n  # \"", "\n  \"")
}

#[test]
fn a_list_to_start_from_has_all_that_plesk_sells() {
    let session = Session::new(WHITELIST);
    let output = session.run("init --feed packages.json");
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    session.write("new.toml", printed);
    let count = |whitelist: &str, part: &str| {
        let line = format!("list --feed packages.json --whitelist {whitelist} {part} --format json");
        let listed: Value = serde_json::from_slice(&session.run(&line).stdout).unwrap();
        listed["packages"].as_array().unwrap().len()
    };
    assert_eq!(count("new.toml", "--shown --seller plesk"), 0);
    assert_eq!(count("new.toml", "--undecided"), 16);
    session.write("all.toml", &uncommented(printed));
    assert_eq!(count("all.toml", "--shown --seller plesk"), 16);
    assert_eq!(count("all.toml", "--undecided"), 0);
    assert!(printed.contains("\n  # \"wp-toolkit\", # WP Toolkit\n"), "{printed}");
    let codes: Vec<_> = printed.lines().filter(|line| line.starts_with("  # ")).collect();
    assert!(codes.len() == 16 && codes.is_sorted(), "{codes:?}");
    assert!(!printed.contains("git"), "free ones need no entry: {printed}");
    assert!(text(&output.stderr).contains("16 extensions sold by Plesk"), "{output:?}");
    // The other keys are there to be used.
    for key in ["retired", "hidden", "unlisted"] {
        let used = printed.replace(&format!("# {key} = "), &format!("{key} = "));
        assert_ne!(used, printed, "{key}");
        session.write("used.toml", &used);
        assert_eq!(count("used.toml", "--shown --seller plesk"), 0, "{key}");
    }
}

#[test]
fn a_list_to_start_from_touches_no_file() {
    let session = Session::new("broken");
    let files = || fs::read_dir(session.path("")).unwrap().count();
    let before = files();
    for line in ["init --feed packages.json", "init --feed packages.json --whitelist whitelist.toml"] {
        assert!(session.run(line).status.success(), "{line}");
        assert_eq!((session.whitelist().as_str(), files()), ("broken", before), "{line}");
    }
    assert_eq!(session.run("init --feed no-such.json").status.code(), Some(1));
    let mut early = session.command("init --feed packages.json").stdout(Stdio::piped()).spawn().unwrap();
    drop(early.stdout.take());
    assert!(early.wait().unwrap().success());
}

#[tokio::test]
async fn a_list_to_start_from_comes_from_the_upstream() {
    let upstream = Upstream::with_feeds(array(&[plesk("docker"), vendor("warden"), free("git")]), "[]").await;
    let session = Session::new("extensions = []\n");
    let mut command = session.command(&format!("init --upstream {}", upstream.url()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let printed = text(&output.stdout);
    assert!(
        printed.ends_with("extensions = [\n  # \"docker\",\n]\n") || printed.contains("# \"docker\",\n]")
    );
    assert!(!printed.contains("warden"), "{printed}");
}

/// What the catalog says may end no comment and begin no line.
#[test]
fn a_list_to_start_from_takes_no_orders_from_the_catalog() {
    let session = Session::new(WHITELIST);
    session.write(
        "evil.json",
        r#"[{"code":"a\nb\",\"c\\","name":"x\n]\r\nretired = [\"*\"]\u0007\u2028\u202e","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":"star*","name":"Star","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":"st*ar","name":"Star\n]","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":"","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":"twice","name":"One","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":"twice","name":"Two","buy_url":"https:\/\/go.plesk.com\/"},
            {"code":7,"buy_url":"https:\/\/go.plesk.com\/"}, 7]"#,
    );
    let output = session.run("init --feed evil.json");
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && !printed.contains(|c: char| c != '\n' && c.is_control()),
        "{output:?}"
    );
    let code: Vec<_> = printed.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    assert_eq!(code, ["extensions = [", "]"], "{printed}");
    session.write("new.toml", printed);
    session.write("all.toml", &uncommented(printed));
    let checked = session.run("list --feed evil.json --whitelist new.toml --shown --seller plesk");
    assert!(text(&checked.stdout).lines().count() == 1, "{checked:?}");
    let checked =
        session.run("list --feed evil.json --whitelist all.toml --shown --seller plesk --format json");
    let listed: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let codes: Vec<_> = listed["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["", "a\nb\",\"c\\", "twice", "twice"], "{}", uncommented(printed));
    assert_eq!(printed.matches("twice").count(), 1);
}

#[tokio::test]
async fn a_copy_on_disk_is_that_of_the_platform() {
    let upstream = Upstream::start(|request| match request.target.contains("windows") {
        true => ok(array(&[plesk("iis")]).as_bytes()),
        false => ok(array(&[plesk("docker")]).as_bytes()),
    })
    .await;
    let session = Session::new("extensions = [\n]\n");
    let cache = session.path("cache");
    let proxy =
        Proxy::start_with(&upstream.url(), |config| config.cache_dir = Some(cache.clone().into())).await;
    // That of Windows is the older one.
    for (platform, copies) in [("windows", 1), ("unix", 2)] {
        proxy.get(&format!("/api/v4/packages?platform={platform}&with-hidden")).await;
        until("a copy on disk", async || {
            let files = fs::read_dir(&cache).into_iter().flatten().filter_map(Result::ok);
            files.filter(|file| file.path().extension().is_some_and(|kind| kind == "copy")).count() == copies
        })
        .await;
    }
    let url = upstream.stop().await;
    for (platform, code) in [("windows", "iis"), ("unix", "docker")] {
        let line = format!("list --platform {platform} --upstream http://{url} --cache-dir cache");
        let listed = session.run(&line);
        assert!(text(&listed.stdout).contains(code), "{platform}: {listed:?}");
        assert!(text(&listed.stderr).contains(&format!("?platform={platform}&with-hidden")), "{listed:?}");
    }
    proxy.stop().await;
}
