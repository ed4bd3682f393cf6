//! Clients: one that follows HTTP, and one that writes any bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Limit after which a test that hangs fails. Nothing else is asserted about time.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// True if the transfer broke off.
    pub cut: bool,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Fails unless this is a well-formed refusal by the proxy.
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(self.header("proxy-status").starts_with("catalog-proxy; error="), "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        // The title of this type is the status' own phrase (RFC 9457 §4.2.1).
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"].as_str(), self.status.canonical_reason());
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
    }
}

/// Sends a request on a new connection and returns the head of the response.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let (mut parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = format!("http://{address}{target}").parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(Request::from_parts(parts, body));
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap()
}

/// Reads a response to its end.
pub async fn finish(response: Response<Incoming>) -> Answer {
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    let mut cut = false;
    while let Some(frame) = tokio::time::timeout(PATIENCE, incoming.frame()).await.expect("a frame in time") {
        match frame {
            Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
            Err(_) => {
                cut = true;
                break;
            }
        }
    }
    Answer { status: head.status, headers: head.headers, body: body.into(), cut }
}

pub async fn request(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    finish(send(address, request).await).await
}

pub fn get_request(target: &str) -> Request<Full<Bytes>> {
    Request::get(target).body(Full::default()).unwrap()
}

pub async fn get(address: SocketAddr, target: &str) -> Answer {
    request(address, get_request(target)).await
}

/// Writes `bytes` as they are and returns everything received until the peer closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // A reset ends an answer as well.
    assert!(end.is_ok(), "{:?} keeps the connection: {answer}", String::from_utf8_lossy(bytes));
    answer
}

/// Waits until `condition` holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = std::time::Instant::now();
    while !condition().await {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        // Real time, also while a test holds the clock.
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
}
