//! What clients and the admin do.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::client::{self, Answer, PATIENCE, finish};
use crate::model::{Got, KEYS, Kind, Model, SHOPS, download, prefix};
use crate::process::Process;
use crate::support::Random;

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
}

impl Counts {
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

/// One of many; over HTTP/1.1 or 2.
pub struct Client {
    random: Random,
    process: Arc<Process>,
    model: Arc<Model>,
    http: HttpClient<HttpConnector, Full<Bytes>>,
    /// Per shop, key and kind.
    known: Vec<Vec<[Known; Kind::ALL.len()]>>,
    /// The last fetch that was seen of each key and kind, in whatever shop: all have one feed.
    fetches: Vec<[usize; Kind::ALL.len()]>,
    counts: Counts,
}

/// Asks for every feed until there is a copy of each.
pub async fn warm_up(process: &Process, model: &Model) {
    for key in 0..KEYS {
        for kind in Kind::ALL {
            let from = Instant::now();
            let answer = client::get(process.address, &kind.target(key)).await;
            assert_eq!(answer.status, 200);
            let body = Some(answer.text());
            model.check(&Got { shop: 0, key, kind, body, from, to: Instant::now(), after: 0 });
        }
    }
}

/// Counts the lists of a shop that were loaded; 0 if there is no such shop.
async fn generation(process: &Process, shop: usize) -> u64 {
    let ready = client::get(process.admin, "/readyz").await;
    let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    let name = if shop == 0 { "default".to_owned() } else { format!("shop-{shop}") };
    let shops = state["shops"].as_array().unwrap();
    let found = shops.iter().find(|state| state["shop"] == *name);
    found.map_or(0, |state| state["generation"].as_u64().unwrap())
}

/// What the admin did.
#[derive(Debug, Default)]
pub struct Edits {
    pub written: u64,
    pub forgotten: u64,
}

/// Edits a list each half second until the end: every other time that at `/`, else that of a shop, which then comes,
/// changes or goes.
pub async fn edit(process: Arc<Process>, model: Arc<Model>, end: Instant) -> Edits {
    let (mut edits, mut random) = (Edits::default(), Random::new(model.seed()));
    for turn in 0.. {
        if Instant::now() >= end {
            break;
        }
        let shop = if turn % 2 == 0 { 0 } else { 1 + random.below(SHOPS - 1) };
        let before = generation(&process, shop).await;
        let goes = shop > 0 && before > 0 && random.chance(400);
        if goes {
            model.writes(shop, false);
            process.forget(shop);
            edits.forgotten += 1;
        } else {
            let list = model.writes(shop, true);
            process.edit(shop, &model.list(shop, list));
            edits.written += 1;
        }
        let is_done = |now: u64| if goes { now == 0 } else { now > before };
        let written = Instant::now();
        while !is_done(generation(&process, shop).await) {
            assert!(written.elapsed() < PATIENCE, "never in force: {shop}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        model.sees(shop);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    edits
}

impl Client {
    pub fn new(seed: u64, process: Arc<Process>, model: Arc<Model>) -> Self {
        let mut builder = HttpClient::builder(TokioExecutor::new());
        let http = builder.http2_only(seed.is_multiple_of(3)).build_http();
        let known = vec![vec![<[Known; Kind::ALL.len()]>::default(); KEYS]; SHOPS];
        let (random, fetches) = (Random::new(seed), vec![[0; Kind::ALL.len()]; KEYS]);
        Self { random, process, model, http, known, fetches, counts: Counts::default() }
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
        body: Vec<u8>,
    ) -> http::Response<hyper::body::Incoming> {
        let request = request.uri(format!("http://{}{target}", self.process.address));
        let answer = self.http.request(request.body(Full::from(body)).unwrap());
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap()
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
        let from = Instant::now();
        let answer = finish(self.ask(request, &target, Vec::new()).await).await;
        let to = Instant::now();
        assert!(!answer.cut, "a feed broke off while there is a copy");
        let text = match answer.status.as_u16() {
            200 => Some(decode(&answer)),
            304 => Some(known.text),
            404 => None,
            status => panic!("{status} while there is a copy: {answer:?}"),
        };
        let after = self.fetches[key][kind as usize];
        let fetch = self.model.check(&Got { shop, key, kind, body: text.as_deref(), from, to, after });
        self.counts.feeds += 1;
        let Some(text) = text else {
            self.counts.no_shop += 1;
            return;
        };
        self.fetches[key][kind as usize] = fetch;
        self.known[shop][key][kind as usize] = Known { etag: answer.header("etag").to_owned(), text };
        self.counts.of_shops += u64::from(shop > 0);
        self.counts.updates += u64::from(kind == Kind::Updates);
        self.counts.known += u64::from(answer.status == 304);
        self.counts.encoded += u64::from(!answer.header("content-encoding").is_empty());
    }

    async fn download(&mut self) {
        let len = self.random.below(2 << 20);
        let answer = finish(self.ask(Request::get("/"), &format!("/download?{len}"), Vec::new()).await).await;
        assert!(answer.status == 200 && !answer.cut && answer.body == download(len), "a download of {len}");
        self.counts.downloads += 1;
    }

    async fn upload(&mut self) {
        let len = self.random.below(1 << 20);
        let answer = finish(self.ask(Request::post("/"), "/upload", vec![7; len]).await).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, len.to_string().as_str()));
        self.counts.uploads += 1;
    }

    async fn hang_up(&mut self) {
        let target =
            self.random.pick(&["/download?2000000", "/api/v4/packages?n=0", "/api/v4/categories?n=1"]);
        let mut response = self.ask(Request::get("/"), target, Vec::new()).await;
        let _ = response.body_mut().frame().await;
        self.counts.hang_ups += 1;
    }

    async fn break_off(&mut self) {
        let answer = finish(self.ask(Request::get("/"), "/flaky", Vec::new()).await).await;
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
