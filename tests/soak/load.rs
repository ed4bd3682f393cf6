//! What clients and the admin do.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::client::{Answer, PATIENCE, finish};
use crate::model::{Got, KEYS, Kind, Model, REPLICAS, SHOPS, Seen, download, prefix};
use crate::process::{Balancer, Files, Replica, TLS};
use crate::support::Random;

/// All that runs, and what is known of it.
pub struct Site {
    pub model: Arc<Model>,
    pub files: Files,
    pub replicas: Vec<Replica>,
    pub balancer: Balancer,
}

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// HTTP/1.1 over HAProxy.
    Balanced,
    /// HTTP/2 with prior knowledge over HAProxy.
    BalancedHttp2,
    /// TLS and HTTP/1.1 to the replica that has it.
    Tls,
    /// TLS and HTTP/2 to the same.
    TlsHttp2,
}

impl Site {
    /// Returns true if a replica was stopped since, or is not back yet.
    fn meets_restart(&self, stops: [u64; REPLICAS]) -> bool {
        self.model.stopped() != stops
            || self.replicas.iter().any(|replica| replica.process.try_lock().is_err())
    }
}

impl Route {
    pub const ALL: [Self; 4] = [Self::Balanced, Self::BalancedHttp2, Self::Tls, Self::TlsHttp2];

    fn is_balanced(self) -> bool {
        matches!(self, Self::Balanced | Self::BalancedHttp2)
    }

    fn is_http2(self) -> bool {
        matches!(self, Self::BalancedHttp2 | Self::TlsHttp2)
    }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    feeds: u64,
    updates: u64,
    of_shops: u64,
    no_shop: u64,
    encoded: u64,
    known: u64,
    downloads: u64,
    uploads: u64,
    hang_ups: u64,
    broken: u64,
    /// Uploads that met a restart: nobody may send them again, so they may fail.
    pub unlucky_uploads: u64,
}

impl Counts {
    /// Counts all requests.
    pub fn requests(&self) -> u64 {
        self.feeds + self.downloads + self.uploads + self.hang_ups + self.broken + self.unlucky_uploads
    }

    pub fn add(&mut self, other: &Self) {
        self.feeds += other.feeds;
        self.updates += other.updates;
        self.of_shops += other.of_shops;
        self.no_shop += other.no_shop;
        self.encoded += other.encoded;
        self.known += other.known;
        self.downloads += other.downloads;
        self.uploads += other.uploads;
        self.hang_ups += other.hang_ups;
        self.broken += other.broken;
        self.unlucky_uploads += other.unlucky_uploads;
    }

    pub fn is_everything(&self) -> bool {
        let all = [
            self.feeds,
            self.updates,
            self.of_shops,
            self.no_shop,
            self.encoded,
            self.known,
            self.downloads,
            self.uploads,
            self.hang_ups,
            self.broken,
        ];
        all.iter().all(|count| *count > 0)
    }
}

/// What a client remembers of a shop's view: its validator and its text.
#[derive(Default, Clone)]
struct Known {
    etag: String,
    text: String,
}

/// One of many.
pub struct Client {
    random: Random,
    site: Arc<Site>,
    route: Route,
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Per shop, key and kind.
    known: Vec<Vec<[Known; Kind::ALL.len()]>>,
    /// The last fetches that were seen of each key and kind, in whatever shop: all have one feed.
    seen: Vec<[Seen; Kind::ALL.len()]>,
    counts: Counts,
}

/// Asks each replica for every feed, so that it has a copy of each.
pub async fn warm_up(site: &Site) {
    for replica in &site.replicas {
        let scheme = if replica.address == site.replicas[TLS].address { "https" } else { "http" };
        let http = HttpClient::builder(TokioExecutor::new()).build(site.files.pair.connector(false));
        for key in 0..KEYS {
            for kind in Kind::ALL {
                let from = Instant::now();
                let uri = format!("{scheme}://{}{}", replica.address, kind.target(key));
                let request: Request<Full<Bytes>> = Request::get(uri).body(Full::default()).unwrap();
                let answer = finish(http.request(request).await.unwrap()).await;
                assert_eq!(answer.status, 200);
                let (body, after) = (Some(answer.text()), Seen::default());
                let stops = site.model.stopped();
                site.model.check(&Got { shop: 0, key, kind, body, from, to: Instant::now(), after }, stops);
            }
        }
    }
}

impl Client {
    pub fn new(seed: u64, site: Arc<Site>, route: Route) -> Self {
        let connector = site.files.pair.connector(route.is_http2());
        let http = HttpClient::builder(TokioExecutor::new()).http2_only(route.is_http2()).build(connector);
        let known = vec![vec![<[Known; Kind::ALL.len()]>::default(); KEYS]; SHOPS];
        let (random, seen) = (Random::new(seed), vec![[Seen::default(); Kind::ALL.len()]; KEYS]);
        Self { random, site, route, http, known, seen, counts: Counts::default() }
    }

