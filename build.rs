//! Tells the program which commit it is built from.
//!
//! `BUILD_REVISION` is the commit's short id, with `-dirty` behind it if tracked files have changed since, and
//! `BUILD_VERSION` the version with it and the commit's day in UTC. Where git knows nothing, as in the build of an
//! image, the variables `SOURCE_REVISION` and `SOURCE_DATE_EPOCH` (seconds) tell; they win if they are set. Without
//! either the program has a version alone.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// Digits of a commit's id: enough to be unique for as long as the project lives.
const REVISION_DIGITS: usize = 12;

fn main() {
    for path in ["build.rs", "src", "assets"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["SOURCE_REVISION", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let in_git = is_checkout();
    if in_git {
        watch_head();
    }
    let revision = given("SOURCE_REVISION").map(|id| shortened(&id)).or_else(|| {
        let abbreviated = format!("--abbrev={REVISION_DIGITS}");
        git(&["describe", "--always", "--exclude=*", "--dirty", &abbreviated]).filter(|_| in_git)
    });
    let seconds = given("SOURCE_DATE_EPOCH")
        .or_else(|| git(&["show", "--no-patch", "--format=%ct", "HEAD"]).filter(|_| in_git));
    let version = env::var("CARGO_PKG_VERSION").expect("Cargo sets the version");
    let Some(revision) = revision else {
        println!("cargo::rustc-env=BUILD_VERSION={version}");
        return;
    };
    let day = seconds.map(|seconds| format!(" {}", day_of(&seconds))).unwrap_or_default();
    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    println!("cargo::rustc-env=BUILD_VERSION={version} ({revision}{day})");
}

/// Returns the value of a variable, unless it is empty: an argument of an image that nobody gave is.
fn given(variable: &str) -> Option<String> {
    env::var(variable).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Cuts a commit's id to the length that git is asked for, and leaves any other name as it is.
fn shortened(revision: &str) -> String {
    let is_id = revision.len() >= 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { revision[..REVISION_DIGITS].to_owned() } else { revision.to_owned() }
}

/// Returns the day, in UTC, of a number of seconds since 1970.
fn day_of(seconds: &str) -> String {
    let seconds = seconds.parse().expect("SOURCE_DATE_EPOCH is a number of seconds since 1970");
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// True if this directory is the root of a checkout. Sources that lie unpacked in another project's are not.
fn is_checkout() -> bool {
    git(&["rev-parse", "--show-cdup"]).is_some_and(|way_up| way_up.is_empty())
}

/// Has Cargo run this again when another commit is checked out or made.
///
/// The log of HEAD says so in a worktree as well, and is silent about the other worktrees and branches. Only what exists
/// is named: Cargo takes a missing file for a changed one, at every build.
fn watch_head() {
    let path_of =
        |name: &str| git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
    let log = path_of("logs/HEAD");
    let branch = || git(&["symbolic-ref", "--quiet", "HEAD"]).and_then(|branch| path_of(&branch));
    let paths = match log {
        Some(log) => vec![Some(log)],
        None => vec![path_of("HEAD"), branch(), path_of("packed-refs")],
    };
    for path in paths.into_iter().flatten() {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// Returns what git prints, or `None` if it fails or is not there.
fn git(arguments: &[&str]) -> Option<String> {
    // Without optional locks it does not write: other commands may be at work in the same checkout.
    let output = Command::new("git").args(arguments).env("GIT_OPTIONAL_LOCKS", "0").output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}
