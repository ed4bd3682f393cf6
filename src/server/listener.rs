//! Listening sockets: a long backlog, both address families on one port, and pauses when accepting fails.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Most connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`, 4,096 by default).
/// A night's burst of 2,000 servers fits. Beyond, a client waits a second until it sends its SYN again.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept: out of file descriptors, trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Shortest time between two warnings about failed accepts.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a connection that the system takes before it has sent those before them. It would take megabytes: for a
/// thousand slow readers at once that is more than a second of copying in which nobody else is answered, and a gigabyte of
/// the system's memory. Fast readers do not notice (docs/performance.md).
const MAX_UNSENT_BYTES: u32 = 256 << 10;

/// Binds a listener to `address`, which is one of `all` that the process listens on.
///
/// # Errors
/// If the system refuses.
pub fn bind(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // `[::]` takes IPv4 as well, unless another listener has that port for it.
    if all.iter().any(|other| address.is_ipv6() && other.is_ipv4() && other.port() == address.port()) {
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for the connections of before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listener that pauses after failures.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// When to try again. Kept here, so that a pause goes on when a call of `accept` is dropped.
    paused_until: Option<Instant>,
    warned: Option<Instant>,
    /// Failures since the last warning.
    failures: u64,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener) -> Self {
        // Accepted sockets inherit both, which saves system calls for each connection.
        let socket = SockRef::from(&listener);
        if let Err(error) = socket.set_tcp_notsent_lowat(MAX_UNSENT_BYTES) {
            warn!(%error, "the system buffers as much as it likes for slow readers");
        }
        // Heads and bodies are written apart; Nagle would hold the second back for 40 ms.
        if let Err(error) = socket.set_tcp_nodelay(true) {
            warn!(%error, "no TCP_NODELAY: answers may be 40 ms late");
        }
        Self { listener, paused_until: None, warned: None, failures: 0 }
    }

    /// Accepts the next connection. Cancel safe.
    pub(super) async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Some(until) = self.paused_until {
                sleep_until(until).await;
                self.paused_until = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // The client is gone already.
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => self.record_failure(&error),
            }
        }
    }

    fn record_failure(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.paused_until = Some(now + ACCEPT_PAUSE);
        self.failures += 1;
        if self.warned.is_none_or(|warned| warned + WARN_INTERVAL <= now) {
            warn!(%error, failures = self.failures, "cannot accept connections");
            (self.warned, self.failures) = (Some(now), 0);
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use crate::cancel;

    use super::*;

    fn any_port() -> TcpListener {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        bind(address, &[address]).expect("a port")
    }

    #[tokio::test]
    async fn both_families_share_a_port_in_either_order() {
        for v4_first in [true, false] {
            let port = any_port().local_addr().expect("an address").port();
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let all = if v4_first { [v4, v6] } else { [v6, v4] };
            let bound: Vec<_> = all.iter().map(|address| bind(*address, &all).expect("both")).collect();
            drop(bound);
            // Alone, the second family still serves both.
            let both = bind(v6, &[v6]).expect("the port");
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a connection over IPv4");
            drop(both);
        }
    }

    #[tokio::test]
    async fn a_burst_waits_to_be_accepted() {
        const BURST: usize = 600;
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
        let burst = BURST.min(allowed.trim().parse().expect("a number"));
        let listener = any_port();
        let address = listener.local_addr().expect("an address");
        let connect = |_| tokio::time::timeout(Duration::from_millis(900), TcpStream::connect(address));
        let connected = futures_util::future::join_all((0..burst).map(connect)).await;
        let waiting = connected.iter().filter(|one| !matches!(one, Ok(Ok(_)))).count();
        assert_eq!(waiting, 0, "of {burst} wait for their SYN to be sent again");
    }

    #[tokio::test]
    async fn accepted_sockets_inherit_the_options() {
        let mut acceptor = Acceptor::new(any_port());
        let client = TcpStream::connect(acceptor.listener.local_addr().expect("an address")).await;
        let (accepted, _) = acceptor.accept().await;
        let unsent = SockRef::from(&accepted).tcp_notsent_lowat().expect("an option");
        let nodelay = accepted.nodelay().expect("an option");
        assert_eq!((unsent, nodelay), (MAX_UNSENT_BYTES, true));
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_outlives_the_call_that_began_it() {
        let mut acceptor = Acceptor::new(any_port());
        let address = acceptor.listener.local_addr().expect("an address");
        let _client = std::net::TcpStream::connect(address).expect("a connection");
        let start = Instant::now();
        acceptor.record_failure(&io::Error::from_raw_os_error(24));
        for _ in 0..5 {
            assert!(cancel::after(1, acceptor.accept()).await.is_none());
        }
        acceptor.accept().await;
        assert!(start.elapsed() >= ACCEPT_PAUSE);
    }

    #[test]
    fn a_client_that_is_gone_is_no_reason_to_pause() {
        use rustix::io::Errno;
        for gone in [Errno::CONNABORTED, Errno::CONNRESET, Errno::CONNREFUSED] {
            assert!(is_about_one_connection(&gone.into()), "{gone}");
        }
        for ours in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::INVAL] {
            assert!(!is_about_one_connection(&ours.into()), "{ours}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_warned_about_at_a_bounded_rate() {
        let mut acceptor = Acceptor::new(any_port());
        let mut warnings = 0;
        for _ in 0..300 {
            acceptor.record_failure(&io::Error::from_raw_os_error(24));
            warnings += usize::from(acceptor.failures == 0);
            tokio::time::advance(ACCEPT_PAUSE).await;
        }
        assert_eq!(warnings, 3, "in 30 s");
    }
}
