//! Decides once what a request is for, from its method and target.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::query;
use super::spelling::{self, PathClass};
use crate::cache::Key;
use crate::error::Error;
use crate::feed::FeedKind;
use crate::metrics::requests::RouteName;
use crate::policy::ViewKind;
use crate::shops::{Location, Owner, Shop, ShopName, Shops};

/// Methods that the feeds and probes answer.
pub const READ_METHODS: &str = "GET, HEAD";

/// Longest target of a feed in bytes: Plesk's longest is some 100 bytes.
pub const MAX_TARGET: usize = 2048;

/// What a request is for.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(PartialEq))]
pub enum Route {
    /// One of the two feeds.
    Feed(WantedFeed),
    /// The liveness probe.
    Live,
    /// The readiness probe.
    Ready,
    /// Anything else, which is streamed through.
    Forward {
        /// What the upstream is asked for.
        target: PathAndQuery,
        /// The shop's prefix, if the path had one.
        prefix: Option<ShopName>,
    },
    /// Nothing that is served.
    Refused(Refusal),
}

/// A view of a feed.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(PartialEq))]
pub struct WantedFeed {
    pub key: Key,
    /// For categories, the packages feed of the same version and query, by which they are filtered.
    pub packages: Option<Key>,
    pub view: ViewKind,
    /// Whose view it is.
    pub shop: Arc<Shop>,
}

/// Why a request is for nothing that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The path has the fault that this text describes.
    PathNotNormal(String),
    /// A part of the query is a feed's path, so some servers may answer with the feed.
    QueryNamesFeed,
    /// A feed's path behind this prefix, in printable form, under which there are no feeds.
    UnknownPrefix(String),
    /// A feed's path where no shop is.
    NoShop,
    /// A feed of a shop whose whitelist was never good.
    ShopNotLoaded,
    /// A feed on a host that several shops claim.
    DisputedHost,
    /// A target that a reverse proxy does not serve.
    NoResource,
    /// The resource answers only the methods of this list.
    MethodNotAllowed(&'static str),
    /// No resource answers this method.
    MethodNotImplemented,
    /// A feed's target of more than [`MAX_TARGET`] bytes.
    TargetTooLong,
}

impl Route {
    /// Decides what a request is for. Of the target only path and query count, and the host if a shop claims it.
    ///
    /// SECURITY: only a path in normal form that is no feed's is ever streamed through.
    pub fn of(method: &Method, uri: &Uri, host: Option<&str>, shops: &Shops) -> Self {
        Self::for_target(method, uri, host, shops).unwrap_or_else(Self::Refused)
    }

    fn for_target(method: &Method, uri: &Uri, host: Option<&str>, shops: &Shops) -> Result<Self, Refusal> {
        // Only a tunnel's end answers it (RFC 9110 §9.3.6), so no resource here ever does.
        if *method == Method::CONNECT {
            return Err(Refusal::MethodNotImplemented);
        }
        let target = uri.path_and_query().ok_or(Refusal::NoResource)?;
        // `OPTIONS` is known, and `*` is a resource (RFC 9110 §9.3.7), but one of the upstream's: this one
        // has no methods. Hence 405, with a list that is empty, and not 501.
        if target.as_str() == "*" && *method == Method::OPTIONS {
            return Err(Refusal::MethodNotAllowed(""));
        }
        if !target.as_str().starts_with('/') {
            return Err(Refusal::NoResource);
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let read_only = || if is_read { Ok(()) } else { Err(Refusal::MethodNotAllowed(READ_METHODS)) };
        let Location { owner, prefix, rest } = shops.locate(host, target.path());
        if matches!(owner, Owner::Foreign) {
            let prefix = prefix.map(|prefix| format!("/{prefix}"));
            return Err(Refusal::UnknownPrefix(prefix.unwrap_or_default()));
        }
        let (kind, version) = match PathClass::of(rest) {
            PathClass::Feed { kind, version } => (kind, version),
            PathClass::FeedBehind { prefix, .. } => {
                return Err(Refusal::UnknownPrefix(prefix.escape_debug().to_string()));
            }
            PathClass::NotNormal(fault) => return Err(Refusal::PathNotNormal(fault.to_string())),
            PathClass::Other => {
                return match rest {
                    "/livez" if prefix.is_none() => read_only().map(|()| Self::Live),
                    "/readyz" if prefix.is_none() => read_only().map(|()| Self::Ready),
                    // No resource answers it. 405 would have to list the methods that one does answer
                    // (RFC 9110 §15.5.6), which only the upstream knows.
                    _ if *method == Method::TRACE => Err(Refusal::MethodNotImplemented),
                    path if target.query().is_some_and(|query| spelling::query_names_feed(path, query)) => {
                        Err(Refusal::QueryNamesFeed)
                    }
                    path => {
                        let target = if prefix.is_none() { target.clone() } else { behind(target, path)? };
                        Ok(Self::Forward { target, prefix: prefix.cloned() })
                    }
                };
            }
        };
        let shop = match owner {
            Owner::Shop(shop) => shop,
            Owner::Disputed => return Err(Refusal::DisputedHost),
            Owner::Nobody | Owner::Foreign => return Err(Refusal::NoShop),
        };
        read_only()?;
        if shop.list().is_none() {
            return Err(Refusal::ShopNotLoaded);
        }
        let shop = Arc::clone(shop);
        let key = |kind: FeedKind| Key::of(kind, version, target.query());
        let own = key(kind);
        if own.as_str().len() > MAX_TARGET {
            return Err(Refusal::TargetTooLong);
        }
        Ok(Self::Feed(match kind {
            FeedKind::Packages => {
                WantedFeed { key: own, packages: None, view: query::view(target.query()), shop }
            }
            FeedKind::Categories => {
                WantedFeed { key: own, packages: Some(key(FeedKind::Packages)), view: ViewKind::Shop, shop }
            }
        }))
    }

    /// Returns the shop whose feed it is, if it is one.
    pub fn shop(&self) -> Option<&ShopName> {
        match self {
            Self::Feed(wanted) => Some(&wanted.shop.name),
            _ => None,
        }
    }

    /// Returns the route's name in logs and metrics.
    pub fn name(&self) -> RouteName {
        match self {
            Self::Feed(wanted) => match wanted.key.kind() {
                FeedKind::Packages => RouteName::Packages,
                FeedKind::Categories => RouteName::Categories,
            },
            Self::Live => RouteName::Livez,
            Self::Ready => RouteName::Readyz,
            Self::Forward { .. } => RouteName::Forward,
            Self::Refused(_) => RouteName::Refused,
        }
    }
}

/// Returns a target with another path.
fn behind(target: &PathAndQuery, path: &str) -> Result<PathAndQuery, Refusal> {
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{path}{query}").parse().map_err(|_| Refusal::NoResource)
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::PathNotNormal(fault) => Self::PathNotNormal(fault),
            Refusal::QueryNamesFeed => Self::Refused("a part of the query names a feed's path"),
            Refusal::UnknownPrefix(prefix) => Self::UnknownPrefix(prefix),
            Refusal::NoShop => Self::NoShop,
            Refusal::ShopNotLoaded => Self::ShopNotReady("has no whitelist that can be used"),
            Refusal::DisputedHost => Self::ShopNotReady("shares its host with another"),
            Refusal::NoResource => Self::Refused("this method or target is not served here"),
            Refusal::MethodNotAllowed(allow) => Self::MethodNotAllowed { allow },
            Refusal::MethodNotImplemented => Self::MethodNotImplemented,
            Refusal::TargetTooLong => Self::TargetTooLong(MAX_TARGET),
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
