//! Asks the address that Plesk servers use: does this proxy answer there, and with which shop?

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Position, Url};

use super::{CheckReport, Level, counted};
use crate::body;
use crate::cli::Platform;
use crate::commands::catalog_source::{Listing, block_on};
use crate::commands::panel_ini::base_url;
use crate::commands::shop_selection::ShopList;
use crate::config::{Config, Origin};
use crate::feed::listing;
use crate::feed::packages::PackagesIndex;
use crate::given::{Given, Source};
use crate::policy::Verdict;
use crate::printable::{joined, printable};
use crate::shops::ShopName;
use crate::upstream::outbound::Outbound;
use crate::upstream::{USER_AGENT, Upstream, UpstreamError, UpstreamFailure};

/// Longest wait for the whole answer: longer than the proxy makes a client wait for its upstream.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for the addresses of the upstream's name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Name by which the proxy calls itself in its responses.
const OWN_NAME: &str = "catalog-proxy";
/// Most codes that a finding names.
const MAX_NAMED_CODES: usize = 5;

/// What an address is compared with.
pub(super) struct AddressContext<'a> {
    pub(super) lists: &'a [ShopList],
    pub(super) catalog: Option<&'a Listing>,
    pub(super) platform: Platform,
    /// Largest feed in bytes.
    pub(super) max_size: u64,
    /// Roots to trust instead of the system's.
    pub(super) roots: Option<PathBuf>,
}

/// An answer that was read to its end.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The members that are read of an error of the proxy (RFC 9457).
#[derive(Deserialize)]
struct AddressProblem {
    detail: Option<String>,
}

impl CheckReport {
    /// Asks the proxy at a base URL, and at the prefix of each shop if the base has none.
    pub(super) fn addresses(&mut self, base: &str, expected: &AddressContext<'_>) {
        let names = || expected.lists.iter().map(|list| &list.name).filter(|name| !name.is_default());
        let own = names().find(|name| base.ends_with(&format!("/{name}")));
        let mut urls = vec![(base.to_owned(), own.cloned())];
        if own.is_none() {
            urls.extend(names().map(|name| (base_url(base, name), Some(name.clone()))));
        }
        // Without a shop at / there is nothing to ask there, but some address has to be.
        if urls.len() > 1 && !expected.lists.iter().any(|list| list.name.is_default() || list.is_at(base)) {
            urls.remove(0);
        }
        for (url, prefix) in urls {
            let heard = block_on(ask(&url, expected));
            match heard {
                Ok(Ok(heard)) => self.heard(&url, prefix, &heard, expected),
                Ok(Err(reason)) => self.about(Level::Error, &url, reason),
                Err(error) => self.about(Level::Error, &url, error.message),
            }
        }
    }

    fn heard(&mut self, url: &str, prefix: Option<ShopName>, heard: &Heard, expected: &AddressContext<'_>) {
        if !heard.is_own() {
            let server = heard.headers.get(header::SERVER).and_then(|server| server.to_str().ok());
            let server = server.map(|server| format!(" ({})", printable(server))).unwrap_or_default();
            let message =
                format!("something else answers there{server}, with status {}", heard.status.as_u16());
            return self.about(Level::Error, url, message);
        }
        if heard.status != StatusCode::OK {
            let detail =
                serde_json::from_slice::<AddressProblem>(&heard.body).ok().and_then(|told| told.detail);
            let detail = detail.map(|detail| format!(": {}", printable(&detail))).unwrap_or_default();
            let message = format!("catalog-proxy answers with status {}{detail}", heard.status.as_u16());
            return self.about(Level::Error, url, message);
        }
        let index = match PackagesIndex::of(&heard.body) {
            Ok(index) => index,
            Err(error) => {
                let message = format!("catalog-proxy answers, but with no packages feed: {error}");
                return self.about(Level::Error, url, message);
            }
        };
        let served = listing::list(&heard.body, &index);
        let count = counted(served.len(), "package", "packages");
        let codes: BTreeSet<_> = served.iter().filter_map(|listed| listed.package.code.as_deref()).collect();
        let by_host = expected.lists.iter().find(|list| list.is_at(url)).map(|list| list.name.clone());
        let name = prefix.or(by_host).unwrap_or_else(ShopName::default_shop);
        let (Some(catalog), Some(list)) =
            (expected.catalog, expected.lists.iter().find(|list| list.name == name))
        else {
            let shop =
                format!("catalog-proxy answers with {count}; there is nothing here to compare them with");
            self.good.push((url.to_owned(), shop));
            return;
        };
        let difference = |list: &ShopList| Difference::between(list, catalog, &codes);
        let differs = difference(list);
        if differs.is_none() {
            let message = format!("catalog-proxy answers with shop {name}: {count}, as the list here says");
            self.good.push((url.to_owned(), message));
            return;
        }
        let other = expected.lists.iter().find(|list| list.name != name && difference(list).is_none());
        let message = match other {
            Some(other) => format!("catalog-proxy answers there with shop {}, not with {name}", other.name),
            None => {
                let difference = differs.map(|difference| difference.to_string()).unwrap_or_default();
                format!(
                    "catalog-proxy answers with shop {name}, but not as the list here says: {difference}; it may have \
                     another list, or an older copy of the catalog"
                )
            }
        };
        self.about(Level::Warning, url, message);
    }

