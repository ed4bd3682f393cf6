//! News of the catalog: reported once, kept over restarts, and sent as notifications.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog_proxy::config::{Config, Webhook};
use serde_json::Value;
use tokio::sync::Notify;

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::{Proxy, array, free, plesk, vendor};
use crate::upstream::{Step, Upstream, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";

/// The catalog of an upstream, which a test can change.
#[derive(Clone)]
pub struct Shop(Arc<Mutex<String>>);

impl Shop {
    pub fn new(packages: &[String]) -> Self {
        Self(Arc::new(Mutex::new(array(packages))))
    }

    pub fn now_has(&self, packages: &[String]) {
        *self.0.lock().unwrap() = array(packages);
    }

    pub async fn open(&self) -> Upstream {
        let shop = self.clone();
        Upstream::start(move |_| ok(shop.0.lock().unwrap().as_bytes())).await
    }
}

/// Makes copies stale at once, so that each request starts a renewal.
fn renewing(config: &mut Config) {
    *config.cache.fresh_for = Duration::from_millis(1);
    config.cache.max_fresh_for = Some(*config.cache.fresh_for);
}

pub async fn start(upstream: &str, directory: &Path, hook: Option<&Upstream>) -> Proxy {
    Proxy::start_with(upstream, |config| {
        renewing(config);
        config.cache_dir = Some(directory.to_owned().into());
        config.notify =
            hook.map(|hook| format!("{}/hook?secret", hook.url()).parse::<Webhook>().unwrap().into());
    })
    .await
}

pub fn news(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
        .args(["news", "--cache-dir"])
        .arg(directory)
        .args(arguments)
        .output()
        .unwrap()
}

/// Returns the history, each change in a few words.
pub fn history(directory: &Path) -> Vec<String> {
    let output = news(directory, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["format"], 2);
    printed["news"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["api"].as_str().unwrap(), words(entry)))
        .collect()
}

pub fn words(change: &Value) -> String {
    let text = |member: &str| change[member].as_str();
    let old = text("renamed_from").map(|old| format!("{old} -> ")).unwrap_or_default();
    let mut words =
        format!("{} {old}{} {}", text("change").unwrap(), text("code").unwrap(), text("seller").unwrap());
    if let Some(was) = text("was") {
        words += &format!(" was {was}");
    }
    if change["whitelisted"].as_bool().unwrap() {
        words += " whitelisted";
    }
    words
}

/// Sends requests until the history has so many changes; returns them.
pub async fn renewed(proxy: &Proxy, directory: &Path, targets: &[&str], changes: usize) -> Vec<String> {
    until(&format!("{changes} changes"), async || {
        for target in targets {
            assert_eq!(proxy.get(target).await.status, 200);
        }
        history(directory).len() >= changes
    })
    .await;
    history(directory)
}

pub async fn metric(proxy: &Proxy, line: &str) -> bool {
    get(proxy.admin, "/metrics").await.text().lines().any(|other| other == line)
}

#[tokio::test]
async fn each_change_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[plesk("docker"), free("git"), vendor("warden")]);
    let upstream = shop.open().await;
    let proxy = start(&upstream.url(), directory.path(), None).await;
    let variants = [PACKAGES, "/api/v4/packages?platform=unix", "/api/v4/packages?platform=windows"];
    // Several copies, of which the first one each is new to the proxy, but not news.
    for target in variants {
        proxy.get(target).await;
    }
    shop.now_has(&[plesk("git"), vendor("warden"), plesk("xovi")]);
    let told = renewed(&proxy, directory.path(), &variants, 3).await;
    let expected =
        ["v4 gone docker plesk whitelisted", "v4 new xovi plesk", "v4 switched git plesk was free"];
    let mut sorted = told.clone();
    sorted.sort();
    assert_eq!(sorted, expected, "the one that is gone when the last copy lost it");
    // All copies are renewed once more, with a change that shows when they were.
    shop.now_has(&[free("git"), vendor("warden"), plesk("xovi")]);
    let told = renewed(&proxy, directory.path(), &variants, 4).await;
    assert_eq!(told[3], "v4 switched git free was plesk");
    until("a quiet catalog", async || {
        let mut all = true;
        for target in variants {
            all &= proxy.get(target).await.text().contains(&free("git"));
        }
        all
    })
    .await;
    assert_eq!(history(directory.path()).len(), 4);
    assert!(metric(&proxy, "catalog_proxy_catalog_changes_total{change=\"new\",seller=\"plesk\"} 1").await);
    assert!(metric(&proxy, "catalog_proxy_catalog_changes_total{change=\"gone\",seller=\"plesk\"} 1").await);
    assert!(metric(&proxy, "catalog_proxy_catalog_changes_total{change=\"gone\",seller=\"free\"} 0").await);
    assert!(metric(&proxy, "catalog_proxy_whitelist_absent_extensions{shop=\"default\"} 2").await);
    proxy.stop().await;
}

