//! What the upstream says, what the lists decide, and so what every answer must be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::list::{List, Verdict};
use crate::support::{Feed, Package, Random, Shape};
use crate::upstream::{Request, Script, Step, Upstream, chunk, head_of, ok, status};

/// Shops; the first is the one at `/`.
pub const SHOPS: usize = 4;
/// Feeds of packages. Each is asked for in both views, and has a categories feed.
pub const KEYS: usize = 6;
/// Proxies: the two behind HAProxy, and the one with TLS. Each has an upstream of its own, so that a feed tells who
/// fetched it.
pub const REPLICAS: usize = 3;
/// Packages of a feed; some 100 KB.
const SHAPE: Shape = Shape { packages: 60, mean_size: 1_700, ..Shape::VENDOR };

/// Everything that is known.
pub struct Model {
    seed: u64,
    feeds: Vec<Feed>,
    /// Per replica, key and kind, what became of each fetch.
    fetches: Mutex<[Fates; REPLICAS]>,
    /// Per replica, how many of its processes were stopped.
    stops: [AtomicU64; REPLICAS],
    /// Per shop, what its files said one after the other.
    files: Mutex<[Vec<File>; SHOPS]>,
}

/// Per key and kind, what became of each fetch.
type Fates = [[Vec<Fate>; Kind::ALL.len()]; KEYS];

/// What a shop's file said for a while.
struct File {
    /// The list, if there is a file.
    list: Option<Arc<List>>,
    written: Instant,
    /// When every replica was seen to have it in force.
    seen: Option<Instant>,
}

/// What a client got for a feed.
pub struct Got<'a> {
    pub shop: usize,
    pub key: usize,
    pub kind: Kind,
    /// The text, or nothing if there is no such shop.
    pub body: Option<&'a str>,
    /// When it asked, and when the answer was complete.
    pub from: Instant,
    pub to: Instant,
    /// What it had seen before.
    pub after: Seen,
}

/// Last fetch of each replica that a client saw of a feed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen([Option<Fetch>; REPLICAS]);

/// One fetch of a replica.
#[derive(Debug, Clone, Copy)]
struct Fetch {
    number: usize,
    /// Stops of the replica before the client asked: a new process begins with the copy on disk, which may be older.
    stops: u64,
}

/// Returns the prefix of a shop.
pub fn prefix(shop: usize) -> String {
    if shop == 0 { String::new() } else { format!("/shop-{shop}") }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Bad,
}

/// Which of the feeds of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Packages in the shop view.
    Shop,
    /// Packages in the update view.
    Updates,
    Categories,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Shop, Self::Updates, Self::Categories];

    /// Returns the target of a request. Categories of odd keys have the query of an update view, which must not matter:
    /// categories have a shop view only.
    pub fn target(self, key: usize) -> String {
        let shop = || format!("n={key}");
        let updates = || format!("n={key}&platform=unix");
        match self {
            Self::Shop => format!("/api/v4/packages?{}", shop()),
            Self::Updates => format!("/api/v4/packages?{}", updates()),
            Self::Categories if key % 2 == 1 => format!("/api/v4/categories?{}", updates()),
            Self::Categories => format!("/api/v4/categories?{}", shop()),
        }
    }

    /// Returns true if a package of this state is in it.
    fn shows(self, verdict: Verdict) -> bool {
        verdict == Verdict::Shown || self == Self::Updates && verdict == Verdict::Retired
    }
}

