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

/// Why the redirect of a receiver is not followed. SECURITY: it names the place without path and query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// The receiver does not say where to.
    #[error("it has no Location that is a URL")]
    Nowhere,
    /// The secrets in the URL are not for others.
    #[error("it leads to {}://{}, which is another server: if that is right, give that server's URL", .0.scheme, .0.authority)]
    Elsewhere(Origin),
    /// What was sent over TLS must not be repeated in the clear.
    #[error("it leads to {}://{}, which is not encrypted", .0.scheme, .0.authority)]
    InTheClear(Origin),
}

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
    /// Returns where a `Location` leads (RFC 9110 §10.2.2), with this receiver's user and password: the same server, or the
    /// same host over https in the place of http.
    ///
    /// # Errors
    /// If that is another server.
    pub fn redirected(&self, location: &str) -> Result<Self, RedirectError> {
        let Origin { scheme, authority } = &self.origin;
        let base = Url::parse(&format!("{scheme}://{authority}{}", self.target));
        let url = base.and_then(|base| base.join(location)).map_err(|_| RedirectError::Nowhere)?;
        let to = Self::try_from(&url).map_err(|_| RedirectError::Nowhere)?;
        let to = Self { authorization: self.authorization.clone(), ..to };
        // SECURITY: the secret goes to the server that it was given for. Over https that server proves its name, so
        // another port is still the same host's; in the clear it could be anybody's on that machine.
        let is_same_host = to.origin.authority.host() == authority.host();
        let is_upgrade = *scheme == Scheme::HTTP && to.origin.scheme == Scheme::HTTPS;
        match () {
            () if to.origin == self.origin || (is_same_host && is_upgrade) => Ok(to),
            () if is_same_host && *scheme == Scheme::HTTPS && to.origin.scheme == Scheme::HTTP => {
                Err(RedirectError::InTheClear(to.origin))
            }
            () => Err(RedirectError::Elsewhere(to.origin)),
        }
    }

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
        Url::parse(text).map_err(|_| not_a_receiver()).and_then(|url| Self::try_from(&url))
    }
}

fn not_a_receiver() -> String {
    "not an http or https URL; it is not repeated here, for it may be a secret".to_owned()
}

impl TryFrom<&Url> for Webhook {
    type Error = String;

    fn try_from(url: &Url) -> Result<Self, String> {
        let wrong = not_a_receiver;
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
    fn follows_redirects_to_the_same_server_only() {
        let check = |from: &str, location: &str, expected: Result<&str, &str>| {
            let hook: Webhook = from.parse().expect(from);
            let found = hook.redirected(location);
            let found = found.map(|to| {
                assert_eq!(to.authorization, hook.authorization, "{from} {location}");
                format!("{to}{}", to.target)
            });
            match (found.map_err(|error| error.to_string()), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{from} {location}"),
                (Err(error), Err(part)) => {
                    assert!(error.contains(part) && !error.contains("secret"), "{from} {location}: {error}");
                }
                (found, _) => panic!("{from} {location}: {found:?}"),
            }
        };
        let hook = "https://user:secret@a.example/hook?secret";
        check(hook, "/other/?x", Ok("https://a.example/other/?x"));
        check(hook, "sub/", Ok("https://a.example/sub/"));
        check(hook, "https://A.example:443/x#y", Ok("https://a.example/x"));
        check(hook, "//a.example/x", Ok("https://a.example/x"));
        check(hook, "https://eve:secret@a.example/x", Ok("https://a.example/x"));
        check(hook, "", Ok("https://a.example/hook?secret"));
        check(hook, "https://b.example/secret", Err("to https://b.example, which is another server"));
        check(hook, "https://a.example.evil.example/", Err("another server"));
        check(hook, "https://a.example@evil.example/", Err("to https://evil.example,"));
        check(hook, r"\\evil.example\secret", Err("to https://evil.example,"));
        check(hook, "https://a.example:8443/x", Err("to https://a.example:8443,"));
        check(hook, "http://a.example/secret", Err("to http://a.example, which is not encrypted"));
        check(hook, "http://b.example/secret", Err("another server"));
        check(hook, "ftp://a.example/secret", Err("no Location"));
        check(hook, "https://[secret", Err("no Location"));
        check(hook, "javascript:secret", Err("no Location"));
        let plain = "http://127.0.0.1:8080/hook";
        check(plain, "https://127.0.0.1/hook", Ok("https://127.0.0.1/hook"));
        check(plain, "https://127.0.0.1:8443/hook", Ok("https://127.0.0.1:8443/hook"));
        check(plain, "http://127.0.0.1:8081/hook", Err("another server"));
        check(plain, "https://127.0.0.2/hook", Err("another server"));
        check("http://[::1]:8080/hook", "https://[::1]/", Ok("https://[::1]/"));
    }

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