#[tokio::test]
async fn only_versions_that_there_could_be_have_news() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let proxy = start(&upstream.url(), directory.path(), None).await;
    let invented: Vec<String> = (10..30).map(|n| format!("/api/v{n}/packages")).collect();
    let targets: Vec<&str> = invented.iter().map(String::as_str).chain([PACKAGES]).collect();
    for target in &targets {
        proxy.get(target).await;
    }
    shop.now_has(&[free("git"), free("new")]);
    until("new copies of all", async || {
        let mut all = true;
        for target in &targets {
            all &= proxy.get(target).await.text().contains("new");
        }
        all
    })
    .await;
    assert_eq!(renewed(&proxy, directory.path(), &targets, 1).await, ["v4 new new free"]);
    proxy.stop().await;
    assert_eq!(history(directory.path()).len(), 1);
}

#[tokio::test]
async fn a_restart_hides_no_change_and_repeats_none() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[plesk("docker"), free("git")]);
    let upstream = shop.open().await;
    let url = upstream.url();
    let variants = [PACKAGES, "/api/v4/packages?platform=unix"];
    let proxy = start(&url, directory.path(), None).await;
    for target in variants {
        proxy.get(target).await;
    }
    proxy.stop().await;
    assert_eq!(history(directory.path()), [""; 0]);
    // Changed while nobody looked. The copies come back one by one, so each seems to be the last one.
    shop.now_has(&[free("git"), vendor("warden")]);
    for target in variants {
        let proxy = start(&url, directory.path(), None).await;
        renewed(&proxy, directory.path(), &[target], 2).await;
        until("the new copy", async || proxy.get(target).await.text().contains("warden")).await;
        proxy.stop().await;
    }
    assert_eq!(history(directory.path()), ["v4 new warden vendor", "v4 gone docker plesk whitelisted"]);
    // A copy that is too old to be served still shows what is new.
    shop.now_has(&[free("git")]);
    let proxy = Proxy::start_with(&url, |config| {
        renewing(config);
        *config.cache.stale_for = Duration::ZERO;
        config.cache_dir = Some(directory.path().to_owned().into());
    })
    .await;
    renewed(&proxy, directory.path(), &[PACKAGES], 3).await;
    proxy.stop().await;
    assert_eq!(history(directory.path())[2], "v4 gone warden vendor");
}

/// An upstream whose two servers have different catalogs and answer in turn.
async fn two_servers(catalogs: [Shop; 2]) -> Upstream {
    let turn = Mutex::new(0);
    Upstream::start(move |_| {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        ok(catalogs[(*turn + 1) % 2].0.lock().unwrap().as_bytes())
    })
    .await
}

#[tokio::test]
async fn two_servers_that_disagree_make_no_news() {
    let directory = tempfile::tempdir().unwrap();
    let common: Vec<String> = (0..9).map(|n| free(&format!("common-{n}"))).collect();
    let catalog = |packages: &[String]| [&common, packages].concat();
    let old = Shop::new(&catalog(&[free("git")]));
    let new = Shop::new(&catalog(&[plesk("git"), plesk("docker"), free("warden")]));
    let upstream = two_servers([old.clone(), new.clone()]).await;
    let hook = Upstream::start(|_| status(204, "text/plain", b"")).await;
    let proxy = start(&upstream.url(), directory.path(), Some(&hook)).await;
    let fetched = async |more: usize| {
        let end = upstream.count() + more;
        until("more fetches", async || {
            proxy.get(PACKAGES).await;
            upstream.count() >= end
        })
        .await;
    };
    fetched(8).await;
    assert_eq!(history(directory.path()), [""; 0]);
    // What both have is told, whatever else they disagree about.
    old.now_has(&catalog(&[free("git"), free("warden")]));
    assert_eq!(renewed(&proxy, directory.path(), &[PACKAGES], 1).await, ["v4 new warden free"]);
    fetched(4).await;
    old.now_has(&catalog(&[plesk("git"), plesk("docker"), free("warden")]));
    let told = renewed(&proxy, directory.path(), &[PACKAGES], 3).await;
    let all = ["v4 new warden free", "v4 new docker plesk whitelisted", "v4 switched git plesk was free"];
    assert_eq!(told, all);
    let delivered = "catalog_proxy_notifications_total{outcome=\"delivered\"} 2";
    until("both notifications", async || metric(&proxy, delivered).await).await;
    assert_eq!(hook.count(), 2);
    proxy.stop().await;
}

