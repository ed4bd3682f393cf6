//! What comes into the catalog, and where a decision arrives: news and servers.

use std::time::{Duration, Instant};

use crate::site::{EDITOR, Setup};

#[tokio::test]
#[ignore = "needs a browser"]
async fn news_are_decided_on_and_arrive_at_servers() {
    let site = Setup { late: 2, ..Setup::default() }.start().await;
    site.ask_as_server().await;
    site.complete();
    // A change is news when two fetches agree about it. The page comes after that: it may fetch the catalog in another
    // form, and what one form has had from the start is no news of the others.
    let deadline = Instant::now() + Duration::from_secs(30);
    while !site.news().await.contains("beta") {
        assert!(Instant::now() < deadline, "no news");
        site.ask_as_server().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let browser = site.browse(1440).await;
    browser.click("header nav a", "News").await;
    browser.until_text("1 extension waits").await;
    // Beta is undecided and on top; alpha, which the list has, comes after.
    let order =
        "[...document.querySelectorAll('.packages .who strong')].map((name) => name.textContent).join()";
    browser.until(&format!("{order} === 'Bêta Shield,Alpha Backup'")).await;
    browser.until("document.querySelector('header .number').textContent.startsWith('1')").await;

    site.ask_as_server().await;
    browser.click("header nav a", "Servers").await;
    browser.until_text("1 of 1").await;
    browser.until_text("Has it").await;
    browser.click("header nav a", "News").await;
    browser.until("document.querySelector('.packages label.show')").await;
    browser.eval("document.querySelector('.packages label.show').click()").await;
    browser.click("#tray button", "Review").await;
    browser.click("dialog button", "Apply").await;
    browser.until_text("the new list of gold is in force").await;
    browser.until("!document.querySelector('header .number')").await;
    browser.click("header nav a", "Servers").await;
    browser.until_text("0 of 1").await;
    browser.until_text("1 server is behind").await;
    site.ask_as_server().await;
    // The view looks again by itself.
    browser.until_text("1 of 1").await;
    assert_eq!(browser.eval("Object.values(sessionStorage).join()").await, EDITOR);
    browser.finish(&[]).await;
}
