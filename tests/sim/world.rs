//! Plays a script: starts processes over one upstream and one disk, lets things happen, and looks whether all is well.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use http::Request;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, advance, sleep, timeout};

use super::disk::SimulatedDisk;
use super::model::{self, FeedId, KEYS, List, Model, NewsItem, Offers};
use super::pass::pass;
use super::script::{Behaviour, DiskBehaviour, Ms, Question, Script, Step};
use super::upstream::Upstream;
use super::{Outcome, client, clock};
use crate::cache::Cache;
use crate::cache::disk::Disk;
use crate::cache::fetch::Fetcher;
use crate::cache::freshness::FreshnessLimits;
use crate::cache_directory::{CacheDirectory, Status};
use crate::cancel;
use crate::config::CacheConfig;
use crate::metrics::Metrics;
use crate::news::{self, Kind, News};
use crate::policy::Verdict;
use crate::proxy::Proxy;
use crate::proxy::respond::Caching;
use crate::proxy::trust::Trusted;
use crate::reloading::{Part, Reloading};
use crate::servers::Servers;
use crate::shops::{ShopFiles, WatchedShops};
use crate::upstream::Upstream as Client;
use crate::upstream::outbound::Outbound;
use crate::watch::Check;

/// Longest time until everything that waits has come to its end: a whole fetch may take two minutes.
const QUIET: Duration = Duration::from_secs(180);
/// Time after which each failed fetch may be tried again.
const RECOVERY: Duration = Duration::from_secs(180);
/// Time after which each copy is stale.
const RENEWAL: Duration = Duration::from_secs(20 * 3600);
/// Pause between two looks whether all is quiet.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// The client for what is passed on, which is not played. One for all runs, since each would read the system's roots.
static NO_UPSTREAM: LazyLock<Client> = LazyLock::new(|| {
    let origin = "http://upstream.test".parse().expect("an origin");
    Client::new(origin, None, Outbound::direct()).expect("a client")
});

/// Longest shutdown.
const SHUTDOWN: Duration = Duration::from_secs(9);

/// What all processes and clients share.
pub(crate) struct World {
    start: Instant,
    trace: Arc<Mutex<Vec<String>>>,
    violation: Mutex<Option<String>>,
    /// The last validator of each feed, with the body that it stands for.
    validators: Mutex<HashMap<FeedId, (String, Vec<u8>)>>,
    pub(super) upstream: Upstream,
    offers: Offers,
    list: Arc<Mutex<Part>>,
    disk: Option<SimulatedDisk>,
    cache_size: u64,
    /// All processes, the first one first.
    processes: Mutex<Vec<Arc<Process>>>,
}

