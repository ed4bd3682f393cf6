//! Where notifications go.

use std::fmt;
use std::str::FromStr;

use headers::Authorization;
use headers::authorization::Credentials;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::Origin;

/// An http or https URL to POST to.
// SECURITY: path and query of such URLs are secrets often enough, so they are never shown, like a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The server.
    pub origin: Origin,
    /// What to ask it for.
    pub target: PathAndQuery,
    /// User and password of the URL (RFC 7617).
    pub authorization: Option<HeaderValue>,
}

/// Path that stands for one that is not shown.
const MASKED_TARGET: &str = "/***";

impl Webhook {
    /// Returns true if there is more to it than the server.
    pub fn has_secret(&self) -> bool {
        self.target != "/" || self.authorization.is_some()
    }

    /// Returns the URL without what may be a secret. It is refused if it is parsed.
    pub fn masked(&self) -> String {
        format!("{self}{}", if self.has_secret() { MASKED_TARGET } else { "/" })
    }
}

impl FromStr for Webhook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not an http or https URL; it is not repeated here, for it may be a secret".to_owned();
        let url = Url::parse(text).map_err(|_| wrong())?;
        let scheme = match url.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(wrong()),
        };
        let authority = url[Position::BeforeHost..Position::AfterPort].parse().map_err(|_| wrong())?;
        let target: Uri = url[Position::BeforePath..Position::AfterQuery].parse().map_err(|_| wrong())?;
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (user, password) = (plain(url.username()), plain(url.password().unwrap_or_default()));
        let authorization = (!user.is_empty() || !password.is_empty())
            .then(|| Authorization::basic(&user, &password).0.encode());
        let target = target.into_parts().path_and_query.ok_or_else(wrong)?;
        if target == MASKED_TARGET {
            return Err(
                "this is what `catalog-proxy config` prints in place of a secret: write the real URL here"
                    .to_owned(),
            );
        }
        Ok(Self { origin: Origin { scheme, authority }, target, authorization })
    }
}

impl fmt::Display for Webhook {
    /// Without user, password, path and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.origin.scheme, self.origin.authority)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_its_secrets() {
        let check = |text: &str, shown: &str, target: &str, authorization: Option<&str>| {
            let hook: Webhook = text.parse().expect(text);
            assert_eq!((hook.to_string().as_str(), format!("{hook:?}").as_str()), (shown, shown), "{text}");
            let sent = hook.authorization.as_ref().map(|value| value.to_str().expect("text"));
            assert_eq!((hook.target.as_str(), sent), (target, authorization), "{text}");
        };
        check("https://hooks.example/T0/secret?k=1#x", "https://hooks.example", "/T0/secret?k=1", None);
        check("http://127.0.0.1:9", "http://127.0.0.1:9", "/", None);
        check("HTTPS://[::1]:8443/é", "https://[::1]:8443", "/%C3%A9", None);
        let aladdin = Some("Basic QWxhZGRpbjpvcGVuc2VzYW1l");
        check("https://Aladdin:opensesame@a.example/x", "https://a.example", "/x", aladdin);
        check("https://a:p%40ss@a.example/", "https://a.example", "/", Some("Basic YTpwQHNz"));
        let masked = "https://a:b@a.example/".parse::<Webhook>().expect("a URL").masked();
        assert_eq!(masked, "https://a.example/***");
        let error = masked.parse::<Webhook>().expect_err("a mask");
        assert!(error.contains("in place of a secret"), "{error}");
        let plain: Webhook = "http://127.0.0.1:9".parse().expect("a URL");
        assert_eq!((plain.has_secret(), plain.masked().as_str()), (false, "http://127.0.0.1:9/"));
        for text in ["", "hooks.example/secret", "ftp://a.example/secret", "https://", "https://a b/secret"] {
            let error = text.parse::<Webhook>().expect_err(text);
            assert!(error.starts_with("not an http") && !error.contains("/secret"), "{error}");
        }
    }
}
