//! Trusted proxies: whose header fields about the client are passed on.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::client;
use crate::proxy::Proxy;
use crate::upstream::{Upstream, status};

#[tokio::test]
async fn only_trusted_proxies_are_believed() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    for (trusted, client, scheme, host, forwarded) in [
        (vec![], "127.0.0.1", "http", "shop.example", None),
        (vec!["192.0.2.0/24"], "127.0.0.1", "http", "shop.example", None),
        (
            vec!["192.0.2.0/24", "127.0.0.0/8"],
            "203.0.113.9, 198.51.100.7, 127.0.0.1",
            "https",
            "front.example",
            Some("for=198.51.100.7"),
        ),
    ] {
        let proxy = Proxy::start_with(&upstream.url(), |config| {
            *config.trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        })
        .await;
        let request = Request::get("/x")
            .header("host", "shop.example")
            .header("x-forwarded-for", "203.0.113.9, 198.51.100.7")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "front.example")
            .header("forwarded", "for=198.51.100.7")
            .body(Full::<Bytes>::default())
            .unwrap();
        let before = upstream.count();
        client::request(proxy.address, request).await;
        let seen = &upstream.requests()[before];
        assert_eq!(seen.header("x-forwarded-for"), Some(client), "{trusted:?}");
        assert_eq!(seen.header("x-forwarded-proto"), Some(scheme), "{trusted:?}");
        assert_eq!(seen.header("x-forwarded-host"), Some(host), "{trusted:?}");
        assert_eq!(seen.header("forwarded"), forwarded, "{trusted:?}");
    }
}
