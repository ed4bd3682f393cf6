//! Finding extensions: search, filters, shops, thousands of rows.

use serde_json::json;

use crate::site::{Setup, package, state};

const SHOWN: &str =
    "[...document.querySelectorAll('.packages .who strong')].map((name) => name.textContent).join()";

#[tokio::test]
#[ignore = "needs a browser"]
async fn words_and_filters_find_extensions() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    let check = async |expected: &str| browser.until(&format!("{SHOWN} === {}", json!(expected))).await;
    check("Alpha Backup,Bêta Shield,Gamma Mail,Delta Stats,Epsilon Git").await;
    browser.click("input[type=search]", "").await;
    // Accents and capitals do not count.
    browser.press("BETA").await;
    check("Bêta Shield").await;
    browser.until("document.querySelector('#count').textContent === '1 extension'").await;
    browser.eval("document.querySelector('input[type=search]').select()").await;
    browser.press("nothing like this").await;
    browser.until_text("No extension matches").await;
    browser.click("button", "Show all").await;
    browser.click(".chips button", "Undecided 1").await;
    check("Bêta Shield").await;
    browser.click(".chips button", "Retired 1").await;
    check("Delta Stats").await;
    browser.click(".chips button", "All 5").await;
    browser.eval("(() => { const seller = document.querySelector('select[aria-label=Seller]'); seller.value = 'vendor'; seller.dispatchEvent(new Event('change')); })()").await;
    check("Gamma Mail").await;
    browser.until_text("shop.gamma.example").await;
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn each_shop_is_seen_as_its_customers_see_it() {
    let site = Setup::default().start().await;
    let browser = site.browse(1440).await;
    browser.until(&format!("{} === 'Shown'", state("Alpha"))).await;
    browser.eval("(() => { const shop = document.querySelector('#shop'); shop.value = 'silver'; shop.dispatchEvent(new Event('change')); })()").await;
    browser.until(&format!("{} === 'Hidden'", state("Alpha"))).await;
    browser.click("main nav a", "As customers see it").await;
    browser.until("document.querySelectorAll('.shelves li').length === 1").await;
    browser.until_text("Gamma Mail").await;
    browser.click("header nav a", "Servers").await;
    browser.until_text("No server of this shop has asked yet").await;
    browser.click("header nav a", "News").await;
    browser.until_text("Nothing has changed").await;
    browser.click("header nav a", "Health").await;
    browser.until_text("shops/silver.toml").await;
    browser.click("header nav a", "History").await;
    browser.until_text("No list has been changed yet").await;
    browser.finish(&[]).await;
}

#[tokio::test]
#[ignore = "needs a browser"]
async fn five_thousand_rows_stay_quick() {
    let packages = (0..5000)
        .map(|at| package(&format!("code-{at}"), &format!("Name {at}"), Some("https://go.plesk.com/x")));
    let site = Setup { packages: packages.collect(), ..Setup::default() }.start().await;
    let browser = site.browse(1440).await;
    browser.until("document.querySelector('.packages').getAttribute('aria-rowcount') === '5001'").await;
    let built = "document.querySelectorAll('.packages [role=row]').length";
    assert!(browser.eval(built).await.as_u64().unwrap() < 400);
    let script = "const done = arguments[0]; const input = document.querySelector('input[type=search]'); const times = [];
        for (const word of ['n', 'na', 'name 49', '']) {
            input.value = word; const start = performance.now(); input.dispatchEvent(new Event('input'));
            document.body.offsetHeight; times.push(performance.now() - start);
        }
        done(Math.max(...times));";
    let slowest = browser.call(script).await.as_f64().unwrap();
    assert!(slowest < 1000.0, "{slowest} ms for a letter");
    browser.eval("scrollTo(0, document.documentElement.scrollHeight)").await;
    browser.until_text("Name 4999").await;
    assert!(browser.eval(built).await.as_u64().unwrap() < 400);
    browser.finish(&[]).await;
}
