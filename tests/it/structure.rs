//! What ARCHITECTURE.md promises about the sources themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::str::Chars;

/// Names that the language or the field has taken: a type must say which one it is.
const TAKEN_TYPE_NAMES: &[&str] = &["Answer", "Copy", "Entry", "Failure", "State"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads all sources: their paths below `src` and their texts.
fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, out: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, out),
                false if path.extension().is_some_and(|extension| extension == "rs") => out.push(path),
                // The files of the page.
                false => {}
            }
        }
    }
    let root = root().join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let named = |path: PathBuf| {
        (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(named).collect()
}

fn architecture() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// Reads the paths of pure modules from the paragraph that begins with "Pure modules"; one with a slash at its end is a
/// directory.
fn pure_modules(architecture: &str) -> Vec<&str> {
    let list =
        architecture.split("\nPure modules").nth(1).expect("a paragraph that begins with Pure modules");
    let list = list.split("\n\n").next().unwrap();
    list.split('`').skip(1).step_by(2).collect()
}

/// Reads the layers of modules from the indented lines with arrows, from the top of the map to its bottom.
fn layers(architecture: &str) -> Vec<Vec<&str>> {
    let lines = architecture.lines().filter(|line| line.starts_with("    ") && line.contains("->"));
    let layers = lines
        .flat_map(|line| line.split("->"))
        .map(|layer| layer.split(',').map(str::trim).filter(|module| !module.is_empty()).collect::<Vec<_>>());
    layers.filter(|layer| !layer.is_empty()).collect()
}

/// The code without its tests.
fn code(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap()
}

/// Cuts code into words and single signs; `::` is one sign. Comments, strings and characters are left out.
fn tokens(code: &str) -> Vec<String> {
    fn skip_string(chars: &mut Peekable<Chars<'_>>, hashes: Option<usize>) {
        while let Some(c) = chars.next() {
            match (c, hashes) {
                ('\\', None) => drop(chars.next()),
                ('"', None) => return,
                ('"', Some(hashes)) if chars.clone().take(hashes).filter(|c| *c == '#').count() == hashes => {
                    return chars.by_ref().take(hashes).for_each(drop);
                }
                _ => {}
            }
        }
    }
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => drop(chars.by_ref().find(|c| *c == '\n')),
            '"' => skip_string(&mut chars, None),
            '\'' => {
                // A character, unless it is a lifetime.
                let mut rest = chars.clone();
                match (rest.next(), rest.next()) {
                    (Some('\\'), _) => {
                        chars.by_ref().take(2).for_each(drop);
                        chars.by_ref().find(|c| *c == '\'');
                    }
                    (Some(_), Some('\'')) => chars.by_ref().take(2).for_each(drop),
                    _ => {}
                }
            }
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                tokens.push("::".to_owned());
            }
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                let hashes = chars.clone().take_while(|c| *c == '#').count();
                let raw = word.ends_with('r') && word.len() <= 2;
                if raw && chars.clone().nth(hashes) == Some('"') {
                    chars.by_ref().take(hashes + 1).for_each(drop);
                    skip_string(&mut chars, Some(hashes));
                } else {
                    tokens.push(word);
                }
            }
            c if c.is_whitespace() => {}
            c => tokens.push(c.to_string()),
        }
    }
    tokens
}

/// Returns the top-level modules that a file's code names, by `crate::…`, by `super::…` that leads out of its own one,
/// or in a group of either.
fn modules_used(file: &str, code: &str) -> BTreeSet<String> {
    // How many times `super` leads from the file to the root of the crate.
    let depth = file.trim_end_matches("/mod.rs").trim_end_matches(".rs").split('/').count();
    let tokens = tokens(code);
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut used = BTreeSet::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        let rooted = match token(start) {
            "crate" => 1,
            "super" => {
                let mut supers = 1;
                while token(start + 2 * supers) == "super" && token(start + 2 * supers - 1) == "::" {
                    supers += 1;
                }
                at = start + 2 * supers - 1;
                if supers < depth {
                    continue;
                }
                supers
            }
            _ => continue,
        };
        let mut next = start + 2 * rooted;
        if token(next - 1) != "::" {
            continue;
        }
        if token(next) != "{" {
            used.insert(token(next).to_owned());
            continue;
        }
        // The first word of each member of the group; groups within it belong to their member.
        let (mut level, mut first) = (0, true);
        loop {
            match token(next) {
                "{" => level += 1,
                "}" if level == 1 => break,
                "}" => level -= 1,
                "," if level == 1 => first = true,
                "" => panic!("{file}: a group of uses without an end"),
                word if level == 1 && std::mem::take(&mut first) => drop(used.insert(word.to_owned())),
                _ => {}
            }
            next += 1;
        }
    }
    used
}

