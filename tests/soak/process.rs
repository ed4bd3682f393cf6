//! The binary under load.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A running proxy.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    directory: tempfile::TempDir,
}

impl Process {
    pub fn start(upstream: &str, list: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let whitelist = directory.path().join("whitelist.toml");
        fs::write(&whitelist, list).unwrap();
        let shops = directory.path().join("shops");
        fs::create_dir(&shops).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            // A lifetime and a cache that are used up many times in ten minutes.
            .args(["--fresh-for", "1s", "--cache-size", "32MiB", "--upstream", upstream, "--whitelist"])
            .arg(&whitelist)
            .arg("--shops")
            .arg(&shops)
            .arg("--cache-dir")
            .arg(directory.path().join("cache"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (address, admin) = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let (Some(address), Some(admin)) = (line["listen"].as_str(), line["admin"].as_str()) {
                break (address.parse().unwrap(), admin.parse().unwrap());
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, admin, directory }
    }

    fn list_of(&self, shop: usize) -> PathBuf {
        let name = if shop == 0 { "whitelist.toml".to_owned() } else { format!("shops/shop-{shop}.toml") };
        self.directory.path().join(name)
    }

    /// Replaces a shop's whitelist as a careful editor does.
    pub fn edit(&self, shop: usize, list: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, list).unwrap();
        fs::rename(new, self.list_of(shop)).unwrap();
    }

    /// Removes a shop's whitelist and has the shop forgotten.
    pub fn forget(&self, shop: usize) {
        fs::remove_file(self.list_of(shop)).unwrap();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
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
