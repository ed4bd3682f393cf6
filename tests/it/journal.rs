//! Priorities for systemd's journal, by a file that the environment calls the journal's.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::client::{get, until};
use crate::proxy::list;
use crate::upstream::Upstream;

/// The real binary with a file as its standard error.
struct Journaled {
    child: Child,
    log: PathBuf,
    directory: tempfile::TempDir,
}

impl Journaled {
    /// Starts it; `off_by` is added to the file's inode in the variable.
    fn start(upstream: &str, arguments: &[&str], off_by: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("whitelist.toml"), list(&["a"])).unwrap();
        let log = File::create(path("log")).unwrap();
        let meta = log.metadata().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--upstream", upstream])
            .arg("--whitelist")
            .arg(path("whitelist.toml"))
            .args(arguments)
            .env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino() + off_by))
            .env_remove("RUST_LOG")
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, log: path("log"), directory }
    }

    /// Returns the first line with all parts.
    async fn line(&self, parts: &[&str]) -> String {
        let find = || {
            let log = fs::read_to_string(&self.log).unwrap();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        until(&format!("{parts:?}"), async || find().is_some()).await;
        find().unwrap()
    }

    async fn address(&self) -> std::net::SocketAddr {
        let line = self.line(&["serving", "listen"]).await;
        let port = line.split_once("127.0.0.1:").unwrap().1;
        format!("127.0.0.1:{}", port.split(|c: char| !c.is_ascii_digit()).next().unwrap()).parse().unwrap()
    }

    fn whitelist(&self) -> PathBuf {
        self.directory.path().join("whitelist.toml")
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn assert_all_begin(log: &Path, is_start: impl Fn(&str) -> bool) {
    let text = fs::read_to_string(log).unwrap();
    assert!(text.lines().all(is_start), "{text}");
}

#[tokio::test]
async fn lines_have_their_priority_and_no_time() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let arguments = ["--access-log", "text", "--log-level", "debug"];
    let process = Journaled::start(&upstream.url(), &arguments, 0);
    let address = process.address().await;
    get(address, "/api/v4/packages").await;
    fs::write(process.whitelist(), "extensions = [").unwrap();
    let check = async |parts: &[&str], start: &str| {
        let line = process.line(parts).await;
        assert!(line.starts_with(start), "{line}");
    };
    check(&["serving"], "<6> INFO serving version=").await;
    check(&["fetched"], "<6> INFO fetched key=/api/v4/packages ").await;
    check(&["ACCESS"], "<6>ACCESS client.addr=127.0.0.1 method=GET ").await;
    check(&["not reloaded"], "<4> WARN whitelist not reloaded, the last good one stays shop=default ").await;
    get(address, "/api/v4//packages").await;
    check(&["request failed"], "<7>DEBUG request failed ").await;
    // What is the upstream's fault is no detail.
    upstream.stop().await;
    get(address, "/elsewhere").await;
    check(&["request failed", "/elsewhere"], "<4> WARN request failed ").await;
    assert_all_begin(&process.log, |line| line.starts_with('<') && line.as_bytes()[2] == b'>');
}

#[tokio::test]
async fn json_stays_json_behind_its_priority() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Journaled::start(&upstream.url(), &["--access-log", "json", "--log-format", "json"], 0);
    get(process.address().await, "/livez").await;
    process.line(&["\"access\""]).await;
    assert_all_begin(&process.log, |line| {
        line.strip_prefix("<6>").is_some_and(|line| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["timestamp"].is_string())
        })
    });
}

#[tokio::test]
async fn why_it_does_not_start_is_an_error() {
    let mut process = Journaled::start("http://127.0.0.1:1", &["--log-level", "loud"], 0);
    assert_eq!(process.child.wait().unwrap().code(), Some(2));
    assert_all_begin(&process.log, |line| line.starts_with("<3>catalog-proxy: --log-level: "));
}

#[tokio::test]
async fn a_redirected_standard_error_is_no_journal() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Journaled::start(&upstream.url(), &["--access-log", "text"], 1);
    get(process.address().await, "/livez").await;
    process.line(&[" ACCESS "]).await;
    assert_all_begin(&process.log, |line| line.starts_with("20"));
}
