//! Too few threads or too little memory: one clear error at start, no harm later.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::geteuid;

use crate::client::get;
use crate::process::copy_program;
use crate::proxy::{array, free, list};
use crate::upstream::Upstream;

/// A user that nothing else runs as.
const NOBODY: u32 = 65_534;

/// Sets the limit on processes and threads that is its first argument, under the option of bash or of dash, and
/// runs the others.
const LIMITED: &str = "if (ulimit -u \"$1\") 2>/dev/null; then ulimit -u \"$1\"; else ulimit -p \"$1\"; fi\n\
                       shift; exec \"$@\"";

/// Does the same with a limit on addresses, in KiB.
const LIMITED_MEMORY: &str = "ulimit -v \"$1\"; shift; exec \"$@\"";

/// Runs `serve` under a limit on threads, and ends it if it serves.
fn serve_under(limit: u32, program: &Path, user: Option<u32>) -> Output {
    run_limited(LIMITED, limit, program, user)
}

fn run_limited(limited: &str, limit: u32, program: &Path, user: Option<u32>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let whitelist = directory.path().join("whitelist.toml");
    fs::write(&whitelist, list(&[])).unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["3", "sh", "-c", limited, "sh", &limit.to_string()])
        .arg(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--whitelist"])
        .arg(&whitelist)
        .env_remove("RUST_LOG");
    if let Some(user) = user {
        command.uid(user).current_dir("/");
    }
    command.output().unwrap()
}

fn assert_one_clear_error(output: &Output) {
    let message = std::str::from_utf8(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.starts_with("catalog-proxy: cannot start ") && message.contains("threads"), "{message}");
}

/// The program where a user without rights reaches it, with that user's number; root has no limits.
fn unprivileged_program() -> (tempfile::TempDir, PathBuf, Option<u32>) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = directory.path().join("catalog-proxy");
    copy_program(&copy);
    (directory, copy, geteuid().is_root().then_some(NOBODY))
}

#[test]
fn too_few_threads_are_one_clear_error() {
    let (_directory, program, user) = unprivileged_program();
    if user.is_none() {
        // Whoever runs the tests has more processes than this already.
        return assert_one_clear_error(&serve_under(3, &program, None));
    }
    // The timeout, the program's first thread, and none or a few more.
    for limit in [2, 3, 4, 6] {
        assert_one_clear_error(&serve_under(limit, &program, user));
    }
}

#[tokio::test]
async fn a_process_that_gets_no_more_threads_serves_and_ends() {
    let upstream = Upstream::with_feeds(array(&[free("git")]), "[]").await;
    let (directory, program, user) = unprivileged_program();
    let whitelist = directory.path().join("whitelist.toml");
    fs::write(&whitelist, list(&[])).unwrap();
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir("/").env_remove("RUST_LOG");
        user.map(|user| command.uid(user).gid(user));
        command
    };
    let mut process = as_user(&program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--log-format", "json"])
        .args(["--upstream", &upstream.url(), "--whitelist"])
        .arg(&whitelist)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let address = first["listen"].as_str().unwrap().parse().unwrap();
    let pid = process.id().to_string();
    let limited = as_user(Path::new("prlimit")).args(["--nproc=1:1", "--pid", &pid]).status().unwrap();
    assert!(limited.success());
    let answer = get(address, "/api/v4/packages").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, &*array(&[free("git")])));
    assert!(as_user(Path::new("sh")).args(["-c", &format!("kill {pid}")]).status().unwrap().success());
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0), "{rest}");
    assert!(!rest.contains("panic"), "{rest}");
}

#[test]
fn too_little_memory_is_one_clear_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    // Enough to load the program, too little for what it starts.
    for limit in [40_000, 60_000, 110_000, 200_000, 260_000, 400_000, 1_000_000] {
        assert_one_clear_error(&run_limited(LIMITED_MEMORY, limit, program, None));
    }
    // `timeout` ends it.
    let output = run_limited(LIMITED_MEMORY, 64_000_000, program, None);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(124) && log.contains("serving"), "{log}");
    assert!(!log.contains("memory"), "{log}");
}
