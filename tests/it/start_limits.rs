//! Too few threads or too little memory at start is one clear error.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::geteuid;

use crate::proxy::list;

/// A user that nothing else runs as.
const NOBODY: u32 = 65_534;

/// Sets the limit on processes and threads that is its first argument, under the option of bash or of dash, and
/// runs the others.
const LIMITED: &str = "if (ulimit -u \"$1\") 2>/dev/null; then ulimit -u \"$1\"; else ulimit -p \"$1\"; fi\n\
                       shift; exec \"$@\"";

/// Runs `serve` under a limit on threads, and ends it if it serves.
fn serve_under(limit: u32, program: &Path, user: Option<u32>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let whitelist = directory.path().join("whitelist.toml");
    fs::write(&whitelist, list(&[])).unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["10", "sh", "-c", LIMITED, "sh", &limit.to_string()])
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

#[test]
fn too_few_threads_are_one_clear_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    if !geteuid().is_root() {
        // Whoever runs the tests has more processes than this already.
        return assert_one_clear_error(&serve_under(3, program, None));
    }
    // Root has no limit, and others may not reach the program where it was built.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = directory.path().join("catalog-proxy");
    fs::copy(program, &copy).unwrap();
    // The timeout, the program's first thread, and none or a few more.
    for limit in [2, 3, 4, 6] {
        assert_one_clear_error(&serve_under(limit, &copy, Some(NOBODY)));
    }
}
