//! Settings that are valid and can hardly be meant.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::uri::Scheme;
use ipnet::IpNet;

use super::{Admin, Config, Origin};
use crate::cli::Size;
use crate::given::{Given, Source};

/// Part of a feed that its index, its key and what is known about it take at most, if it is the vendor's.
const ROOM_BESIDE: u64 = 8;
/// A failure of the upstream lasts minutes at least; shorter, a copy is of no use in one.
const MIN_STALE_FOR: Duration = Duration::from_mins(1);
/// Below, every request asks the upstream.
const MIN_FRESH_FOR: Duration = Duration::from_secs(1);
/// Plesk keeps a copy of the catalog for days on top of it.
const MAX_FRESH_FOR: Duration = Duration::from_hours(24);
/// A balancer, its probes and a few servers have more connections open.
const MIN_CONNECTIONS: usize = 16;
/// The vendor's feed has 2.5 MB, and grows.
const MIN_MAX_FEED_SIZE: u64 = 4 << 20;

/// Warning about people who may edit over a port that others on the network can listen to.
pub const EXPOSED_TOKENS: &str = "tokens for editing cross the network unencrypted: the admin port is not on loopback and \
                                  has no --admin-tls";

/// What can hardly be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Where the value was given.
    pub at: Source,
    /// What follows from it.
    pub message: String,
}

impl Config {
    /// Returns what probably is a mistake.
    pub fn objections(&self) -> Vec<Objection> {
        let mut found = Vec::new();
        self.object_to_cache(&mut found);
        self.object_to_limits(&mut found);
        self.object_to_addresses(&mut found);
        self.object_to_trust(&mut found);
        self.object_to_places(&mut found);
        found
    }

    /// Returns what is wrong if tokens can be read on the network. A running proxy warns by its real address.
    pub fn exposure(&self) -> Option<Objection> {
        let (Admin::Required(address) | Admin::IfFree(address)) = *self.admin else { return None };
        let is_exposed = !address.ip().is_loopback() && self.access.tokens.is_some() && !self.access.tls;
        is_exposed.then(|| Objection { at: self.admin.source.clone(), message: EXPOSED_TOKENS.to_owned() })
    }

    /// Returns what may be meant, but should be known.
    pub fn remarks(&self) -> Vec<Objection> {
        let mut found = Vec::new();
        let mut add = |at: &Source, message: String| found.push(Objection { at: at.clone(), message });
        if self.cache_dir.is_none() {
            let message =
                "no --cache-dir: after a restart there is nothing to serve until the upstream answers";
            add(&Source::Flag("--cache-dir"), message.to_owned());
        }
        if self.upstream.scheme == Scheme::HTTP && !is_loopback(&self.upstream) {
            let message = format!(
                "{} is asked without encryption: whoever is on the way can change the catalog",
                self.upstream.authority
            );
            add(&self.upstream.source, message);
        }
        found
    }

    fn object_to_cache(&self, found: &mut Vec<Objection>) {
        let mut add = |at: &Source, message: String| found.push(Objection { at: at.clone(), message });
        let cache = &self.cache;
        // What the cache keeps beside the feed itself is its own business: this is about orders of magnitude.
        if *cache.size < cache.max_feed_size.saturating_add(*cache.max_feed_size / ROOM_BESIDE) {
            let (size, feed) = (Size::from(*cache.size), Size::from(*cache.max_feed_size));
            let message = format!(
                "{size} cannot hold one feed of --max-feed-size ({feed}) with its index, so a feed of that size is \
                 fetched for each request: raise --cache-size or lower --max-feed-size"
            );
            add(&cache.size.source, message);
        }
        if *cache.max_feed_size < MIN_MAX_FEED_SIZE {
            let size = Size::from(*cache.max_feed_size);
            add(
                &cache.max_feed_size.source,
                format!("{size} may be too little: the vendor's feed has 2.5 MB, and grows"),
            );
        }
        if *cache.stale_for < MIN_STALE_FOR {
            let message = format!(
                "{}: when the upstream fails, clients get errors almost as soon as their copy is no longer fresh; \
                 the default is 7d",
                written(&cache.stale_for)
            );
            add(&cache.stale_for.source, message);
        }
        if *cache.fresh_for < MIN_FRESH_FOR {
            let message =
                format!("{}: the upstream is asked again after each answer", written(&cache.fresh_for));
            add(&cache.fresh_for.source, message);
        }
        if *cache.fresh_for > MAX_FRESH_FOR {
            let message = format!(
                "{}: new versions reach the servers later by as much; Plesk keeps its own copy for days already",
                written(&cache.fresh_for)
            );
            add(&cache.fresh_for.source, message);
        }
        if *cache.min_fresh_for > *cache.fresh_for {
            let (min, fresh) = (written(&cache.min_fresh_for), written(&cache.fresh_for));
            add(&cache.min_fresh_for.source, format!("{min} is longer than --fresh-for ({fresh})"));
        }
        if let Some(age) = self.client_max_age.as_ref().filter(|age| ***age > MAX_FRESH_FOR) {
            let message =
                format!("{}: an edit of the whitelist reaches clients later by as much", written(age));
            add(&age.source, message);
        }
    }

