//! Host and origin rules: under which names the page and the API answer, and whose pages may ask for a change.
//!
//! SECURITY: a page of any site can make a browser send requests to this port. A name that the attacker controls may
//! lead here (DNS rebinding), so only addresses and known names are answered; and a change must come from our own page,
//! or from a program that is no browser.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::uri::Authority;
use http::{HeaderMap, HeaderName, Request, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Returns the host under which a request asks, with its port, or `None` if it names none or more than one.
pub fn host<B>(request: &Request<B>) -> Option<Authority> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.clone());
    }
    single(request.headers(), &header::HOST)?.parse().ok()
}

/// Returns true if the page and the API answer under a host: an address, localhost, or one of `known`. Ports do not count.
pub fn is_known_host(host: &Authority, known: &[String]) -> bool {
    if !is_plain(host) {
        return false;
    }
    let name = host.host();
    let name = name.strip_suffix('.').unwrap_or(name);
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        || name.parse::<Ipv4Addr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || is_listed(name, known)
}

/// Returns true if a change may come from where the request comes from: our own page, or a program that is no browser.
pub fn is_same_site(headers: &HeaderMap, host: &Authority, known: &[String]) -> bool {
    let origin = match presence(headers, &header::ORIGIN) {
        Presence::Absent => None,
        Presence::One(origin) => Some(origin),
        Presence::Unclear => return false,
    };
    // A sandboxed frame, a file, a redirect from elsewhere.
    if origin.is_some_and(|origin| origin.trim().eq_ignore_ascii_case("null")) {
        return false;
    }
    match presence(headers, &SEC_FETCH_SITE) {
        Presence::One(site) => site == "same-origin",
        Presence::Unclear => false,
        // Browsers send none to plain http addresses other than localhost.
        Presence::Absent => origin.is_none_or(|origin| is_own_origin(origin, host, known)),
    }
}

/// Returns true if an origin has the host and port that the request asks for, or a known name.
fn is_own_origin(origin: &str, host: &Authority, known: &[String]) -> bool {
    let (default_port, authority) = match origin.split_once("://") {
        Some(("http", authority)) => (80, authority),
        Some(("https", authority)) => (443, authority),
        _ => return false,
    };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    if !is_plain(&authority) {
        return false;
    }
    let port = |authority: &Authority| match authority.as_str().strip_prefix(authority.host()) {
        Some("" | ":") => Some(default_port),
        _ => authority.port_u16(),
    };
    let is_host = authority.host().eq_ignore_ascii_case(host.host())
        && port(&authority).is_some_and(|of_origin| port(host) == Some(of_origin));
    is_host || is_listed(authority.host(), known)
}

/// Returns true if an authority is a host and perhaps a port, as browsers send it. The parser takes more: characters before
/// an `@`, and a port that is no number.
fn is_plain(authority: &Authority) -> bool {
    let Some(port) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok();
    digits.is_empty() || (is_number && port.starts_with(':'))
}

fn is_listed(name: &str, known: &[String]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// A header field that may be there once.
enum Presence<'a> {
    Absent,
    One(&'a str),
    /// There are several, or it is no text.
    Unclear,
}

fn presence<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Presence<'a> {
    match headers.contains_key(name) {
        false => Presence::Absent,
        true => single(headers, name).map_or(Presence::Unclear, Presence::One),
    }
}

