//! File descriptors of the real binary: none leaks, and the proxy survives running out of them.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{get, until};
use crate::process::Process;
use crate::upstream::{Step, Upstream, head_of, status};

/// Sends a request on a kept connection; returns false if there is no response within a moment.
async fn answers(stream: &mut TcpStream) -> bool {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let read = tokio::time::timeout(std::time::Duration::from_secs(1), stream.read(&mut answer));
    read.await.is_ok_and(|read| answer[..read.unwrap()].starts_with(b"HTTP/1.1 200"))
}

#[tokio::test]
async fn running_out_of_them_is_survived() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Process::start_with(&upstream.url(), |_| ());
    get(process.address, "/livez").await;
    let limit = Rlimit { current: Some(process.descriptors() as u64 + 20), ..getrlimit(Resource::Nofile) };
    prlimit(Pid::from_raw(process.id() as i32), Resource::Nofile, limit).unwrap();
    let mut kept = Vec::new();
    let mut waiting = loop {
        let mut stream = TcpStream::connect(process.address).await.unwrap();
        match answers(&mut stream).await {
            true => kept.push(stream),
            false => break stream,
        }
        assert!(kept.len() < 100, "the limit is none");
    };
    assert!(kept.len() > 10, "{}", kept.len());
    for stream in &mut kept {
        assert!(answers(stream).await, "those that are open go on");
    }
    kept.truncate(5);
    let mut answer = [0; 12];
    tokio::time::timeout(crate::client::PATIENCE, waiting.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Those of the connections that went away come back one by one.
    until("descriptors to ask the upstream with", async || {
        get(process.address, "/api/v4/packages").await.status == 200
    })
    .await;
    assert_eq!(get(process.address, "/api/v4/packages").await.text(), "[]");
}

#[tokio::test]
async fn the_soft_limit_is_raised_to_what_is_needed() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -Sn 100; exec \"$0\" \"$@\""]).arg(command.get_program());
        shell
            .args(command.get_args())
            .args(["--max-connections", "500"])
            .stderr(std::process::Stdio::piped());
        *command = shell;
    });
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("1256"), "{line}");
}

#[tokio::test]
async fn none_is_left_of_a_storm() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/big" => vec![head_of(200, "content-length: 100000000\r\n"), Step::Fill(100_000_000)],
        _ => [status(200, "text/plain", b"ok\n"), vec![Step::Close]].concat(),
    })
    .await;
    let process = Process::start_with(&upstream.url(), |_| ());
    get(process.address, "/livez").await;
    let before = process.descriptors();
    for round in 0..5 {
        let mut crowd = Vec::new();
        for n in 0..100 {
            let mut stream = TcpStream::connect(process.address).await.unwrap();
            let request: &[u8] = match (n + round) % 5 {
                0 => b"GET /livez HTTP/1.1\r\nhost",
                1 => b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n",
                2 => b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nha",
                3 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                _ => b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n",
            };
            stream.write_all(request).await.unwrap();
            crowd.push(stream);
        }
        assert_eq!(get(process.address, "/livez").await.text(), "ok\n");
    }
    // Threads that have just started open some of their own. A kind of connection that leaks would leave a hundred.
    until("hardly more than before", async || process.descriptors() <= before + 8).await;
}