/// One run of the proxy.
pub(crate) struct Process {
    pub(crate) proxy: Proxy,
    pub(crate) model: Arc<Mutex<Model>>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl World {
    pub(crate) fn trace(&self, line: String) {
        self.trace.lock().push(format!("{:>9} {line}", self.start.elapsed().as_millis()));
    }

    pub(crate) fn fail(&self, violation: String) {
        self.trace(format!("VIOLATION {violation}"));
        self.violation.lock().get_or_insert(violation);
    }

    pub(crate) fn validator(&self, id: FeedId) -> Option<(String, Vec<u8>)> {
        self.validators.lock().get(&id).cloned()
    }

    pub(crate) fn remember(&self, id: FeedId, etag: String, body: Vec<u8>) {
        self.validators.lock().insert(id, (etag, body));
    }

    /// Starts a process; nothing if its whitelist is broken.
    async fn start(&self, number: usize) -> Option<Arc<Process>> {
        let metrics = Arc::new(Metrics::default());
        let file = Arc::clone(&self.list);
        let read = move |_: &ShopFiles| vec![file.lock().clone()];
        let files = ShopFiles { default: Some("whitelist.toml".into()), directory: None };
        let shops = Reloading::load_with(files, Box::new(read)).ok()?;
        let model = Arc::new(Mutex::new(Model::new(Arc::clone(&self.offers), self.cache_size < 1 << 20)));
        model.lock().in_force(in_force(&shops), None);
        let directory = self
            .disk
            .as_ref()
            .map(|disk| CacheDirectory::with_files(&disk.path, &metrics, disk.operations()));
        let disk = match &directory {
            Some(directory) => {
                let disk = Disk::open(Arc::clone(directory), 1 << 30, &metrics).await;
                Some(Arc::new(disk.expect("simulated threads")))
            }
            None => None,
        };
        let news = News::start(directory, Arc::clone(&shops), Arc::clone(&metrics), None);
        let news = news.expect("a simulated thread");
        let config = CacheConfig { size: self.cache_size.into(), ..CacheConfig::default() };
        let limits = FreshnessLimits {
            default: *config.fresh_for,
            min: *config.min_fresh_for,
            max: config.max_fresh_for,
        };
        let wire = self.upstream.wire(number, &model);
        let fetcher = Fetcher::over(wire, limits, *config.max_feed_size, *config.size);
        let cache = Cache::over(fetcher, &config, disk.clone(), Some(news), Arc::clone(&metrics));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(cache.clone().keep_fresh(stopped.clone()))];
        tasks.extend(disk.map(|disk| tokio::spawn(disk.keep_claimed(stopped))));
        let judge = cache.clone();
        let servers = Servers::start(&shops, move |before, now| judge.shop_view_changes(before, now));
        let proxy = Proxy {
            cache,
            servers,
            upstream: NO_UPSTREAM.clone(),
            shops,
            caching: Caching { max_age: None },
            trusted: Trusted::default(),
            secure: false,
            max_request_body: 0,
            metrics,
        };
        self.trace(format!("process {number} started"));
        let process = Arc::new(Process { proxy, model, stop, tasks: Mutex::new(tasks) });
        self.processes.lock().push(Arc::clone(&process));
        Some(process)
    }

    /// Writes the whitelist's file, and has it read as its watcher would.
    async fn edit(&self, process: Arc<Process>) {
        let shops = &process.proxy.shops;
        let mut check = Check::IfChanged;
        loop {
            let before = in_force(shops);
            let pause = shops.check(check);
            if in_force(shops) != before {
                process.model.lock().in_force(in_force(shops), Some(Instant::now()));
            }
            check = Check::IfChanged;
            match pause {
                Some(pause) => sleep(pause).await,
                None => return,
            }
        }
    }

    async fn jump(&self, time: Duration) {
        self.upstream.jump();
        advance(time).await;
    }

    /// Looks for what must not be at any time.
    fn look(&self, process: &Process) {
        if let Some(beyond) = process.proxy.cache.broken_bounds() {
            self.fail(format!("bounds: {beyond}"));
        }
        if let Some(name) = self.disk.as_ref().and_then(SimulatedDisk::lost) {
            self.fail(format!("file lost: {name}"));
        }
        if let Some(name) = process.panicked() {
            self.fail(format!("panic: {name}"));
        }
    }

    /// Returns what is still under way in any process.
    fn under_way(&self) -> Option<String> {
        let open = self.upstream.open();
        let requests = (open > 0).then(|| format!("{open} requests to the upstream"));
        self.processes.lock().iter().find_map(|process| process.proxy.cache.leftovers()).or(requests)
    }

    /// Ends a process as a signal does.
    async fn shut_down(&self, process: &Process) {
        let _ = process.stop.send(true);
        if timeout(SHUTDOWN, process.proxy.cache.close()).await.is_err() {
            self.fail("shutdown: it takes too long".to_owned());
        }
    }
}

impl Process {
    /// Returns the name of a background thread or task that panicked.
    fn panicked(&self) -> Option<&'static str> {
        let names = ["flight", "view", "encoder", "cache-reads", "cache-writes", "news"];
        names.into_iter().find(|name| self.proxy.metrics.panics(name).get() > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }
}

