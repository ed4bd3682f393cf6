//! Shop and update views: what is retired is in the one for updates only, what is hidden in neither.

use std::fs;
use std::io::Read;
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::client::{self, Answer, get_request, until};
use crate::proxy::{Proxy, array, free, plesk, vendor};
use crate::upstream::{Step, Upstream, head_of};

/// What Plesk's update task asks.
const UPDATE: &str = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
/// What Plesk's shop window asks.
const SHOP: &str =
    "/api/v4/packages?with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US&country=XX";
const CATEGORIES: &str =
    "/api/v4/categories?version=18.0.64&platform=unix&with-hidden&with-unstable&locale=en-US&country=XX";

const LIST: &str = "extensions = [\"wp-toolkit\", \"offer-*\"]\nretired = [\"xovi\", \"offer-old-*\", \"shop\"]\nhidden = [\"git\", \"offer-old-bad\"]\n";

async fn start(upstream: &Upstream, list: &str) -> Proxy {
    let list = list.to_owned();
    Proxy::start_with(&upstream.url(), move |config| {
        fs::write(config.whitelist.as_deref().unwrap(), list).unwrap()
    })
    .await
}

fn packages() -> Vec<String> {
    let sold = ["wp-toolkit", "xovi", "kolab", "offer-new", "offer-old-1", "offer-old-bad"];
    let mut packages: Vec<_> = sold.into_iter().map(plesk).collect();
    packages.extend([free("git"), free("composer"), vendor("shop")]);
    packages
}