impl Model {
    pub fn new(seed: u64) -> Self {
        let feeds = (0..KEYS as u64).map(|n| Feed::new(Shape { seed: seed * 100 + n, ..SHAPE })).collect();
        let model = Self {
            seed,
            feeds,
            fetches: Mutex::default(),
            stops: Default::default(),
            files: Mutex::new(std::array::from_fn(|_| Vec::new())),
        };
        for shop in 0..SHOPS {
            model.writes(shop, (shop == 0).then(|| Arc::new(model.draw(shop))));
            model.sees(shop);
        }
        model
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws a new list for a shop.
    pub fn draw(&self, shop: usize) -> List {
        let codes = self.feeds.iter().flat_map(|feed| &feed.packages);
        let number = self.files.lock().unwrap()[shop].len();
        List::new(self.seed ^ (number as u64) << 20 ^ (shop as u64) << 52, codes)
    }

    /// The list that was written last for a shop.
    pub fn list(&self, shop: usize) -> Option<Arc<List>> {
        self.files.lock().unwrap()[shop].last().unwrap().list.clone()
    }

    /// Notes that a shop's file is about to be written, or removed.
    pub fn writes(&self, shop: usize, list: Option<Arc<List>>) {
        self.files.lock().unwrap()[shop].push(File { list, written: Instant::now(), seen: None });
    }

    /// Notes that a process of a replica is about to be stopped.
    pub fn stops(&self, replica: usize) {
        self.stops[replica].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts the processes that were stopped so far.
    pub fn stopped(&self) -> [u64; REPLICAS] {
        std::array::from_fn(|replica| self.stops[replica].load(Ordering::SeqCst))
    }

    /// Notes that what was written last is in force.
    pub fn sees(&self, shop: usize) {
        self.files.lock().unwrap()[shop].last_mut().unwrap().seen = Some(Instant::now());
    }

    /// The lists that may have been in force at some moment between two; nothing for a moment without the shop.
    fn current(&self, shop: usize, from: Instant, to: Instant) -> Vec<Option<Arc<List>>> {
        let files = &self.files.lock().unwrap()[shop];
        let gone = |n: usize| files.get(n + 1).and_then(|next| next.seen).is_some_and(|seen| seen < from);
        let current = (0..files.len()).filter(|&n| files[n].written <= to && !gone(n));
        current.map(|n| files[n].list.clone()).collect()
    }

    /// What the upstream says in the nth fetch of a feed.
    fn body(&self, key: usize, kind: Kind, marker: &str) -> String {
        match kind {
            Kind::Shop | Kind::Updates => format!("[{marker},{}", &self.feeds[key].json[1..]),
            Kind::Categories => {
                let top = |package: &Package| format!(r#"{{"code":"{}"}}"#, package.code);
                let top: Vec<_> = self.feeds[key].packages.iter().map(top).collect();
                format!(r#"[{marker},{{"code":"c","top_packages":[{}]}}]"#, top.join(","))
            }
        }
    }

    /// What the proxy must make of it under a list.
    fn expected(&self, got: &Got<'_>, marker: &str, list: &List) -> String {
        let (feed, kind) = (&self.feeds[got.key], got.kind);
        let shown = feed.packages.iter().filter(|package| kind.shows(list.verdict(package)));
        match kind {
            Kind::Shop | Kind::Updates => {
                let elements = shown.map(|package| &feed.json[package.span.clone()]);
                format!("[{}]", [marker].into_iter().chain(elements).collect::<Vec<_>>().join(","))
            }
            Kind::Categories => {
                let top: Vec<_> = shown.map(|package| format!(r#"{{"code":"{}"}}"#, package.code)).collect();
                format!(r#"[{marker},{{"code":"c","top_packages":[{}]}}]"#, top.join(","))
            }
        }
    }

    /// Checks an answer; `stops` are those before the client asked. Returns what the client has seen now.
    pub fn check(&self, got: &Got<'_>, stops: [u64; REPLICAS]) -> Seen {
        let Got { shop, key, kind, mut after, .. } = *got;
        let lists = self.current(shop, got.from, got.to);
        let Some(body) = got.body else {
            assert!(lists.iter().any(Option::is_none), "the shop {shop} has a list, but there is none");
            return after;
        };
        let marker = body.strip_prefix(r#"[{"code":"fetch-"#).and_then(|rest| rest.split('"').next());
        let (replica, number) = marker
            .and_then(|marker| marker.split_once('-'))
            .and_then(|(replica, number)| {
                Some((replica.parse::<usize>().ok()?, number.parse::<usize>().ok()?))
            })
            .unwrap_or_else(|| panic!("no marker: {body:.200}"));
        let fate = self.fetches.lock().unwrap()[replica][key][kind as usize][number];
        assert_eq!(fate, Fate::Good, "a bad feed was served: {kind:?} {key} {replica}-{number}");
        // No stop between that answer's request and the end of this one: both are of one process.
        let same_process = |seen: &Fetch| seen.stops == self.stopped()[replica];
        if let Some(seen) = after.0[replica].filter(same_process) {
            assert!(number >= seen.number, "{kind:?} {key} of {replica} went back from {seen:?} to {number}");
        }
        let marker = marker_of(replica, number);
        let exact = lists.iter().flatten().any(|list| self.expected(got, &marker, list) == body);
        assert!(
            exact,
            "{kind:?} {key} {marker} of the shop {shop} is as under none of {} lists",
            lists.len()
        );
        after.0[replica] = Some(Fetch { number, stops: stops[replica] });
        after
    }

    /// Answers a fetch, well or badly.
    fn answer(&self, request: &Request, replica: usize, key: usize, kind: Kind) -> Script {
        let fetch = {
            let mut fetches = self.fetches.lock().unwrap();
            let fates = &mut fetches[replica][key][kind as usize];
            fates.push(Fate::Bad);
            fates.len() - 1
        };
        let feed = (replica * KEYS + key) * Kind::ALL.len() + kind as usize;
        let mut random = Random::new(self.seed ^ (feed as u64) << 40 ^ fetch as u64);
        // The first one is good, so that there is a copy.
        let turn = if fetch == 0 { 0 } else { random.below(16) };
        let body = self.body(key, kind, &marker_of(replica, fetch)).into_bytes();
        let sized = |len: usize| {
            head_of(200, &format!("content-type: application/json\r\ncontent-length: {len}\r\n"))
        };
        let bad = match turn {
            8 => Some(vec![Step::Close]),
            9 => Some(status(503, "text/html", b"<h1>down</h1>")),
            10 => Some(vec![sized(body.len()), Step::Send(body[..body.len() / 2].to_vec()), Step::Close]),
            11 => Some(vec![sized(body.len() + 1), Step::Send([&body[..], b"x"].concat())]),
            12 => Some(status(200, "text/html", b"<h1>welcome</h1>")),
            13 => Some(vec![
                Step::Send(b"HTTP/1.1 200 X\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_vec()),
                Step::Close,
            ]),
            14 => Some(vec![head_of(302, "location: https://elsewhere.example/\r\ncontent-length: 0\r\n")]),
            _ => None,
        };
        if let Some(script) = bad {
            return script;
        }
        if turn == 15 && request.header("if-none-match").is_some() {
            return vec![head_of(304, "")];
        }
        self.fetches.lock().unwrap()[replica][key][kind as usize][fetch] = Fate::Good;
        let coded = |coding: &str, body: Vec<u8>| {
            let fields = format!(
                "content-encoding: {coding}\r\netag: \"{fetch}\"\r\ncontent-length: {}\r\n",
                body.len()
            );
            vec![head_of(200, &fields), Step::Send(body)]
        };
        match turn {
            0..=2 => coded("identity", body),
            3..=5 => coded("zstd", zstd::encode_all(body.as_slice(), 1).unwrap()),
            6 => {
                let mut script = vec![head_of(200, "transfer-encoding: chunked\r\n")];
                script.extend(body.chunks(10_000).map(chunk));
                script.push(chunk(b""));
                script
            }
            _ => {
                // In two halves, with a pause between them.
                let (pause, half) = (Arc::new(Semaphore::new(0)), body.len() / 2);
                let passes = Arc::clone(&pause);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    passes.add_permits(1);
                });
                vec![
                    sized(body.len()),
                    Step::Send(body[..half].to_vec()),
                    Step::Turnstile(pause),
                    Step::Send(body[half..].to_vec()),
                ]
            }
        }
    }
}

/// The element that tells which fetch of which replica a feed is of.
fn marker_of(replica: usize, fetch: usize) -> String {
    format!(r#"{{"code":"fetch-{replica}-{fetch}"}}"#)
}

/// The bytes of a download.
pub fn download(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Starts the upstream of a replica.
pub async fn serve(model: Arc<Model>, replica: usize) -> Upstream {
    Upstream::start(move |request| {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let number = query.strip_prefix("n=").and_then(|rest| rest.split('&').next());
        let key = || number.and_then(|n| n.parse().ok()).filter(|n| *n < KEYS).unwrap();
        match path {
            // What the proxy asks for by itself: the catalog in which an edit's codes are looked up.
            "/api/v4/packages" if number.is_none() => ok(model.feeds[0].json.as_bytes()),
            "/api/v4/categories" if number.is_none() => ok(b"[]"),
            "/api/v4/packages" if query.contains("platform") => {
                model.answer(request, replica, key(), Kind::Updates)
            }
            "/api/v4/packages" => model.answer(request, replica, key(), Kind::Shop),
            "/api/v4/categories" => model.answer(request, replica, key(), Kind::Categories),
            "/download" => status(200, "application/octet-stream", &download(query.parse().unwrap())),
            "/upload" => status(200, "text/plain", request.body_len.to_string().as_bytes()),
            "/flaky" => {
                vec![head_of(200, "content-length: 1000\r\n"), Step::Send(b"half".to_vec()), Step::Close]
            }
            _ => status(404, "text/plain", b"not here"),
        }
    })
    .await
}
