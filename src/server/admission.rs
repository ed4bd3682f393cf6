//! Admission: how many connections may be open, whole and per address, and which one goes to make room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::activity::Activity;
use crate::metrics::connections::{OpenConnection, Port};

/// How many connections there may be.
#[derive(Debug, Clone, Default)]
pub struct Quotas {
    /// In all.
    pub total: usize,
    /// From one IPv4 address or IPv6 /64 network.
    pub per_address: usize,
    /// Networks of proxies with many clients behind them, to which the second does not apply.
    pub exempt: Vec<IpNet>,
}

/// The open connections of one or several listeners.
#[derive(Debug)]
pub struct Connections {
    quotas: Quotas,
    port: Port,
    pub(super) panics: Counter,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Arc<Activity>>,
    /// How many of them come from where.
    networks: HashMap<IpAddr, usize>,
    next_id: u64,
}

/// A place among the open connections; dropping it gives it back.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    connections: Arc<Connections>,
    id: u64,
    pub(super) activity: Arc<Activity>,
    _open: OpenConnection,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are busy; one will be free soon.
    Total,
    /// This client's share is used up, and all of it busy.
    PerAddress,
}

impl Connections {
    /// Makes an empty table. Connections are counted in `port`, panics of their tasks in `panics`.
    pub fn new(quotas: Quotas, port: Port, panics: Counter) -> Arc<Self> {
        Arc::new(Self { quotas, port, panics, table: Mutex::default() })
    }

    /// Gives a new connection a place, if need be that of the one that has been without a request for longest.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr) -> Result<ConnectionPlace, Full> {
        let network = network(peer.ip());
        let Quotas { total, per_address, .. } = self.quotas;
        let mut table = self.table.lock();
        let is_full = table.open.len() >= total;
        let has_its_share = table.networks.get(&network).is_some_and(|count| *count >= per_address);
        if has_its_share && !self.is_exempt(peer.ip()) {
            let reason = if is_full { Full::Total } else { Full::PerAddress };
            table.close_idlest(|one| one.network == network).ok_or(reason)?;
        } else if is_full {
            table.close_idlest(|_| true).ok_or(Full::Total)?;
        }
        let activity = Activity::new(network);
        let id = table.next_id;
        table.next_id += 1;
        table.open.insert(id, Arc::clone(&activity));
        *table.networks.entry(network).or_default() += 1;
        Ok(ConnectionPlace { connections: Arc::clone(self), id, activity, _open: self.port.open() })
    }

    /// Closes the connections whose client took too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut table = self.table.lock();
        let overdue = table.open.iter().filter(|(_, activity)| activity.is_overdue(now));
        for id in overdue.map(|(id, _)| *id).collect::<Vec<_>>() {
            table.close(id);
        }
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.quotas.exempt.iter().any(|network| network.contains(&address))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().open.len()
    }
}

impl Table {
    /// Closes the connection that has been idle for longest among those that `counts` is true for.
    fn close_idlest(&mut self, counts: impl Fn(&Activity) -> bool) -> Option<()> {
        let candidates = self.open.iter().filter(|(_, activity)| counts(activity));
        let idle = candidates.filter_map(|(id, activity)| Some((activity.idle_since()?, *id)));
        let (_, id) = idle.min()?;
        self.close(id);
        Some(())
    }

    fn close(&mut self, id: u64) {
        if let Some(activity) = self.remove(id) {
            activity.close();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Activity>> {
        let activity = self.open.remove(&id)?;
        if let Some(count) = self.networks.get_mut(&activity.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&activity.network);
            }
        }
        Some(activity)
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.connections.table.lock().remove(self.id);
    }
}

