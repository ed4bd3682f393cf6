//! Pretend Plesk servers of the demo: they ask now and then, as real ones do, so that the page has some to show.

use std::net::SocketAddr;
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, header};
use http_body_util::BodyExt;
use tokio::time::sleep;

use crate::body;
use crate::config::Origin;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;

/// What their shop window asks for.
const TARGET: &str =
    "/api/v4/packages?with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US";
/// Prefix of the shop, address, and how often it asks; those that never ask again are behind after an edit.
const SERVERS: [(&str, &str, Option<Duration>); 9] = [
    ("", "192.0.2.11", Some(Duration::from_secs(20))),
    ("", "192.0.2.12", Some(Duration::from_secs(35))),
    ("", "192.0.2.13", Some(Duration::from_secs(50))),
    ("", "192.0.2.14", Some(Duration::from_secs(90))),
    ("", "192.0.2.15", None),
    ("", "2001:db8::16", Some(Duration::from_secs(65))),
    ("/gold", "198.51.100.21", Some(Duration::from_secs(25))),
    ("/gold", "198.51.100.22", Some(Duration::from_secs(70))),
    ("/gold", "198.51.100.23", None),
];

/// Asks the proxy at an address as many servers do, until it is dropped.
pub(super) async fn pretend(proxy: SocketAddr) {
    let Ok(authority) = proxy.to_string().parse() else { return };
    let origin = Origin { scheme: Scheme::HTTP, authority };
    let Ok(client) = Upstream::new(origin, None, Outbound::direct()) else { return };
    let ask = async |(prefix, address, pause): (&str, &str, Option<Duration>)| {
        let Ok(target) = format!("{prefix}{TARGET}").parse::<http::uri::PathAndQuery>() else { return };
        loop {
            let request =
                Request::get("/").header("x-forwarded-for", address).header(header::ACCEPT_ENCODING, "gzip");
            // Whatever becomes of it: a demo that is stopping answers no more.
            if let Ok(request) = request.body(body::empty())
                && let Ok(response) = client.send(target.clone(), request).await
            {
                let _ = response.into_body().collect().await;
            }
            match pause {
                Some(pause) => sleep(pause).await,
                None => return,
            }
        }
    };
    futures_util::future::join_all(SERVERS.map(ask)).await;
}
