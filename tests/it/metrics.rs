//! The metrics for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use catalog_proxy::config::Tls;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::client::{self, get, get_request, until};
use crate::clock::Clock;
use crate::proxy::{Proxy, array, free, plesk};
use crate::tls::Authority;
use crate::upstream::{Step, Upstream, chunk, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";

async fn scrape(proxy: &Proxy) -> String {
    get(proxy.admin, "/metrics").await.text().to_owned()
}

/// Returns the value of a series, written as in the scrape.
pub fn value(scrape: &str, series: &str) -> f64 {
    let value = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in\n{scrape}")).parse().unwrap()
}

fn requests(route: &str, status: &str, cache: &str) -> String {
    format!("catalog_proxy_requests_total{{route=\"{route}\",status=\"{status}\",cache=\"{cache}\"}}")
}

async fn waits_for(proxy: &Proxy, series: &str, expected: f64) {
    until(&format!("{series} {expected}"), async || value(&scrape(proxy).await, series) == expected).await;
}

/// An upstream with odd elements in its feed, whose other paths fail.
async fn upstream(gate: Arc<Notify>) -> Upstream {
    let packages = array(&[plesk("wp-toolkit"), plesk("xovi"), free("git"), "7".into(), "{}".into()]);
    Upstream::start(move |request| match request.target.split('?').next().unwrap() {
        "/slow" => vec![Step::Gate(Arc::clone(&gate)), head_of(204, "")],
        "/stalls" => vec![
            head_of(200, "content-length: 10\r\n"),
            Step::Send(b"12345".to_vec()),
            Step::Gate(Arc::clone(&gate)),
        ],
        "/breaks" => vec![head_of(200, "transfer-encoding: chunked\r\n"), chunk(b"1234"), Step::Close],
        "/closes" => vec![Step::Close],
        path if path.ends_with("/packages") => ok(packages.as_bytes()),
        path if path.ends_with("/categories") => ok(b"[{\"top_packages\":[]}]"),
        _ => status(404, "text/plain", b"nothing"),
    })
    .await
}

#[tokio::test]
async fn every_request_is_counted_with_what_became_of_it() {
    let gate = Arc::new(Notify::new());
    let upstream = upstream(Arc::clone(&gate)).await;
    let proxy = Proxy::start(&upstream).await;
    let body = proxy.get(PACKAGES).await.body.len();
    proxy.get(PACKAGES).await;
    let etag = proxy.get(PACKAGES).await.header("etag").to_owned();
    let known = Request::get(PACKAGES).header("if-none-match", etag).body(Full::default()).unwrap();
    assert_eq!(client::request(proxy.address, known).await.status, 304);
    proxy.get("/api/v4/categories").await;
    proxy.get("/else").await;
    let upload = Request::post("/else").body(Full::from("12345678")).unwrap();
    client::request(proxy.address, upload).await;
    client::request(proxy.address, Request::delete(PACKAGES).body(Full::default()).unwrap()).await;
    assert_eq!(proxy.get("/closes").await.status, 502);
    assert!(proxy.get("/breaks").await.cut);
    let text = scrape(&proxy).await;
    for (series, expected) in [
        (requests("packages", "2xx", "miss"), 1.0),
        (requests("packages", "2xx", "hit"), 2.0),
        (requests("packages", "3xx", "hit"), 1.0),
        (requests("packages", "2xx", "stale"), 0.0),
        (requests("categories", "2xx", "miss"), 1.0),
        (requests("forward", "4xx", "none"), 2.0),
        (requests("forward", "5xx", "none"), 1.0),
        (requests("forward", "2xx", "none"), 1.0),
        (requests("refused", "4xx", "none"), 1.0),
        ("catalog_proxy_request_body_bytes_total".into(), 8.0),
        ("catalog_proxy_response_body_bytes_total{route=\"packages\"}".into(), 3.0 * body as f64),
        ("catalog_proxy_request_duration_seconds_count{route=\"packages\"}".into(), 4.0),
        ("catalog_proxy_time_to_first_byte_seconds_count{route=\"packages\"}".into(), 4.0),
        ("catalog_proxy_responses_broken_off_total{route=\"forward\",end=\"failed\"}".into(), 1.0),
        ("catalog_proxy_responses_broken_off_total{route=\"forward\",end=\"dropped\"}".into(), 0.0),
        ("catalog_proxy_forward_failures_total{outcome=\"cut\",phase=\"transfer\"}".into(), 1.0),
        ("catalog_proxy_fetches_total{feed=\"packages\",outcome=\"changed\",phase=\"done\"}".into(), 1.0),
        ("catalog_proxy_fetch_duration_seconds_count{feed=\"categories\"}".into(), 1.0),
        ("catalog_proxy_feed_elements{feed=\"packages\",version=\"v4\"}".into(), 5.0),
        ("catalog_proxy_feed_hidden_elements{shop=\"default\",feed=\"packages\",version=\"v4\"}".into(), 1.0),
        ("catalog_proxy_feed_odd_elements{version=\"v4\",reason=\"no_object\"}".into(), 1.0),
        ("catalog_proxy_feed_odd_elements{version=\"v4\",reason=\"no_code\"}".into(), 1.0),
        ("catalog_proxy_feed_stale_seconds{feed=\"packages\",version=\"v4\"}".into(), 0.0),
        ("catalog_proxy_whitelist_extensions{shop=\"default\"}".into(), 2.0),
        // Docker is not in this catalog.
        ("catalog_proxy_whitelist_absent_extensions{shop=\"default\"}".into(), 1.0),
        ("catalog_proxy_cached_keys".into(), 2.0),
        ("catalog_proxy_cache_limit_bytes".into(), f64::from(256 << 20)),
        ("catalog_proxy_requests_in_flight".into(), 0.0),
    ] {
        assert_eq!(value(&text, &series), expected, "{series}\n{text}");
    }
    assert!(value(&text, "catalog_proxy_cache_bytes") > body as f64);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_counts_like_any_other() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| *config.limits.request_body = 4).await;
    let clock = Clock::stop();
    let mut too_many = get_request(&format!("http://{}/x", proxy.address));
    for n in 0..=100 {
        too_many.headers_mut().append("x-n", n.into());
    }
    // Over HTTP/1, such a head is no request at all.
    let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let too_many = client::finish(http2.request(too_many).await.unwrap()).await;
    let too_long = proxy.get(&format!("/x?{}", "x".repeat(9000))).await;
    let too_large = Request::post("/x").body(Full::from("12345")).unwrap();
    let too_large = client::request(proxy.address, too_large).await;
    for (answer, status) in [(too_many, 431), (too_long, 414), (too_large, 413)] {
        answer.assert_problem(status);
        assert_eq!(answer.header("x-request-id").len(), 32, "{answer:?}");
    }
    let chunked = "POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    for (request, status) in
        [(format!("{chunked}5\r\n12345\r\n"), 413), ("GET /x HTTP/1.1\r\n\r\n".to_owned(), 400)]
    {
        let answer = client::raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nX-Request-Id: "), "{answer}");
    }
    let address = proxy.address;
    let stalled =
        tokio::spawn(async move { client::raw(address, format!("{chunked}5\r\n1").as_bytes()).await });
    waits_for(&proxy, "catalog_proxy_requests_in_flight", 1.0).await;
    clock.pass(Duration::from_secs(31)).await;
    let stalled = stalled.await.unwrap();
    assert!(stalled.starts_with("HTTP/1.1 408 "), "{stalled}");
    let text = scrape(&proxy).await;
    assert_eq!(value(&text, &requests("forward", "4xx", "none")), 6.0, "{text}");
    // What a client did wrong is no failure of the upstream.
    let failures: Vec<_> =
        text.lines().filter(|line| line.starts_with("catalog_proxy_forward_failures_total{")).collect();
    assert!(failures.len() >= 8 && failures.iter().all(|line| line.ends_with(" 0")), "{failures:?}");
    assert_eq!(value(&text, "catalog_proxy_requests_in_flight"), 0.0);
}

