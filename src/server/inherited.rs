//! Listening sockets that the service manager opened and hands over (sd_listen_fds(3)).
//!
//! The manager keeps them open while the service restarts, so clients that connect meanwhile wait in the system's queue
//! and are refused nothing.

use std::env;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

/// Variables of the protocol.
const COUNT: &str = "LISTEN_FDS";
const PROCESS: &str = "LISTEN_PID";
const NAMES: &str = "LISTEN_FDNAMES";

/// Descriptor of the first socket.
const FIRST: usize = 3;

/// Most sockets: two address families for each port, and some to spare.
const MAX_SOCKETS: usize = 64;

/// Sockets that were handed over. They do not block, and are closed in programs that this one starts.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Sockets of the service port, in the place of the addresses that are configured.
    pub service: Vec<TcpListener>,
    /// Socket of the admin port, if there is one, in the place of the address that is configured.
    pub admin: Option<TcpListener>,
    /// What is odd about them, for the log.
    pub warnings: Vec<String>,
}

/// Error about a socket that cannot be used, or is for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{COUNT}: {0}")]
pub struct InheritedError(String);

/// Port that a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortName {
    Service,
    Admin,
}

impl InheritedSockets {
    /// Takes the sockets that the environment names; none if it names none, or another process.
    ///
    /// Removes the variables with the number and the process, so that no other program takes them for its own: call it
    /// while there is one thread.
    ///
    /// # Errors
    /// If one cannot be used. All of them must, or clients of that port would wait for an answer in vain.
    pub fn from_env() -> Result<Self, InheritedError> {
        let Some(count) = env::var(COUNT).ok().filter(|count| !count.is_empty()) else {
            return Ok(Self::default());
        };
        let process = env::var(PROCESS).unwrap_or_default();
        let names = env::var(NAMES).unwrap_or_default();
        let is_sane = count.parse::<usize>().is_ok_and(|count| count <= MAX_SOCKETS);
        if !is_sane {
            return Err(InheritedError(format!(
                "{count:?} is no number of sockets, of which 64 are the most"
            )));
        }
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Self::default();
        if descriptors.len() == 0 && count != "0" {
            sockets.warnings.push(format!(
                "{COUNT}={count} is not used: {PROCESS}={process} is another process; a shell in between must `exec`"
            ));
        }
        let mut names = names.split(':');
        for n in 0..descriptors.len() {
            let (number, name) = (FIRST + n, names.next().unwrap_or_default());
            let wrong = |what: String| InheritedError(format!("descriptor {number} ({name:?}): {what}"));
            let socket = descriptors.take_tcp_listener(n).map_err(|error| wrong(error.to_string()))?;
            let socket = socket.ok_or_else(|| wrong("taken twice".to_owned()))?;
            check(&socket).map_err(wrong)?;
            match port_of(name).map_err(wrong)? {
                PortName::Service => sockets.service.push(socket),
                PortName::Admin if sockets.admin.is_none() => sockets.admin = Some(socket),
                PortName::Admin => return Err(wrong("the admin port has one socket already".to_owned())),
            }
        }
        sockets
            .warnings
            .extend(sockets.service.iter().filter_map(|socket| deaf_for_ipv4(socket, &sockets.service)));
        Ok(sockets)
    }

    /// Returns the addresses of the service port's sockets.
    fn addresses(sockets: &[TcpListener]) -> impl Iterator<Item = SocketAddr> {
        sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Returns the port that a name is for: that of `FileDescriptorName=`, and without one that of the unit.
fn port_of(name: &str) -> Result<PortName, String> {
    match name {
        "service" | "" | "unknown" => Ok(PortName::Service),
        "admin" => Ok(PortName::Admin),
        unit if unit.ends_with(".socket") => Ok(PortName::Service),
        _ => Err("no such name; FileDescriptorName= must be `service` or `admin`".to_owned()),
    }
}

/// Checks that connections can be accepted from a socket, and that this does not block.
fn check(socket: &TcpListener) -> Result<(), String> {
    match SockRef::from(socket).is_listener() {
        Ok(true) => {}
        Ok(false) => return Err("it does not listen; Accept=yes is not supported".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    socket.set_nonblocking(true).map_err(|error| error.to_string())
}

/// Returns a warning if a socket of `[::]` leaves IPv4 out and no other one has it.
fn deaf_for_ipv4(socket: &TcpListener, all: &[TcpListener]) -> Option<String> {
    let address = socket.local_addr().ok()?;
    let is_v6_only = address.is_ipv6()
        && address.ip().is_unspecified()
        && SockRef::from(socket).only_v6().is_ok_and(|only| only);
    let has_other =
        InheritedSockets::addresses(all).any(|other| other.is_ipv4() && other.port() == address.port());
    (is_v6_only && !has_other).then(|| {
        format!(
            "the socket on {address} takes no IPv4: set BindIPv6Only=both in its unit, or add \
             ListenStream=0.0.0.0:{}",
            address.port()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn names_say_which_port() {
        let check =
            |name: &str, expected: Option<PortName>| assert_eq!(port_of(name).ok(), expected, "{name}");
        check("service", Some(PortName::Service));
        check("admin", Some(PortName::Admin));
        check("", Some(PortName::Service));
        check("unknown", Some(PortName::Service));
        check("catalog-proxy.socket", Some(PortName::Service));
        check("connection", None);
        check("Service", None);
    }

    fn v6(only: bool, address: Ipv6Addr) -> TcpListener {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).expect("a socket");
        socket.set_only_v6(only).expect("an option");
        socket.bind(&SocketAddr::from((address, 0)).into()).expect("a port");
        socket.listen(1).expect("a listener");
        socket.into()
    }

    #[test]
    fn a_socket_without_ipv4_is_told() {
        for heard in [v6(false, Ipv6Addr::UNSPECIFIED), v6(true, Ipv6Addr::LOCALHOST)] {
            assert_eq!(deaf_for_ipv4(&heard, &[]), None);
        }
        let only = v6(true, Ipv6Addr::UNSPECIFIED);
        let port = only.local_addr().expect("an address").port();
        assert!(
            deaf_for_ipv4(&only, &[]).expect("a warning").ends_with(&format!("ListenStream=0.0.0.0:{port}"))
        );
        let elsewhere = TcpListener::bind("127.0.0.1:0").expect("another port");
        assert!(deaf_for_ipv4(&only, &[elsewhere]).is_some());
        let other = TcpListener::bind(("0.0.0.0", port)).expect("the same port");
        assert_eq!(deaf_for_ipv4(&only, &[other]), None);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        assert!(check(&TcpListener::from(socket)).expect_err("no listener").contains("does not listen"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        check(&listener).expect("a listener");
        assert_eq!(listener.accept().expect_err("nobody").kind(), std::io::ErrorKind::WouldBlock);
    }
}
