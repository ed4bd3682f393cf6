//! Plays a script: starts processes over one upstream and one disk, lets things happen, and looks whether all is well.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use http::Request;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, advance, sleep, timeout};

use super::disk::SimulatedDisk;
use super::model::{self, FeedId, List, Model, NewsItem, Offers};
use super::pass::pass;
use super::script::{Behaviour, DiskBehaviour, FileChange, Ms, Question, Script, Step};
use super::shops::{self, HOSTS, Place, Reason, ShopFile, ShopFiles};
use super::upstream::Upstream;
use super::{Outcome, client, clock};
use crate::cache::Cache;
use crate::cache::disk::Disk;
use crate::cache::fetch::Fetcher;
use crate::cache::freshness::FreshnessLimits;
use crate::cache_directory::{CacheDirectory, Status};
use crate::cancel;
use crate::cli::AccessLogFormat;
use crate::config::CacheConfig;
use crate::metrics::Metrics;
use crate::news::{self, Kind, News};
use crate::proxy::Proxy;
use crate::proxy::access_log::AccessLog;
use crate::proxy::respond::Caching;
use crate::proxy::trust::Trusted;
use crate::reloading::{Part, Reloading};
use crate::servers::Servers;
use crate::upstream::Upstream as Client;
use crate::upstream::outbound::Outbound;
use crate::watch::Check;

/// Longest time until everything that waits has come to its end: a whole fetch may take two minutes.
const QUIET: Duration = Duration::from_secs(180);
/// Time after which each failed fetch may be tried again.
const RECOVERY: Duration = Duration::from_secs(180);
/// Time after which each copy is stale.
const RENEWAL: Duration = Duration::from_hours(20);
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
    files: Arc<Mutex<ShopFiles>>,
    /// True if there is a directory of shops.
    has_shops: bool,
    disk: Option<SimulatedDisk>,
    cache_size: u64,
    /// All processes, the first one first.
    processes: Mutex<Vec<Arc<Process>>>,
}

/// One run of the proxy.
pub(crate) struct Process {
    pub(crate) proxy: Proxy,
    pub(crate) model: Arc<Mutex<Model>>,
    /// True from when an operator asks for a reload until it is done.
    is_forced: Mutex<bool>,
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
        let (files, has_shops) = (Arc::clone(&self.files), self.has_shops);
        let read = move |_: &crate::shops::ShopFiles| parts(&files.lock(), has_shops);
        let directory = self.has_shops.then(|| "shops".into());
        let origin = crate::shops::ShopFiles { default: Some("whitelist.toml".into()), directory };
        let shops = Reloading::load_with(origin, Box::new(read)).ok()?;
        let model = Arc::new(Mutex::new(Model::new(Arc::clone(&self.offers), self.cache_size < 1 << 20)));
        model.lock().read(self.files.lock().clone(), Reason::Start);
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
            access_log: AccessLog { format: AccessLogFormat::Off, secure: false },
            max_request_body: 0,
            metrics,
        };
        self.trace(format!("process {number} started"));
        let (is_forced, tasks) = (Mutex::new(false), Mutex::new(tasks));
        let process = Arc::new(Process { proxy, model, is_forced, stop, tasks });
        self.processes.lock().push(Arc::clone(&process));
        Some(process)
    }

    /// Has the files read as their watcher would. The product says when it takes them, and the model what that means.
    async fn reload(&self, process: Arc<Process>, mut check: Check) {
        let shops = &process.proxy.shops;
        *process.is_forced.lock() |= check == Check::Forced;
        loop {
            let before = shops.status().generation;
            let pause = shops.check(check);
            let files = self.files.lock().clone();
            if shops.status().generation != before {
                let is_forced = std::mem::take(&mut *process.is_forced.lock());
                let reason = if is_forced { Reason::Forced } else { Reason::Changed };
                process.model.lock().read(files.clone(), reason);
            }
            check = Check::IfChanged;
            let Some(pause) = pause else {
                if !process.model.lock().has_read(&files) {
                    self.fail(format!("not reloaded: {files:?}"));
                }
                return;
            };
            sleep(pause).await;
        }
    }

    fn change(&self, shop: u8, change: FileChange) {
        let named = &mut self.files.lock().named;
        let file = match change {
            FileChange::Write(bits, hosts) => Some((shop, ShopFile::Good(List(bits), hosts))),
            FileChange::Break => Some((shop, ShopFile::Broken)),
            FileChange::Remove => {
                named.remove(&shop);
                None
            }
            FileChange::Rename(other) => named.remove(&shop).map(|file| (other, file)),
        };
        named.extend(file);
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

/// Returns the content of files as the product reads it: the list at `/`, the names in the directory, and their content.
fn parts(files: &ShopFiles, has_shops: bool) -> Vec<Part> {
    let content = |file: &ShopFile| Ok(file.text().into_bytes());
    let mut parts = vec![content(&files.default)];
    if has_shops {
        let names: Vec<_> = files.named.keys().map(|shop| format!("{}.toml", shops::name(*shop))).collect();
        parts.push(Ok(names.join("\n").into_bytes()));
        parts.extend(files.named.values().map(content));
    }
    parts
}

/// Plays a script, with copies on disk in `directory` if there is one.
pub(super) async fn play(script: &Script, directory: Option<PathBuf>) -> Outcome {
    clock::start_day();
    let trace = Arc::<Mutex<Vec<String>>>::default();
    let selling = |codes: [&str; 2]| List::of(|code| u64::from(codes.contains(&code)), false);
    let first = ShopFile::Good(selling(["k2", "k3"]), 1);
    let files = ShopFiles {
        default: ShopFile::Good(selling(["k0", "k1"]), 0),
        named: if script.shops > 0 { BTreeMap::from([(0, first)]) } else { BTreeMap::new() },
    };
    let world = Arc::new(World {
        start: Instant::now(),
        upstream: Upstream::new(script.seed, script.queries == 1, Arc::clone(&trace)),
        offers: Offers::default(),
        trace,
        violation: Mutex::default(),
        validators: Mutex::default(),
        files: Arc::new(Mutex::new(files)),
        has_shops: script.shops > 0,
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
            Step::Edit(_) | Step::BreakList | Step::Shop(..) | Step::Reload => {
                match *step {
                    Step::Edit(bits) => world.files.lock().default = ShopFile::Good(List(bits), 0),
                    Step::BreakList => world.files.lock().default = ShopFile::Broken,
                    Step::Shop(shop, change) => world.change(shop, change),
                    _ => {}
                }
                let check = if *step == Step::Reload { Check::Forced } else { Check::IfChanged };
                let (world, process) = (Arc::clone(&world), Arc::clone(&process));
                clients.spawn(async move { world.reload(process, check).await });
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
    // Each shop under its prefix and each host, whatever it has by now.
    let prefixes = (0..script.shops).map(|shop| Place { prefix: Some(shop), host: None });
    let hosts = (0..HOSTS).filter(|_| world.has_shops).map(|host| Place { prefix: None, host: Some(host) });
    for place in prefixes.chain(hosts) {
        ask_at_last(world, process, Question { place, ..Question::default() }).await;
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
