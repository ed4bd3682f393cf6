//! What vendors write is text: nothing of it runs, leads anywhere, or breaks the layout.

use serde_json::{Value, json};

use crate::site::{Setup, package};

fn packages() -> Vec<Value> {
    let long = "A".repeat(10_240);
    let names = [
        "<img src=x onerror=document.title='run'>",
        "<script>document.title='run'</script>",
        "\"><svg onload=alert(1)>",
        "\u{202e}live\u{202c} name",
        "مرحبا بالعالم",
        "\u{200b}",
        "a\u{0}b\u{1b}[31m",
        "xLONEy",
        &long,
        "*",
    ];
    let links = [
        "javascript:document.title='run'",
        "data:text/html,<script>alert(1)</script>",
        "//go.plesk.com/x",
        "https://go.plesk.com/zzz",
        "http://[::1",
        "",
    ];
    let mut packages = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let code = if at % 2 == 0 { format!("hostile-{at}") } else { name.chars().take(200).collect() };
        packages.push(package(&code, name, Some(links[at % links.len()])));
    }
    packages.push(json!({ "code": null, "name": null, "buy_url": "https://go.plesk.com/x" }));
    packages.push(json!({ "code": "'; $(reboot) `id`", "name": 7, "buy_url": ["x"] }));
    packages
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn nothing_runs_and_nothing_breaks_the_layout() {
    let site = Setup { packages: packages(), ..Setup::default() }.start().await;
    let browser = site.browse(320).await;
    for fragment in ["catalog", "storefront", "news", "servers", "health", "history"] {
        browser.eval(&format!("location.hash = '{fragment}'")).await;
        for width in [320, 768, 1440] {
            browser.emulate(width, "light").await;
            let widths = "document.documentElement.scrollWidth <= innerWidth";
            browser.until(widths).await;
        }
    }
    browser.eval("location.hash = 'catalog'").await;
    browser.until_text("\\u202elive\\u202c name").await;
    browser.until_text("its code holds a star").await;
    browser
        .eval("document.querySelectorAll('.packages input[value=show]').forEach((input) => input.click())")
        .await;
    browser.click("#tray button", "Review").await;
    browser.until("document.querySelector('dialog pre')").await;
    browser
        .until("document.querySelector('dialog').scrollWidth <= document.querySelector('dialog').clientWidth")
        .await;
    assert_eq!(browser.eval("document.title").await, "Catalog · Extension catalog");
    assert_eq!(
        browser
            .eval("document.querySelectorAll('main img, main script, main svg, main iframe').length")
            .await,
        0
    );
    let foreign = "[...document.querySelectorAll('main a')].filter((a) => !a.getAttribute('href').startsWith('#')).length";
    assert_eq!(browser.eval(foreign).await, 0);
    browser.finish(&[]).await;
}
