//! Answers of real servers that bend the rules: what curl takes is taken, what leaves the body in doubt is not.

use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream};

const PACKAGES: &str = "/api/v4/packages";

/// What clients get for a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Served,
    Refused,
}
use Expected::{Refused, Served};

/// Sends `answer` for a feed, then closes.
async fn check(answer: &str, expected: Expected) {
    let bytes = answer.as_bytes().to_vec();
    let upstream = Upstream::start(move |_| vec![Step::Send(bytes.clone()), Step::Close]).await;
    let proxy = Proxy::start(&upstream).await;
    let got = proxy.get(PACKAGES).await;
    match expected {
        Served => assert_eq!((got.status.as_u16(), got.text()), (200, "[1]"), "{answer:?}"),
        Refused => assert!(got.status == 502 || got.cut, "{answer:?}: {got:?}"),
    }
}

#[tokio::test]
async fn odd_status_lines_and_fields_are_taken() {
    check("HTTP/1.1 200\r\ncontent-length: 3\r\n\r\n[1]", Served).await;
    check("HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\n[1]", Served).await;
    check("HTTP/1.0 200 OK\r\n\r\n[1]", Served).await;
    check("HTTP/1.1 203 Changed\r\ncontent-length: 3\r\n\r\n[1]", Served).await;
    check("HTTP/1.1 200 OK\ncontent-length: 3\n\n[1]", Served).await;
    check(
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n[1]",
        Served,
    )
    .await;
    let fields = async |fields: &str, expected: Expected| {
        check(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n[1]"), expected).await;
    };
    fields("x-folded: a\r\n b\r\ncontent-length: 3\r\n", Served).await;
    fields("content-length : 3\r\n", Served).await;
    // What is no field may be a damaged length; curl refuses it as well.
    fields("no field\r\ncontent-length: 3\r\n", Refused).await;
    fields("content-length: 3\r\ncontent-length: 3\r\n", Served).await;
    fields("content-type: text/html\r\ncontent-length: 3\r\n", Served).await;
    fields("content-type:\r\ncontent-length: 3\r\n", Served).await;
    for coding in ["", "identity", "none", "Identity", "identity, identity"] {
        fields(&format!("content-encoding: {coding}\r\ncontent-length: 3\r\n"), Served).await;
    }
}

#[tokio::test]
async fn what_leaves_the_body_in_doubt_is_refused() {
    check("HTTP/1.1 206 Part\r\ncontent-length: 3\r\n\r\n[1]", Refused).await;
    check("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n\u{feff}[1]", Refused).await;
    let fields = async |fields: &str| {
        check(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n[1]"), Refused).await;
    };
    fields("content-length: 3\r\ncontent-length: 2\r\n").await;
    fields("content-length: 4\r\n").await;
    fields("content-encoding: utf-8\r\ncontent-length: 3\r\n").await;
    fields("content-encoding: gzip\r\ncontent-length: 3\r\n").await;
    fields("transfer-encoding: gzip\r\n").await;
    fields("transfer-encoding: gzip, chunked\r\n").await;
}