    /// Says so if the name of the upstream leads to this machine's own service port.
    pub(super) fn upstream_is_itself(&mut self, config: &Config) {
        let origin = &config.upstream;
        let default_port = if origin.scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = origin.authority.port_u16().unwrap_or(default_port);
        let host = origin.authority.host().to_owned();
        let is_literal = host.parse::<Ipv4Addr>().is_ok() || host.starts_with('[') || host == "localhost";
        // The objections to the settings themselves are about those.
        if is_literal {
            return;
        }
        let looked_up = block_on(async {
            let found = timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await.ok()?.ok()?;
            Some(found.collect::<Vec<_>>())
        });
        let Ok(Some(mut addresses)) = looked_up else { return };
        // An address that can be bound is one of this machine, on which all of `0.0.0.0` is reached.
        let is_here = |address: &SocketAddr| UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok();
        if addresses.iter().any(is_here) {
            addresses.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        if let Some(own) = config.own_address(&addresses) {
            self.setting(Level::Warning, &origin.source, config.leads_back(own));
        }
    }
}

impl ShopList {
    /// Returns true if a URL's host is one of the shop's.
    fn is_at(&self, url: &str) -> bool {
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_ascii_lowercase));
        host.is_some_and(|host| self.file.policy.hosts().contains(&host))
    }
}

impl Heard {
    /// Returns true if a proxy of this kind has sent it, maybe through others.
    fn is_own(&self) -> bool {
        let named = |field: header::HeaderName, nth: usize| {
            let values = self.headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
            let mut members = values.flat_map(|value| value.split(','));
            members.any(|member| {
                member.split([' ', ';']).filter(|word| !word.is_empty()).nth(nth) == Some(OWN_NAME)
            })
        };
        named(header::VIA, 1)
            || named(header::HeaderName::from_static("cache-status"), 0)
            || named(header::HeaderName::from_static("proxy-status"), 0)
    }
}

/// How what is served differs from what a list shows.
struct Difference {
    /// Codes of the catalog that are served and should not be.
    extra: Vec<String>,
    /// Codes that should be served and are not.
    missing: Vec<String>,
}

impl Difference {
    /// Compares codes that are served; those that are not in the catalog do not count. `None` if there is none.
    fn between(list: &ShopList, catalog: &Listing, served: &BTreeSet<&str>) -> Option<Self> {
        let (mut extra, mut missing) = (Vec::new(), Vec::new());
        for listed in &catalog.packages {
            let Some(code) = listed.package.code.as_deref() else { continue };
            // Of several packages with one code, one may be shown and another hidden.
            let is_shown = catalog.packages.iter().any(|other| {
                other.package.code.as_deref() == Some(code) && list.file.verdict(other) == Verdict::Shown
            });
            match (is_shown, served.contains(code)) {
                (true, false) => missing.push(code.to_owned()),
                (false, true) => extra.push(code.to_owned()),
                _ => {}
            }
        }
        (!extra.is_empty() || !missing.is_empty()).then_some(Self { extra, missing })
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |what: &str, codes: &[String]| {
            let more = codes.len().saturating_sub(MAX_NAMED_CODES);
            let named = joined(&codes[..codes.len() - more]).to_string();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{what} {}{more}", printable(&named))
        };
        let mut parts = Vec::new();
        if !self.extra.is_empty() {
            parts.push(part("it also shows", &self.extra));
        }
        if !self.missing.is_empty() {
            parts.push(part("it lacks", &self.missing));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Asks for the packages of the shop window.
async fn ask(url: &str, expected: &AddressContext<'_>) -> Result<Heard, String> {
    let url = Url::parse(url).map_err(|error| error.to_string())?;
    let origin: Origin =
        format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort]).parse()?;
    let target =
        format!("{}{}&locale=en-US", url.path().trim_end_matches('/'), expected.platform.packages_target());
    let target: PathAndQuery = target.parse().map_err(|_| "not a URL".to_owned())?;
    let roots = expected.roots.clone().map(|path| Given { value: path, source: Source::Flag("--url-ca") });
    // Plesk's servers are asked for no outbound proxy either.
    let client = Upstream::new(origin, roots.as_ref(), Outbound::direct())
        .map_err(|error| format!("the roots to trust cannot be read: {error}"))?;
    let request = Request::get("/").header(header::USER_AGENT, USER_AGENT).body(body::empty());
    let request = request.map_err(|error| error.to_string())?;
    let heard = timeout(ANSWER_TIMEOUT, async {
        let response = client.send(target, request).await.map_err(|error| unheard(&error))?;
        read(response, expected.max_size).await
    });
    heard.await.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())))
}

async fn read(response: Response<Incoming>, max_size: u64) -> Result<Heard, String> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, usize::try_from(max_size).unwrap_or(usize::MAX)).collect().await;
    let body = body.map_err(|error| format!("its answer broke off: {}", printable(&error.to_string())))?;
    Ok(Heard { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}

/// Says why nothing was heard.
fn unheard(error: &UpstreamError) -> String {
    let chain = printable(&error.chain).into_owned();
    match error.failure {
        UpstreamFailure::Refused => "nothing listens there: the connection is refused".to_owned(),
        UpstreamFailure::Dns | UpstreamFailure::DnsTimeout(_) => {
            format!("this machine cannot look the name up ({chain})")
        }
        UpstreamFailure::Certificate => format!(
            "the certificate there is not trusted ({chain}); Plesk's servers have to trust it as well, and --url-ca \
             names a root of your own"
        ),
        UpstreamFailure::Tls => format!("no TLS is spoken there, or none that is taken ({chain})"),
        UpstreamFailure::Protocol | UpstreamFailure::Cut => {
            format!(
                "something else listens there: it does not answer in HTTP, or speaks HTTPS only ({chain})"
            )
        }
        _ => format!("no answer ({chain})"),
    }
}
