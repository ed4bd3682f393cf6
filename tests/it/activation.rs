//! Sockets that the service manager holds, and a restart that refuses nobody.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::{array, list, plesk};
use crate::upstream::Upstream;

/// Wraps a command in a shell that hands over standard input, and standard output if there are two, as systemd does.
fn hand_over(command: &mut Command, sockets: Vec<OwnedFd>, names: &str) {
    let redirections = ["", "3<&0", "3<&0 4<&1"][sockets.len()];
    let script = format!(r#"export LISTEN_PID=$$; exec "$0" "$@" {redirections} </dev/null >/dev/null"#);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    shell.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names).env_remove("RUST_LOG");
    let mut sockets = sockets.into_iter();
    shell.stdin(sockets.next().map_or(Stdio::null(), Stdio::from));
    shell.stdout(sockets.next().map_or(Stdio::null(), Stdio::from)).stderr(Stdio::piped());
    *command = shell;
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn fd(socket: &TcpListener) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

/// An address that no machine has.
const NOBODYS: &str = "192.0.2.1:8080";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_and_cuts_nobody() {
    const RESTARTS: usize = 4;
    let upstream = Upstream::with_feeds(array(&[plesk("wp-toolkit")]), "[]").await;
    let (held, address) = listener();
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        Process::start_with(&upstream.url(), |command| {
            command.arg("--cache-dir").arg(cache.path());
            hand_over(command, vec![fd(&held)], "service");
        })
    };
    let mut process = start();
    assert_eq!(process.address, address);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    // Each on a connection of its own.
                    let answer = get(address, "/api/v4/packages").await;
                    assert_eq!((answer.status.as_u16(), answer.cut), (200, false));
                    assert!(answer.text().contains("wp-toolkit"));
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let before = served.load(Ordering::SeqCst);
        until("more answers", async || served.load(Ordering::SeqCst) >= before + count).await;
    };
    more(50).await;
    for _ in 0..RESTARTS {
        process.signal("TERM");
        assert_eq!(process.wait().await.code(), Some(0));
        // Nobody accepts now.
        process = start();
        more(50).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no client may be refused or cut");
    }
}

#[tokio::test]
async fn sockets_take_the_place_of_addresses_by_their_names() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let ((service, service_address), (admin, admin_address)) = (listener(), listener());
    let process = Process::start_with(&upstream.url(), |command| {
        hand_over(command, vec![fd(&admin), fd(&service)], "admin:service");
    });
    assert_eq!((process.address, process.admin), (service_address, admin_address));
    assert_eq!(get(process.address, "/api/v4/packages").await.text(), "[]");
    assert!(get(process.admin, "/metrics").await.text().contains("catalog_proxy_"));
    until("the log", async || process.log().matches("in place of the setting").count() == 2).await;
    assert!(!process.log().contains("another process"), "{}", process.log());
}

/// Runs the binary to its end with sockets handed over.
fn run(directory: &Path, sockets: Vec<OwnedFd>, names: &str) -> Output {
    std::fs::write(directory.join("whitelist.toml"), list(&[])).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    command.args(["serve", "--listen", NOBODYS, "--admin-listen", "off", "--whitelist"]);
    command.arg(directory.join("whitelist.toml"));
    hand_over(&mut command, sockets, names);
    command.output().unwrap()
}

#[test]
fn a_socket_that_cannot_be_used_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let check = |sockets: Vec<OwnedFd>, names: &str, message: &str| {
        let output = run(directory.path(), sockets, names);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert_eq!(error, format!("catalog-proxy: LISTEN_FDS: {message}\n"));
    };
    let udp = || UdpSocket::bind("127.0.0.1:0").unwrap().into();
    check(vec![udp()], "service", r#"descriptor 3 ("service"): fd 3 is not a valid tcp socket"#);
    let (listener, address) = listener();
    let client = std::net::TcpStream::connect(address).unwrap();
    check(
        vec![client.into()],
        "connection",
        r#"descriptor 3 ("connection"): it does not listen; Accept=yes is not supported"#,
    );
    check(
        vec![fd(&listener)],
        "web",
        r#"descriptor 3 ("web"): no such name; FileDescriptorName= must be `service` or `admin`"#,
    );
    check(
        vec![fd(&listener), fd(&listener)],
        "admin:admin",
        r#"descriptor 4 ("admin"): the admin port has one socket already"#,
    );
    check(
        vec![fd(&listener), std::fs::File::open("/dev/null").unwrap().into()],
        "service:service",
        r#"descriptor 4 ("service"): fd 4 is not a socket"#,
    );
}

#[tokio::test]
async fn sockets_of_another_process_are_left_alone() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("LISTEN_FDNAMES", "service");
    });
    assert_eq!(get(process.address, "/livez").await.status, 200);
    assert!(process.log().contains("LISTEN_PID=1 is another process"), "{}", process.log());
}
