//! The protocol of systemd's `Type=notify` and `notify-reload`, on the real binary.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::client::{self, get};
use crate::process::Process;
use crate::proxy::{array, list, plesk};
use crate::upstream::Upstream;

/// The service manager's side of the socket.
struct Manager {
    directory: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(client::PATIENCE)).unwrap();
        Self { directory, socket }
    }

    fn start(&self, upstream: &Upstream) -> Process {
        Process::start_with(&upstream.url(), |command| {
            command.env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        })
    }

    /// Returns the next message without its status.
    fn next(&self) -> String {
        let (message, _status) = self.next_with_status();
        message
    }

    fn next_with_status(&self) -> (String, String) {
        let mut message = [0; 256];
        let len = self.socket.recv(&mut message).expect("a message");
        let message = String::from_utf8(message[..len].to_vec()).unwrap();
        match message.split_once("STATUS=") {
            Some((message, status)) => (message.to_owned(), status.to_owned()),
            None => (message, String::new()),
        }
    }

    fn has_more(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 256]).is_ok()
    }
}

/// Microseconds since the machine started; the monotonic clock, which stops with a laptop's lid, shows no more.
fn uptime_micros() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    (uptime.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e6) as u64
}

#[tokio::test]
async fn systemd_is_told_of_start_reload_and_end() {
    let upstream = Upstream::with_feeds(array(&[plesk("docker"), plesk("wp-toolkit")]), "[]").await;
    let manager = Manager::new();
    let mut process = manager.start(&upstream);
    let (message, status) = manager.next_with_status();
    assert_eq!((&*message, status), ("READY=1\n", format!("serving 1 shop(s) on {}\n", process.address)));
    assert_eq!(get(process.address, "/readyz").await.status, 200);

    fs::write(process.whitelist(), list(&["docker"])).unwrap();
    process.signal("HUP");
    let reloading = manager.next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    let time: u64 = time.trim_end().parse().unwrap();
    // The uptime is cut to hundredths of a second.
    assert!((1..=uptime_micros() + 10_000).contains(&time), "{time}");
    assert_eq!(manager.next(), "READY=1\n");
    // Ready means that the edit is in force, not that it will be.
    assert!(get(process.address, "/api/v4/packages").await.text().contains("docker"));

    process.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1\n");
    assert_eq!(process.wait().await.code(), Some(0));
    assert!(!manager.has_more());
}

#[tokio::test]
async fn the_watchdog_hears_of_a_process_that_runs() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let manager = Manager::new();
    let _process = Process::start_with(&upstream.url(), |command| {
        command.env("NOTIFY_SOCKET", manager.directory.path().join("notify")).env("WATCHDOG_USEC", "100000");
    });
    let alive = |_: &usize| manager.next() == "WATCHDOG=1\n";
    assert!((0..50).filter(alive).take(3).count() == 3, "no sign of life");
}

#[tokio::test]
async fn a_reload_of_a_broken_list_ends_too() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let manager = Manager::new();
    let process = manager.start(&upstream);
    assert_eq!(manager.next(), "READY=1\n");
    fs::write(process.whitelist(), "extensions = [").unwrap();
    process.signal("HUP");
    assert!(manager.next().starts_with("RELOADING=1\n"));
    assert_eq!(manager.next(), "READY=1\n");
    assert!(get(process.admin, "/readyz").await.text().contains("whitelist.toml:1:"));
}

#[tokio::test]
async fn nothing_is_ready_without_a_whitelist() {
    let manager = Manager::new();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--whitelist", "/no/such.toml"])
        .env("NOTIFY_SOCKET", manager.directory.path().join("notify"))
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(2));
    assert!(!manager.has_more());
}

#[tokio::test]
async fn the_socket_may_be_in_no_directory() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let name = format!("catalog-proxy-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(client::PATIENCE)).unwrap();
    let _process = Process::start_with(&upstream.url(), |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    let mut message = [0; 64];
    let len = socket.recv(&mut message).expect("a message");
    assert!(message[..len].starts_with(b"READY=1\n"));
}

#[tokio::test]
async fn a_manager_that_does_not_read_holds_nothing_up() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let manager = Manager::new();
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"another service", manager.directory.path().join("notify")).is_ok() {}
    let mut process = manager.start(&upstream);
    process.signal("HUP");
    assert_eq!(get(process.address, "/livez").await.status, 200);
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));

    // One that reads again has missed nothing.
    let mut process = manager.start(&upstream);
    while manager.next() != "READY=1\n" {}
    process.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1\n");
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_manager_that_is_gone_harms_nothing() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.env("NOTIFY_SOCKET", "/no/such/socket");
    });
    assert_eq!(get(process.address, "/livez").await.status, 200);
}
