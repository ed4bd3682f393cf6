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

#[test]
fn too_little_memory_is_one_clear_error() {
    let program = Path::new(env!("CARGO_BIN_EXE_catalog-proxy"));
    // Enough to load the program, too little for its threads.
    assert_one_clear_error(&run_limited(LIMITED_MEMORY, 40_000, program, None));
    let mut served = 0;
    std::thread::scope(|scope| {
        // Heaps reserve 64 MiB each, so that what is left of a limit rises and falls with it.
        let limits =
            [60_000, 80_000, 110_000, 140_000, 200_000, 260_000, 330_000, 400_000, 460_000, 1_000_000];
        let runs = limits
            .map(|limit| (limit, scope.spawn(move || run_limited(LIMITED_MEMORY, limit, program, None))));
        for (limit, run) in runs {
            let output = run.join().unwrap();
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            if log.contains("serving") {
                // `timeout` ends it.
                assert!(output.status.code() == Some(124) && !log.contains("memory"), "{limit} KiB: {log}");
                served += 1;
            } else {
                assert_one_clear_error(&output);
            }
        }
    });
    assert!(served > 0, "none is enough");
}
