//! Edits of the whitelist as programs make them: dry runs, codes from standard input.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use crate::tools::{Session, text};

const LIST: &str = "extensions = [\n  \"docker\", # for Bob\n  \"wp-toolkit\",\n  \"kolab\",\n]\n";

/// Runs a command line with something to read.
fn run_with(session: &Session, line: &str, input: &str) -> Output {
    let mut command = session.command(line);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever refuses the arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn a_dry_run_prints_the_edit_and_writes_nothing() {
    let session = Session::new(LIST);
    // It needs no more than to read the file.
    fs::set_permissions(session.path(""), fs::Permissions::from_mode(0o555)).unwrap();
    let output = session.run("retire docker --dry-run --feed packages.json");
    fs::set_permissions(session.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let expected = "\
docker (Docker): retired now (was shown), whitelist.toml:6
--- whitelist.toml
+++ whitelist.toml
@@ -1,5 +1,7 @@
 extensions = [
-  \"docker\", # for Bob
   \"wp-toolkit\",
   \"kolab\",
 ]
+retired = [
+  \"docker\", # for Bob
+]
";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(text(&output.stderr), "Nothing was written: this was a dry run.\n");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(session.whitelist(), LIST);

    let output = session.run("hide docker --dry-run --feed packages.json");
    assert!(text(&output.stderr).contains("to keep updates: catalog-proxy retire docker\n"), "{output:?}");
    let refused = session.run("retire dokcer --dry-run --feed packages.json");
    assert_eq!((refused.status.code(), text(&refused.stdout)), (Some(1), ""));
    let nothing = session.run("allow docker --dry-run --feed packages.json");
    assert_eq!(text(&nothing.stdout), "docker (Docker): already shown, whitelist.toml:2\n");
    assert_eq!(session.whitelist(), LIST);
}

#[test]
fn codes_come_through_a_pipe() {
    let session = Session::new(LIST);
    let input = "# what goes\n\ndocker\n  xovi  # seo\r\n";
    let output = run_with(&session, "retire - --feed packages.json", input);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = "\
extensions = [
  \"wp-toolkit\",
  \"kolab\",
]
retired = [
  \"docker\", # for Bob
  \"xovi\", # SEO-Werkzeugkasten
]
";
    assert_eq!(session.whitelist(), expected);

    let none = run_with(&session, "hide - --feed packages.json", "\n");
    assert_eq!((none.status.code(), text(&none.stdout)), (Some(0), ""));
    let unknown = run_with(&session, "hide - --feed packages.json", "docker\ndokcer\n");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("did you mean \"docker\"?"), "{unknown:?}");
    let twice = run_with(&session, "hide - --feed -", "docker\n");
    assert_eq!(twice.status.code(), Some(2));
    assert!(text(&twice.stderr).contains("standard input can be read only once"), "{twice:?}");
    assert_eq!(session.whitelist(), expected);

    let catalog = fs::read_to_string(session.path("packages.json")).unwrap();
    let output = run_with(&session, "forget docker xovi --feed -", &catalog);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // The comment that `allow` wrote goes, the other one stays.
    let expected = "extensions = [\n  \"wp-toolkit\",\n  \"kolab\",\n]\nretired = [\n  # for Bob\n]\n";
    assert_eq!(session.whitelist(), expected);
}

#[test]
fn the_help_says_what_becomes_of_updates() {
    let session = Session::new(LIST);
    let help = |verb: &str| text(&session.run(&format!("{verb} --help")).stdout).replace("\n", " ");
    assert!(help("retire").contains("keep updates for servers that have them"));
    assert!(help("hide").contains("get no updates of it any more"));
    for verb in ["allow", "retire", "hide", "forget"] {
        assert!(help(verb).contains("`-` reads them from standard input"), "{verb}");
    }
}

#[test]
fn other_commands_see_what_an_edit_says() {
    let session = Session::new(LIST);
    let codes = |part: &str| {
        let output = session.run(&format!("list --seller plesk {part} --format csv --feed packages.json"));
        let lines = text(&output.stdout).lines().skip(1);
        lines.map(|line| line.split(',').next().unwrap().trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    let retire = session.run("retire docker --feed packages.json");
    assert_eq!(retire.status.code(), Some(0), "{retire:?}");
    assert_eq!(codes("--shown"), ["kolab", "wp-toolkit"]);
    assert_eq!(codes("--retired"), ["docker"]);
    assert_eq!(codes("--updates"), ["docker", "kolab", "wp-toolkit"]);
    assert!(codes("--undecided").contains(&"xovi".to_owned()));
    let hide = session.run("hide docker xovi --feed packages.json");
    assert_eq!(hide.status.code(), Some(0), "{hide:?}");
    assert_eq!(codes("--updates"), ["kolab", "wp-toolkit"]);
    assert!(!codes("--undecided").contains(&"xovi".to_owned()));
    let check = session.run("check --feed packages.json");
    assert_eq!(check.status.code(), Some(0), "{check:?}");
}
