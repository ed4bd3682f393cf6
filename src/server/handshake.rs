//! TLS handshake, with an answer for clients that speak plain HTTP instead.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::certificate::Certificate;

/// The answer to plain HTTP: a connection that ends without a word sends people looking in the wrong place.
const PLAIN_HTTP: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\n",
    "Content-Type: application/problem+json\r\n",
    "Proxy-Status: catalog-proxy; error=http_request_error\r\n",
    "Connection: close\r\n\r\n",
    r#"{"type":"about:blank","title":"Bad Request","status":400,"#,
    r#""detail":"this port speaks HTTPS; the URL must begin with https://"}"#,
    "\n",
);

/// Accepts a TLS connection with the newest good certificate.
///
/// # Errors
/// If the handshake fails, or the client was told that it speaks plain HTTP.
pub(super) async fn accept(
    certificate: &Certificate,
    mut socket: Socket<TcpStream>,
) -> io::Result<TlsStream<Socket<TcpStream>>> {
    let mut first = [0];
    socket.get_ref().peek(&mut first).await?;
    // A method begins with a letter, a handshake with 22 (RFC 8446 §5.1).
    if first[0].is_ascii_alphabetic() {
        // One byte makes the record say that the client is sending; shutting down drops the rest.
        let _ = socket.read(&mut first).await?;
        socket.write_all(PLAIN_HTTP.as_bytes()).await?;
        socket.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP"));
    }
    certificate.acceptor().accept(socket).await
}