#[test]
fn every_way_to_use_a_module_is_seen() {
    let check = |file: &str, code: &str, expected: &[&str]| {
        let used = modules_used(file, code);
        assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{code}");
    };
    check("a.rs", "use crate::b::C;", &["b"]);
    check("a.rs", "use crate::{b, c::{self, d}, e as f};", &["b", "c", "e"]);
    check("a.rs", "use {std::fmt, crate::{\n    b,\n    c,\n}};", &["b", "c"]);
    check("a.rs", "fn f() -> crate::b::C { crate :: c::d(); }", &["b", "c"]);
    check("a.rs", "use super::b;", &["b"]);
    check("a/mod.rs", "use super::{b, c::D};", &["b", "c"]);
    check(
        "a/b.rs",
        "use super::c; use super::super::{d::E, f}; fn g() { super::super::h::i() }",
        &["d", "f", "h"],
    );
    check("a/b.rs", "pub(super) fn f() {} pub(in crate::a) fn g() {}", &["a"]);
    check(
        "a.rs",
        "// crate::b\n/// crate::c\nlet x = \"crate::d\"; let y = r#\"\" crate::e\"#; let z = '\"'; crate::f!()",
        &["f"],
    );
    check("a.rs", "let x = '\\''; let y: &'static str = crate::b::C;", &["b"]);
}

#[test]
fn uses_point_down() {
    let architecture = architecture();
    let layers = layers(&architecture);
    let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    for (name, text) in sources() {
        let module = name.split(['/', '.']).next().unwrap();
        // The root declares all modules; tests use what they need.
        if matches!(module, "lib" | "cancel") || name.ends_with("tests.rs") {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} is not in the layers of ARCHITECTURE.md"));
        // Only test builds have the simulation; the seams for it stand in the middle of some functions.
        for used in modules_used(&name, code(&text)).into_iter().filter(|used| used != "sim") {
            let other = layer(&used).unwrap_or_else(|| panic!("{name} uses {used}, which is in no layer"));
            assert!(other > own || used == module, "{name} uses {used}");
        }
    }
}

#[test]
fn pure_modules_do_no_io() {
    let architecture = architecture();
    let pure = pure_modules(&architecture);
    let sources = sources();
    assert!(pure.len() >= 10, "{pure:?}");
    for module in pure {
        let matches = |name: &str| name == module || (module.ends_with('/') && name.starts_with(module));
        let mut files = sources.iter().filter(|(name, _)| matches(name)).peekable();
        assert!(files.peek().is_some(), "the pure module {module} is not there");
        for (name, text) in files {
            for io in ["tokio", "std::fs", "std::io", "std::net::Tcp", "hyper", "tracing", "::now("] {
                assert!(!code(text).contains(io), "{name} uses {io}");
            }
        }
    }
}

/// Finds what a line declares as a type. An associated type, which is indented, has the name that its trait gives it.
fn declared_type(line: &str) -> Option<&str> {
    let indented = line.starts_with(' ');
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub")).peekable();
    // The path of `pub(in crate::catalog)`.
    words.next_if(|word| word.starts_with("crate::") && word.ends_with(')'));
    let keyword = words.next()?;
    let is_type =
        matches!(keyword, "struct" | "enum" | "trait" | "union") || (keyword == "type" && !indented);
    let name = words.next().filter(|_| is_type)?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    Some(&name[..end]).filter(|name| name.starts_with(char::is_uppercase))
}

/// Returns the names of all types, each with the files that declare one.
fn types() -> BTreeMap<String, Vec<String>> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, text) in sources() {
        for declared in text.lines().filter_map(declared_type) {
            places.entry(declared.to_owned()).or_default().push(name.clone());
        }
    }
    places.values_mut().for_each(|places| places.sort());
    assert!(places.contains_key("Cache") && places.contains_key("Shops"), "no type was found");
    places
}

#[test]
fn no_two_types_share_a_name() {
    let mut places = types();
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "types that share a name: {places:#?}");
}

#[test]
fn no_type_has_a_taken_name() {
    let types = types();
    for name in TAKEN_TYPE_NAMES {
        assert_eq!(types.get(*name), None, "types named {name}");
    }
}

#[test]
fn declarations_of_types_are_seen() {
    let check = |line: &str, expected: Option<&str>| assert_eq!(declared_type(line), expected, "{line}");
    check("pub struct Catalog(Arc<Inner>);", Some("Catalog"));
    check("    pub(super) enum Kind<'a> {", Some("Kind"));
    check("pub(in crate::catalog) trait Reader: Send {", Some("Reader"));
    check("type Reader<T> = Box<T>;", Some("Reader"));
    check("    type Error = LoadError;", None);
    check("/// A struct Thing.", None);
    check("let type_name = 1;", None);
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
fn the_architecture_is_one_page() {
    let lines = architecture().lines().count();
    assert!(lines <= 100, "ARCHITECTURE.md has {lines} lines");
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
