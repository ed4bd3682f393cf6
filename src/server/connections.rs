//! The open connections: how many there may be, and which must go.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::metrics::connections::{Open as Counted, Port};
use crate::proxy::trust::Trusted;

/// Longest wait for a whole request, and on a new connection for its first: no honest client takes seconds
/// for some hundred bytes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may stay without a request. Load balancers keep theirs for 60 s; whoever is in
/// front should close first, or a request may meet a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a connection keeps its buffers without a request: a client that asks for several things does so
/// at once.
const REST_AFTER: Duration = Duration::from_millis(100);

/// The connections of one or several listeners.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    most_per_network: usize,
    many: Trusted,
    port: Port,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    /// How many of them come from where.
    networks: HashMap<IpAddr, usize>,
    next: u64,
}

/// One connection, as those see it who decide whether it stays.
#[derive(Debug)]
pub(super) struct Connection {
    network: IpAddr,
    state: Mutex<State>,
    closing: Notify,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered.
    requests: usize,
    /// What is waited for when there are none, and since when.
    waits_for: WaitsFor,
    since: Instant,
    /// HTTP/2: what is read and written between requests says nothing.
    multiplexed: bool,
    /// Some of an answer has not been taken yet.
    writing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    FirstRequest,
    Request,
    /// A request of which something has arrived.
    RestOfRequest,
}

/// A place among the open connections; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub(super) connection: Arc<Connection>,
    _counted: Counted,
}

/// Why a connection gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are busy; one will be free soon.
    All,
    /// This client's share is used up, and all of it busy.
    Share,
}

/// A request that is being answered, until dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Connections {
    /// Allows for `most` connections, `most_per_network` of them from one address, unless `many` clients are
    /// behind it. They are counted in `port`.
    pub fn new(most: usize, most_per_network: usize, many: Trusted, port: Port) -> Arc<Self> {
        Arc::new(Self { most, most_per_network, many, port, open: Mutex::default() })
    }

    /// Gives a new connection a place, if need be that of the one that has been without a request for longest.
    pub(super) fn admit(self: &Arc<Self>, peer: SocketAddr) -> Result<Place, Full> {
        let network = network(peer.ip());
        let mut open = lock(&self.open);
        let all = open.connections.len() >= self.most;
        let share = open.networks.get(&network).is_some_and(|count| *count >= self.most_per_network);
        if share && !self.many.contains(peer.ip()) {
            open.close_idlest(Some(network)).ok_or(if all { Full::All } else { Full::Share })?;
        } else if all {
            open.close_idlest(None).ok_or(Full::All)?;
        }
        let state = State {
            requests: 0,
            waits_for: WaitsFor::FirstRequest,
            since: Instant::now(),
            multiplexed: false,
            writing: false,
        };
        let connection = Arc::new(Connection { network, state: Mutex::new(state), closing: Notify::new() });
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        *open.networks.entry(network).or_default() += 1;
        Ok(Place { connections: Arc::clone(self), id, connection, _counted: self.port.open() })
    }

    /// Closes the connections whose client took too long.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        let mut open = lock(&self.open);
        let overdue = |connection: &Connection| lock(&connection.state).due().is_some_and(|due| due <= now);
        let ids: Vec<u64> =
            open.connections.iter().filter(|(_, one)| overdue(one)).map(|(id, _)| *id).collect();
        for id in ids {
            open.close(id);
        }
    }
}

impl Open {
    /// Closes the connection, of one network or of all, that has been without a request for longest.
    fn close_idlest(&mut self, network: Option<IpAddr>) -> Option<()> {
        let idle = self.connections.iter().filter_map(|(id, connection)| {
            let state = lock(&connection.state);
            let counts = network.is_none_or(|network| network == connection.network);
            (counts && state.requests == 0).then_some((state.since, *id))
        });
        let (_, id) = idle.min()?;
        self.close(id);
        Some(())
    }

    fn close(&mut self, id: u64) {
        if let Some(connection) = self.remove(id) {
            connection.closing.notify_one();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        if let Some(count) = self.networks.get_mut(&connection.network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&connection.network);
            }
        }
        Some(connection)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(self.id);
    }
}

