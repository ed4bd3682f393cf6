//! The limits that every connection and request is held to.

use std::time::Duration;

/// Longest wait for a whole request head, on a new connection for its first one: no honest client takes seconds
/// for some hundred bytes. What is left of a request's body after its answer has the same time.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may stay without a request. Load balancers keep theirs for 60 s; whoever is in front
/// should close first, or a request may meet a connection that is being closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How often connections are checked against the two limits above.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for a TLS handshake: a few round trips.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a client to take [`MIN_WRITE`] more bytes of a response.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Least bytes that a client must take within [`WRITE_TIMEOUT`]: what is slower than an old modem is no server's
/// line. A feed is then held for 20 minutes at most by whoever reads it slowly.
pub(crate) const MIN_WRITE: usize = 64 << 10;

/// How long input is dropped on a connection that closes with its request unread: several round trips.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of input that are dropped then: about what is on its way when a client learns of its response.
pub(crate) const MAX_LINGER_INPUT: usize = 256 << 10;

/// How long running responses may take at shutdown: what orchestrators grant before they kill.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that was accepted just before a shutdown may take to its first request: a round trip or two, also
/// to the other side of the world.
pub(crate) const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How long an HTTP/2 connection that must close may take to say so.
pub(crate) const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Most header fields of a request: some five times what browsers send.
pub(crate) const MAX_FIELDS: usize = 100;

/// Most bytes of a request head, eight times what servers usually allow: a header of cookies and tokens is the
/// upstream's to refuse. As much is buffered of each body on its way.
pub(crate) const MAX_HEAD: u32 = 64 << 10;

/// Most concurrent requests on one HTTP/2 connection.
pub(crate) const MAX_STREAMS: u32 = 128;

/// Most HTTP/2 requests that a client may have taken back before they were looked at.
///
/// SECURITY: more is an attack (CVE-2023-44487).
pub(crate) const MAX_PENDING_RESETS: usize = 20;

/// Most HTTP/2 streams that may have to be reset because of the client's errors.
///
/// SECURITY: more is an attack (CVE-2025-8671).
pub(crate) const MAX_ERROR_RESETS: usize = 100;

/// An HTTP/2 peer that is silent for so long is pinged.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A ping that is not answered within this time ends the connection.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(10);
