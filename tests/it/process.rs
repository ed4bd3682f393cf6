//! The real binary: signals, memory, exit codes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Notify;

use crate::client::{self, get, get_request, until};
use crate::proxy::{array, free, list, plesk};
use crate::upstream::{Step, Upstream, chunk, head_of, status};

/// Copies the program, by another process: a child of a test that runs beside this one would have the copy open for
/// writing for a moment, and then it cannot be run (ETXTBSY).
pub fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_catalog-proxy")).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A running `catalog-proxy serve`.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    directory: tempfile::TempDir,
    log: Arc<Mutex<String>>,
}

impl Process {
    fn start(upstream: &Upstream) -> Self {
        Self::start_with(&upstream.url(), |_| ())
    }

    /// Starts the binary with more arguments or variables.
    pub fn start_with(upstream: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_program(Path::new(env!("CARGO_BIN_EXE_catalog-proxy")), upstream, change)
    }

    /// Starts a copy of the binary; its whitelist can be read by everybody.
    pub fn start_program(program: &Path, upstream: &str, change: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let whitelist = directory.path().join("whitelist.toml");
        fs::write(&whitelist, list(&["wp-toolkit"])).unwrap();
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(["--upstream", upstream])
            .arg("--whitelist")
            .arg(&whitelist)
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        let (address, admin) = loop {
            let start = lines.len();
            assert!(log.read_line(&mut lines).unwrap() > 0, "it ended before it served");
            let line = &lines[start..];
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            if let (Some(address), Some(admin)) = (line["listen"].as_str(), line["admin"].as_str()) {
                break (address.parse().unwrap(), admin.parse().unwrap());
            }
        };
        let lines = Arc::new(Mutex::new(lines));
        let rest = Arc::clone(&lines);
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| *rest.lock().unwrap() += &(line + "\n"));
        });
        Self { child, address, admin, directory, log: lines }
    }

    /// Returns the log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, name: &str) {
        // The shell's own: not every machine has the program.
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Returns the path of its whitelist.
    pub fn whitelist(&self) -> PathBuf {
        self.directory.path().join("whitelist.toml")
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }

    /// Returns the peak of its resident memory, in bytes, while it runs.
    fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
    }

    /// Replaces the whitelist in place.
    pub fn edit(&self, list: &str) {
        fs::write(self.directory.path().join("whitelist.toml"), list).unwrap();
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn wait(&mut self) -> ExitStatus {
        for _ in 0..client::PATIENCE.as_millis() / 10 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // No test holds it against a number: it depends on the build and the machine. `benches/memory` shows it.
        if let Some(peak) = self.peak_memory() {
            println!("peak memory: {} MiB", peak >> 20);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_download_of_a_gigabyte_arrives_whole() {
    const SIZE: u64 = 1 << 30;
    let upstream =
        Upstream::start(|_| vec![head_of(200, &format!("content-length: {SIZE}\r\n")), Step::Fill(SIZE)])
            .await;
    let process = Process::start(&upstream);
    let mut response = client::send(process.address, get_request("/big.zip")).await;
    assert_eq!(response.headers()["content-length"], SIZE.to_string());
    let mut len = 0;
    while let Some(frame) = response.body_mut().frame().await {
        len += frame.unwrap().into_data().unwrap().len() as u64;
    }
    assert_eq!(len, SIZE);
}

#[tokio::test]
async fn an_upload_of_100_megabytes_arrives_whole() {
    const BLOCK: usize = 64 << 10;
    const SIZE: usize = 100 << 20;
    let upstream = Upstream::start(|_| status(200, "text/plain", b"thanks")).await;
    let process = Process::start(&upstream);
    let blocks = (0..SIZE / BLOCK).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![7; BLOCK]))));
    let request = Request::post(format!("http://{}/upload", process.address))
        .body(StreamBody::new(stream::iter(blocks)))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client::finish(client.request(request).await.unwrap()).await;
    assert_eq!(answer.text(), "thanks");
    assert_eq!(upstream.requests()[0].body_len, SIZE as u64);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    const SIZE: u64 = 1 << 30;
    /// More than all buffers of both connections' sockets hold.
    const BUFFERS: u64 = 64 << 20;
    let taken = Arc::new(AtomicU64::default());
    let counter = Arc::clone(&taken);
    let upstream = Upstream::start(move |_| {
        let head = head_of(200, &format!("content-length: {SIZE}\r\n"));
        vec![head, Step::CountedFill(SIZE, Arc::clone(&counter))]
    })
    .await;
    let process = Process::start(&upstream);
    let stalled = client::send(process.address, get_request("/big.zip")).await;
    until("a full buffer", async || {
        let before = taken.load(Ordering::Relaxed);
        for _ in 0..20 {
            get(process.address, "/livez").await;
        }
        before > 0 && before == taken.load(Ordering::Relaxed)
    })
    .await;
    assert!(taken.load(Ordering::Relaxed) < BUFFERS, "{taken:?} bytes");
    drop(stalled);
}