/// Returns the list that a process has in force.
fn in_force(shops: &WatchedShops) -> List {
    let rules = shops.current().default_shop().and_then(|shop| shop.rules()).expect("a list");
    let number = |code: &str| {
        let key = rules.entry(code)?.verdict.key();
        Some(1 + KEYS.iter().position(|other| *other == key)? as u64)
    };
    List::of(|code| number(code).unwrap_or(0), rules.unlisted() == Verdict::Retired)
}

/// Plays a script, with copies on disk in `directory` if there is one.
pub(super) async fn play(script: &Script, directory: Option<PathBuf>) -> Outcome {
    clock::start_day();
    let trace = Arc::<Mutex<Vec<String>>>::default();
    let first = List::of(|code| u64::from(["k0", "k1"].contains(&code)), false);
    let world = Arc::new(World {
        start: Instant::now(),
        upstream: Upstream::new(script.seed, script.queries == 1, Arc::clone(&trace)),
        offers: Offers::default(),
        trace,
        violation: Mutex::default(),
        validators: Mutex::default(),
        list: Arc::new(Mutex::new(Ok(first.text().into_bytes()))),
        disk: directory.map(SimulatedDisk::new),
        cache_size: script.cache_size,
        processes: Mutex::default(),
    });
    let mut process = world.start(0).await.expect("the list is good");
    let mut clients = JoinSet::new();
    for (number, (pause, step)) in script.steps.iter().enumerate() {
        sleep(pause.time()).await;
        world.trace(format!("{step:?}"));
        match *step {
            Step::Ask(question) => {
                clients.spawn(client::ask(Arc::clone(&world), Arc::clone(&process), number, question));
            }
            Step::Pass(upload) => {
                let current = world.processes.lock().len();
                clients.spawn(pass(Arc::clone(&world), current, number, upload));
            }
            Step::Rush(count) => {
                for n in 0..count {
                    clients.spawn(client::rush(Arc::clone(&world), Arc::clone(&process), number, n));
                }
            }
            Step::Crowd(count) => crowd(&process, number, count).await,
            Step::Edit(_) | Step::BreakList => {
                let text =
                    if let Step::Edit(bits) = step { List(*bits).text() } else { "extensions = [".into() };
                *world.list.lock() = Ok(text.into_bytes());
                let (world, process) = (Arc::clone(&world), Arc::clone(&process));
                clients.spawn(async move { world.edit(process).await });
            }
            Step::Publish => world.upstream.publish(),
            Step::Upstream(behaviour) => world.upstream.behave(behaviour),
            Step::Jump(time) => world.jump(time.time()).await,
            Step::Disk(behaviour) => {
                if let Some(disk) = &world.disk {
                    disk.behave(behaviour);
                }
            }
            Step::Damage(which) => {
                if let Some(disk) = &world.disk {
                    disk.damage(which);
                }
            }
            Step::Restart => {
                // The new one starts while the old one drains.
                if let Some(next) = world.start(number + 1).await {
                    let (world, old) = (Arc::clone(&world), std::mem::replace(&mut process, next));
                    clients.spawn(async move { world.shut_down(&old).await });
                }
            }
        }
        world.look(&process);
    }
    settle(&world, &process, script, clients).await;
    let violation = world.upstream.violation().or_else(|| world.violation.lock().clone());
    Outcome { trace: world.trace.lock().clone(), violation }
}

