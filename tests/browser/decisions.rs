//! Decisions: the tray, the preview, the edit, what happens meanwhile, and the way back.

use std::fs;

use thirtyfour::Key;

use crate::browser::Browser;
use crate::site::{Setup, Site, row, state};

/// Chooses a decision as a person with a mouse does.
async fn choose(browser: &Browser, name: &str, verb: &str) {
    let label = format!("{}.querySelector('label.{verb}')", row(name));
    browser.until(&label).await;
    browser.eval(&format!("{label}.click()")).await;
}

async fn is_shown(browser: &Browser, name: &str, expected: &str) {
    browser.until(&format!("{} === '{expected}'", state(name))).await;
}

async fn with_two_decisions(width: u32) -> (Site, Browser) {
    let site = Setup::default().start().await;
    let browser = site.browse(width).await;
    choose(&browser, "Bêta", "show").await;
    choose(&browser, "Gamma", "retire").await;
    browser.until_text("2 changes for gold").await;
    (site, browser)
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn decisions_are_collected_previewed_and_made_as_one() {
    let (site, browser) = with_two_decisions(1440).await;
    let before = site.list("gold");
    // Nothing runs ahead of the server.
    is_shown(&browser, "Bêta", "Hidden").await;
    browser.click("#tray button", "Review").await;
    browser.until_text("+  \"beta\", # Bêta Shield").await;
    assert_eq!(site.list("gold"), before);
    browser.click("#note", "").await;
    browser.press("asked for by support").await;
    browser.click("dialog button", "Apply").await;
    browser.until_text("the new list of gold is in force").await;
    is_shown(&browser, "Bêta", "Shown").await;
    is_shown(&browser, "Gamma", "Retired").await;
    browser.until("document.querySelector('#tray').hidden").await;
    assert!(site.list("gold").contains("\"beta\", # Bêta Shield"), "{}", site.list("gold"));
    assert!(!site.list("gold").contains("support"));

    browser.click("header nav a", "History").await;
    browser.until_text("asked for by support").await;
    browser.click("[role=cell] button", "Undo").await;
    browser.click("dialog button", "Undo it").await;
    browser.until_text("the edit was taken back").await;
    browser.until_text("Taken back").await;
    assert_eq!(site.list("gold"), before);
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn a_decision_that_the_list_has_leaves_the_tray() {
    let (_site, browser) = with_two_decisions(1440).await;
    choose(&browser, "Gamma", "forget").await;
    browser.until_text("1 change for gold").await;
    browser.click("#tray button", "Discard").await;
    browser.until("document.querySelector('#tray').hidden && !document.querySelector('.changed')").await;
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn a_change_meanwhile_is_shown_and_the_tray_kept() {
    let (site, browser) = with_two_decisions(1440).await;
    browser.click("#tray button", "Review").await;
    browser.click("#note", "").await;
    browser.press("my reason").await;
    let list = site.list("gold").replace("\"alpha\",", "\"alpha\", \"delta\",").replace("[\"delta\"]", "[]");
    fs::write(site.path("gold"), list).unwrap();
    browser.click("dialog button", "Apply").await;
    browser.until_text("Somebody changed the list meanwhile").await;
    browser.until("document.querySelector('dialog .warning').textContent.includes('Delta Stats')").await;
    assert_eq!(browser.eval("document.querySelector('#note').value").await, "my reason");
    assert!(!site.list("gold").contains("beta"));
    browser.click("dialog button", "Apply to the new list").await;
    browser.until_text("the new list of gold is in force").await;
    is_shown(&browser, "Bêta", "Shown").await;
    is_shown(&browser, "Delta", "Shown").await;
    browser.finish(&[412]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn a_broken_file_changes_nothing_and_says_where() {
    let (site, browser) = with_two_decisions(1440).await;
    fs::write(site.path("gold"), "extensions = [\n").unwrap();
    browser.click("#tray button", "Review").await;
    browser.until_text("Nothing was changed").await;
    browser.until_text("gold.toml:1:15").await;
    browser.click("dialog button", "Close").await;
    browser.until_text("2 changes for gold").await;
    browser.finish(&[409]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn everything_goes_by_keyboard_alone() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    browser.eval("document.activeElement.blur()").await;
    browser.tab_to("e.className === 'skip'").await;
    browser.press(Key::Enter).await;
    browser.until("document.activeElement.id === 'main'").await;
    browser.tab_to("e.type === 'search'").await;
    browser.press("beta").await;
    browser.until("document.querySelectorAll('.packages .who').length === 1").await;
    browser.tab_to("e.type === 'radio'").await;
    assert_eq!(browser.eval("document.activeElement.value").await, "forget");
    browser.press(Key::Right).await;
    browser.until("document.activeElement.value === 'show' && document.activeElement.checked").await;
    browser.tab_to("e.textContent.startsWith('Review')").await;
    browser.press(Key::Enter).await;
    browser.until("document.activeElement.textContent === 'Apply'").await;
    // The way back: the tray is where it was, and so is the focus.
    browser.press(Key::Escape).await;
    browser.until("document.activeElement.textContent.startsWith('Review')").await;
    browser.press(Key::Enter).await;
    browser.until("document.activeElement.textContent === 'Apply'").await;
    browser.press(Key::Enter).await;
    browser.until_text("the new list of gold is in force").await;
    browser.until("document.activeElement !== document.body").await;
    assert!(site.list("gold").contains("\"beta\""));
    browser.finish(&[]).await;
}
