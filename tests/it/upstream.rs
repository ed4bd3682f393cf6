//! A scriptable upstream: it sends the responses that a test gives it, byte by byte if need be.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The first four kilobytes of the body.
    pub body: Vec<u8>,
    pub body_len: u64,
    pub trailers: Vec<(String, String)>,
    /// Number of the request on its connection, from 0.
    pub nth: usize,
}

/// One step of a response.
#[derive(Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Sends so many bytes of filler.
    Fill(u64),
    /// Sends so many bytes of filler, and adds up what the peer took.
    CountedFill(u64, Arc<AtomicU64>),
    /// Sends the same bytes again and again until the peer closes.
    Flood(Vec<u8>),
    /// Waits until the test opens the gate.
    Gate(Arc<Notify>),
    /// Waits for a pass from the test.
    Turnstile(Arc<Semaphore>),
    /// Closes the connection, which is kept otherwise.
    Close,
}

/// Steps of a response.
pub type Script = Vec<Step>;

/// A running upstream.
pub struct Upstream {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    /// Starts an upstream that answers each request with what `answer` returns for it.
    pub async fn start(answer: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                conversations.spawn(converse(stream, Arc::clone(&answer), Arc::clone(&seen)));
            }
        });
        Self { address, requests, task }
    }

    /// Starts one that has the same feeds for every version and query, and nothing else.
    pub async fn with_feeds(packages: impl Into<Vec<u8>>, categories: impl Into<Vec<u8>>) -> Self {
        let (packages, categories) = (packages.into(), categories.into());
        Self::start(move |request| match request.target.split('?').next().unwrap() {
            path if path.ends_with("/packages") => ok(&packages),
            path if path.ends_with("/categories") => ok(&categories),
            _ => status(404, "text/html", b"<h1>not here</h1>"),
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Stops it. Its connections are cut, and new ones are refused.
    pub async fn stop(self) -> SocketAddr {
        self.task.abort();
        let _ = self.task.await;
        self.address
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A feed with status 200.
pub fn ok(body: &[u8]) -> Script {
    status(200, "application/json", body)
}

pub fn status(code: u16, content_type: &str, body: &[u8]) -> Script {
    let head = format!("content-type: {content_type}\r\ncontent-length: {}\r\n", body.len());
    vec![head_of(code, &head), Step::Send(body.to_vec())]
}

/// A head with the given field lines.
pub fn head_of(code: u16, fields: &str) -> Step {
    Step::Send(format!("HTTP/1.1 {code} X\r\n{fields}\r\n").into_bytes())
}

/// One chunk of a chunked body; an empty one ends it.
pub fn chunk(bytes: &[u8]) -> Step {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    Step::Send(chunk)
}

/// Serves one connection until either side closes it.
pub async fn converse<S, F>(stream: S, answer: Arc<F>, seen: Arc<Mutex<Vec<Request>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(&Request) -> Script,
{
    let mut stream = BufReader::new(stream);
    let mut nth = 0;
    while let Ok(Some(mut request)) = read_request(&mut stream).await {
        request.nth = nth;
        nth += 1;
        seen.lock().unwrap().push(request.clone());
        for step in answer(&request) {
            let done = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
                Step::Fill(len) => fill(&mut stream, len, &AtomicU64::default()).await,
                Step::CountedFill(len, taken) => fill(&mut stream, len, &taken).await,
                Step::Flood(bytes) => {
                    let block = bytes.repeat((64 << 10) / bytes.len() + 1);
                    while stream.write_all(&block).await.is_ok() {}
                    false
                }
                Step::Gate(gate) => {
                    gate.notified().await;
                    true
                }
                Step::Turnstile(passes) => {
                    passes.acquire().await.unwrap().forget();
                    true
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    false
                }
            };
            if !done {
                return;
            }
        }
        let _ = stream.flush().await;
    }
}

async fn fill(stream: &mut (impl AsyncWrite + Unpin), len: u64, taken: &AtomicU64) -> bool {
    let block = vec![b'x'; 256 << 10];
    let mut left = len;
    while left > 0 {
        let now = left.min(block.len() as u64);
        if stream.write_all(&block[..now as usize]).await.is_err() {
            return false;
        }
        left -= now;
        taken.fetch_add(now, Ordering::Relaxed);
    }
    true
}

async fn read_request<S>(stream: &mut BufReader<S>) -> std::io::Result<Option<Request>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = read_fields(stream).await?;
    let mut request =
        Request { method, target, headers, body: Vec::new(), body_len: 0, trailers: Vec::new(), nth: 0 };
    if let Some(len) = request.header("content-length").and_then(|len| len.parse().ok()) {
        read_body(stream, &mut request, len).await?;
    } else if request.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(std::io::Error::other)?;
            if size == 0 {
                request.trailers = read_fields(stream).await?;
                break;
            }
            read_body(stream, &mut request, size).await?;
            stream.read_line(&mut String::new()).await?;
        }
    }
    Ok(Some(request))
}

async fn read_fields<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
) -> std::io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(fields) };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
    request: &mut Request,
    len: u64,
) -> std::io::Result<()> {
    let mut left = len;
    let mut block = vec![0; 64 << 10];
    while left > 0 {
        let max = block.len().min(left as usize);
        let read = stream.read(&mut block[..max]).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let room = 4096usize.saturating_sub(request.body.len());
        request.body.extend_from_slice(&block[..read.min(room)]);
        request.body_len += read as u64;
        left -= read as u64;
    }
    Ok(())
}
