//! The admin port's rules: a host that a browser would look up by a name is known only if it is listed, a change from
//! another origin never passes, and a tokens file lets nobody in whose token it does not name.

use std::net::{Ipv4Addr, Ipv6Addr};

use catalog_proxy::admin::origin::{host, is_known_host, is_same_site};
use catalog_proxy::admin::tokens::AdminTokens;
use http::{HeaderValue, Request};
use url::{Host, Url};

const KNOWN: &str = "panel.example";

/// Checks a request and a file: one line each for `Host`, `Origin` and `Sec-Fetch-Site`, where an empty one stands for
/// none; the rest is the file.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(4, |byte| *byte == b'\n');
    let mut line = || parts.next().unwrap_or_default();
    let (host, origin, site, file) = (line(), line(), line(), line());
    check_request(host, origin, site);
    if let Ok(text) = std::str::from_utf8(file) {
        check_file(text);
    }
}

fn check_request(named: &[u8], origin: &[u8], site: &[u8]) {
    let mut request = Request::builder();
    for (name, value) in [("host", named), ("origin", origin), ("sec-fetch-site", site)] {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    let request = request.body(()).expect("a request");
    let known = [KNOWN.to_owned()];
    let Some(host) = host(&request).filter(|host| is_known_host(host, &known)) else { return };
    let url = Url::parse(&format!("http://{host}/")).expect("a browser can open what is known");
    match url.host().expect("a host") {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            assert!(name == "localhost" || name == KNOWN, "{host} is looked up as {name}");
        }
        Host::Ipv4(address) => assert_eq!(url.host_str(), Some(&*Ipv4Addr::to_string(&address))),
        Host::Ipv6(address) => {
            assert_eq!(url.host_str(), Some(&*format!("[{}]", Ipv6Addr::to_string(&address))))
        }
    }
    if !is_same_site(request.headers(), &host, &known) {
        return;
    }
    if !site.is_empty() {
        assert_eq!(site, b"same-origin");
    } else if let Some(origin) = request.headers().get("origin") {
        let origin = Url::parse(origin.to_str().expect("text")).expect("an origin");
        let is_own = (origin.host(), origin.port_or_known_default()) == (url.host(), port(&url, &origin));
        assert!(is_own || origin.host_str() == Some(KNOWN), "{origin} may change what {host} has");
    }
}

/// Returns the port of a host that was asked by a page of an origin: without one, the default of that page's scheme.
fn port(host: &Url, origin: &Url) -> Option<u16> {
    host.port().or(match origin.scheme() {
        "https" => Some(443),
        _ => Some(80),
    })
}

fn check_file(text: &str) {
    match AdminTokens::parse(text) {
        Ok(tokens) => {
            for token in ["", "header", text] {
                let person = tokens.person(token);
                assert!(person.is_none() || text.contains("sha256:"), "{person:?}");
            }
        }
        Err((offset, message)) => {
            assert!(offset <= text.len() && !message.is_empty(), "{offset} of {}: {message}", text.len());
        }
    }
}
