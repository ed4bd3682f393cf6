//! Limits and framing checks on a request's head.

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Version, header};

use crate::error::Error;
use crate::limits::MAX_FIELDS;

/// Most bytes of any target: what servers usually take.
const MAX_ANY_TARGET: usize = 8 << 10;

/// Checks a request's head.
///
/// # Errors
/// The first rule that it breaks.
pub fn admit<B>(request: &Request<B>, max_body: u64) -> Result<(), Error> {
    let headers = request.headers();
    // HTTP/2 itself limits only their size.
    if headers.len() > MAX_FIELDS {
        return Err(Error::TooManyFields(MAX_FIELDS));
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > MAX_ANY_TARGET {
        return Err(Error::TargetTooLong(MAX_ANY_TARGET));
    }
    // SECURITY: the hops before and after this one must agree on host and framing, or requests can be smuggled
    // (RFC 9112 §3.2 and §6.1, RFC 9113 §8.3.1).
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next(), request.uri().authority()) {
        (Some(_), Some(_), _) => return Err(Error::Ambiguous("it must have one Host field")),
        (None, ..) if request.version() == Version::HTTP_11 => {
            return Err(Error::Ambiguous("it must have one Host field"));
        }
        // Over HTTP/1 an absolute target wins over Host (RFC 9112 §3.2.2). Over HTTP/2 a difference is malformed
        // (RFC 9113 §8.3.1).
        (Some(host), None, Some(authority))
            if request.version() >= Version::HTTP_2
                && !is_same_host(host, authority, request.uri().scheme()) =>
        {
            return Err(Error::Ambiguous("its Host field and :authority name different hosts"));
        }
        _ => {}
    }
    if request.version() < Version::HTTP_2 {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => {}
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
            _ => return Err(Error::Ambiguous("its only transfer coding may be chunked")),
        }
    }
    match declared_length(headers) {
        Some(length) if length > max_body => Err(Error::BodyTooLarge(max_body)),
        _ => Ok(()),
    }
}

/// Compares a `Host` field with a target's authority, without the latter's user information.
fn is_same_host(host: &HeaderValue, authority: &Authority, scheme: Option<&Scheme>) -> bool {
    let default_port = match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => "443",
        _ => "80",
    };
    let named = authority.as_str().rsplit('@').next().unwrap_or_default();
    let (host, named) =
        (without_port(host.as_bytes(), default_port), without_port(named.as_bytes(), default_port));
    host.eq_ignore_ascii_case(named)
}

/// Returns a host without the port that it has by default.
fn without_port<'a>(host: &'a [u8], default_port: &str) -> &'a [u8] {
    let port = host.strip_suffix(default_port.as_bytes()).unwrap_or(host);
    port.strip_suffix(b":").unwrap_or(host)
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_target_must_agree() {
        let check = |version: Version, target: &str, hosts: &[&str], expected: Option<&str>| {
            let mut request = Request::builder().version(version).uri(target);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let result = admit(&request.body(()).expect("a request"), 0).map_err(|error| error.to_string());
            let expected = expected.map(|reason| format!("the request is not clear: {reason}"));
            assert_eq!(result.err(), expected, "{version:?} {target} {hosts:?}");
        };
        let one = Some("it must have one Host field");
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let other =
                (version == Version::HTTP_2).then_some("its Host field and :authority name different hosts");
            check(version, "/x", &["a"], None);
            check(version, "/x", &["a b, c"], None);
            check(version, "/x", &["a", "a"], one);
            check(version, "http://a/x", &["a"], None);
            check(version, "http://A.example:8080/x", &["a.Example:8080"], None);
            check(version, "http://a/x", &["a:80"], None);
            check(version, "http://a:80/x", &["a"], None);
            check(version, "https://a:443/x", &["a:"], None);
            check(version, "http://[::1]/x", &["[::1]:80"], None);
            check(version, "http://me:secret@a/x", &["a"], None);
            check(version, "http://a/x", &["b"], other);
            check(version, "http://a/x", &[""], other);
            check(version, "http://a:81/x", &["a"], other);
            check(version, "http://a:443/x", &["a"], other);
            check(version, "http://a/x", &["me@a"], other);
            check(version, "http://[::80]/x", &["[::]"], other);
            check(version, "http://a@b/x", &["a"], other);
        }
        check(Version::HTTP_11, "/x", &[], one);
        check(Version::HTTP_10, "/x", &[], None);
        check(Version::HTTP_10, "http://a/x", &["b"], None);
        check(Version::HTTP_2, "http://a/x", &[], None);
    }

    /// Refused because of what, with these fields beside Host.
    fn refusal(version: Version, target: &str, fields: &[(&str, &str)]) -> Option<String> {
        let mut request = Request::builder().version(version).uri(target).header("host", "a");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        admit(&request.body(()).expect("a request"), 10).err().map(|error| error.to_string())
    }

    #[test]
    fn one_coding_only_which_is_chunked() {
        let chunked = ("transfer-encoding", "chunked");
        let refused = Some("the request is not clear: its only transfer coding may be chunked".to_owned());
        for version in [Version::HTTP_10, Version::HTTP_11] {
            for fields in [&[][..], &[chunked], &[("transfer-encoding", "Chunked")]] {
                assert_eq!(refusal(version, "/", fields), None, "{version:?} {fields:?}");
            }
            for other in ["", "gzip", "gzip, chunked", "chunked, chunked", "identity", "xchunked"] {
                assert_eq!(
                    refusal(version, "/", &[("transfer-encoding", other)]),
                    refused,
                    "{version:?} {other}"
                );
            }
            assert_eq!(refusal(version, "/", &[chunked, chunked]), refused);
        }
        // hyper ends the stream of whoever sends it over HTTP/2, where it means nothing (RFC 9113 §8.2.2).
        assert_eq!(refusal(Version::HTTP_2, "/", &[("transfer-encoding", "gzip")]), None);
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let target = format!("/{}", "x".repeat(MAX_ANY_TARGET - 1));
        assert_eq!(refusal(Version::HTTP_11, &target, &[]), None);
        assert!(refusal(Version::HTTP_11, &format!("{target}x"), &[]).is_some());
        let fields = vec![("x", "y"); MAX_FIELDS];
        assert_eq!(refusal(Version::HTTP_2, "/", &fields[1..]), None, "with Host as many as there may be");
        assert!(refusal(Version::HTTP_2, "/", &fields).is_some());
        assert_eq!(refusal(Version::HTTP_11, "/", &[("content-length", "10")]), None);
        assert!(refusal(Version::HTTP_11, "/", &[("content-length", "11")]).is_some());
    }
}
