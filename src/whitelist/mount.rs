//! Detection of a whitelist file that is itself a mount point.

use std::fs;
use std::path::Path;

/// Returns true if `path` is a mount point of its own, as with a Docker bind mount of a single file or a
/// Kubernetes `subPath`. Such a mount keeps showing the old file after a rename over it outside, so edits
/// would never be seen.
///
/// Returns false where `/proc/self/mountinfo` cannot be read.
pub fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    path.to_str().is_some_and(|path| mount_points(&table).any(|point| point == path))
}

/// Reads the fifth field of each line (proc_pid_mountinfo(5)).
fn mount_points(table: &str) -> impl Iterator<Item = String> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| {
        let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
        escapes.iter().fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mount_points() {
        let table = "23 28 0:22 / /sys rw,nosuid - sysfs sysfs rw\n\
                     36 35 98:0 /x /etc/my\\040list.toml rw master:1 - ext4 /dev/root rw\n";
        assert_eq!(mount_points(table).collect::<Vec<_>>(), ["/sys", "/etc/my list.toml"]);
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(Path::new("/proc/self/status")));
        assert!(!is_mount_point(Path::new("/no/such/file")));
    }
}