#[tokio::test]
async fn a_change_is_told_though_the_process_ends_between_its_two_fetches() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    // Each process fetches once: what it has restored is renewed ahead, and what it has fetched is fresh.
    let once = async |outcome: &str, changes: usize| {
        let proxy = Proxy::start_with(&upstream.url(), |config| {
            config.cache_dir = Some(directory.path().to_owned().into());
            *config.cache.fresh_for = Duration::from_hours(1);
        })
        .await;
        proxy.get(PACKAGES).await;
        let fetched = format!(
            "catalog_proxy_fetches_total{{feed=\"packages\",outcome=\"{outcome}\",phase=\"done\"}} 1"
        );
        until("a fetch", async || metric(&proxy, &fetched).await).await;
        until("the changes", async || history(directory.path()).len() >= changes).await;
        proxy.stop().await;
    };
    once("changed", 0).await;
    shop.now_has(&[free("git"), free("warden")]);
    once("changed", 0).await;
    assert_eq!(history(directory.path()), [""; 0]);
    once("unchanged", 1).await;
    once("unchanged", 1).await;
    assert_eq!(history(directory.path()), ["v4 new warden free"]);
}

#[tokio::test]
async fn news_are_for_people_and_programs() {
    let directory = tempfile::tempdir().unwrap();
    let output = news(directory.path(), &[]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"nothing new\n".to_vec()));
    assert_eq!(
        news(directory.path(), &["--format", "json"]).stdout,
        b"{\n  \"format\": 2,\n  \"news\": []\n}\n"
    );
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let proxy = start(&upstream.url(), directory.path(), None).await;
    proxy.get(PACKAGES).await;
    let named = r#"{"code":"docker","name":"Docker \u001b[31m& more","buy_url":"https:\/\/go.plesk.com\/x"}"#;
    shop.now_has(&[plesk("git"), named.to_owned()]);
    renewed(&proxy, directory.path(), &[PACKAGES], 2).await;

    // It is read while the proxy runs.
    let table = String::from_utf8(news(directory.path(), &["--since", "1h"]).stdout).unwrap();
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["TIME", "API", "CHANGE", "CODE", "SELLER", "NAME"]);
    assert_eq!(lines[1][1..], ["v4", "new", "docker", "plesk, whitelisted", "Docker \u{fffd}[31m& more"]);
    assert_eq!(lines[2][1..], ["v4", "switched", "git", "free -> plesk"]);
    assert_eq!(lines.len(), 3);
    // By the seller, before the change as well.
    let sold_by = |seller| {
        let output = news(directory.path(), &["--seller", seller]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(sold_by("plesk"), table);
    assert!(
        sold_by("free").contains("  git  ") && !sold_by("free").contains("docker"),
        "{}",
        sold_by("free")
    );
    assert_eq!(sold_by("vendor"), "nothing new\n");
    let future = news(directory.path(), &["--since", "0s", "--format", "json"]);
    assert_eq!(future.stdout, b"{\n  \"format\": 2,\n  \"news\": []\n}\n");
    proxy.stop().await;

    let failed = |arguments: &[&str], code: i32, part: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_catalog-proxy")).arg("news").args(arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part) && message.lines().count() == 1, "{message}");
    };
    failed(&[], 2, "--cache-dir");
    failed(&["--cache-dir", "/no/such"], 1, "cannot read the history in /no/such");
}