impl Connection {
    /// Counts a request until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> Busy {
        let mut state = lock(&self.state);
        state.requests += 1;
        state.multiplexed = multiplexed;
        Busy(Arc::clone(self))
    }

    /// Notes that bytes came in.
    pub(super) fn received(&self) {
        let mut state = lock(&self.state);
        if state.requests == 0 && state.waits_for == WaitsFor::Request && !state.multiplexed {
            state.waits_for = WaitsFor::RestOfRequest;
            state.since = Instant::now();
        }
    }

    /// Notes that `sent` bytes went out and that there may be more: the rest of an answer may take its time.
    pub(super) fn writes(&self, sent: usize) {
        let mut state = lock(&self.state);
        state.writing = true;
        if sent > 0 && state.waits_for == WaitsFor::Request && !state.multiplexed {
            state.since = Instant::now();
        }
    }

    /// Notes that all bytes went out.
    pub(super) fn written(&self) {
        lock(&self.state).writing = false;
    }

    /// Completes when the connection is to be closed.
    pub(super) async fn closing(&self) {
        self.closing.notified().await;
    }

    /// Completes when the connection has been answered and has had nothing to do for a while. An active one pays
    /// for it ten times a second, not for every request.
    pub(super) async fn rests(&self) {
        loop {
            let idle = lock(&self.state).idle_since();
            match idle.map(|since| since + REST_AFTER) {
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
                None => sleep(REST_AFTER).await,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.requests -= 1;
        state.waits_for = WaitsFor::Request;
        state.since = Instant::now();
    }
}

impl State {
    /// When the client is too late; never while it is being answered.
    fn due(&self) -> Option<Instant> {
        let limit = match self.waits_for {
            WaitsFor::FirstRequest | WaitsFor::RestOfRequest => HEAD_TIMEOUT,
            WaitsFor::Request => IDLE_TIMEOUT,
        };
        (self.requests == 0).then(|| self.since + limit)
    }

    /// Since when nothing has been going on, if nothing is.
    fn idle_since(&self) -> Option<Instant> {
        let idle = self.requests == 0 && self.waits_for == WaitsFor::Request && !self.writing;
        idle.then_some(self.since)
    }
}

/// Returns what counts as one client: an IPv4 address, or the /64 that one IPv6 host has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change is a single step, so it is sound even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().expect("an address"), 1)
    }

    /// Was it told to close?
    async fn is_closed(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.connection.closing()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_idle_one_makes_room() {
        let connections = Connections::new(3, 3, Trusted::default(), Port::default());
        let busy = connections.admit(peer("192.0.2.1")).expect("a place");
        let request = busy.connection.begin(false);
        advance(SECOND).await;
        let older = connections.admit(peer("192.0.2.2")).expect("a place");
        advance(SECOND).await;
        let newer = connections.admit(peer("192.0.2.3")).expect("a place");
        advance(SECOND).await;
        // What was just answered is the youngest.
        drop(older.connection.begin(false));
        advance(SECOND).await;
        let last = connections.admit(peer("192.0.2.4")).expect("a place");
        assert!(is_closed(&newer).await && !is_closed(&older).await && !is_closed(&busy).await);
        let requests = [older.connection.begin(false), last.connection.begin(false)];
        assert_eq!(connections.admit(peer("192.0.2.5")).expect_err("all are busy"), Full::All);
        drop(newer);
        assert_eq!(lock(&connections.open).connections.len(), 3, "its place was given away already");
        drop((request, requests, busy));
        assert_eq!(lock(&connections.open).connections.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_its_share() {
        let many = Trusted::new(vec!["198.51.100.0/24".parse().expect("a network")]);
        let connections = Connections::new(10, 2, many, Port::default());
        let first = connections.admit(peer("2001:db8::1")).expect("a place");
        let second = connections.admit(peer("2001:db8::2")).expect("a place");
        let _elsewhere = connections.admit(peer("2001:db8:0:1::1")).expect("another network");
        let _busy = second.connection.begin(true);
        let third = connections.admit(peer("2001:db8::3")).expect("the place of the first");
        assert!(is_closed(&first).await);
        let _busy_too = third.connection.begin(true);
        assert_eq!(connections.admit(peer("2001:db8::4")).expect_err("all are busy"), Full::Share);
        let trusted: Vec<_> =
            (0..3).map(|_| connections.admit(peer("198.51.100.7")).expect("a place")).collect();
        let _requests: Vec<_> = trusted.iter().map(|place| place.connection.begin(false)).collect();
        let mapped = connections.admit(peer("::ffff:192.0.2.1")).expect("a place");
        assert_eq!(mapped.connection.network, peer("192.0.2.1").ip());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_nothing_to_do_rests() {
        let connections = Connections::new(10, 10, Trusted::default(), Port::default());
        let place = || connections.admit(peer("192.0.2.1")).expect("a place");
        let rests = async |place: &Place| {
            let second = tokio::time::timeout(SECOND, place.connection.rests());
            second.await.is_ok()
        };
        let (fresh, idle, half, slow, busy) = (place(), place(), place(), place(), place());
        for place in [&idle, &half, &slow, &busy] {
            drop(place.connection.begin(false));
        }
        half.connection.received();
        slow.connection.writes(0);
        let request = busy.connection.begin(false);
        assert!(!rests(&fresh).await, "it has no buffers yet");
        assert!(!rests(&half).await && !rests(&slow).await && !rests(&busy).await);
        assert!(rests(&idle).await);
        slow.connection.written();
        drop(request);
        assert!(rests(&slow).await && rests(&busy).await);
        let start = Instant::now();
        drop(idle.connection.begin(false));
        assert!(rests(&idle).await && start.elapsed() >= REST_AFTER, "not at once");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_too_long_goes() {
        let connections = Connections::new(10, 10, Trusted::default(), Port::default());
        let place = || connections.admit(peer("192.0.2.1")).expect("a place");
        let (silent, waiting, half, slow, busy, h2) = (place(), place(), place(), place(), place(), place());
        for place in [&waiting, &half, &slow] {
            drop(place.connection.begin(false));
        }
        let _request = busy.connection.begin(false);
        drop(h2.connection.begin(true));
        let mut gone = Vec::new();
        for second in 1..=80 {
            advance(SECOND).await;
            match second {
                5 => half.connection.received(),
                10 => slow.connection.writes(1),
                // A ping and its answer are no requests.
                11 => {
                    h2.connection.received();
                    h2.connection.writes(1);
                }
                _ => {}
            }
            half.connection.received();
            connections.close_overdue();
            let all = [("silent", &silent), ("waiting", &waiting), ("half", &half), ("h2", &h2)];
            for (name, place) in all.into_iter().chain([("slow", &slow), ("busy", &busy)]) {
                if is_closed(place).await {
                    gone.push((name, second));
                }
            }
        }
        assert_eq!(gone, [("silent", 20), ("half", 21), ("waiting", 75), ("h2", 75)]);
        assert_eq!(lock(&connections.open).connections.len(), 2, "slow and busy");
    }
}
