//! Too few threads or too little memory at start is one clear error.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::geteuid;

use crate::proxy::list;

/// A user that nothing else runs as.
const NOBODY: u32 = 65_534;

/// Runs `serve` with a limit on the user's processes, and ends it if it serves.
fn serve_under(program: &Path, limit: u64, user: Option<u32>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let whitelist = directory.path().join("whitelist.toml");
    fs::write(&whitelist, list(&[])).unwrap();
    let mut command = Command::new("sh");
    command
        // One of them is the flag for processes in every shell.
        .args(["-c", "ulimit -u \"$0\" 2>/dev/null || ulimit -p \"$0\"; exec timeout 10 \"$@\""])
        .arg(limit.to_string())
        .arg(program)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "off", "--whitelist"])
        .arg(&whitelist)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
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

#[test]
fn too_few_threads_are_one_clear_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    if !geteuid().is_root() {
        // Whoever runs the tests has more processes than this already.
        return assert_one_clear_error(&serve_under(program, 3, None));
    }
    // Root has no limit, and others may not reach the program where it was built.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = directory.path().join("catalog-proxy");
    fs::copy(program, &copy).unwrap();
    // The timeout, the program's first thread, and some.
    for limit in [2, 3, 4, 6] {
        assert_one_clear_error(&serve_under(&copy, limit, Some(NOBODY)));
    }
}