fn tree() -> String {
    let top: Vec<_> = packages().iter().map(|package| package.replace("go.plesk.com", "x")).collect();
    format!(r#"[{{"id":1,"top_packages":{}}}]"#, array(&top))
}

/// Returns what is left of [`packages`] when only these codes are.
fn only(codes: &[&str]) -> Vec<String> {
    let has = |package: &String| codes.iter().any(|code| package.contains(&format!("\"code\":\"{code}\"")));
    packages().into_iter().filter(has).collect()
}

const IN_SHOP: [&str; 3] = ["wp-toolkit", "offer-new", "composer"];
const IN_UPDATES: [&str; 6] = ["wp-toolkit", "xovi", "offer-new", "offer-old-1", "composer", "shop"];

async fn conditional(proxy: &Proxy, target: &str, field: (&str, &str)) -> Answer {
    let request = Request::get(target).header("host", "proxy").header(field.0, field.1);
    client::request(proxy.address, request.body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn retired_packages_are_in_the_update_view_alone() {
    let upstream = Upstream::with_feeds(array(&packages()), tree()).await;
    let proxy = start(&upstream, LIST).await;
    // Cold, then from the cache, plain and encoded.
    for _ in 0..2 {
        assert_eq!(proxy.get(SHOP).await.text(), array(&only(&IN_SHOP)));
        assert_eq!(proxy.get(UPDATE).await.text(), array(&only(&IN_UPDATES)));
        assert_eq!(proxy.get("/api/v4/packages").await.text(), array(&only(&IN_SHOP)));
        let shown: Vec<_> =
            only(&IN_SHOP).iter().map(|package| package.replace("go.plesk.com", "x")).collect();
        let expected = format!(r#"[{{"id":1,"top_packages":{}}}]"#, array(&shown));
        assert_eq!(proxy.get(CATEGORIES).await.text(), expected);
        // Categories have no update view.
        assert_eq!(proxy.get("/api/v4/categories?platform=unix").await.text(), expected);
    }
    for (target, codes) in [(SHOP, &IN_SHOP[..]), (UPDATE, &IN_UPDATES)] {
        let answer = conditional(&proxy, target, ("accept-encoding", "gzip, identity;q=0")).await;
        let mut decoded = String::new();
        flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut decoded).unwrap();
        assert_eq!(decoded, array(&only(codes)), "{target}");
        let etag = proxy.get(target).await.header("etag").to_owned();
        assert_eq!(
            conditional(&proxy, target, ("if-none-match", &etag)).await.status,
            StatusCode::NOT_MODIFIED
        );
    }
    // The validator of one view is none of the other.
    let etag = proxy.get(UPDATE).await.header("etag").to_owned();
    assert_eq!(conditional(&proxy, SHOP, ("if-none-match", &etag)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_feed_that_is_still_arriving_keeps_the_views_apart() {
    let (all, turnstile) = (array(&packages()), Arc::new(Semaphore::new(0)));
    let at_turnstile = Arc::clone(&turnstile);
    let upstream = Upstream::start(move |_| {
        let (first, rest) = all.split_at(all.len() / 2);
        let fields = format!("content-type: application/json\r\ncontent-length: {}\r\n", all.len());
        let wait = Step::Turnstile(Arc::clone(&at_turnstile));
        vec![head_of(200, &fields), Step::Send(first.into()), wait, Step::Send(rest.into())]
    })
    .await;
    let proxy = start(&upstream, LIST).await;
    // The heads are there before the upstream goes on, so both are streamed.
    let shop = client::send(proxy.address, get_request(SHOP)).await;
    let update = client::send(proxy.address, get_request(UPDATE)).await;
    turnstile.add_permits(2);
    assert_eq!(client::finish(shop).await.text(), array(&only(&IN_SHOP)));
    assert_eq!(client::finish(update).await.text(), array(&only(&IN_UPDATES)));
}

#[tokio::test]
async fn an_edit_of_what_is_retired_leaves_the_shop_as_it_is() {
    let upstream = Upstream::with_feeds(array(&packages()), tree()).await;
    let proxy = start(&upstream, "extensions = [\"wp-toolkit\"]\n").await;
    let etag = async |target| proxy.get(target).await.header("etag").to_owned();
    let (shop, update) = (etag(SHOP).await, etag(UPDATE).await);
    assert_eq!(shop, etag("/api/v4/packages").await);
    assert_eq!(shop, update, "what comes out equal has one validator");
    fs::write(proxy.whitelist(), "extensions = [\"wp-toolkit\"]\nretired = [\"xovi\"]\n").unwrap();
    until("the edit", async || proxy.get(UPDATE).await.text().contains("xovi")).await;
    assert_eq!(etag(SHOP).await, shop);
    assert_ne!(etag(UPDATE).await, update);
    // Unlisted packages may be retired as a whole.
    fs::write(proxy.whitelist(), "extensions = [\"wp-toolkit\"]\nunlisted = \"retired\"\n").unwrap();
    until("the edit", async || proxy.get(UPDATE).await.text().contains("kolab")).await;
    assert_eq!(etag(SHOP).await, shop);
    assert_eq!(upstream.count(), 3, "no edit asks the upstream");
}

/// Queries that might be the shop window's, to the upstream or to us.
const DOUBTFUL: &[&str] = &[
    "",
    "platform=unix&locale=de",
    "platform=unix&with-details",
    "platform=unix&WITH-DETAILS=link",
    "platform=unix&with%2Ddetails=link",
    "platform=unix&locale[]=de",
    "platform=unix&locale%5B%5D=de",
    "platform=unix&x[y]=1",
    "platform=unix;locale=de",
    "platform=unix&a;b",
    "platform=unix&%6cocale=de",
    "platform=unix&%256cocale=de",
    "platform=unix&+locale=de",
    "platform=unix&%20locale=de",
    "platform=unix&locale%00=de",
    "platform=unix&x%2",
    "platform=unix&%zz=1",
    "PLATFORM[]=unix",
    "x=1&y=platform",
];

#[tokio::test]
async fn a_doubtful_query_gets_the_shop_view() {
    let upstream = Upstream::with_feeds(array(&packages()), tree()).await;
    let proxy = start(&upstream, LIST).await;
    for query in DOUBTFUL {
        let answer = client::raw(
            proxy.address,
            format!("GET /api/v4/packages?{query} HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await;
        assert!(!answer.contains("xovi") && !answer.contains("offer-old"), "{query}: {answer}");
        assert!(
            answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 400"),
            "{query}: {answer}"
        );
    }
    for query in ["platform=unix", "PLATFORM=windows&with-hidden", "%70latform"] {
        let answer = proxy.get(&format!("/api/v4/packages?{query}")).await;
        assert_eq!(answer.text(), array(&only(&IN_UPDATES)), "{query}");
    }
}

/// A made-up catalog of the codes that the vendor had in 2020, with its offers, capitals and discontinued ones.
#[tokio::test]
async fn real_codes_are_where_the_list_puts_them() {
    let codes: Vec<_> = include_str!("../support/real-codes.tsv")
        .lines()
        .skip(1)
        .map(|row| row.split('\t').next().unwrap())
        .collect();
    let upstream =
        Upstream::with_feeds(array(&codes.iter().map(|code| plesk(code)).collect::<Vec<_>>()), "[]").await;
    let list = "extensions = [\"wp-toolkit*\", \"InternalMailForwardingOnly\"]\nretired = [\"offer-*\"]\nhidden = [\"offer-b*\", \"wp-toolkit-s*\"]\nunlisted = \"hidden\"\n";
    let proxy = start(&upstream, list).await;
    let state = |code: &str| match code {
        "InternalMailForwardingOnly" => "shown",
        code if code.starts_with("wp-toolkit-s") || code.starts_with("offer-b") => "hidden",
        code if code.starts_with("wp-toolkit") => "shown",
        code if code.starts_with("offer-") => "retired",
        _ => "hidden",
    };
    let of = |states: &[&str]| {
        array(
            &codes
                .iter()
                .filter(|code| states.contains(&state(code)))
                .map(|code| plesk(code))
                .collect::<Vec<_>>(),
        )
    };
    assert!(of(&["retired"]).contains("offer-") && of(&["hidden"]).contains("offer-b"));
    assert_eq!(proxy.get(SHOP).await.text(), of(&["shown"]));
    assert_eq!(proxy.get(UPDATE).await.text(), of(&["shown", "retired"]));
}