    pub async fn run(mut self, end: Instant) -> Counts {
        while Instant::now() < end {
            match self.random.below(20) {
                0..=12 => self.feed().await,
                13..=14 => self.download().await,
                15..=16 => self.upload().await,
                17..=18 => self.hang_up().await,
                _ => self.break_off().await,
            }
            // Many clients that think, not few that hammer.
            tokio::time::sleep(Duration::from_millis(self.random.below(60) as u64)).await;
        }
        self.counts
    }

    async fn ask(
        &self,
        request: http::request::Builder,
        target: &str,
    ) -> http::Response<hyper::body::Incoming> {
        self.send(request, target, Vec::new()).await.unwrap_or_else(|error| panic!("{target}: {error:?}"))
    }

    async fn send(
        &self,
        request: http::request::Builder,
        target: &str,
        body: Vec<u8>,
    ) -> Result<http::Response<hyper::body::Incoming>, hyper_util::client::legacy::Error> {
        let origin = match self.route.is_balanced() {
            true => format!("http://{}", self.site.balancer.address),
            false => format!("https://{}", self.site.replicas[TLS].address),
        };
        let request = request.uri(format!("{origin}{target}")).body(Full::from(body)).unwrap();
        tokio::time::timeout(PATIENCE, self.http.request(request)).await.expect("an answer in time")
    }

    async fn feed(&mut self) {
        let (key, kind) = (self.random.below(KEYS), self.random.pick(&Kind::ALL));
        let shop = if self.random.chance(500) { 0 } else { self.random.below(SHOPS) };
        let target = prefix(shop) + &kind.target(key);
        let accept = self.random.pick(&["identity", "gzip", "br", "zstd", "gzip, br, zstd"]);
        let conditional = self.random.chance(500);
        let known = self.known[shop][key][kind as usize].clone();
        let mut request = Request::get("/").header("accept-encoding", accept);
        if conditional && !known.etag.is_empty() {
            request = request.header("if-none-match", &known.etag);
        }
        let (from, stops) = (Instant::now(), self.site.model.stopped());
        let answer = finish(self.ask(request, &target).await).await;
        let to = Instant::now();
        assert!(!answer.cut, "a feed broke off while there is a copy");
        let text = match answer.status.as_u16() {
            200 => Some(decode(&answer)),
            304 => Some(known.text),
            404 => None,
            status => panic!("{status} while there is a copy: {answer:?}"),
        };
        let after = self.seen[key][kind as usize];
        let seen =
            self.site.model.check(&Got { shop, key, kind, body: text.as_deref(), from, to, after }, stops);
        self.counts.feeds += 1;
        let Some(text) = text else {
            self.counts.no_shop += 1;
            return;
        };
        self.seen[key][kind as usize] = seen;
        self.known[shop][key][kind as usize] = Known { etag: answer.header("etag").to_owned(), text };
        self.counts.of_shops += u64::from(shop > 0);
        self.counts.updates += u64::from(kind == Kind::Updates);
        self.counts.known += u64::from(answer.status == 304);
        self.counts.encoded += u64::from(!answer.header("content-encoding").is_empty());
    }

    async fn download(&mut self) {
        let len = self.random.below(2 << 20);
        let answer = finish(self.ask(Request::get("/"), &format!("/download?{len}")).await).await;
        assert!(answer.status == 200 && !answer.cut && answer.body == download(len), "a download of {len}");
        self.counts.downloads += 1;
    }

    async fn upload(&mut self) {
        let len = self.random.below(1 << 20);
        let stops = self.site.model.stopped();
        let answer = match self.send(Request::post("/"), "/upload", vec![7; len]).await {
            Ok(answer) => Ok(finish(answer).await),
            // HAProxy closes the connection where a client may ask again by itself, which a POST may not.
            Err(error) => Err(error),
        };
        let is_answered = answer
            .as_ref()
            .is_ok_and(|answer| answer.status == 200 && !answer.cut && answer.text() == len.to_string());
        if !is_answered && self.route.is_balanced() && self.site.meets_restart(stops) {
            self.counts.unlucky_uploads += 1;
            return;
        }
        assert!(is_answered, "an upload of {len}: {answer:?}");
        self.counts.uploads += 1;
    }

    async fn hang_up(&mut self) {
        let target =
            self.random.pick(&["/download?2000000", "/api/v4/packages?n=0", "/api/v4/categories?n=1"]);
        let mut response = self.ask(Request::get("/"), target).await;
        let _ = response.body_mut().frame().await;
        self.counts.hang_ups += 1;
    }

    async fn break_off(&mut self) {
        let answer = finish(self.ask(Request::get("/"), "/flaky").await).await;
        assert!(answer.cut || answer.status == 502, "half an answer passed for a whole one");
        self.counts.broken += 1;
    }
}

fn decode(answer: &Answer) -> String {
    let mut text = String::new();
    let body = answer.body.as_ref();
    match answer.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_string(&mut text),
        _ => return answer.text().to_owned(),
    }
    .unwrap();
    text
}
