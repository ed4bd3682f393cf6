//! The journal of systemd behind standard error: lines begin with their priority (sd-daemon(3)).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::sync::LazyLock;

use rustix::fs::{Stat, fstat};

/// Variable with device and inode of the socket that the service manager has connected (systemd.exec(5)).
const VARIABLE: &str = "JOURNAL_STREAM";

/// Importance of a line, with the numbers of syslog(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

/// Returns true if the journal is behind standard error. Not if the variable is an inherited one and standard error
/// has been redirected since.
pub fn is_journal() -> bool {
    static IS_JOURNAL: LazyLock<bool> = LazyLock::new(|| {
        let named = env::var_os(VARIABLE);
        named.is_some_and(|named| fstat(io::stderr()).is_ok_and(|stat| names(&named, &stat)))
    });
    *IS_JOURNAL
}

fn names(variable: &OsStr, stat: &Stat) -> bool {
    let numbers = variable.to_str().and_then(|text| text.split_once(':'));
    let parsed = numbers.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    parsed == Some((stat.st_dev, stat.st_ino))
}

/// Returns a line as the journal takes it: with its priority in front, if that is where it goes.
pub(super) fn with_priority(line: &[u8], priority: Priority) -> Vec<u8> {
    let mark = if is_journal() { format!("<{}>", priority as u8) } else { String::new() };
    [mark.as_bytes(), line].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_must_name_the_very_file() {
        let stat = fstat(io::stderr()).expect("a file");
        let check =
            |text: &str, expected: bool| assert_eq!(names(OsStr::new(text), &stat), expected, "{text}");
        let (device, inode) = (stat.st_dev, stat.st_ino);
        check(&format!("{device}:{inode}"), true);
        check(&format!("{device}:{}", inode + 1), false);
        check(&format!("{}:{inode}", device + 1), false);
        check(&format!("{device}"), false);
        check("", false);
        check("a:b", false);
    }
}
