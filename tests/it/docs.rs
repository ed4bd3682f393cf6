//! What the pages of `docs/` and the files of `deploy/` say of each other is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file of the repository.
fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pages: those in the root, and those of `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for directory in [".", "docs"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let name = PathBuf::from(entry.unwrap().file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                pages.push(Path::new(directory).join(name));
            }
        }
    }
    pages
}

/// The anchors of a page's headings, as forges make them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// The targets of a page's links, without those to other sites.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.contains(' ')).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for path in pages() {
        let page = read(&path);
        for target in links(&page) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let other = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            assert!(root().join(&other).exists(), "{}: there is no {target}", path.display());
            let leads = anchor.is_empty() || anchors(&read(&other)).iter().any(|known| known == anchor);
            assert!(leads, "{}: {target} has no such heading", path.display());
            count += 1;
        }
    }
    assert!(count > 40, "{count} links");
}

#[test]
fn the_index_has_every_page() {
    let index = read("docs/README.md");
    let listed: BTreeSet<_> = links(&index).into_iter().collect();
    for page in pages().into_iter().filter(|page| page.starts_with("docs") && !page.ends_with("README.md")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(listed.contains(name), "docs/README.md lacks {name}");
    }
}

/// The values of a key in YAML that has one pair a line.
fn values<'a>(yaml: &'a str, key: &str) -> Vec<&'a str> {
    let values = yaml.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
    values.filter_map(|rest| rest.strip_prefix(": ")).collect()
}

#[test]
fn every_alert_has_its_runbook() {
    let rules = read("deploy/prometheus/alerts.yml");
    let (alerts, urls) = (values(&rules, "alert"), values(&rules, "runbook_url"));
    assert!(alerts.len() >= 16, "{alerts:?}");
    let (base, _) = urls[0].split_once('#').unwrap();
    assert!(base.ends_with("/runbooks.md"), "{base}");
    let expected: Vec<_> = alerts.iter().map(|alert| format!("{base}#{}", alert.to_lowercase())).collect();
    assert_eq!(urls, expected, "one URL for each alert, all with the same base, in its order");
    let runbooks = read("docs/runbooks.md");
    let sections: Vec<_> = runbooks.split("\n## ").skip(1).collect();
    let titles: Vec<_> = sections.iter().map(|section| section.lines().next().unwrap()).collect();
    assert_eq!(titles, alerts, "one section for each alert, in its order");
    for section in sections {
        for part in ["- **Users notice**", "- **First:**", "- **Do:**", "- **Fine when**"] {
            assert!(section.contains(part), "{part} is missing: {section}");
        }
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let paths = entries.map(|entry| directory.join(entry.unwrap().file_name()));
    paths.flat_map(|path| if root().join(&path).is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_variable_is_one_of_serve() {
    let help =
        Command::new(env!("CARGO_BIN_EXE_catalog-proxy")).args(["serve", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let prefix = "CATALOG_PROXY_";
    let names = |text: &str| -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
        let rests = text.split(prefix).skip(1);
        rests.map(|rest| rest.split(|c| !is_name(c)).next().unwrap().to_owned()).collect()
    };
    let known = names(&help);
    assert!(known.len() > 20, "{help}");
    let mut used = BTreeSet::new();
    for path in files(Path::new("deploy")) {
        for name in names(&read(&path)).into_iter().filter(|name| !name.ends_with('_') && !name.is_empty()) {
            assert!(known.contains(&name), "{}: {prefix}{name} is no setting", path.display());
            used.insert(name);
        }
    }
    assert!(used.len() > 8, "{used:?}");
}
