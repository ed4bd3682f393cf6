//! A standard error that is stuck, full or gone changes nothing but the log.

use std::fs;
use std::io::PipeReader;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::client::{self, get, until};
use crate::proxy::{array, list, plesk};
use crate::sinks::{Lines, Sink, listening};
use crate::upstream::Upstream;

const PACKAGES: &str = "/api/v4/packages";

/// A running `serve` whose standard error cannot be written.
struct Deaf {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    directory: tempfile::TempDir,
    reader: Option<PipeReader>,
}

impl Deaf {
    async fn start(upstream: &Upstream, sink: Sink, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let whitelist = directory.path().join("whitelist.toml");
        fs::write(&whitelist, list(&["wp-toolkit"])).unwrap();
        let (stderr, reader) = sink.open();
        let child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.2:0"])
            .args(["--upstream", &upstream.url()])
            .arg("--whitelist")
            .arg(&whitelist)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let any = SocketAddr::from(([0; 4], 0));
        let mut deaf = Self { child, address: any, admin: any, directory, reader };
        let id = deaf.child.id();
        until("the ports", async || {
            listening(id, [127, 0, 0, 1]).is_some() && listening(id, [127, 0, 0, 2]).is_some()
        })
        .await;
        deaf.address = listening(id, [127, 0, 0, 1]).unwrap();
        deaf.admin = listening(id, [127, 0, 0, 2]).unwrap();
        deaf
    }

    /// Allows one code, and waits until that is in force.
    async fn allow(&self, code: &str) {
        fs::write(self.directory.path().join("whitelist.toml"), list(&[code])).unwrap();
        until(code, async || get(self.address, PACKAGES).await.text().contains(code)).await;
    }

    async fn lost(&self) -> u64 {
        let metrics = get(self.admin, "/metrics").await;
        let line =
            metrics.text().lines().find_map(|line| line.strip_prefix("catalog_proxy_log_lines_lost_total "));
        line.expect("the metric").parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    async fn end(&mut self) -> ExitStatus {
        for _ in 0..client::PATIENCE.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it did not end");
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn upstream() -> Upstream {
    Upstream::with_feeds(array(&["docker", "xovi", "wp-toolkit"].map(plesk)), "[]").await
}

/// More lines than the queue may keep. The upstream has nothing but feeds.
async fn flood(deaf: &Deaf) {
    let long = "a".repeat(4 << 10);
    for n in 0..600 {
        assert_eq!(get(deaf.address, &format!("/{n}/{long}")).await.status, 404, "request {n}");
    }
}

#[tokio::test]
async fn requests_edits_and_the_end_wait_for_no_log() {
    let upstream = upstream().await;
    for sink in [Sink::Stuck, Sink::NoReader, Sink::FullDisk, Sink::NoTerminal] {
        let mut deaf = Deaf::start(&upstream, sink, &["--log-level", "debug"]).await;
        deaf.allow("docker").await;
        flood(&deaf).await;
        // What died while it told the first edit takes no second one.
        deaf.allow("xovi").await;
        assert!(deaf.lost().await > 0, "{sink:?}");
        deaf.signal("HUP");
        deaf.signal("TERM");
        assert_eq!(deaf.end().await.code(), Some(0), "{sink:?}");
    }
}

#[tokio::test]
async fn what_was_lost_is_told_when_the_log_is_read_again() {
    let upstream = upstream().await;
    for (format, prefix) in [("text", "lost="), ("json", "\"lost\":")] {
        let arguments = ["--log-level", "debug", "--log-format", format];
        let mut deaf = Deaf::start(&upstream, Sink::Stuck, &arguments).await;
        flood(&deaf).await;
        let lost = deaf.lost().await;
        assert!(lost > 0);
        let lines = Lines::of(deaf.reader.take().unwrap());
        let told = lines.wait_for("log lines were lost");
        let told = told.split(prefix).nth(1).unwrap_or_else(|| panic!("{told}"));
        let told: u64 = told.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        assert!(told >= lost, "{told} of {lost}");
        // And it goes on.
        get(deaf.address, "/afterwards").await;
        lines.wait_for("/afterwards");
        assert_eq!(deaf.lost().await, told);
    }
}

#[tokio::test]
async fn a_second_signal_waits_for_no_log_either() {
    let slow = Upstream::start(|_| vec![crate::upstream::Step::Gate(Default::default())]).await;
    let mut deaf = Deaf::start(&slow, Sink::Stuck, &[]).await;
    let waiting = tokio::spawn(get(deaf.address, "/slow"));
    until("the request", async || !slow.requests().is_empty()).await;
    deaf.signal("TERM");
    until("the first signal", async || tokio::net::TcpStream::connect(deaf.address).await.is_err()).await;
    deaf.signal("TERM");
    assert_eq!(deaf.end().await.code(), Some(1));
    waiting.abort();
}