#[tokio::test]
async fn clients_that_go_away_leave_nothing_behind() {
    const IN_FLIGHT: &str = "catalog_proxy_requests_in_flight";
    let gate = Arc::new(Notify::new());
    let upstream = upstream(Arc::clone(&gate)).await;
    let proxy = Proxy::start(&upstream).await;
    // One goes before there is an answer, one in the middle of it.
    let mut hasty = TcpStream::connect(proxy.address).await.unwrap();
    hasty.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut stalled = client::send(proxy.address, get_request("/stalls")).await;
    stalled.body_mut().frame().await.unwrap().unwrap();
    waits_for(&proxy, IN_FLIGHT, 2.0).await;
    assert_eq!(value(&scrape(&proxy).await, "catalog_proxy_connections{port=\"service\"}"), 2.0);
    drop(hasty);
    drop(stalled);
    waits_for(&proxy, IN_FLIGHT, 0.0).await;
    waits_for(&proxy, "catalog_proxy_connections{port=\"service\"}", 0.0).await;
    let text = scrape(&proxy).await;
    assert_eq!(value(&text, &requests("forward", "none", "none")), 1.0);
    let dropped = "catalog_proxy_responses_broken_off_total{route=\"forward\",end=\"dropped\"}";
    assert_eq!(value(&text, dropped), 2.0);
    assert_eq!(value(&text, "catalog_proxy_response_body_bytes_total{route=\"forward\"}"), 5.0);
    assert_eq!(value(&text, "catalog_proxy_connections_accepted_total{port=\"service\"}"), 2.0);
}

