//! Which server is asked.

use std::str::FromStr;

use http::uri::{Authority, Scheme, Uri};

use super::UPSTREAM;

/// Scheme and authority of a server (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// http or https.
    pub scheme: Scheme,
    /// Host, and port if not the scheme's own.
    pub authority: Authority,
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{text:?} {what}; expected a URL like {UPSTREAM}"));
        let Ok(uri) = text.parse::<Uri>() else { return wrong("is not a URL") };
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return wrong("has no scheme or host");
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return wrong("is neither http nor https");
        }
        if authority.as_str().contains('@') {
            // It may be a password, so it is not repeated.
            return Err("must be a plain host, without user and password".to_owned());
        }
        if authority.host().is_empty() {
            return wrong("has no host");
        }
        // A number that is no port would silently become the scheme's own.
        let port = &authority.as_str()[authority.host().len()..];
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return wrong("has a bad port");
        }
        if parts.path_and_query.is_some_and(|path| path != "/") {
            return wrong("must have no path or query");
        }
        Ok(Self { scheme, authority })
    }
}
