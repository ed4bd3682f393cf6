//! How it looks and reads: small windows, the dark, a sub-path, and axe-core's rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::site::{EDITOR, Setup};

/// Version of axe-core whose rules are checked.
const AXE: &str = "axe-core@4.14.1";

/// Fetches axe-core once, by npm's own client.
fn axe() -> &'static str {
    static SOURCE: OnceLock<String> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let run = |line: &str| {
            let status =
                Command::new("sh").args(["-c", line]).current_dir(directory.path()).status().unwrap();
            assert!(status.success(), "{line}");
        };
        run(&format!("npm pack --silent {AXE} >/dev/null && tar -xzf axe-core-*.tgz package/axe.min.js"));
        fs::read_to_string(directory.path().join(PathBuf::from("package/axe.min.js"))).unwrap()
    })
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn no_view_has_a_serious_finding_of_axe_in_light_and_dark() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    let script = format!(
        "const done = arguments[0]; {}; axe.run(document).then((result) => done(result.violations.map(
         (found) => `${{found.impact}} ${{found.id}}: ${{found.nodes[0].html}}`)), (error) => done([`critical ${{error}}`]));",
        axe()
    );
    for (width, scheme) in [(1440, "light"), (320, "dark")] {
        browser.emulate(width, scheme).await;
        for fragment in ["catalog", "storefront", "news", "servers", "health", "history", "review"] {
            if fragment == "review" {
                browser.eval("location.hash = 'catalog/gold'").await;
                browser.until("document.querySelector('.packages label.retire')").await;
                browser.eval("document.querySelector('.packages label.retire').click()").await;
                browser.click("#tray button", "Review").await;
                browser.until("document.querySelector('dialog #note')").await;
            } else {
                browser.eval(&format!("location.hash = '{fragment}/gold'")).await;
                browser
                    .until(&format!("document.querySelector('h1') && location.hash.includes('{fragment}')"))
                    .await;
            }
            let found = browser.call(&script).await;
            let serious = |found: &&Value| {
                let found = found.as_str().unwrap();
                found.starts_with("serious") || found.starts_with("critical")
            };
            let serious: Vec<_> = found.as_array().unwrap().iter().filter(serious).collect();
            assert!(serious.is_empty(), "{fragment} {width} {scheme}: {serious:#?}");
        }
        browser.click("dialog button", "Not now").await;
        browser.click("#tray button", "Discard").await;
    }
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn small_windows_and_the_dark_show_everything() {
    let site = Setup::default().start().await;
    let browser = site.browse(320).await;
    let background = "getComputedStyle(document.documentElement).backgroundColor";
    let light = browser.eval(background).await;
    browser.emulate(320, "dark").await;
    browser.until(&format!("{background} !== {light}")).await;
    for fragment in ["catalog", "storefront", "news", "servers", "health", "history"] {
        browser.eval(&format!("location.hash = '{fragment}'")).await;
        browser.until("document.documentElement.scrollWidth <= innerWidth").await;
    }
    browser.eval("location.hash = 'catalog'").await;
    browser.until("document.querySelector('.switch label.hide')").await;
    // Targets are large enough for fingers (WCAG 2.2, 2.5.8).
    let smallest = "Math.min(...[...document.querySelectorAll('main button, .switch label, header nav a')].filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().height))";
    assert!(browser.eval(smallest).await.as_f64().unwrap() >= 24.0);
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn the_first_paint_does_not_wait_for_the_feed() {
    let site = Setup::default().start().await;
    let page = unscripted(&site.origin);
    assert!(page.contains("What your customers see") && page.contains("Loading"), "{page}");
    assert!(!page.contains(EDITOR));
    let browser = site.browse(768).await;
    browser.finish(&[]).await;
}

/// Reads the page as it is before any script has run.
fn unscripted(origin: &str) -> String {
    let output = Command::new("curl").args(["-sS", "--fail", &format!("{origin}/")]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
