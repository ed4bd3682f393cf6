//! Header fields that are changed between client and upstream.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Response, Version};

use super::spelling::{self, PathClass};
use super::trust::X_FORWARDED_FOR;
use crate::shops::ShopName;
use crate::upstream::via;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that hold for one connection only (RFC 9110 §7.6.1), whether `Connection` lists them or not.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Fields that override the path or the method for some servers. Underscores count as dashes, because CGI, and
/// PHP with it, does not tell them apart.
///
/// SECURITY: with one of them, a request for any path could fetch the unfiltered feed.
const OVERRIDES: [&str; 15] = [
    "x-original-url",
    "x-original-uri",
    "x-original-path",
    "x-rewrite-url",
    "x-override-url",
    "x-waws-unencoded-url",
    "x-envoy-original-path",
    "x-forwarded-uri",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-script-name",
    "x-path-info",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Adds a shop's prefix to a `Location` that is a feed's path, so that a client which follows it stays in the shop.
pub fn location_under<B>(prefix: &ShopName, mut response: Response<B>) -> Response<B> {
    let Some(location) = response.headers().get(header::LOCATION) else { return response };
    let Ok(location) = location.to_str() else { return response };
    let path = location.split(['?', '#']).next().unwrap_or_default();
    // Two slashes begin a host.
    let is_path = path.starts_with('/') && !path.starts_with("//");
    if is_path
        && matches!(PathClass::of(path), PathClass::Feed { .. })
        && let Ok(location) = HeaderValue::try_from(format!("/{prefix}{location}"))
    {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The client, as the upstream is told about it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Address of the connection's peer.
    pub address: IpAddr,
    /// Host of the request.
    pub host: Option<Authority>,
    /// True if the request came over TLS.
    pub secure: bool,
    /// True if the peer is a proxy whose `X-Forwarded-*` fields are kept.
    pub trusted: bool,
}

/// Turns the fields of a request that was received in `version` into those that the upstream gets.
pub fn to_upstream(headers: &mut HeaderMap, version: Version, client: &Client) {
    let trailers = accepts_trailers(headers);
    remove_hop_by_hop(headers);
    remove_overrides(headers);
    // The body is sent at once, and this hop has answered the expectation itself (RFC 9110 §10.1.1).
    headers.remove(header::EXPECT);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    headers.append(header::VIA, via(version));
    if !client.trusted {
        for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST, header::FORWARDED] {
            headers.remove(name);
        }
    }
    let chain: Vec<_> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter(|value| !value.trim().is_empty())
        .map(str::to_owned)
        .chain([client.address.to_canonical().to_string()])
        .collect();
    if let Ok(chain) = HeaderValue::try_from(chain.join(", ")) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    let scheme = if client.secure { "https" } else { "http" };
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    if let Some(host) = client.host.as_ref().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// Turns the fields of a response that was received in `version` into those that the client gets.
pub fn to_client(headers: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(headers);
    headers.append(header::VIA, via(version));
}

/// Removes the fields that concern one connection only, also those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Removes the fields that override the path or the method for some servers: those known by name, and any whose
/// value names a feed's path.
pub fn remove_overrides(headers: &mut HeaderMap) {
    let is_override = |(name, value): &(&HeaderName, &HeaderValue)| {
        OVERRIDES.contains(&name.as_str().replace('_', "-").as_str())
            || spelling::parts_name_feed(value.as_bytes())
    };
    let overrides: Vec<HeaderName> =
        headers.iter().filter(is_override).map(|(name, _)| name.clone()).collect();
    for name in overrides {
        headers.remove(name);
    }
}

/// Returns true if the sender accepts trailer fields (RFC 9110 §10.1.4).
fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn sorted(headers: &HeaderMap) -> Vec<String> {
        let mut fields: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        fields.sort();
        fields
    }

    fn client() -> Client {
        Client {
            address: "::ffff:192.0.2.1".parse().expect("an address"),
            host: Some("proxy:8080".parse().expect("a host")),
            secure: false,
            trusted: false,
        }
    }

    #[test]
    fn requests_lose_the_hop_and_gain_the_client() {
        let mut fields = headers(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "x-other , @@"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("x-original-url", "/api/v4/packages"),
            ("x-rewrite-url", "/api/v4/packages"),
            ("x_original_url", "/api/v4/packages"),
            ("x-http-method-override", "GET"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
            ("via", "1.0 front"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "198.51.100.8"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("forwarded", "for=198.51.100.7"),
        ]);
        to_upstream(&mut fields, Version::HTTP_11, &client());
        assert_eq!(
            sorted(&fields),
            [
                "accept: */*",
                "trailer: x-sum",
                "via: 1.0 front",
                "via: 1.1 catalog-proxy",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: proxy:8080",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn requests_are_for_no_other_path() {
        let mut fields = headers(&[
            ("x-original-url", "/x"),
            ("X_Rewrite_Url", "/x"),
            ("x-http-method-override", "GET"),
            ("x-unheard-of", "/api/v4/%70ackages?x"),
            ("referer", "https://proxy/api/v4/categories"),
            ("accept", "*/*"),
            ("cookie", "packages=1; next=//x"),
        ]);
        remove_overrides(&mut fields);
        assert_eq!(sorted(&fields), ["accept: */*", "cookie: packages=1; next=//x"]);
    }

    #[test]
    fn trailers_are_asked_for_anew() {
        let mut fields = headers(&[("te", "gzip, Trailers"), ("connection", "te")]);
        to_upstream(&mut fields, Version::HTTP_11, &client());
        assert_eq!(
            (&fields["te"], &fields["connection"]),
            (&"trailers".parse().expect("a value"), &"te".parse().expect("one"))
        );
    }

    #[test]
    fn a_proxy_in_front_is_left_its_word() {
        let told = [
            ("forwarded", "for=198.51.100.7"),
            ("x-forwarded-for", "203.0.113.9, 198.51.100.7"),
            ("x-forwarded-for", ""),
            ("x-forwarded-for", "198.51.100.8"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
        ];
        let mut fields = headers(&told);
        to_upstream(&mut fields, Version::HTTP_2, &Client { trusted: true, ..client() });
        assert_eq!(
            sorted(&fields),
            [
                "forwarded: for=198.51.100.7",
                "via: 2 catalog-proxy",
                "x-forwarded-for: 203.0.113.9, 198.51.100.7, 198.51.100.8, 192.0.2.1",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn a_request_over_tls_is_told_to_be() {
        let mut fields = headers(&[("x-forwarded-proto", "http")]);
        to_upstream(&mut fields, Version::HTTP_2, &Client { secure: true, ..client() });
        assert_eq!(fields["x-forwarded-proto"], "https");
    }

    #[test]
    fn responses_lose_the_hop() {
        let mut fields = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("trailer", "x-sum"),
        ]);
        to_client(&mut fields, Version::HTTP_10);
        assert_eq!(
            sorted(&fields),
            [
                "content-length: 5",
                "set-cookie: a=b",
                "set-cookie: c=d",
                "trailer: x-sum",
                "via: 1.0 catalog-proxy"
            ]
        );
    }
}
