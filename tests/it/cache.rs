//! The cache over time: fresh, stale, failing, shrinking.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::client::{self, get, until};
use crate::clock::Clock;
use crate::proxy::{Proxy, array, free};
use crate::upstream::{Script, Step, Upstream, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// An upstream whose answer changes when the test says so.
struct Changing {
    upstream: Upstream,
    turn: Arc<AtomicUsize>,
}

impl Changing {
    async fn start(scripts: Vec<Script>) -> Self {
        let turn = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&turn);
        let upstream = Upstream::start(move |_| scripts[now.load(Ordering::SeqCst)].clone()).await;
        Self { upstream, turn }
    }

    fn turn(&self, turn: usize) {
        self.turn.store(turn, Ordering::SeqCst);
    }

    async fn reaches(&self, count: usize) {
        until(&format!("{count} fetches"), async || self.upstream.count() >= count).await;
    }
}

fn with_fields(fields: &str, body: &str) -> Script {
    vec![head_of(200, &format!("{fields}content-length: {}\r\n", body.len())), Step::Send(body.into())]
}

async fn cache_status(proxy: &Proxy) -> String {
    proxy.get(PACKAGES).await.header("cache-status").split("; key=").next().unwrap().to_owned()
}

#[tokio::test]
async fn a_copy_lives_as_long_as_the_upstream_says() {
    let changing =
        Changing::start(vec![with_fields("cache-control: max-age=60\r\nage: 10\r\n", "[1]")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    assert_eq!(cache_status(&proxy).await, "catalog-proxy; fwd=miss; stored; ttl=50");
    clock.jump(Duration::from_secs(20)).await;
    let answer = proxy.get(PACKAGES).await;
    assert_eq!(answer.header("cache-status"), "catalog-proxy; hit; ttl=30; key=\"/api/v4/packages\"");
    // Since it was fetched, whatever time it spent in other caches.
    assert_eq!((answer.header("age"), answer.header("cache-control")), ("20", "no-cache"));
    assert_ago(answer.header("date"), 20);
    assert_eq!(changing.upstream.count(), 1);
}

#[tokio::test]
async fn no_store_is_overridden() {
    for fields in ["cache-control: no-store\r\n", "cache-control: private, max-age=600\r\n"] {
        let changing = Changing::start(vec![with_fields(fields, "[1]")]).await;
        let proxy = Proxy::start(&changing.upstream).await;
        proxy.get(PACKAGES).await;
        assert!(cache_status(&proxy).await.starts_with("catalog-proxy; hit; ttl=59"), "{fields}");
    }
}

#[tokio::test]
async fn a_copy_is_fresh_for_half_a_minute_at_least() {
    let rows = [
        ("cache-control: no-cache, private\r\n", "29"),
        ("cache-control: no-store, no-cache, must-revalidate\r\nexpires: 0\r\n", "29"),
        ("cache-control: max-age=1\r\nage: 5\r\n", "29"),
        ("cache-control: max-age=40\r\n", "39"),
    ];
    let mut started = Vec::new();
    for (fields, ttl) in rows {
        let changing = Changing::start(vec![with_fields(fields, "[1]")]).await;
        let proxy = Proxy::start(&changing.upstream).await;
        started.push((fields, ttl, changing, proxy));
    }
    let clock = Clock::stop();
    for (fields, ttl, _upstream, proxy) in started {
        proxy.get(PACKAGES).await;
        clock.jump(Duration::from_secs(1)).await;
        assert_eq!(cache_status(&proxy).await, format!("catalog-proxy; hit; ttl={ttl}"), "{fields}");
    }
}

#[tokio::test]
async fn a_client_never_drives_the_upstream() {
    let changing = Changing::start(vec![ok(b"[1]")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    for _ in 0..5 {
        let request = Request::get(PACKAGES)
            .header("cache-control", "no-cache, max-age=0")
            .header("pragma", "no-cache");
        let answer = client::request(proxy.address, request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.text(), "[1]");
    }
    assert_eq!(changing.upstream.count(), 1);
}

#[tokio::test]
async fn keys_in_use_are_renewed_ahead_of_their_end() {
    let changing = Changing::start(vec![ok(b"[1]"), ok(b"[2]")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
    changing.turn(1);
    clock.pass(7 * MINUTE).await;
    assert_eq!(changing.upstream.count(), 1, "too early");
    clock.pass(3 * MINUTE - Duration::from_secs(10)).await;
    changing.reaches(2).await;
    until("the new feed", async || proxy.get(PACKAGES).await.text() == "[2]").await;
    assert!(cache_status(&proxy).await.starts_with("catalog-proxy; hit; "));
    // Nobody asked for a day, so nobody is thought of.
    clock.jump(DAY + MINUTE).await;
    clock.pass(MINUTE).await;
    let before = changing.upstream.count();
    clock.pass(MINUTE).await;
    assert_eq!(changing.upstream.count(), before);
}

#[tokio::test]
async fn a_304_renews_the_copy() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    let fields = format!("etag: \"v1\"\r\nlast-modified: {date}\r\ncache-control: max-age=60\r\n");
    let changing = Changing::start(vec![
        with_fields(&fields, "[1]"),
        vec![head_of(304, "cache-control: max-age=3600\r\n")],
    ])
    .await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    proxy.get(PACKAGES).await;
    changing.turn(1);
    clock.jump(2 * MINUTE).await;
    // Served at once, renewed behind.
    assert_eq!(cache_status(&proxy).await, "catalog-proxy; hit; ttl=-60");
    changing.reaches(2).await;
    until("a renewed copy", async || cache_status(&proxy).await.starts_with("catalog-proxy; hit; ttl=3600"))
        .await;
    assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
    let asked = changing.upstream.requests().remove(1);
    assert_eq!(asked.header("if-none-match"), Some("\"v1\""));
    assert_eq!(asked.header("if-modified-since"), Some(date));
}

#[tokio::test]
async fn an_outage_is_nobodys_problem_for_a_week() {
    let changing = Changing::start(vec![ok(b"[1]"), status(503, "text/html", b"down")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    let etag = proxy.get(PACKAGES).await.header("etag").to_owned();
    changing.turn(1);
    clock.jump(DAY * 7).await;
    for _ in 0..3 {
        let answer = proxy.get(PACKAGES).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "[1]"));
        assert!(answer.header("cache-status").contains("hit; ttl=-"), "{answer:?}");
        assert!(etag.is_empty() || answer.header("etag") == etag);
    }
    clock.jump(MINUTE * 11).await;
    let answer = proxy.get(PACKAGES).await;
    answer.assert_problem(502);
    assert_eq!(
        answer.header("proxy-status"),
        "catalog-proxy; error=http_protocol_error; received-status=503"
    );
    changing.turn(0);
    clock.jump(2 * MINUTE).await;
    assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
}

#[tokio::test]
async fn a_failing_upstream_is_asked_ever_less() {
    let changing = Changing::start(vec![ok(b"[1]"), status(500, "text/html", b"oops")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    proxy.get(PACKAGES).await;
    changing.turn(1);
    clock.jump(11 * MINUTE).await;
    for _ in 0..120 {
        clock.pass(Duration::from_secs(1)).await;
        assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
    }
    // At 1, 2, 4 … seconds, each shortened by up to half.
    let count = changing.upstream.count();
    assert!((5..=11).contains(&count), "{count} fetches in two minutes");
}

#[tokio::test]
async fn the_upstream_may_ask_for_patience() {
    let busy = vec![head_of(429, "retry-after: 100\r\ncontent-length: 0\r\n")];
    let changing = Changing::start(vec![ok(b"[1]"), busy]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    proxy.get(PACKAGES).await;
    changing.turn(1);
    clock.jump(11 * MINUTE).await;
    proxy.get(PACKAGES).await;
    changing.reaches(2).await;
    for _ in 0..9 {
        clock.pass(Duration::from_secs(10)).await;
        assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
    }
    assert_eq!(changing.upstream.count(), 2);
    changing.turn(0);
    clock.pass(Duration::from_secs(20)).await;
    changing.reaches(3).await;
}

#[tokio::test]
async fn half_a_catalog_is_not_believed_at_first() {
    let whole: Vec<_> = (0..10).map(|n| free(&format!("ext-{n}"))).collect();
    let changing =
        Changing::start(vec![ok(array(&whole).as_bytes()), ok(array(&whole[..4]).as_bytes())]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    assert_eq!(proxy.get(PACKAGES).await.text(), array(&whole));
    changing.turn(1);
    clock.jump(11 * MINUTE).await;
    let error = async || {
        let ready = get(proxy.admin, "/readyz").await;
        let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
        state["feeds"][0]["last_error"].as_str().unwrap_or_default().to_owned()
    };
    for seen in 1..=2 {
        assert_eq!(proxy.get(PACKAGES).await.text(), array(&whole));
        changing.reaches(1 + seen).await;
        let times = if seen == 1 { "time" } else { "times" };
        let expected = format!("the upstream's feed shrank from 10 to 4 elements, seen {seen} {times}");
        until(&expected, async || error().await == expected).await;
        let metrics = get(proxy.admin, "/metrics").await;
        let counted = format!(
            "catalog_proxy_fetches_total{{feed=\"packages\",outcome=\"shrunk\",phase=\"content\"}} {seen}\n"
        );
        assert!(metrics.text().contains(&counted), "{}", metrics.text());
        assert!(metrics.text().contains("catalog_proxy_failing_keys{outcome=\"shrunk\"} 1\n"));
        // What is wrong for a minute is not right because it was asked for three times.
        clock.jump(MINUTE).await;
        proxy.get(PACKAGES).await;
        assert_eq!(changing.upstream.count(), 1 + seen);
        clock.jump(4 * MINUTE).await;
    }
    proxy.get(PACKAGES).await;
    until("three that agree", async || proxy.get(PACKAGES).await.text() == array(&whole[..4])).await;
    assert_eq!(changing.upstream.count(), 4);
    assert_eq!(error().await, "");
}

#[tokio::test]
async fn a_crowd_on_a_failing_key_costs_few_fetches() {
    let (gate, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let closed = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        let mut script = status(500, "text/html", b"oops");
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            script.insert(0, Step::Gate(Arc::clone(&closed)));
        }
        script
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let crowd: Vec<_> = (0..200).map(|_| tokio::spawn(get(proxy.address, PACKAGES))).collect();
    until("the fetch", async || upstream.count() == 1).await;
    gate.notify_one();
    for client in crowd {
        client.await.unwrap().assert_problem(502);
    }
    // Those who come when the failure is no longer remembered share another fetch.
    assert!(upstream.count() <= 5, "{} fetches", upstream.count());
}

#[tokio::test]
async fn a_slow_refresh_delays_nobody() {
    let gate = Arc::new(Notify::new());
    let slow = vec![
        head_of(200, "content-length: 3\r\n"),
        Step::Send(b"[".to_vec()),
        Step::Gate(Arc::clone(&gate)),
        Step::Send(b"2]".to_vec()),
    ];
    let changing = Changing::start(vec![ok(b"[1]"), slow]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    proxy.get(PACKAGES).await;
    changing.turn(1);
    clock.jump(11 * MINUTE).await;
    proxy.get(PACKAGES).await;
    changing.reaches(2).await;
    for _ in 0..20 {
        assert_eq!(proxy.get(PACKAGES).await.text(), "[1]");
    }
    gate.notify_one();
    until("the new feed", async || proxy.get(PACKAGES).await.text() == "[2]").await;
    assert_eq!(changing.upstream.count(), 2);
}

#[tokio::test]
async fn each_limit_of_time_ends_a_fetch() {
    let never = || Step::Gate(Arc::new(Notify::new()));
    let clock = Clock::stop();
    let silent = vec![never()];
    let stuck = vec![head_of(200, "content-length: 9\r\n"), Step::Send(b"[1,".to_vec()), never()];
    for (script, seconds, expected) in [
        (silent, 60, "the upstream did not answer within 60 s"),
        (stuck, 1, "the upstream sent nothing for 10 s"),
    ] {
        let upstream = Upstream::start(move |_| script.clone()).await;
        let proxy = Proxy::start(&upstream).await;
        let head = Request::head(PACKAGES).body(Full::default()).unwrap();
        let waiting = tokio::spawn(client::request(proxy.address, head));
        until("the fetch", async || upstream.count() == 1).await;
        // The beginning of a body must have arrived before its pause can be timed.
        clock.pass(Duration::from_secs(1)).await;
        clock.pass(Duration::from_secs(10)).await;
        assert_eq!(waiting.await.unwrap().status, 504, "{expected}");
        // The fetch goes on without the client.
        clock.pass(Duration::from_secs(seconds)).await;
        let ready = get(proxy.admin, "/readyz").await;
        assert!(ready.text().contains(expected), "{}", ready.text());
    }
}

#[tokio::test]
async fn a_drip_is_ended_as_a_whole() {
    let gate = Arc::new(Notify::new());
    let mut script = vec![head_of(200, "content-length: 1000\r\n"), Step::Send(b"[1".to_vec())];
    for _ in 0..40 {
        script.extend([Step::Gate(Arc::clone(&gate)), Step::Send(b",1".to_vec())]);
    }
    let upstream = Upstream::start(move |_| script.clone()).await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    // A client of its own, for the others lose patience on the same clock.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream
        .write_all(format!("HEAD {PACKAGES} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let waiting = tokio::spawn(async move {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    until("the fetch", async || upstream.count() == 1).await;
    // Something comes every five seconds, so no pause is too long.
    for _ in 0..26 {
        gate.notify_one();
        clock.pass(Duration::from_secs(5)).await;
        let pause = Duration::from_millis(5);
        tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
    }
    let answer = waiting.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let ready = get(proxy.admin, "/readyz").await;
    assert!(ready.text().contains("did not finish its answer within 120 s"), "{}", ready.text());
}

#[tokio::test]
async fn a_dead_pooled_connection_is_replaced_at_once() {
    let upstream = Upstream::start(|request| match request.nth {
        0 => ok(format!("[{:?}]", request.target).as_bytes()),
        _ => vec![Step::Close],
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    for n in 0..5 {
        let target = format!("{PACKAGES}?{n}");
        assert_eq!(get(proxy.address, &target).await.text(), format!("[{target:?}]"));
    }
}

#[tokio::test]
async fn clients_may_be_allowed_to_keep_a_feed() {
    let changing = Changing::start(vec![ok(b"[1]")]).await;
    let proxy = Proxy::start_with(&changing.upstream.url(), |config| {
        config.client_max_age = Some(Duration::from_mins(5).into());
    })
    .await;
    let clock = Clock::stop();
    for _ in 0..2 {
        assert_eq!(proxy.get(PACKAGES).await.header("cache-control"), "public, max-age=300");
    }
    // Some caches count from `Date`, some from `Age`, some from receipt: for all of them it must be the same time.
    clock.jump(2 * MINUTE).await;
    let answer = proxy.get(PACKAGES).await;
    assert_eq!((answer.header("age"), answer.header("cache-control")), ("", "public, max-age=300"));
    assert_ago(answer.header("date"), 0);
}

/// Asserts that a date is `seconds` ago, or a few more on a busy machine.
fn assert_ago(date: &str, seconds: u64) {
    let at = httpdate::parse_http_date(date).expect("a date");
    let elapsed = SystemTime::now().duration_since(at).expect("a date in the past").as_secs();
    assert!((seconds..seconds + 10).contains(&elapsed), "{date} is {elapsed} s ago");
}

#[tokio::test]
async fn a_copy_that_is_old_on_arrival_is_served_all_the_same() {
    let fields = "cache-control: max-age=600\r\nage: 1000000\r\n";
    let changing = Changing::start(vec![with_fields(fields, "[1]"), status(500, "text/html", b"down")]).await;
    let proxy = Proxy::start(&changing.upstream).await;
    let clock = Clock::stop();
    proxy.get(PACKAGES).await;
    changing.turn(1);
    clock.jump(DAY).await;
    assert!(cache_status(&proxy).await.starts_with("catalog-proxy; hit; ttl=-"));
    clock.jump(7 * DAY).await;
    proxy.get(PACKAGES).await.assert_problem(502);
}

#[tokio::test]
async fn readyz_tells_the_state_of_each_key() {
    let upstream = Upstream::start(|request| match request.target.contains("bad") {
        true => status(500, "text/html", b"oops"),
        false => ok(array(&[free("git"), crate::proxy::plesk("xovi")]).as_bytes()),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    get(proxy.address, "/api/v4/packages").await;
    get(proxy.address, "/api/v4/packages?bad").await;
    let ready = get(proxy.admin, "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.header("content-type")), (200, "application/json"));
    let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!((&state["status"], &state["keys"]), (&"ready".into(), &2.into()));
    let expected = serde_json::json!([
        {"key": "/api/v4/packages", "age": 0, "fresh": true, "elements": 2, "shown": 1, "retired": 0, "hidden": 1,
            "last_error": null},
        {"key": "/api/v4/packages?bad", "last_error": "the upstream answered with status 500"},
    ]);
    assert_eq!(state["feeds"], expected);
    // Any client may ask the service port, so it has no details.
    let ready = get(proxy.address, "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text()), (200, "ready\n"));
}

#[tokio::test]
async fn readyz_can_wait_for_a_packages_feed() {
    let upstream = Upstream::with_feeds("[1]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let check = async |target: &str, service: u16, admin: u16| {
        assert_eq!(proxy.get(target).await.status, service, "{target}");
        assert_eq!(get(proxy.admin, target).await.status, admin, "{target}");
    };
    check("/readyz", 200, 200).await;
    check("/readyz?x&warm", 503, 503).await;
    check("/readyz?warmer", 200, 200).await;
    proxy.get(PACKAGES).await;
    check("/readyz?warm", 200, 200).await;
    check("/readyz?warm=1", 200, 200).await;
}

#[tokio::test]
async fn the_admin_port_says_that_the_service_port_drains() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        let head = head_of(200, "content-length: 2\r\n");
        vec![head, Step::Send(b"o".to_vec()), Step::Gate(Arc::clone(&held)), Step::Send(b"k".to_vec())]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let running = client::send(proxy.address, client::get_request("/slow")).await;
    let admin = proxy.admin;
    let stopping = tokio::spawn(proxy.stop());
    until("draining", async || get(admin, "/readyz").await.status == 503).await;
    assert!(get(admin, "/readyz").await.text().contains("\"status\": \"draining\""));
    assert_eq!(get(admin, "/livez").await.status, 200);
    assert!(get(admin, "/metrics").await.status.is_success());
    gate.notify_one();
    assert_eq!(client::finish(running).await.text(), "ok");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_pause_that_the_upstream_asks_for_is_kept_without_a_copy() {
    let later = || httpdate::fmt_http_date(std::time::SystemTime::now() + 2 * MINUTE);
    for (code, value) in [
        (429, "100".to_owned()),
        (503, "100".to_owned()),
        (503, later()),
        (500, "100".to_owned()),
        (403, later()),
    ] {
        let fields = format!("retry-after: {value}\r\ncontent-length: 0\r\n");
        let upstream = Upstream::start(move |_| vec![head_of(code, &fields)]).await;
        let proxy = Proxy::start(&upstream).await;
        for _ in 0..2 {
            let answer = proxy.get(PACKAGES).await;
            answer.assert_problem(502);
            let pause: u64 = answer.header("retry-after").parse().unwrap();
            assert!((90..=120).contains(&pause), "{code} {value}: {pause}");
        }
        assert_eq!(upstream.count(), 1, "{code} {value}");
    }
    // Without such a wish it is what this proxy itself waits for.
    let upstream = Upstream::start(|_| status(500, "text/html", b"oops")).await;
    let proxy = Proxy::start(&upstream).await;
    assert_eq!(proxy.get(PACKAGES).await.header("retry-after"), "1");
}