#[tokio::test]
async fn a_signal_lets_running_answers_finish() {
    for signal in ["TERM", "INT"] {
        let gate = Arc::new(Notify::new());
        let opened = Arc::clone(&gate);
        let upstream = Upstream::start(move |_| {
            vec![
                head_of(200, "transfer-encoding: chunked\r\n"),
                chunk(b"first"),
                Step::Gate(Arc::clone(&opened)),
                chunk(b"last"),
                chunk(b""),
            ]
        })
        .await;
        let mut process = Process::start(&upstream);
        let response = client::send(process.address, get_request("/slow")).await;
        process.signal(signal);
        until("no more connections", async || tokio::net::TcpStream::connect(process.address).await.is_err())
            .await;
        gate.notify_one();
        let answer = client::finish(response).await;
        assert_eq!((answer.text(), answer.cut), ("firstlast", false));
        assert_eq!(process.wait().await.code(), Some(0), "{signal}");
    }
}

#[tokio::test]
async fn both_address_families_are_served_on_one_port_in_either_order() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let (v4, v6) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    for listen in [[&v4, &v6], [&v6, &v4]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(["serve", "--admin-listen", "off", "--whitelist", "whitelist.toml"])
            .args(["--upstream", &upstream.url(), "--listen", listen[0], "--listen", listen[1]])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let child = Mutex::new(&mut child);
        for host in ["127.0.0.1", "[::1]"] {
            let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
            until("a listener", async || {
                assert!(child.lock().unwrap().try_wait().unwrap().is_none(), "{listen:?}: it ended");
                tokio::net::TcpStream::connect(address).await.is_ok()
            })
            .await;
            assert_eq!(get(address, "/livez").await.text(), "ok\n");
        }
        let child = child.into_inner().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn signals_meant_for_other_servers_do_nothing() {
    let mut process = Process::start(&Upstream::with_feeds("[]", "[]").await);
    for name in ["USR1", "USR2", "TERM"] {
        assert_eq!(get(process.address, "/livez").await.status, 200);
        process.signal(name);
    }
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_hangup_reloads_the_whitelist() {
    let feed = array(&[plesk("wp-toolkit"), plesk("docker"), free("git")]);
    let upstream = Upstream::with_feeds(feed, "[]").await;
    let mut process = Process::start(&upstream);
    let generation = async || {
        let ready = get(process.admin, "/readyz").await;
        serde_json::from_slice::<serde_json::Value>(&ready.body).unwrap()["whitelist"]["generation"]
            .as_u64()
            .unwrap()
    };
    let before = generation().await;
    process.signal("HUP");
    until("a new generation", async || generation().await > before).await;
    fs::write(process.whitelist(), list(&["docker"])).unwrap();
    process.signal("HUP");
    until("the edit", async || get(process.address, "/api/v4/packages").await.text().contains("docker"))
        .await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn healthcheck_tells_whether_it_is_ready() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Process::start(&upstream);
    let check = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
        command.arg("healthcheck").env("CATALOG_PROXY_LISTEN", address).output().unwrap()
    };
    let ready = check(&format!("0.0.0.0:{}", process.address.port()));
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    let address = process.address.to_string();
    drop(process);
    let gone = check(&address);
    assert_eq!(gone.status.code(), Some(1));
    let mut message = String::new();
    gone.stderr.as_slice().read_to_string(&mut message).unwrap();
    assert!(message.contains("cannot be asked") && message.contains("refused"), "{message}");
}
