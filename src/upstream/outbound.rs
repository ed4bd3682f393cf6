//! Which way connections to the upstream leave: straight, or through the proxy that the environment names.
//!
//! The variables (`HTTPS_PROXY`, then `ALL_PROXY`, capitals first) are curl's. What cannot be used is refused, not passed over:
//! who sets a proxy expects that nothing leaves without it.

use std::fmt;

use http::uri::{Scheme, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use super::no_proxy::NoProxy;
use crate::config::{NO_PROXY, Origin, PROXY, ProxyVariables};

/// Port of an origin that names none; only https ones are reached through a proxy.
const HTTPS_PORT: u16 = 443;

/// The way to one origin.
#[derive(Debug, Clone)]
pub struct Outbound {
    proxy: Option<Intercept>,
}

/// A variable names a proxy that cannot be used.
// SECURITY: never the value, which may hold a password and would end in logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {}", self.message())]
pub struct OutboundError {
    /// The variable.
    pub variable: &'static str,
    reason: String,
}

impl OutboundError {
    /// Says what is wrong with its value.
    pub fn message(&self) -> String {
        format!("{}; expected a URL like http://user:password@proxy.example:3128", self.reason)
    }
}

impl Outbound {
    /// Straight to the origin.
    pub fn direct() -> Self {
        Self { proxy: None }
    }

    /// Finds the way to `origin` by the environment's variables.
    ///
    /// Only an https origin is asked for through a proxy.
    ///
    /// # Errors
    /// If the proxy for `origin` cannot be used.
    pub fn new(origin: &Origin, variables: &ProxyVariables) -> Result<Self, OutboundError> {
        let Some((name, url)) = variables.first(&PROXY).filter(|_| origin.scheme == Scheme::HTTPS) else {
            return Ok(Self::direct());
        };
        let wrong = |reason: String| OutboundError { variable: name, reason };
        let uri = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(origin.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let except = NoProxy::parse(variables.first(&NO_PROXY).map_or("", |(_, hosts)| hosts));
        // The matcher drops what it does not understand.
        let Some(proxy) = Matcher::builder().https(url).build().intercept(&uri) else {
            return Err(wrong("not a proxy's URL".to_owned()));
        };
        if except.contains(origin.authority.host(), origin.authority.port_u16().unwrap_or(HTTPS_PORT)) {
            return Ok(Self::direct());
        }
        check_usable(&proxy, url).map_err(wrong)?;
        Ok(Self { proxy: Some(proxy) })
    }

    /// Returns the proxy, if there is one on the way.
    pub(super) fn proxy(&self) -> Option<&Intercept> {
        self.proxy.as_ref()
    }
}

impl fmt::Display for Outbound {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proxy {
            Some(proxy) => write!(f, "{}", proxy.uri()),
            None => f.write_str("direct"),
        }
    }
}

/// Says what keeps a proxy from being used, which was read from `url`.
fn check_usable(proxy: &Intercept, url: &str) -> Result<(), String> {
    let (scheme, host) = (proxy.uri().scheme_str().unwrap_or_default(), proxy.uri().host());
    if scheme != "http" {
        return Err(format!("{scheme} proxies are not supported"));
    }
    // SECURITY: a password with a bare `@`, `/`, `?` or `#` is cut there, and a part of it taken for the
    // host, which would be looked up and logged.
    if url.matches('@').count() != usize::from(proxy.basic_auth().is_some()) {
        return Err("user and password must be percent-encoded".to_owned());
    }
    // A port out of range is dropped as well, and another one connected to.
    let authority = proxy.uri().authority().map(|authority| authority.as_str());
    if host == Some("") || (authority != host && proxy.uri().port_u16().is_none()) {
        return Err("not a proxy's URL".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(origin: &str, variables: &[(&str, &str)]) -> Result<Outbound, OutboundError> {
        let origin = origin.parse().expect("an origin");
        let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        Outbound::new(&origin, &ProxyVariables::from_variables(|name| value(name).map(str::to_owned)))
    }

    #[test]
    fn the_first_variable_with_a_value_counts() {
        let check = |origin: &str, variables: &[(&str, &str)], expected: &str| {
            let outbound = read(origin, variables).expect("a way");
            assert_eq!(outbound.to_string(), expected, "{origin} {variables:?}");
        };
        let https = "https://ext.plesk.com";
        check(https, &[], "direct");
        check(https, &[("HTTP_PROXY", "http://p:1")], "direct");
        for name in PROXY {
            check(https, &[(name, "http://p:1")], "http://p:1/");
        }
        check(https, &[("HTTPS_PROXY", "http://p:1"), ("https_proxy", "http://p:2")], "http://p:1/");
        check(https, &[("https_proxy", "http://p:1"), ("ALL_PROXY", "http://p:2")], "http://p:1/");
        check(https, &[("HTTPS_PROXY", ""), ("all_proxy", "http://p:2")], "http://p:2/");
        check(https, &[("HTTPS_PROXY", "proxy.example:3128")], "http://proxy.example:3128/");
        check(https, &[("HTTPS_PROXY", "HTTP://proxy.example")], "http://proxy.example/");
        check(https, &[("HTTPS_PROXY", "http://[::1]:3128/path")], "http://[::1]:3128/");
        check("http://ext.plesk.com", &[("ALL_PROXY", "http://p:1")], "direct");
        check("http://ext.plesk.com", &[("ALL_PROXY", "socks5://p:1")], "direct");
    }

    #[test]
    fn exceptions_go_straight() {
        let check = |origin: &str, except: &str, expected: &str| {
            let outbound = read(origin, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", except)]);
            assert_eq!(outbound.expect("a way").to_string(), expected, "{origin} {except}");
        };
        check("https://ext.plesk.com", "", "http://p:1/");
        check("https://ext.plesk.com", "a.example, ext.plesk.com", "direct");
        check("https://ext.plesk.com:8443", "plesk.com", "direct");
        check("https://ext.plesk.com", ".PLESK.com", "direct");
        check("https://ext.plesk.com", "*", "direct");
        check("https://ext.plesk.com", "lesk.com", "http://p:1/");
        check("https://192.0.2.7", "192.0.2.0/24", "direct");
        check("https://[2001:db8::7]:443", "2001:db8::7", "direct");
        let lower = read("https://a.example", &[("https_proxy", "socks5://p:1"), ("no_proxy", "a.example")]);
        assert_eq!(lower.expect("a way").to_string(), "direct");
    }

    #[test]
    fn user_and_password_are_sent_and_not_shown() {
        for (url, expected) in [
            ("http://Aladdin:opensesame@p:1", Some("Basic QWxhZGRpbjpvcGVuc2VzYW1l")),
            ("Aladdin:opensesame@p:1", Some("Basic QWxhZGRpbjpvcGVuc2VzYW1l")),
            ("http://a:p%40ss@p:1", Some("Basic YTpwQHNz")),
            ("http://a@p:1", Some("Basic YTo=")),
            ("http://p:1", None),
        ] {
            let outbound = read("https://a.example", &[("HTTPS_PROXY", url)]).expect("a way");
            let sent = outbound.proxy().and_then(Intercept::basic_auth).map(|value| value.to_str());
            assert_eq!(sent.transpose().expect("text"), expected, "{url}");
            assert_eq!(outbound.to_string(), "http://p:1/");
            assert!(!format!("{outbound:?}").contains("sesame"), "{outbound:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (name, url, reason) in [
            ("HTTPS_PROXY", "socks5://a:secret@p:1", "socks5 proxies are not supported"),
            ("https_proxy", "https://a:secret@p:1", "https proxies are not supported"),
            ("ALL_PROXY", "ftp://a:secret@p:1", "not a proxy's URL"),
            ("all_proxy", "http://a:secret@", "not a proxy's URL"),
            ("HTTPS_PROXY", "http://a:secret @p:1", "not a proxy's URL"),
            ("HTTPS_PROXY", "http://a:the@secret@p:1", "user and password must be percent-encoded"),
            ("HTTPS_PROXY", "http://secret:12#3@p:1", "user and password must be percent-encoded"),
            ("HTTPS_PROXY", "http://secret:12/3@p:1", "user and password must be percent-encoded"),
            ("HTTPS_PROXY", "http://secret:12?3@p:1", "user and password must be percent-encoded"),
            ("HTTPS_PROXY", "http://secret:port", "not a proxy's URL"),
            ("HTTPS_PROXY", "http://a:b@secret:99999", "not a proxy's URL"),
            ("HTTPS_PROXY", "http://:3128", "not a proxy's URL"),
            ("HTTPS_PROXY", "/secret", "not a proxy's URL"),
            ("HTTPS_PROXY", "\u{fffd}secret", "not a proxy's URL"),
        ] {
            let error = read("https://a.example", &[(name, url)]).map(|way| way.to_string());
            let error = error.expect_err(url).to_string();
            assert!(error.starts_with(&format!("{name}: {reason}; expected")), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