#[tokio::test]
async fn who_wants_to_know_is_told_until_he_understands() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[plesk("docker"), free("git")]);
    let upstream = shop.open().await;
    let tries = Arc::new(Mutex::new(0));
    let hook = Upstream::start(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        match *tries {
            1 => status(503, "text/plain", b"busy"),
            2 => vec![Step::Close],
            _ => status(204, "text/plain", b""),
        }
    })
    .await;
    let proxy = start(&upstream.url(), directory.path(), Some(&hook)).await;
    proxy.get(PACKAGES).await;
    shop.now_has(&[free("git"), plesk("xovi")]);
    renewed(&proxy, directory.path(), &[PACKAGES], 2).await;
    let delivered = "catalog_proxy_notifications_total{outcome=\"delivered\"} 1";
    until("a delivery", async || metric(&proxy, delivered).await).await;
    let requests = hook.requests();
    assert_eq!(requests.len(), 3);
    let bodies: Vec<Value> =
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    let (request, body) = (&requests[2], &bodies[2]);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?secret"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!((&body["event"], &body["format"]), (&"catalog-changed".into(), &2.into()));
    assert_eq!((&body["api"], &body["omitted"]), (&"v4".into(), &0.into()));
    assert!(
        body["at"].as_str().unwrap().ends_with('Z') && body["id"].as_str().unwrap().len() == 32,
        "{body}"
    );
    let changes: Vec<_> = body["changes"].as_array().unwrap().iter().map(words).collect();
    assert_eq!(changes, ["new xovi plesk", "gone docker plesk whitelisted"]);
    let text = "Plesk's extension catalog (v4): new xovi (plesk), gone docker (plesk, whitelisted)";
    assert_eq!(body["text"], text);
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_that_is_wrong_is_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let hook = Upstream::start(|_| status(404, "text/plain", b"no such hook")).await;
    let proxy = start(&upstream.url(), directory.path(), Some(&hook)).await;
    proxy.get(PACKAGES).await;
    shop.now_has(&[]);
    renewed(&proxy, directory.path(), &[PACKAGES], 1).await;
    let failed = "catalog_proxy_notifications_total{outcome=\"failed\"} 1";
    until("a failure", async || metric(&proxy, failed).await).await;
    assert_eq!(hook.count(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn one_who_never_answers_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let never = Arc::new(Notify::new());
    let silent = Upstream::start(move |_| vec![Step::Gate(Arc::clone(&never))]).await;
    let mut process = Process::start_with(&upstream.url(), |command| {
        command
            .args(["--fresh-for", "1ms", "--log-level", "debug", "--cache-dir"])
            .arg(directory.path())
            .args(["--notify-url", &format!("http://user:password@{}/hook?secret", silent.address)]);
    });
    get(process.address, PACKAGES).await;
    // More than the queue holds; all of them are in the history.
    const CHANGES: usize = 20;
    for n in 1..=CHANGES {
        shop.now_has(&[free("git"), free(&n.to_string())]);
        // Each takes the place of the one before.
        let told = format!("\"new\":\"{n}\"");
        until("the news of the new copy", async || {
            get(process.address, PACKAGES).await;
            process.log().contains(&told)
        })
        .await;
    }
    assert_eq!(history(directory.path()).len(), 2 * CHANGES - 1);
    until("a try", async || silent.count() == 1).await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));
    // One was on its way and the queue was full.
    until("the end of the log", async || process.log().contains("\"stopped\"")).await;
    assert!(process.log().contains("\"undelivered\":17"), "{}", process.log());
}

#[tokio::test]
async fn a_failure_is_told_once_and_the_pause_is_as_asked() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let tries = Arc::new(Mutex::new(0));
    let hook = Upstream::start(move |_| {
        let mut tries = tries.lock().unwrap();
        *tries += 1;
        match *tries {
            1 => vec![head_of(429, "retry-after: 2\r\ncontent-length: 0\r\n")],
            2 => status(503, "text/plain", b"busy"),
            _ => status(204, "text/plain", b""),
        }
    })
    .await;
    let process = Process::start_with(&upstream.url(), |command| {
        command
            .args(["--fresh-for", "1ms", "--notify-url", &hook.url(), "--cache-dir"])
            .arg(directory.path());
    });
    get(process.address, PACKAGES).await;
    shop.now_has(&[free("git"), plesk("xovi")]);
    until("a delivery", async || {
        get(process.address, PACKAGES).await;
        process.log().contains("\"notified\"")
    })
    .await;
    let log = process.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warnings: Vec<_> =
        lines.iter().filter(|line| line["level"] == "WARN" && line["to"].is_string()).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (&warnings[0]["error"], &warnings[0]["retry_in_ms"]),
        (&"status 429 Too Many Requests".into(), &2000.0.into())
    );
    assert_eq!(hook.count(), 3);
}
