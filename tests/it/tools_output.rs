//! Commands whose standard error or standard output cannot be written.

use std::io::{self, Read, Write};
use std::process::{Command, Output, Stdio};

use crate::proxy::{array, plesk};
use crate::sinks::Sink;
use crate::tools::{Session, text};

/// Named twice, so every command has something to say about it.
const WHITELIST: &str = "extensions = [\"docker\", \"docker\", \"no-such\"]\n";

/// What a pipe of Linux holds, in bytes.
const PIPE_LEN: usize = 64 << 10;

/// Command lines that print data, messages or both.
const LINES: [&str; 17] = [
    "list --feed packages.json",
    "list --feed packages.json --format csv",
    "shops --feed packages.json",
    "explain docker --feed packages.json",
    "init --feed packages.json",
    "news --cache-dir .",
    "edits --cache-dir .",
    "man",
    "list --feed packages.json --format json",
    "diff other.toml --feed packages.json",
    "check --feed packages.json",
    "panel-ini --url http://a-catalog.far-too-long-for-plesk.example:8080",
    "filter",
    "list --feed no-such.json",
    "list --no-such-flag",
    "completions bash",
    "--help",
];

fn session() -> Session {
    let session = Session::new(WHITELIST);
    session.write("other.toml", "extensions = [\"xovi\"]\n");
    session
}

/// Messages and log lines without their times.
fn untimed(stderr: &[u8]) -> Vec<&str> {
    text(stderr).lines().map(|line| line.split_once("Z  ").map_or(line, |(_, rest)| rest)).collect()
}

fn command(session: &Session, line: &str) -> Command {
    let mut command = session.command(line);
    if line == "filter" {
        command.stdin(std::fs::File::open(session.path("packages.json")).unwrap());
    }
    command
}

#[test]
fn commands_do_the_same_whatever_standard_error_takes() {
    let session = session();
    for line in LINES {
        let good = command(&session, line).output().unwrap();
        assert!(!text(&good.stderr).contains("panicked"), "{good:?}");
        for sink in [Sink::Stuck, Sink::NoReader, Sink::FullDisk, Sink::NoTerminal] {
            let (stderr, _reader) = sink.open();
            let Output { status, stdout, .. } = command(&session, line)
                .stdout(Stdio::piped())
                .stderr(stderr)
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap();
            assert_eq!(
                (status.code(), text(&stdout)),
                (good.status.code(), text(&good.stdout)),
                "{line} {sink:?}"
            );
        }
        let script = format!("exec {} {line} 2>&-", env!("CARGO_BIN_EXE_catalog-proxy"));
        let mut closed = Command::new("sh");
        closed.args(["-c", &script]).env_clear().current_dir(session.path("."));
        if line == "filter" {
            closed.stdin(std::fs::File::open(session.path("packages.json")).unwrap());
        }
        let Output { status, stdout, .. } = closed.output().unwrap();
        assert_eq!((status.code(), text(&stdout)), (good.status.code(), text(&good.stdout)), "{line} closed");
    }
}

#[test]
fn edits_are_made_whatever_standard_error_takes() {
    for sink in [Sink::Stuck, Sink::NoReader, Sink::FullDisk, Sink::NoTerminal] {
        let session = Session::new("extensions = []\n");
        let (stderr, _reader) = sink.open();
        // Nothing can be reached there, of which there is a warning.
        let mut command = session.command("allow docker --upstream http://127.0.0.1:1");
        let status = command.stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(0), "{sink:?}");
        assert!(session.whitelist().contains("docker"), "{sink:?}");
    }
}

#[test]
fn data_that_cannot_be_written_is_a_failure_with_a_reason() {
    let session = session();
    for line in LINES.into_iter().filter(|line| !line.contains("no-such")) {
        let (stdout, _) = Sink::FullDisk.open();
        let child = command(&session, line).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!(status.code(), Some(1), "{line}");
        let message =
            "catalog-proxy: cannot write to standard output: No space left on device (os error 28)\n";
        assert!(text(&stderr).ends_with(message), "{line}: {}", text(&stderr));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let session = session();
    for line in LINES.into_iter().filter(|line| !line.contains("no-such")) {
        let good = command(&session, line).output().unwrap();
        let (stdout, _) = Sink::NoReader.open();
        let child = command(&session, line).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!((status.code(), untimed(&stderr)), (good.status.code(), untimed(&good.stderr)), "{line}");
    }
}

#[test]
fn pipes_into_head_end_silently() {
    let session = session();
    // More than a pipe holds, so that all of them still write when the reader leaves.
    let packages: Vec<_> = (0..6000).map(|n| plesk(&format!("a-package-with-the-number-{n}"))).collect();
    session.write("packages.json", &array(&packages));
    session.write("whitelist.toml", "extensions = [\"a-*\"]\n");
    let lines = ["list", "list --format json", "list --format csv", "init", "diff other.toml"];
    let lines = lines.map(|line| format!("{line} --feed packages.json"));
    for line in lines.iter().map(String::as_str).chain(["filter"]) {
        let good = command(&session, line).output().unwrap();
        assert!(good.stdout.len() > 2 * PIPE_LEN, "{line}: {}", good.stdout.len());
        let mut writer =
            command(&session, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut head = Command::new("head");
        let read = head.args(["-c", "1"]).stdin(writer.stdout.take().unwrap()).output().unwrap();
        // It holds the reading end of the pipe.
        drop(head);
        let Output { status, stderr, .. } = writer.wait_with_output().unwrap();
        assert_eq!(read.stdout, good.stdout[..1], "{line}");
        assert_eq!((status.code(), untimed(&stderr)), (Some(0), untimed(&good.stderr)), "{line}");
    }
}

#[test]
fn a_filter_ends_when_nobody_reads_on() {
    let session = Session::new(WHITELIST);
    let mut filter = session.command("filter");
    filter.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut filter = filter.spawn().unwrap();
    let (mut input, mut output) = (filter.stdin.take().unwrap(), filter.stdout.take().unwrap());
    // A feed without an end: only the closed pipe ends it.
    let feeding = std::thread::spawn(move || {
        let package = format!("{{\"code\":\"x\",\"name\":\"{}\"}},", "x".repeat(4000));
        let mut written = input.write_all(b"[");
        while written.is_ok() {
            written = input.write_all(package.as_bytes());
        }
        written.unwrap_err().kind()
    });
    output.read_exact(&mut [0; 1]).unwrap();
    drop(output);
    let Output { status, stderr, .. } = filter.wait_with_output().unwrap();
    let messages = untimed(&stderr);
    assert!(
        status.code() == Some(0) && messages.iter().all(|line| line.contains("WARN")),
        "{status}: {messages:?}"
    );
    assert_eq!(feeding.join().unwrap(), io::ErrorKind::BrokenPipe);
}
