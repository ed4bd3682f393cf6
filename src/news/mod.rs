//! What is new in the catalog.
//!
//! News are about the catalog of one version of the vendor's interface, not about one of the many keys that
//! platforms, locales and countries make of it. Whoever compares a renewed copy with the one before therefore
//! looks at the other copies of the version as well (see `catalog::changes`), and what was told last about a
//! package is not told again here: the copies of a version follow each other within minutes, and after a
//! restart they come back from disk one by one.
//!
//! What is left goes to the log, the metrics, a history on disk and whoever is to be notified, on a thread of
//! its own. Nobody waits for any of it.

pub mod history;
pub mod notify;

use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::cache_directory::CacheDirectory;
use crate::feed::package::Seller;
use crate::metrics::{self, Metrics};
use crate::printable::joined;
use crate::whitelist::watch::WatchedWhitelist;
use history::History;
use notify::Outbox;

/// Renewed feeds whose changes wait to be told.
const QUEUE: usize = 64;

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
#[allow(missing_docs, reason = "as there")]
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
pub struct News {
    queue: Mutex<Option<SyncSender<Report>>>,
    teller: Mutex<Option<JoinHandle<()>>>,
}

/// Tells what is new, wherever it is to be told.
struct Teller {
    history: History,
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
        let (queue, reports) = mpsc::sync_channel::<Report>(QUEUE);
        let teller = thread::Builder::new().name("news".to_owned()).spawn(move || {
            let mut teller = Teller { history: History::open(directory), whitelist, metrics, outbox };
            for report in reports {
                teller.tell(report);
            }
        })?;
        Ok(Self { queue: Mutex::new(Some(queue)), teller: Mutex::new(Some(teller)) })
    }

    /// Has changes told.
    pub fn report(&self, report: Report) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = queue.as_ref().map_or(Ok(()), |queue| queue.try_send(report));
        if sent.is_err() {
            warn!("changes in the catalog are not told: the disk is too slow, or their thread is gone");
        }
    }

    /// Tells what is queued and ends. Blocks on the disk.
    pub fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(teller) = self.teller.lock().unwrap_or_else(PoisonError::into_inner).take()
            && teller.join().is_err()
        {
            warn!("the thread that tells changes in the catalog panicked");
        }
    }
}

impl Teller {
    fn tell(&mut self, Report { api, at, mut changes }: Report) {
        changes.retain(|change| !self.history.ends_with(api, change));
        if changes.is_empty() {
            return;
        }
        let list = self.whitelist.current();
        for change in &mut changes {
            change.whitelisted = list.contains(&change.code);
            let labels = metrics::Change { change: change.change.name(), seller: change.seller.name() };
            self.metrics.changes.get_or_create(&labels).inc();
        }
        let (new, gone, switched) = (Kind::New, Kind::Gone, Kind::Switched);
        let codes = |kind| Codes(&changes, Box::new(move |change| change.change == kind));
        let missed = Codes(&changes, Box::new(|change| change.change == Kind::Gone && change.whitelisted));
        info!(
            api, new = %codes(new), gone = %codes(gone), switched = %codes(switched), whitelisted_gone = %missed,
            "the catalog changed"
        );
        if let Some(outbox) = &self.outbox {
            outbox.post(&self.metrics, api, at, &changes);
        }
        self.history.push(api, at, changes);
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