#[tokio::test]
async fn only_a_copy_that_cannot_be_renewed_counts_as_stale() {
    const STALE: &str = "catalog_proxy_feed_stale_seconds{feed=\"packages\",version=\"v4\"}";
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let upstream = Upstream::start(move |_| match breaks.load(Ordering::SeqCst) {
        true => vec![Step::Close],
        false => ok(b"[]"),
    })
    .await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        *config.cache.fresh_for = Duration::from_millis(1);
        config.cache.max_fresh_for = Some(*config.cache.fresh_for);
    })
    .await;
    proxy.get(PACKAGES).await;
    // Past its lifetime, but nobody asked since.
    until("an age", async || {
        value(&scrape(&proxy).await, "catalog_proxy_feed_age_seconds{feed=\"packages\",version=\"v4\"}")
            >= 1.0
    })
    .await;
    assert_eq!(value(&scrape(&proxy).await, STALE), 0.0);
    assert_eq!(value(&scrape(&proxy).await, "catalog_proxy_stale_keys"), 1.0);
    broken.store(true, Ordering::SeqCst);
    until("a failure", async || {
        assert_eq!(proxy.get(PACKAGES).await.status, 200);
        value(&scrape(&proxy).await, STALE) >= 1.0
    })
    .await;
    let text = scrape(&proxy).await;
    assert!(value(&text, &requests("packages", "2xx", "stale")) >= 1.0, "{text}");
    assert_eq!(value(&text, "catalog_proxy_failing_keys{outcome=\"cut\"}"), 1.0);
}