/// Returns the value of a field that is there once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "panel.example";

    #[test]
    fn answers_under_addresses_localhost_and_known_names_only() {
        let check = |field: &str, expected: bool| {
            let request = Request::builder().header(header::HOST, field).body(()).expect("a request");
            let is_known = host(&request).is_some_and(|host| is_known_host(&host, &[KNOWN.to_owned()]));
            assert_eq!(is_known, expected, "{field}");
        };
        for host in ["127.0.0.1", "127.0.0.1:8081", "10.20.30.40:1", "[::1]", "[::1]:8081", "[fe80::1]:80"] {
            check(host, true);
        }
        for host in [
            "localhost",
            "LOCALHOST:9999",
            "localhost.",
            "panel.example",
            "Panel.Example:443",
            "panel.example.",
        ] {
            check(host, true);
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "panel.example.evil",
        ] {
            check(host, false);
        }
        for host in [
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "",
            "[evil]",
            "a@127.0.0.1",
            "panel.example@evil.example",
            "sub.panel.example",
        ] {
            check(host, false);
        }
        let none = Request::builder().body(()).expect("a request");
        assert_eq!(host(&none), None);
        let two = Request::builder().header("host", "127.0.0.1").header("host", "localhost");
        assert_eq!(host(&two.body(()).expect("a request")), None);
        // An absolute target wins over the field (RFC 9112 §3.2.2).
        let absolute = Request::builder().uri("http://evil.example/").header("host", "127.0.0.1");
        assert_eq!(host(&absolute.body(()).expect("a request")).expect("a host"), "evil.example");
    }

    #[test]
    fn a_change_comes_from_our_page_or_from_no_browser() {
        let check = |host: &str, fields: &[(&str, &str)], expected: bool| {
            let mut request = Request::builder();
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let request = request.body(()).expect("a request");
            let host = host.parse().expect("a host");
            let is_same = is_same_site(request.headers(), &host, &[KNOWN.to_owned()]);
            assert_eq!(is_same, expected, "{host} {fields:?}");
        };
        let (site, origin) = ("sec-fetch-site", "origin");
        check("127.0.0.1:8081", &[], true);
        check("localhost:8081", &[(site, "same-origin")], true);
        for other in ["cross-site", "same-site", "none", "", "SAME-ORIGIN", "same-origin, cross-site"] {
            check("localhost:8081", &[(site, other)], false);
            check("localhost:8081", &[(site, other), (origin, "http://localhost:8081")], false);
        }
        check("localhost:8081", &[(site, "same-origin"), (site, "same-origin")], false);
        // What the browser says of the site counts more than names do: a proxy in front may change the host.
        check("10.0.0.1:8081", &[(site, "same-origin"), (origin, "https://a.example")], true);
        check("10.0.0.1:8081", &[(site, "same-origin"), (origin, "null")], false);
        check("10.0.0.1:8081", &[(origin, "null")], false);
        check("10.0.0.1:8081", &[(origin, "http://10.0.0.1:8081")], true);
        check("10.0.0.1", &[(origin, "http://10.0.0.1")], true);
        check("10.0.0.1:80", &[(origin, "http://10.0.0.1")], true);
        check("10.0.0.1", &[(origin, "http://10.0.0.1:80")], true);
        check("10.0.0.1", &[(origin, "https://10.0.0.1:443")], true);
        check("10.0.0.1:443", &[(origin, "https://10.0.0.1")], true);
        check("[::1]:8081", &[(origin, "http://[::1]:8081")], true);
        check("LocalHost:8081", &[(origin, "http://localhost:8081")], true);
        // A name that is known, whatever a proxy in front makes of the host.
        check("10.0.0.1:8081", &[(origin, "https://panel.example")], true);
        check("10.0.0.1:8081", &[(origin, "https://Panel.Example:8443")], true);
        for other in [
            "http://10.0.0.1",
            "http://10.0.0.1:8082",
            "https://10.0.0.1",
            "http://evil.example",
            "http://10.0.0.1:8081.evil.example",
            "10.0.0.1:8081",
            "http://",
            "",
            "file://",
            "http://10.0.0.1:8081/",
            "http://a@10.0.0.1:8081",
            "http://panel.example.evil",
            "ftp://10.0.0.1:8081",
            "http://panel.example@evil.example",
            "http://10.0.0.1:99999",
        ] {
            check("10.0.0.1:8081", &[(origin, other)], other == "http://10.0.0.1:8081");
        }
        check("10.0.0.1:8081", &[(origin, "http://10.0.0.1:8081"), (origin, "http://evil.example")], false);
    }
}
