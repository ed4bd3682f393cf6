//! The TLS handshake, and a word to those who do not begin one.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use super::tls::Certificate;

/// What plain HTTP gets, for a connection that ends without a word sends people looking in the wrong place.
const PLAIN_HTTP: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\n",
    "Content-Type: application/problem+json\r\n",
    "Proxy-Status: catalog-proxy; error=http_request_error\r\n",
    "Connection: close\r\n\r\n",
    r#"{"type":"urn:problem-type:catalog-proxy:plain-http","title":"Plain HTTP","status":400,"#,
    r#""detail":"this port speaks HTTPS; the URL must begin with https://"}"#,
    "\n",
);

/// Most bytes of a plain request that are read before it is answered.
const REQUEST: usize = 4 << 10;

/// Begins TLS with the newest good certificate.
pub(super) async fn accept(
    certificate: &Certificate,
    mut socket: Socket<TcpStream>,
) -> io::Result<TlsStream<Socket<TcpStream>>> {
    let mut first = [0];
    socket.get_ref().peek(&mut first).await?;
    // A method begins with a letter, a handshake with 22 (RFC 8446 §5.1).
    if first[0].is_ascii_alphabetic() {
        // The system takes an answer back if there is something unread at the end.
        let _ = socket.read(&mut [0; REQUEST]).await?;
        socket.write_all(PLAIN_HTTP.as_bytes()).await?;
        socket.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP"));
    }
    certificate.acceptor().accept(socket).await
}
