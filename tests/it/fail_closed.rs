//! A response that is no valid feed is never passed on and never cached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::until;
use crate::proxy::{Proxy, plesk};
use crate::upstream::{Script, Step, Upstream, head_of, ok, status};

/// Each row of the contract, and a few more: name and the upstream's answer.
fn bad_feeds() -> Vec<(&'static str, Script)> {
    let secret = plesk("xovi");
    let feed = |text: &str| ok(text.replace('X', &secret).as_bytes());
    let with = |bytes: &[u8]| ok(&[b"[1,".as_slice(), bytes, b"]"].concat());
    let closed = |len: usize, body: String| {
        vec![head_of(200, &format!("content-length: {len}\r\n")), Step::Send(body.into_bytes()), Step::Close]
    };
    vec![
        ("HTML with status 200", status(200, "text/html", format!("<html>{secret}</html>").as_bytes())),
        ("an object", feed(r#"{"packages":[X]}"#)),
        ("null", feed("null")),
        ("a string", feed(r#""go.plesk.com""#)),
        ("an empty body", feed("")),
        ("blanks", feed("  \n")),
        ("a cut-off array", feed("[X")),
        ("a cut-off element", feed(r#"[X,{"code":"#)),
        ("a cut-off transfer", closed(10_000, format!("[{secret}"))),
        ("a cut-off transfer after the array", closed(10_000, format!("[{secret}]"))),
        ("a trailing comma", feed("[X,]")),
        ("a leading comma", feed("[,X]")),
        ("a missing comma", feed("[X X]")),
        ("text after the array", feed("[X]x")),
        ("a second array", feed("[X][]")),
        ("a BOM", feed("\u{feff}[X]")),
        ("invalid UTF-8", with(b"\xff")),
        ("invalid UTF-8 in a string", with(b"\"\xc3\x28\"")),
        ("an overlong encoding", with(b"\"\xc0\xaf\"")),
        ("a surrogate in UTF-8", with(b"\"\xed\xa0\x80\"")),
        ("200,000 nested brackets", ok("[".repeat(200_000).as_bytes())),
        ("200,000 nested and closed", ok([vec![b'['; 200_000], vec![b']'; 200_000]].concat().as_slice())),
        ("an element over the limit", ok(format!("[\"{}\"]", "x".repeat(5 << 20)).as_bytes())),
        ("a body over the limit", ok(format!("[{}1]", "1,".repeat(1 << 20)).as_bytes())),
        ("a bad number", with(b"01")),
        ("a bare word", with(b"NaN")),
        ("a bad literal", with(b"nul")),
        ("a bad escape", with(br#""\x41""#)),
        ("a control character", with(b"\"a\nb\"")),
        ("single quotes", with(b"'a'")),
        ("a comment", with(b"/**/1")),
        ("status 404", status(404, "application/json", b"[]")),
        ("status 500", status(500, "application/json", b"[]")),
        ("status 206", status(206, "application/json", b"[]")),
        ("status 204", vec![head_of(204, "")]),
        ("status 304 unasked", vec![head_of(304, "")]),
        ("no HTTP", vec![Step::Send(b"SMTP ready\r\n\r\n".to_vec()), Step::Close]),
        ("nothing", vec![Step::Close]),
        (
            "an unknown coding",
            vec![
                head_of(200, "content-encoding: rot13\r\ncontent-length: 2\r\n"),
                Step::Send(b"[]".to_vec()),
            ],
        ),
        (
            "a broken coding",
            vec![head_of(200, "content-encoding: gzip\r\ncontent-length: 2\r\n"), Step::Send(b"[]".to_vec())],
        ),
    ]
}

#[tokio::test]
async fn bad_feeds_are_refused() {
    for (name, script) in bad_feeds() {
        let upstream = Upstream::start(move |_| script.clone()).await;
        let proxy = Proxy::start_with(&upstream.url(), |config| *config.cache.max_feed_size = 6 << 20).await;
        if name == "a body over the limit" {
            proxy.stop().await;
            let proxy =
                Proxy::start_with(&upstream.url(), |config| *config.cache.max_feed_size = 1 << 20).await;
            check(name, &proxy).await;
        } else {
            check(name, &proxy).await;
        }
    }
}

async fn check(name: &str, proxy: &Proxy) {
    for target in ["/api/v4/packages", "/api/v4/categories"] {
        let answer = proxy.get(target).await;
        assert!(!answer.text().contains("xovi"), "{name} at {target}: {answer:?}");
        // A large one may have been refused after its first elements were on their way.
        if !answer.cut {
            answer.assert_problem(502);
        }
        // Nothing of it was kept.
        proxy.get(target).await.assert_problem(502);
    }
}

#[tokio::test]
async fn bad_feeds_leave_the_last_good_copy() {
    for (name, script) in bad_feeds() {
        let broken = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&broken);
        let upstream = Upstream::start(move |_| match now.load(Ordering::SeqCst) {
            true => script.clone(),
            false => ok(b"[1,2]"),
        })
        .await;
        let proxy = Proxy::start_with(&upstream.url(), |config| {
            *config.cache.fresh_for = Duration::from_millis(1);
            config.cache.max_fresh_for = Some(*config.cache.fresh_for);
            *config.cache.max_feed_size = 1 << 20;
        })
        .await;
        assert_eq!(proxy.get("/api/v4/packages").await.text(), "[1,2]");
        broken.store(true, Ordering::SeqCst);
        until("a failed refresh", async || {
            let answer = proxy.get("/api/v4/packages").await;
            assert_eq!((answer.text(), answer.cut), ("[1,2]", false), "{name}");
            upstream.count() > 1
        })
        .await;
        assert_eq!(proxy.get("/api/v4/packages").await.text(), "[1,2]", "{name}");
    }
}