    fn object_to_limits(&self, found: &mut Vec<Objection>) {
        let mut add = |at: &Source, message: String| found.push(Objection { at: at.clone(), message });
        let (total, per_address) = (&self.limits.connections, &self.limits.connections_per_address);
        if **total < MIN_CONNECTIONS {
            let message =
                format!("{}: a handful of servers, or one that hangs, keeps all others out", **total);
            add(&total.source, message);
        }
        if **per_address > **total {
            let message = format!(
                "{} is more than --max-connections ({}), so it bounds nothing",
                **per_address, **total
            );
            add(&per_address.source, message);
        }
    }

    fn object_to_addresses(&self, found: &mut Vec<Objection>) {
        let mut add = |at: &Source, message: String| found.push(Objection { at: at.clone(), message });
        for (n, address) in self.listen.iter().enumerate() {
            if self.listen[..n].contains(address) && address.port() != 0 {
                add(&self.listen.source, format!("{address} is there twice"));
            }
        }
        let admin = match *self.admin {
            Admin::Required(address) | Admin::IfFree(address) => Some(address),
            Admin::Off => None,
        };
        if let Some(admin) = admin
            && let Some(service) = self.listen.iter().find(|service| overlap(**service, admin))
        {
            // The default is not what was meant to be changed.
            let at =
                if self.admin.source == Source::Default { &self.listen.source } else { &self.admin.source };
            add(at, format!("--listen {service} and --admin-listen {admin} are the same port"));
        }
        if admin.is_none() && (self.access.tokens.is_some() || self.access.user_header.is_some()) {
            let at = &self.admin.source;
            add(at, "off: there is no admin port, so nobody can edit or read there".to_owned());
        }
        if let Some(own) = self.own_address(&literal_addresses(&self.upstream)) {
            add(&self.upstream.source, self.leads_back(own));
        }
    }

    /// Returns the address of the service port that is among those of the upstream.
    ///
    /// Of addresses that are not loopback only those count that are listened on by name: others are not known here.
    pub fn own_address(&self, upstream: &[SocketAddr]) -> Option<SocketAddr> {
        let is_own = |service: &SocketAddr, upstream: &SocketAddr| {
            service.port() == upstream.port()
                && (service.ip() == upstream.ip()
                    || service.ip().is_unspecified() && upstream.ip().is_loopback())
        };
        self.listen.iter().copied().find(|service| upstream.iter().any(|upstream| is_own(service, upstream)))
    }

    /// Says that the upstream is this proxy.
    pub fn leads_back(&self, own: SocketAddr) -> String {
        let origin = format!("{}://{}", self.upstream.scheme, self.upstream.authority);
        format!(
            "{origin} leads back to this proxy (--listen {own}): every request would go in a circle, so it is refused"
        )
    }

    fn object_to_trust(&self, found: &mut Vec<Objection>) {
        let mut add = |at: &Source, message: String| found.push(Objection { at: at.clone(), message });
        let everybody =
            |networks: &[IpNet]| networks.iter().find(|network| network.prefix_len() == 0).copied();
        if let Some(network) = everybody(&self.trusted) {
            let message =
                format!("{network} is everybody: any client can pass for any other, and counts nowhere");
            add(&self.trusted.source, message);
        }
        if let Some(header) = &self.access.user_header
            && let Some(network) = everybody(&header.trusted)
        {
            let message = format!("{network} is everybody: anybody can say who they are");
            add(&Source::Flag("--admin-trusted-proxy"), message);
        }
    }

    fn object_to_places(&self, found: &mut Vec<Objection>) {
        let Some(cache) = &self.cache_dir else { return };
        // SECURITY: no link is followed, for the paths need not be there yet.
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let cache = absolute(cache);
        let tls = self.tls.as_ref();
        let files = [
            self.whitelist.as_ref(),
            self.shops.as_ref(),
            self.access.tokens.as_ref(),
            tls.map(|tls| &tls.cert),
            tls.map(|tls| &tls.key),
        ];
        for file in files.into_iter().flatten().filter(|file| absolute(file).starts_with(&cache)) {
            let message = format!("{} is in the cache directory, which anybody may empty", file.display());
            found.push(Objection { at: file.source.clone(), message });
        }
    }
}

fn written(duration: &Given<Duration>) -> impl std::fmt::Display {
    humantime::format_duration(duration.value)
}

/// Returns true if nobody can listen on both.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |one: IpAddr, other: IpAddr| one.is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && one.port() != 0 && (a == b || all(a, b) || all(b, a))
}

fn is_loopback(origin: &Origin) -> bool {
    let addresses = literal_addresses(origin);
    !addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback())
}

/// Returns the addresses of an origin that no name has to be looked up for.
fn literal_addresses(origin: &Origin) -> Vec<SocketAddr> {
    let default_port = if origin.scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = origin.authority.port_u16().unwrap_or(default_port);
    let host = origin.authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            let addresses: [IpAddr; 2] = [[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()];
            addresses.map(|address| SocketAddr::new(address, port)).to_vec()
        }
        Err(_) => Vec::new(),
    }
}
