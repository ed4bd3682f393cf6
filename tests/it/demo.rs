//! What the demo says to try, tried.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// The demo, which ends with the test.
struct Demo {
    child: Child,
    /// What it printed until it said how to end it.
    said: String,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.ends_with("Ctrl-C ends it.\n") {
            assert!(stdout.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        // What follows is read too, so that its pipe stays open.
        std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        Self { child, said }
    }

    /// Runs a line as a shell does that is given it.
    fn run(&self, line: &str) -> String {
        let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the lines to try, each with the remark behind it.
    fn suggestions(&self) -> Vec<(&str, &str)> {
        let lines = self.said.lines().filter_map(|line| line.strip_prefix("  "));
        lines.map(|line| line.split_once("   # ").unwrap_or((line, ""))).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_it_says_to_try_does_what_it_says() {
    let demo = Demo::start();
    let suggestions = demo.suggestions();
    let mut counts = Vec::new();
    // In order, as somebody does who tries them; the number in a remark is what is printed.
    for (line, remark) in &suggestions {
        let printed = demo.run(line);
        assert!(!printed.is_empty(), "{line}");
        if let Some(claimed) = remark.split([' ', ':']).next().filter(|word| word.parse::<u32>().is_ok()) {
            assert_eq!(printed.trim(), claimed, "{line}");
            counts.push(claimed);
        } else if line.contains("/categories") {
            assert!(printed.starts_with("HTTP/1.1 200 OK"), "{printed}");
        } else if line.contains(" shops ") {
            assert!(printed.contains("gold") && printed.contains("/gold"), "{printed}");
        } else if line.contains(" list ") {
            assert_eq!(printed.lines().count(), 43, "a line a package below the header: {printed}");
            let shown = |column: &str| {
                let start = printed.lines().next().unwrap().find(column).unwrap();
                let states = printed.lines().filter(|line| line.is_char_boundary(start));
                states.filter(|line| line[start..].starts_with("shown")).count()
            };
            assert!(shown("default") > 0 && shown("gold") > 0, "{printed}");
        } else if line.contains(" allow ") {
            assert!(printed.contains("xovi (SEO-Werkzeugkasten): shown now (was retired)"), "{printed}");
        } else {
            assert!(line.contains("/metrics") && printed.contains("catalog_proxy_"), "{line}: {printed}");
        }
    }
    assert_eq!(counts, ["27", "29", "0", "1"]);
    // After `allow`, xovi is in the shop.
    let xovi = suggestions.iter().find(|(_, remark)| remark.starts_with('0')).unwrap().0;
    let mut tries = 0;
    while demo.run(xovi).trim() != "1" {
        tries += 1;
        assert!(tries < 100, "the edit does not show");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let first = suggestions[0].0;
    assert_eq!(demo.run(first).trim(), "28");
    assert!(demo.said.contains("42 packages, 16 of them sold by Plesk"), "{}", demo.said);
}