/// The names of all series, without their values.
fn series(scrape: &str) -> BTreeSet<&str> {
    let samples = scrape.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[tokio::test]
async fn clients_cannot_make_series() {
    let upstream = upstream(Arc::default()).await;
    let proxy = Proxy::start(&upstream).await;
    let ask = async |n: usize| {
        for target in [
            format!("/api/v4/packages?q={n}"),
            format!("/api/v{}/packages", n + 10),
            format!("/api/v0{n}/categories"),
            format!("/{n}"),
        ] {
            proxy.get(&target).await;
        }
        let method = http::Method::from_bytes(format!("M{n}").as_bytes()).unwrap();
        let request = Request::builder().method(method).uri("/x").body(Full::default()).unwrap();
        client::request(proxy.address, request).await;
    };
    ask(0).await;
    let first = scrape(&proxy).await;
    for n in 1..30 {
        ask(n).await;
    }
    let last = scrape(&proxy).await;
    assert_eq!(series(&first), series(&last));
    assert_eq!(value(&last, "catalog_proxy_cached_keys"), 120.0);
}

/// A scrape with all series but those of failures.
async fn full_scrape() -> String {
    let upstream = upstream(Arc::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().to_owned();
    let proxy = Proxy::start_with(&upstream.url(), |config| config.cache_dir = Some(cache.into())).await;
    for target in [PACKAGES, "/api/v4/categories", "/else", "/closes"] {
        proxy.get(target).await;
    }
    upstream.stop().await;
    proxy.get("/api/v4/packages?gone").await.assert_problem(502);
    scrape(&proxy).await + &certificate_scrape().await
}

/// Series that only a proxy with a certificate has.
async fn certificate_scrape() -> String {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = Authority::new().sign("localhost", |_| ());
    let files =
        Tls { cert: directory.path().join("cert.pem").into(), key: directory.path().join("key.pem").into() };
    fs::write(&*files.cert, certificate.pem()).unwrap();
    fs::write(&*files.key, key.serialize_pem()).unwrap();
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(files)).await;
    let text = scrape(&proxy).await;
    let lines = text.split_inclusive('\n').filter(|line| line.contains("catalog_proxy_certificate_"));
    lines.collect()
}

/// Metrics by name, with their types.
fn types(scrape: &str) -> BTreeMap<&str, &str> {
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.collect()
}

#[tokio::test]
async fn metrics_follow_the_conventions() {
    let text = full_scrape().await;
    // For `promtool check metrics`, which .ci/run has.
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.prom"), &text).unwrap();
    let types = types(&text);
    assert_eq!(text.matches("# TYPE ").count(), types.len(), "a metric comes twice");
    assert_eq!(text.matches("# HELP ").count(), types.len());
    for (name, kind) in &types {
        let plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        assert!(plain && (name.starts_with("catalog_proxy_") || name.starts_with("process_")), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name} is a {kind}");
        assert!(["counter", "gauge", "histogram"].contains(kind), "{name} is a {kind}");
        let scaled = ["_ms", "_milliseconds", "_minutes", "_kilobytes", "_megabytes", "_percent"];
        assert!(!scaled.iter().any(|unit| name.contains(unit)), "{name} is in no base unit");
    }
    let all = series(&text);
    assert_eq!(all.len(), text.lines().filter(|line| !line.starts_with('#')).count(), "a series comes twice");
    for sample in all {
        let name = sample.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = types.contains_key(name)
            || of_histogram.is_some_and(|name| types.get(name) == Some(&"histogram"));
        assert!(known, "{sample} has no type");
    }
}

/// The names of our metrics in a text, each with the labels that are asked for.
fn queried(text: &str) -> Vec<(&str, Vec<&str>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for prefix in ["catalog_proxy_", "process_"] {
        for (at, _) in text.match_indices(prefix) {
            if text[..at].ends_with(is_name) {
                continue;
            }
            let rest = &text[at..];
            let (name, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
            let matchers = after.strip_prefix('{').map_or("", |after| after.split('}').next().unwrap());
            let labels = matchers.split(',').filter_map(|matcher| matcher.split(['=', '!']).next());
            found.push((name, labels.map(str::trim).filter(|label| !label.is_empty()).collect()));
        }
    }
    found
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_what_there_is() {
    let text = full_scrape().await;
    let samples = series(&text);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let dashboard = fs::read_to_string(directory.join("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let expressions: Vec<&str> = targets.flatten().map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() >= 15, "{expressions:?}");
    let rules = fs::read_to_string(directory.join("alerts.yml")).unwrap();
    assert!(queried(&rules).len() >= 8);
    // Labels that Prometheus itself adds.
    let added = ["job", "instance"];
    for text in expressions.into_iter().chain([rules.as_str()]) {
        for (name, labels) in queried(text) {
            let of_name = |sample: &&&str| sample.split('{').next() == Some(name);
            assert!(samples.iter().any(|sample| of_name(&sample)), "there is no {name}: {text}");
            for label in labels.iter().filter(|label| !added.contains(label)) {
                let has = |sample: &&&str| of_name(sample) && sample.contains(&format!("{label}=\""));
                assert!(samples.iter().any(|sample| has(&sample)), "{name} has no label {label}: {text}");
            }
        }
    }
}

/// Rows of the tables in docs/metrics.md: name, type and labels.
fn documented(page: &str) -> BTreeMap<&str, (&str, BTreeSet<&str>)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|line| {
        let mut cells = line.split(" | ");
        let name = cells.next().unwrap().trim_end_matches('`');
        let kind = cells.next().unwrap();
        let labels = cells.next().unwrap().split(", ").map(|label| label.trim().trim_matches('`'));
        (name, (kind, labels.filter(|label| !label.is_empty()).collect()))
    })
    .collect()
}

#[tokio::test]
async fn the_page_of_metrics_is_complete() {
    let text = full_scrape().await;
    let page = include_str!("../../docs/metrics.md");
    let mut expected = BTreeMap::new();
    for (name, kind) in types(&text) {
        let mut labels = BTreeSet::new();
        for sample in series(&text) {
            let (of, rest) = sample.split_once('{').unwrap_or((sample, ""));
            let of_histogram =
                kind == "histogram" && of.strip_prefix(name).is_some_and(|end| end == "_count");
            if of == name || of_histogram {
                labels
                    .extend(rest.split(',').filter_map(|pair| pair.split_once('=')).map(|(label, _)| label));
            }
        }
        expected.insert(name, (kind, labels));
    }
    assert_eq!(documented(page), expected);
}
