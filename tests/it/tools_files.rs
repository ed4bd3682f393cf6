//! Commands and the proxy with pipes and other special files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::{array, list, plesk};
use crate::tools::{Session, text};
use crate::upstream::Upstream;

fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn only_files_are_edited() {
    let session = Session::new("");
    fs::remove_file(session.path("whitelist.toml")).unwrap();
    make_fifo(&session.path("fifo"));
    symlink("fifo", session.path("whitelist.toml")).unwrap();
    fs::create_dir(session.path("directory")).unwrap();
    let _socket = UnixListener::bind(session.path("socket")).unwrap();
    for file in ["fifo", "whitelist.toml", "directory", "socket"] {
        for verb in ["allow docker", "retire docker --dry-run", "forget docker"] {
            let refused = session.run(&format!("{verb} --whitelist {file} --feed packages.json"));
            assert_eq!(refused.status.code(), Some(2), "{verb} {file}: {refused:?}");
            let message = text(&refused.stderr);
            assert!(message.contains(&format!("cannot read whitelist {file}: ")), "{message}");
            assert!(file == "socket" || message.contains("it is not a regular file"), "{message}");
        }
    }
    assert!(fs::metadata(session.path("whitelist.toml")).unwrap().file_type().is_fifo());
    let names: Vec<_> = fs::read_dir(session.path("")).unwrap().collect();
    assert_eq!(names.len(), 5, "nothing is left over: {names:?}");
}

#[test]
fn what_is_only_read_may_come_through_a_pipe() {
    let session = Session::new("extensions = []\n");
    for line in [
        "list --shown --seller plesk --whitelist $new --feed packages.json",
        "diff $new --feed packages.json",
        "explain docker --whitelist $new --feed packages.json",
        "filter --whitelist $new < packages.json | grep -o docker",
    ] {
        let program = env!("CARGO_BIN_EXE_catalog-proxy");
        let line = line.replace("$new", "<(echo 'extensions = [\"docker\"]')");
        let output = Command::new("bash")
            .args(["-c", &format!("{program} {line}")])
            .current_dir(session.path(""))
            .output()
            .unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("docker"), "{line}: {output:?}");
    }
}

#[tokio::test]
async fn a_pipe_in_the_lists_place_holds_nothing_up() {
    let upstream = Upstream::with_feeds(array(&[plesk("docker"), plesk("wp-toolkit")]), "[]").await;
    let mut process = Process::start_with(&upstream.url(), |_| ());
    let packages = async || get(process.address, "/api/v4/packages").await.text().to_owned();
    let pipe = process.whitelist().with_extension("fifo");
    make_fifo(&pipe);
    fs::rename(&pipe, process.whitelist()).unwrap();
    until("the warning", async || process.log().contains("it is not a regular file")).await;
    assert!(packages().await.contains("wp-toolkit"), "the last good list stays");
    let new = process.whitelist().with_extension("new");
    fs::write(&new, list(&["docker"])).unwrap();
    fs::rename(&new, process.whitelist()).unwrap();
    until("the list after it", async || packages().await.contains("docker")).await;
    assert_eq!(process.log().matches("it is not a regular file").count(), 1, "{}", process.log());
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));
}

#[test]
fn the_proxy_does_not_start_with_a_pipe() {
    let session = Session::new("");
    make_fifo(&session.path("fifo"));
    let refused = session.run("serve --listen 127.0.0.1:0 --admin-listen off --whitelist fifo");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("fifo: it is not a regular file"), "{refused:?}");
}

#[test]
fn comments_of_the_admin_survive() {
    let before = "extensions = [\n  \"docker\", # keep\n  \"xovi\", # SEO-Werkzeugkasten\n]\n";
    let session = Session::new(before);
    let output = session.run("forget docker xovi --feed packages.json");
    assert!(output.status.success());
    assert_eq!(session.whitelist(), "extensions = [\n  # keep\n]\n");
    // A comment that is left alone would pass for one about the next code, so it is told.
    let said = text(&output.stdout);
    let (docker, xovi) = said.split_once('\n').unwrap();
    assert!(docker.ends_with("whitelist.toml:2 (the comment beside it stays)"), "{said}");
    assert!(xovi.trim_end().ends_with("whitelist.toml:3"), "{said}");
}

/// A list that no reader would accept is not written.
#[test]
fn a_list_does_not_grow_beyond_its_limit() {
    let mut before = "extensions = [\n]\n#".to_owned();
    before += &"x".repeat((1 << 20) - before.len());
    let session = Session::new(&before);
    let output = session.run("allow docker --feed packages.json");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("more than 1048576 bytes; nothing was changed"), "{output:?}");
    assert!(session.whitelist() == before);
}

/// Whoever could read the list before an edit can read it afterwards, under all its names.
#[test]
fn an_edit_keeps_who_may_read_the_list() {
    const ACL: &str = "system.posix_acl_access";
    let xattr = |path: &Path| {
        let mut value = [0; 4096];
        let len = getxattr(path, ACL, &mut value[..]).expect("an ACL");
        value[..len].to_vec()
    };
    let session = Session::new("extensions = [\n]\n");
    let path = session.path("whitelist.toml");
    // As `setfacl -m u:65534:r`: version 2, then tag, permissions and id of each entry.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in [(1, 6, !0), (2, 4, 65_534), (4, 4, !0), (16, 4, !0), (32, 0, !0_u32)] {
        acl.extend([tag, 0, permissions, 0]);
        acl.extend(id.to_le_bytes());
    }
    setxattr(&path, ACL, &acl, XattrFlags::empty()).unwrap();
    let acl = xattr(&path);
    let edited = session.run("allow docker --feed packages.json");
    assert!(edited.status.success() && session.whitelist().contains("docker"), "{edited:?}");
    assert_eq!(xattr(&path), acl);

    fs::hard_link(&path, session.path("other.toml")).unwrap();
    let edited = session.run("forget docker --feed packages.json");
    assert!(edited.status.success(), "{edited:?}");
    let note = "was written in place: it has 2 names (hard links), which a new file would not have";
    assert!(text(&edited.stderr).contains(note), "{edited:?}");
    assert_eq!(fs::read_to_string(session.path("other.toml")).unwrap(), "extensions = [\n]\n");
    assert_eq!(xattr(&path), acl);
}
