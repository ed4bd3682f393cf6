//! The binaries under load: replicas of the proxy with the same whitelists, and HAProxy before two of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;

use crate::client::PATIENCE;
use crate::model::REPLICAS;
use crate::tls::Pair;

/// Replica that speaks TLS, is asked directly, and runs from the beginning to the end.
pub const TLS: usize = REPLICAS - 1;

/// What replicas share: the whitelists, the tokens of the admin port, the certificate.
pub struct Files {
    directory: tempfile::TempDir,
    pub pair: Pair,
    /// The token of an editor.
    pub token: String,
}

impl Files {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("shops")).unwrap();
        let made =
            Command::new(env!("CARGO_BIN_EXE_catalog-proxy")).args(["token", "soak"]).output().unwrap();
        let made = String::from_utf8(made.stdout).unwrap();
        let mut lines = made.lines().filter(|line| !line.is_empty());
        let (token, line) = (lines.next().unwrap().to_owned(), lines.next().unwrap());
        fs::write(directory.path().join("tokens.toml"), format!("[editors]\n{line}\n")).unwrap();
        let pair = Pair::new(directory.path());
        Self { directory, pair, token }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn list_of(&self, shop: usize) -> PathBuf {
        self.path(&if shop == 0 { "whitelist.toml".to_owned() } else { format!("shops/shop-{shop}.toml") })
    }

    /// Replaces a shop's whitelist as a careful editor does.
    pub fn edit(&self, shop: usize, list: &str) {
        fs::write(self.path("new"), list).unwrap();
        fs::rename(self.path("new"), self.list_of(shop)).unwrap();
    }

    pub fn remove(&self, shop: usize) {
        fs::remove_file(self.list_of(shop)).unwrap();
    }

    /// The bytes of a shop's whitelist.
    pub fn list(&self, shop: usize) -> Vec<u8> {
        fs::read(self.list_of(shop)).unwrap()
    }
}

/// A proxy at one address, one process after the other.
pub struct Replica {
    /// Held while a process is stopped and started, or while it must not be.
    pub process: Mutex<Process>,
    arguments: Vec<String>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Replica {
    /// Starts a replica on a loopback address of its own, so that no client's port is in its way when it comes back.
    pub fn start(number: usize, upstream: &str, files: &Files) -> Self {
        let ip = Ipv4Addr::new(127, 0, 0, 2 + number as u8);
        let path = |name: &str| files.path(name).to_str().unwrap().to_owned();
        let mut arguments: Vec<String> = ["serve", "--log-format", "json", "--trusted-proxy", "127.0.0.1"]
            // A lifetime and a cache that are used up many times in ten minutes.
            .into_iter()
            .chain(["--fresh-for", "1s", "--cache-size", "32MiB", "--upstream", upstream])
            .map(str::to_owned)
            .collect();
        for (flag, name) in [
            ("--whitelist", "whitelist.toml".to_owned()),
            ("--shops", "shops".to_owned()),
            ("--cache-dir", format!("cache-{number}")),
            ("--admin-tokens", "tokens.toml".to_owned()),
        ] {
            arguments.extend([flag.to_owned(), path(&name)]);
        }
        if number == TLS {
            for (flag, file) in [("--tls-cert", &files.pair.cert), ("--tls-key", &files.pair.key)] {
                arguments.extend([flag.to_owned(), file.to_str().unwrap().to_owned()]);
            }
        }
        let any = SocketAddr::from((ip, 0));
        let (process, address, admin) = Process::start(&arguments, any, any);
        Self { process: Mutex::new(process), arguments, address, admin }
    }

    /// Stops the process as an upgrade does, and starts another at the same address. Returns the time without one.
    pub async fn restart(&self) -> Duration {
        let mut process = self.process.lock().await;
        process.signal(Signal::TERM);
        let start = Instant::now();
        while process.is_running() {
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (arguments, address, admin) = (self.arguments.clone(), self.address, self.admin);
        let started = tokio::task::spawn_blocking(move || Process::start(&arguments, address, admin).0);
        *process = started.await.unwrap();
        start.elapsed()
    }
}

/// A child that is killed when it is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a proxy; returns its addresses, too.
    fn start(arguments: &[String], address: SocketAddr, admin: SocketAddr) -> (Self, SocketAddr, SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(arguments)
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (address, admin) = loop {
            let mut text = String::new();
            assert!(log.read_line(&mut text).unwrap() > 0, "it ended before it served");
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            if let (Some(address), Some(admin)) = (line["listen"].as_str(), line["admin"].as_str()) {
                break (address.parse().unwrap(), admin.parse().unwrap());
            }
        };
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                // What nobody should ever see.
                if line.contains("panicked") {
                    println!("{line}");
                }
            }
        });
        (Self { child }, address, admin)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Returns true if it runs. One that has ended must have ended well.
    fn is_running(&mut self) -> bool {
        let Some(status) = self.child.try_wait().unwrap() else { return true };
        assert!(status.success(), "{status}");
        false
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// How many file descriptors it has.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// HAProxy with the configuration of `deploy/haproxy`, before the first two replicas.
pub struct Balancer {
    _process: Process,
    pub address: SocketAddr,
}

impl Balancer {
    pub fn start(replicas: &[Replica]) -> Self {
        // The port of a replica is free at an address that nobody else has.
        let address = SocketAddr::from(([127, 0, 0, 9], replicas[0].address.port()));
        let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/haproxy/haproxy.cfg");
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(configuration)
            .env("LISTEN", address.to_string())
            .env("REPLICA_1", replicas[0].address.to_string())
            .env("REPLICA_2", replicas[1].address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy, as .ci/run installs it");
        Self { _process: Process { child }, address }
    }
}
