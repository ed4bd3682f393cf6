//! Who may do what: signing in, reading only, and tokens that stay where they belong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use thirtyfour::Key;

use crate::browser::Browser;
use crate::site::{EDITOR, Setup, VIEWER, row};

#[tokio::test]
#[ignore = "needs a browser"]
async fn the_token_leaves_the_address_at_once_and_signs_out() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    assert_eq!(browser.eval("location.href").await, format!("{}/#catalog", site.origin));
    assert_eq!(browser.eval("localStorage.length").await, 0);
    assert_eq!(browser.eval("document.cookie").await, "");
    assert_eq!(browser.eval("Object.values(sessionStorage).join()").await, EDITOR);
    browser.click("#account button", "Sign out").await;
    browser.until_text("You are looking only").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.click("header nav a", "History").await;
    browser.until_text("Sign in to see this").await;
    browser.click("main input[type=password]", "").await;
    browser.press("wrong").await;
    browser.press(Key::Enter).await;
    browser.until_text("This token is not known here").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.press(EDITOR).await;
    browser.press(Key::Enter).await;
    browser.until_text("No list has been changed yet").await;
    browser.until_text("alice").await;
    // A link that is opened where the page is open already.
    browser.click("#account button", "Sign out").await;
    browser.until_text("You are looking only").await;
    browser.eval(&format!("location.hash = 'token={EDITOR}'")).await;
    browser.until_text("alice").await;
    assert_eq!(browser.eval("location.hash").await, "#catalog");
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn a_catalog_for_viewers_asks_for_a_token_first() {
    let site = Setup { viewers: true, ..Setup::default() }.start().await;
    let browser = Browser::start(&site.origin, 1440).await;
    browser.open("").await;
    browser.until_text("Sign in to see this").await;
    browser.click("main input[type=password]", "").await;
    browser.press(VIEWER).await;
    browser.press(Key::Enter).await;
    browser.until_text("Alpha Backup").await;
    browser.until_text("bob may read the lists, but not change them").await;
    browser.finish(&[401]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn without_editing_it_says_why_and_offers_commands() {
    let site = Setup { without_tokens: true, ..Setup::default() }.start().await;
    let browser = Browser::start(&site.origin, 1440).await;
    browser.open("#catalog/gold").await;
    browser.until_text("started without --admin-tokens").await;
    let label = format!("{}?.querySelector('label.show')", row("Bêta"));
    browser.until(&label).await;
    browser.eval(&format!("{label}.click()")).await;
    browser.click("#tray button", "Review and copy").await;
    browser.until_text("catalog-proxy allow --shop gold beta").await;
    browser.until_text("\"beta\", # Bêta Shield").await;
    assert_eq!(
        browser
            .eval("[...document.querySelectorAll('dialog button')].some((b) => b.textContent === 'Apply')")
            .await,
        false
    );
    browser.click("dialog button", "Copy the commands").await;
    browser.until("/Copied|Selected/.test(document.querySelector('dialog').textContent)").await;
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn a_revoked_token_is_noticed() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    let tokens = site.path("gold").parent().unwrap().parent().unwrap().join("tokens.toml");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&tokens, "[editors]\n").unwrap();
    browser.until_text("You are looking only").await;
    assert_eq!(browser.eval("sessionStorage.length").await, 0);
    browser.finish(&[401]).await;
}
