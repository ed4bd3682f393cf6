//! Many shops and keys in a small cache: views go before feeds, and are made again.

use std::fs;

use http::Request;
use http_body_util::Full;

use crate::client::{self, get};
use crate::metrics::value;
use crate::process::Process;
use crate::proxy::{array, list, plesk};
use crate::upstream::{Upstream, ok};

const SHOPS: usize = 64;
const KEYS: usize = 20;

/// Each shop shows one of these, so its view is like no other's.
fn code(shop: usize) -> String {
    format!("code-{shop}")
}

/// A large free package and one for each shop.
fn feed(key: usize) -> Vec<String> {
    let filler = "x".repeat(100 << 10);
    let first = format!(r#"{{"code":"free-{key}","text":"{filler}"}}"#);
    std::iter::once(first).chain((0..SHOPS).map(|shop| plesk(&code(shop)))).collect()
}

#[tokio::test]
async fn views_of_many_shops_go_before_feeds_and_are_made_again() {
    let upstream = Upstream::start(|request| {
        let key = request.target.split_once('?').map_or("", |(_, query)| query).parse().unwrap();
        ok(array(&feed(key)).as_bytes())
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    for shop in 0..SHOPS {
        fs::write(directory.path().join(format!("shop-{shop}.toml")), list(&[&code(shop)])).unwrap();
    }
    // The feeds take some 2.5 MiB, and all views would take 128.
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--cache-size", "6MiB", "--shops"]).arg(directory.path());
    });
    for round in 0..2 {
        for key in 0..KEYS {
            let feed = feed(key);
            for shop in 0..SHOPS {
                let target = format!("/shop-{shop}/api/v4/packages?{key}");
                // Encoded forms are made behind the answers, and count as well.
                let accept = if round == 0 { "identity" } else { "gzip;q=0.5, identity" };
                let request = Request::get(&target).header("accept-encoding", accept);
                let answer = client::request(process.address, request.body(Full::default()).unwrap()).await;
                assert!(answer.text() == array(&[feed[0].clone(), feed[1 + shop].clone()]), "{target}");
            }
            let metrics = get(process.admin, "/metrics").await;
            let [used, limit, evicted] = ["bytes", "limit_bytes", "evictions_total"]
                .map(|name| value(metrics.text(), &format!("catalog_proxy_cache_{name}")));
            assert!(used <= limit && limit == f64::from(6 << 20), "{used} of {limit}");
            assert!(evicted > 0.0 || (round, key) == (0, 0));
        }
    }
    assert_eq!(upstream.count(), KEYS, "each feed was fetched once");
}
