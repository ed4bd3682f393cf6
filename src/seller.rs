//! Who sells a package, told from its buy link.

use std::sync::LazyLock;

use url::{ParseError, Url};

/// Host of the buy links of all packages that Plesk sells.
const PLESK_SHOP: &str = "go.plesk.com";

/// Who sells a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seller {
    /// Nobody: there is no usable `buy_url`.
    Free,
    /// The vendor (ISV), on any host other than Plesk's.
    Vendor,
    /// Plesk, at go.plesk.com.
    Plesk,
}

impl Seller {
    /// Returns the name that the command line and JSON output use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Vendor => "vendor",
            Self::Plesk => "plesk",
        }
    }

    /// Determines the seller from the decoded `buy_url`; pass `None` if it is not a string.
    pub fn of(buy_url: Option<&str>) -> Self {
        match buy_url.map(str::trim) {
            None | Some("") => Self::Free,
            Some(link) if leads_to_plesk(link) => Self::Plesk,
            Some(_) => Self::Vendor,
        }
    }
}

/// Returns the host that a browser contacts when it follows `link` (WHATWG URL Standard §4.4), if any.
pub fn host(link: &str) -> Option<String> {
    Some(follow(link).ok()?.host_str()?.to_owned())
}

fn follow(link: &str) -> Result<Url, ParseError> {
    /// Base of relative links.
    static CATALOG: LazyLock<Url> =
        LazyLock::new(|| Url::parse("https://ext.plesk.com/").expect("a constant URL"));

    match Url::parse(link) {
        Err(ParseError::RelativeUrlWithoutBase) => CATALOG.join(link),
        parsed => parsed,
    }
}

fn leads_to_plesk(link: &str) -> bool {
    plain_host(link).map_or_else(|| parsed_leads_to_plesk(link), |host| host == PLESK_SHOP)
}

fn parsed_leads_to_plesk(link: &str) -> bool {
    match follow(link) {
        // The parser does not lower-case hosts of unknown schemes, and a final dot names the same host.
        Ok(url) => url
            .host_str()
            .is_some_and(|host| host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(PLESK_SHOP)),
        // SECURITY: no browser can follow such a link, but software that rewrites buy links may still find
        // Plesk's host in it.
        Err(_) => link.to_ascii_lowercase().contains(PLESK_SHOP),
    }
}

/// Returns the host of a link in the usual spelling, for which no URL parser is needed: `https://`, then
/// small letters, dots and hyphens up to a slash. Such a host cannot be an IP address or encoded (`xn--`).
fn plain_host(link: &str) -> Option<&str> {
    let (host, _) = link.strip_prefix("https://")?.split_once('/')?;
    let plain = host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'.' | b'-'));
    // SECURITY: a browser skips additional slashes and finds the host behind them, so this is no empty host.
    (plain && !host.is_empty() && !host.ends_with('.') && !host.contains("--")).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_sellers() {
        use Seller::{Free, Plesk, Vendor};
        let check = |link: &str, expected: Seller| assert_eq!(Seller::of(Some(link)), expected, "{link:?}");
        assert_eq!(Seller::of(None), Free);
        check("", Free);
        check(" \t\n", Free);
        check("https://go.plesk.com/buy-plesk-ext/wp-toolkit", Plesk);
        check("http://go.plesk.com", Plesk);
        check("//go.plesk.com/buy", Plesk);
        check("///go.plesk.com/buy", Plesk);
        check("https:///go.plesk.com/buy", Plesk);
        check("https:////go.plesk.com/buy", Plesk);
        check(r"\\go.plesk.com\buy", Plesk);
        check(r"https:\\go.plesk.com\buy", Plesk);
        check("https:go.plesk.com/buy", Plesk);
        check("https:/go.plesk.com/buy", Plesk);
        check("HTTPS://GO.PLESK.COM/", Plesk);
        check("https://Go.Plesk.Com:8443/x", Plesk);
        check("https://go.plesk.com:/x", Plesk);
        check("https://user:secret@go.plesk.com/x", Plesk);
        check("https://shop.example@go.plesk.com/x", Plesk);
        check("  https://go.plesk.com/x \r\n", Plesk);
        check("ht\ntps://go.pl\tesk.com/x", Plesk);
        check("https://go%2Eplesk%2ecom/x", Plesk);
        check("https://go。plesk。com/x", Plesk);
        check("https://ＧＯ.plesk.com/x", Plesk);
        check("https://go.plesk.com./x", Plesk);
        check("ftp://go.plesk.com/x", Plesk);
        check("plesk://GO.plesk.com/x", Plesk);
        check("https://go.plesk.com?x", Plesk);
        check("https://go.plesk.com#x", Plesk);
        check("https://go.plesk.com:99999/", Plesk);
        check("https://shop.example/", Vendor);
        check("https://go.plesk.com.shop.example/x", Vendor);
        check("https://shop.example/?to=go.plesk.com", Vendor);
        check("https://shop.example/go.plesk.com", Vendor);
        check("https://shop.example#@go.plesk.com", Vendor);
        check("https://go.plesk.com@shop.example/", Vendor);
        check("https://go.plesk.com:x@shop.example/", Vendor);
        check("https://www.plesk.com/", Vendor);
        check("https://plesk.com/", Vendor);
        check("https://xgo.plesk.com/", Vendor);
        check("https://a.go.plesk.com/", Vendor);
        check("https://go-plesk.com/", Vendor);
        check("/buy/go.plesk.com", Vendor);
        check("go.plesk.com/buy", Vendor);
        check("mailto:sales@go.plesk.com", Vendor);
        check("https://", Vendor);
        check("https://shop example/", Vendor);
        check("not a link", Vendor);
        check("https://[::1]/", Vendor);
    }

    proptest::proptest! {
        #[test]
        fn plain_links_need_no_parser(
            scheme in "https:/{0,5}|http://|//|",
            host in "|go\\.plesk\\.com\\.?|[1-9.]{0,9}|(go|x|xn--a|[a-z0-9.-]{1,9})\\.(plesk\\.com|[a-z0-9.-]{1,9})",
            rest in "(/|:|\\?|@|#|\\\\|)(go\\.plesk\\.com|[a-z@/.]{0,9})",
        ) {
            let link = format!("{scheme}{host}{rest}");
            proptest::prop_assert_eq!(leads_to_plesk(&link), parsed_leads_to_plesk(&link), "{}", link);
        }
    }
}
