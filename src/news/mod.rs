//! What is new in the catalog.
//!
//! News are about the catalog of one version of the vendor's interface, not about one of the many keys that
//! platforms, locales and countries make of it. Whoever compares a renewed copy with the one before therefore
//! looks at the other copies of the version as well (see `cache::changes`), and what was told last about a
//! package is not told again here: the copies of a version follow each other within minutes, and after a
//! restart they come back from disk one by one.
//!
//! What is left goes to the log, the metrics, a history on disk and whoever is to be notified, on a thread of
//! its own. Nobody waits for any of it.

pub mod history;
pub mod notify;

use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cache_directory::CacheDirectory;
use crate::feed::package::Seller;
use crate::metrics::{self, Metrics};
use crate::printable::joined;
use crate::whitelist::watch::WatchedWhitelist;
use crate::worker::{Rejected, Worker};
use history::History;
use notify::Outbox;

/// Renewed feeds whose changes wait to be told.
const QUEUE: usize = 64;

/// Longest wait for what is queued when the process ends: many times what a slow disk takes. One that hangs must
/// not hold up the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Codes named in a log line; beyond that only their number is told.
const MAX_LOGGED: usize = 20;

/// What happened to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is there for the first time.
    New,
    /// It is there no more.
    Gone,
    /// Another one sells it.
    Switched,
}

/// One change in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub change: Kind,
    /// The package's code.
    pub code: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Who sells it; of a package that is gone, who sold it.
    pub seller: SellerName,
    /// Who sold it before, if that is another one.
    pub was: Option<SellerName>,
    /// Is it on the whitelist?
    pub whitelisted: bool,
}

/// A [`Seller`], in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SellerName {
    Free,
    Vendor,
    Plesk,
}

/// What a renewed feed brought.
#[derive(Debug)]
pub struct Report {
    /// Version of the vendor's interface, such as `v4`.
    pub api: &'static str,
    /// When it came.
    pub at: SystemTime,
    /// Sorted.
    pub changes: Vec<Change>,
}

/// Takes reports.
#[derive(Debug)]
pub struct News(Worker<Job>);

/// What the thread has to do.
#[derive(Debug)]
enum Job {
    /// Read the history, so that damage is told at start.
    Open,
    /// Tell what is new.
    Tell(Report),
}

/// Tells what is new, wherever it is to be told.
struct Teller {
    directory: Option<Arc<CacheDirectory>>,
    /// Read when it is first needed.
    history: Option<History>,
    whitelist: Arc<WatchedWhitelist>,
    metrics: Arc<Metrics>,
    outbox: Option<Outbox>,
}

impl News {
    /// Starts the thread that tells. The history is kept in `directory`, if there is one.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        directory: Option<Arc<CacheDirectory>>,
        whitelist: Arc<WatchedWhitelist>,
        metrics: Arc<Metrics>,
        outbox: Option<Outbox>,
    ) -> io::Result<Self> {
        let panics = metrics.panics("news");
        let mut teller = Teller { directory, history: None, whitelist, metrics, outbox };
        let worker = Worker::start("news", QUEUE, panics, move |job| match job {
            Job::Open => drop(teller.history()),
            Job::Tell(report) => teller.tell(report),
        })?;
        // It is the first, so there is room for it.
        let _ = worker.send(Job::Open);
        Ok(Self(worker))
    }

    /// Has changes told. Never blocks.
    pub fn report(&self, report: Report) {
        if self.0.send(Job::Tell(report)) == Err(Rejected::Full) {
            warn!("changes in the catalog are not told: the disk is too slow");
        }
    }

    /// Tells what is queued, for a limited time, and ends. Blocks on the disk.
    pub fn close(&self) {
        if !self.0.close(CLOSE_LIMIT) {
            warn!("changes in the catalog may not all be told: the disk is too slow");
        }
    }
}

impl Teller {
    fn history(&mut self) -> &mut History {
        self.history.get_or_insert_with(|| History::open(self.directory.clone()))
    }

    fn tell(&mut self, Report { api, at, mut changes }: Report) {
        let history = self.history();
        changes.retain(|change| !history.ends_with(api, change));
        if changes.is_empty() {
            return;
        }
        let list = self.whitelist.current();
        for change in &mut changes {
            change.whitelisted = list.contains(&change.code);
            let labels = metrics::Change { change: change.change.name(), seller: change.seller.name() };
            self.metrics.changes.get_or_create(&labels).inc();
        }
        if let Some(outbox) = &self.outbox {
            outbox.post(&self.metrics, api, at, &changes);
        }
        self.history().push(api, at, &changes);
        let (new, gone, switched) = (Kind::New, Kind::Gone, Kind::Switched);
        let codes = |kind| Codes(&changes, Box::new(move |change| change.change == kind));
        let missed = Codes(&changes, Box::new(|change| change.change == Kind::Gone && change.whitelisted));
        info!(
            api, new = %codes(new), gone = %codes(gone), switched = %codes(switched), whitelisted_gone = %missed,
            "the catalog changed"
        );
    }
}

/// Shows the codes of some changes.
struct Codes<'a>(&'a [Change], Box<dyn Fn(&Change) -> bool>);

impl fmt::Display for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<&str> = self.0.iter().filter(|c| self.1(c)).map(|change| &*change.code).collect();
        write!(f, "{}", joined(&codes[..codes.len().min(MAX_LOGGED)]))?;
        match codes.len().checked_sub(MAX_LOGGED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

impl Kind {
    /// Returns its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Switched => "switched",
        }
    }
}

impl SellerName {
    /// Returns its name in metrics and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Vendor => "vendor",
            Self::Plesk => "plesk",
        }
    }
}

impl From<Seller> for SellerName {
    fn from(seller: Seller) -> Self {
        match seller {
            Seller::Free => Self::Free,
            Seller::Vendor => Self::Vendor,
            Seller::Plesk => Self::Plesk,
        }
    }
}
