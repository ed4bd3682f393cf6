//! What the architecture promises about the sources themselves.

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, out),
                false => out.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let named = |path: PathBuf| {
        (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(named).collect()
}

/// The code without its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn every_module_says_what_it_is() {
    for (name, text) in sources() {
        assert!(text.starts_with("//! "), "{name} has no module documentation");
    }
}

#[test]
fn no_file_is_long() {
    for (name, text) in sources() {
        assert!(text.lines().count() <= 600, "{name} has {} lines", text.lines().count());
    }
}

#[test]
fn pure_modules_do_no_io() {
    let pure = |name: &str| {
        name.starts_with("feed/")
            || [
                "whitelist/mod.rs",
                "whitelist/edit.rs",
                "whitelist/edit/array.rs",
                "cache/freshness.rs",
                "proxy/route.rs",
                "proxy/spelling.rs",
                "proxy/headers.rs",
                "proxy/admit.rs",
                "proxy/trust.rs",
            ]
            .contains(&name)
    };
    let checked: Vec<_> = sources().into_iter().filter(|(name, _)| pure(name)).collect();
    assert!(checked.len() >= 10, "the pure modules moved: {checked:?}");
    for (name, text) in checked {
        for io in ["tokio", "std::fs", "std::io", "std::net::Tcp", "hyper", "tracing", "::now("] {
            assert!(!code(&text).contains(io), "{name} uses {io}");
        }
    }
}

#[test]
fn unsafe_code_is_in_one_place() {
    for (name, text) in sources() {
        assert!(name == "feed/avx2.rs" || !text.contains("unsafe {"), "{name} has unsafe code");
    }
}

/// They panic if the write fails, and block as long as it does; what may be used is in `stderr` and
/// `commands/terminal.rs`.
#[test]
fn nothing_prints_in_a_way_that_can_panic_or_block() {
    for (name, text) in sources() {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for printing in ["println!", "print!(", "dbg!(", "stderr().lock(", "stderr().write", ".exit()"] {
                assert!(!line.contains(printing), "{name}: {line}");
            }
        }
    }
}

#[test]
fn uses_point_down() {
    // From the top of the map to its bottom; a module may use those of later rows only.
    let layers: &[&[&str]] = &[
        &["commands"],
        &["app"],
        &["admin", "logging", "systemd"],
        &["proxy"],
        &["error"],
        &["cache"],
        &["news"],
        &["upstream", "feed", "whitelist", "server"],
        &["certificate"],
        &["config"],
        &["cli"],
        &["reloading"],
        &["watch"],
        &["cache_directory", "worker"],
        &["body", "given", "metrics"],
        &["backoff", "cache_status", "digest"],
        &["limits", "place"],
        &["panics", "printable"],
        &["stderr"],
    ];
    let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    for (name, text) in sources() {
        let module = name.split(['/', '.']).next().unwrap();
        let Some(own) = layer(module) else { continue };
        for (used, other) in
            layers.iter().enumerate().flat_map(|(n, row)| row.iter().map(move |other| (n, *other)))
        {
            let allowed = used > own || other == module;
            assert!(allowed || !code(&text).contains(&format!("crate::{other}::")), "{name} uses {other}");
        }
    }
}