/// Returns what counts as one client: an IPv4 address, or the /64 network that one IPv6 host has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Version};
    use http_body_util::Empty;
    use tokio::time::advance;

    use super::super::activity::Running;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections(total: usize, per_address: usize) -> Arc<Connections> {
        let exempt = vec!["198.51.100.0/24".parse().expect("a network")];
        Connections::new(Quotas { total, per_address, exempt }, Port::default(), Counter::default())
    }

    fn admit(connections: &Arc<Connections>, ip: &str) -> Result<ConnectionPlace, Full> {
        connections.admit(SocketAddr::new(ip.parse().expect("an address"), 1))
    }

    fn start(place: &ConnectionPlace, version: Version) -> Running {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.version_mut() = version;
        place.activity.start(&request)
    }

    /// Returns true if the connection was told to close.
    async fn is_closed(place: &ConnectionPlace) -> bool {
        tokio::time::timeout(Duration::ZERO, place.activity.closing()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_idle_for_longest_makes_room() {
        let connections = connections(3, 3);
        let busy = admit(&connections, "192.0.2.1").expect("a place");
        let request = start(&busy, Version::HTTP_11);
        advance(SECOND).await;
        let older = admit(&connections, "192.0.2.2").expect("a place");
        advance(SECOND).await;
        let newer = admit(&connections, "192.0.2.3").expect("a place");
        advance(SECOND).await;
        // What was just answered is the youngest.
        drop(start(&older, Version::HTTP_11));
        advance(SECOND).await;
        let last = admit(&connections, "192.0.2.4").expect("a place");
        assert!(is_closed(&newer).await && !is_closed(&older).await && !is_closed(&busy).await);
        let requests = [start(&older, Version::HTTP_11), start(&last, Version::HTTP_11)];
        assert_eq!(admit(&connections, "192.0.2.5").expect_err("all are busy"), Full::Total);
        drop(newer);
        assert_eq!(connections.len(), 3, "its place was given away already");
        drop((request, requests, busy));
        assert_eq!(connections.len(), 2);
        drop((older, last));
        let table = connections.table.lock();
        assert!(table.open.is_empty() && table.networks.is_empty(), "{table:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_its_share() {
        let connections = connections(10, 2);
        let first = admit(&connections, "2001:db8::1").expect("a place");
        let second = admit(&connections, "2001:db8::2").expect("a place");
        let _elsewhere = admit(&connections, "2001:db8:0:1::1").expect("another network");
        let _busy = start(&second, Version::HTTP_2);
        let third = admit(&connections, "2001:db8::3").expect("the place of the first");
        assert!(is_closed(&first).await);
        let _busy_too = start(&third, Version::HTTP_2);
        assert_eq!(admit(&connections, "2001:db8::4").expect_err("all are busy"), Full::PerAddress);
        let busy_place = |_| {
            let place = admit(&connections, "198.51.100.7").expect("a place");
            (start(&place, Version::HTTP_11), place)
        };
        let _exempt: Vec<_> = (0..3).map(busy_place).collect();
        let mapped = admit(&connections, "::ffff:192.0.2.1").expect("a place");
        assert_eq!(mapped.activity.network.to_string(), "192.0.2.1");
    }

    #[test]
    fn a_client_is_an_address_or_a_network_of_ipv6() {
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(network(address.parse().expect("an address")).to_string(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_too_long_goes() {
        let connections = connections(10, 10);
        let place = || admit(&connections, "192.0.2.1").expect("a place");
        let (silent, waiting, half, slow, busy, h2) = (place(), place(), place(), place(), place(), place());
        for place in [&waiting, &half, &slow] {
            drop(start(place, Version::HTTP_11));
        }
        let _request = start(&busy, Version::HTTP_11);
        drop(start(&h2, Version::HTTP_2));
        let mut gone = Vec::new();
        for second in 1..=80 {
            advance(SECOND).await;
            match second {
                5 => half.activity.received(),
                10 => slow.activity.sent(),
                // A ping and its answer are no requests.
                11 => {
                    h2.activity.received();
                    h2.activity.sent();
                }
                _ => {}
            }
            half.activity.received();
            connections.sweep();
            let all = [("silent", &silent), ("waiting", &waiting), ("half", &half), ("h2", &h2)];
            for (name, place) in all.into_iter().chain([("slow", &slow), ("busy", &busy)]) {
                if is_closed(place).await {
                    gone.push((name, second));
                }
            }
        }
        assert_eq!(gone, [("silent", 20), ("half", 21), ("waiting", 75), ("h2", 75)]);
        assert_eq!(connections.len(), 2, "slow and busy");
    }
}