/// Lets everything come to its end, and looks whether anything is left behind.
async fn settle(world: &Arc<World>, process: &Arc<Process>, script: &Script, mut clients: JoinSet<()>) {
    world.upstream.behave(Behaviour::Good(Ms(10), Ms(0)));
    if let Some(disk) = &world.disk {
        disk.behave(DiskBehaviour::Works);
    }
    let mut panicked = None;
    let is_quiet = until_quiet(|| {
        while let Some(ended) = clients.try_join_next() {
            panicked = panicked.take().or(ended.err());
        }
        clients.is_empty() && world.upstream.open() == 0
    });
    if !is_quiet.await {
        let (clients, open) = (clients.len(), world.upstream.open());
        world.fail(format!("waiting: {clients} clients and {open} requests to the upstream still wait"));
    }
    if let Some(error) = panicked {
        world.fail(format!("panic: {error}"));
    }
    // A jump, since each second of waiting costs a look for copies to renew.
    world.jump(RECOVERY).await;
    for query in 0..script.queries {
        for categories in [false, true] {
            let question = Question { categories, query, accept: "gzip", ..Question::default() };
            ask_at_last(world, process, question).await;
            let id = FeedId { categories, query };
            let request = Request::get(format!("http://proxy.test{}", id.target())).body(());
            let request = request.expect("a request");
            let response = timeout(QUIET, process.proxy.respond_in_simulation(&request)).await;
            let status = response.map(|response| response.status().as_u16()).unwrap_or_default();
            if status != 200 {
                world.fail(format!("not well again: {id:?} is {status}"));
            }
        }
    }
    let status = || process.proxy.cache.disk_status();
    if !until_quiet(|| status().is_none_or(|status| status == Status::Usable)).await {
        world.fail(format!("disk not used: {:?}", status()));
    }
    // What could not be saved before is saved now.
    sleep(LOOK_INTERVAL).await;
    if script.is_simple() {
        // A change is told when two fetches agree about it, and renewals can fail once as too short.
        for _ in 0..4 {
            world.jump(RENEWAL).await;
            let question = Question { accept: "gzip", ..Question::default() };
            ask_at_last(world, process, question).await;
            until_quiet(|| world.upstream.open() == 0).await;
        }
    }
    // What arrives while it stops need not be kept.
    let stopped = Instant::now();
    let _ = process.stop.send(true);
    if !until_quiet(|| world.under_way().is_none()).await {
        world.fail(format!("left behind: {}", world.under_way().unwrap_or_default()));
    }
    world.shut_down(process).await;
    world.processes.lock().iter().for_each(|process| world.look(process));
    if let Some(disk) = &world.disk {
        let kept = process.model.lock().kept(stopped - LOOK_INTERVAL);
        if let Some((id, _)) = kept.iter().find(|(_, feed)| script.saves_all() && !disk.has(feed)) {
            world.fail(format!("not on disk: {id:?}"));
        }
        let history = news::history::read(&disk.path).expect("a directory that works");
        let items: Vec<NewsItem> = history
            .into_iter()
            .map(|past| NewsItem { is_there: past.change.change != Kind::Gone, code: past.change.code })
            .collect();
        let last = script.is_simple().then(|| world.upstream.edition());
        if let Some(wrong) = model::wrong_news(&world.offers, &items, last) {
            world.fail(format!("wrong news: {wrong}"));
        }
    }
}

/// Asks when all is well again, and waits for the answer.
async fn ask_at_last(world: &Arc<World>, process: &Arc<Process>, question: Question) {
    let answered = client::ask(Arc::clone(world), Arc::clone(process), usize::MAX, question);
    if timeout(QUIET, answered).await.is_err() {
        world.fail(format!("waiting: {question:?} is not answered"));
    }
}

/// Waits until all is quiet, at most [`QUIET`]. Returns false if it never was.
async fn until_quiet(mut is_quiet: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_quiet() {
        if start.elapsed() >= QUIET {
            return false;
        }
        sleep(LOOK_INTERVAL).await;
    }
    true
}

/// Has clients ask for keys of their own and hang up at once.
async fn crowd(process: &Process, number: usize, count: u16) {
    for n in 0..count {
        let request = Request::get(format!("http://proxy.test/api/v4/packages?crowd-{number}-{n}")).body(());
        cancel::after(1, process.proxy.respond_in_simulation(&request.expect("a request"))).await;
    }
}
