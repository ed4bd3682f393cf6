//! News: changes of the catalog, reported once.
//!
//! News are about the catalog of one version of the vendor's interface, not about one of the many keys that platforms,
//! locales and countries make of it. `cache::changes` therefore compares a renewed feed with the other keys of its
//! version as well. A change that is the last one in the history of its package is not reported again: the keys of a
//! version are renewed within minutes of each other, and after a restart they come back from disk one by one.
//!
//! A thread of its own writes news to the log, the metrics, the history on disk and the notifications. Nothing waits for
//! it.

mod change;
pub mod history;
pub mod notify;
pub(crate) mod renames;
mod told;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use crate::cache_directory::CacheDirectory;
use crate::metrics::{self, Metrics};
use crate::policy::{Rules, Verdict};
use crate::printable::listed;
use crate::shops::WatchedShops;
use crate::worker::{Rejected, Worker};
pub use change::{Change, Kind, SellerName};
use history::{History, PastChange};
use notify::Outbox;

/// Most reports that wait for the thread.
const MAX_QUEUED_REPORTS: usize = 64;

/// Longest wait for queued reports at shutdown: many times what a slow disk takes. A disk that hangs must not hold up
/// the shutdown.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Changes that a renewed feed has confirmed.
#[derive(Debug)]
pub struct Report {
    /// Version of the vendor's interface, such as `v4`.
    pub api: &'static str,
    /// Time of the fetch.
    pub at: SystemTime,
    /// Changes, sorted by kind and code.
    pub changes: Vec<Change>,
}

/// Handle of the thread that reports news.
#[derive(Debug)]
pub struct News {
    worker: Worker<NewsJob>,
    /// The history, read by the thread when that is first needed.
    history: Arc<OnceLock<History>>,
}

/// Job of the thread.
#[derive(Debug)]
enum NewsJob {
    /// Read the history, so that damage is logged at start.
    Open,
    /// Report changes.
    Tell(Report),
}

/// State of the thread.
struct Teller {
    directory: Option<Arc<CacheDirectory>>,
    history: Arc<OnceLock<History>>,
    shops: Arc<WatchedShops>,
    metrics: Arc<Metrics>,
    outbox: Option<Outbox>,
}

impl News {
    /// Starts the thread. The history is kept in `directory`, if there is one.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        directory: Option<Arc<CacheDirectory>>,
        shops: Arc<WatchedShops>,
        metrics: Arc<Metrics>,
        outbox: Option<Outbox>,
    ) -> io::Result<Self> {
        let panics = metrics.panics("news");
        let history = Arc::default();
        let teller = Teller { directory, history: Arc::clone(&history), shops, metrics, outbox };
        let worker = Worker::start("news", MAX_QUEUED_REPORTS, panics, move |job| match job {
            NewsJob::Open => drop(teller.history()),
            NewsJob::Tell(report) => teller.tell(report),
        })?;
        // It is the first, so there is room for it.
        let _ = worker.send(NewsJob::Open);
        Ok(Self { worker, history })
    }

    /// Returns the history, the oldest change first; nothing before the thread has read it. Blocks on the disk.
    pub fn changes(&self) -> Vec<PastChange> {
        self.history.get().map(History::changes).unwrap_or_default()
    }

    /// Queues a report. Never blocks.
    pub fn report(&self, report: Report) {
        if self.worker.send(NewsJob::Tell(report)) == Err(Rejected::Full) {
            warn!("changes of the catalog are not reported: the disk is too slow");
        }
    }

    /// Handles the queued reports within [`CLOSE_LIMIT`] and ends the thread. Blocks on the disk.
    pub fn close(&self) {
        if !self.worker.close(CLOSE_LIMIT) {
            warn!("changes of the catalog may not all be reported: the disk is too slow");
        }
    }
}

impl Teller {
    fn history(&self) -> &History {
        self.history.get_or_init(|| History::open(self.directory.clone()))
    }

    fn tell(&self, Report { api, at, mut changes }: Report) {
        let history = self.history();
        changes.retain(|change| !history.ends_with(api, change));
        if changes.is_empty() {
            return;
        }
        let shops = self.shops.current().rules();
        let lists = |rules: &Rules, code: &str| {
            rules.entry(code).is_some_and(|entry| entry.verdict != Verdict::Hidden)
        };
        for change in &mut changes {
            let codes = [Some(&*change.code), change.renamed_from.as_deref()];
            let any = |test: &dyn Fn(&str) -> bool| codes.into_iter().flatten().any(test);
            let mentions = |rules: &Rules| any(&|code| rules.entry(code).is_some());
            let whitelisted = shops.iter().any(|(_, rules)| any(&|code| lists(rules, code)));
            let mentioning = shops.iter().filter(|(_, rules)| mentions(rules));
            let mentioning = mentioning.map(|(name, _)| name.to_string()).collect();
            (change.whitelisted, change.shops) = (whitelisted, mentioning);
            let labels = metrics::ChangeLabels { change: change.change.name(), seller: change.seller.name() };
            self.metrics.changes.get_or_create(&labels).inc();
        }
        if let Some(outbox) = &self.outbox {
            outbox.post(&self.metrics, api, at, &changes);
        }
        self.history().push(api, at, &changes);
        let codes = |kind| {
            let of_kind = changes.iter().filter(move |change| change.change == kind);
            let named = of_kind.map(|change| match &change.renamed_from {
                Some(old) => format!("{} (was {old})", change.code),
                None => change.code.clone(),
            });
            named.collect::<Vec<_>>()
        };
        let (new, gone) = (codes(Kind::New), codes(Kind::Gone));
        let (switched, renamed) = (codes(Kind::Switched), codes(Kind::Renamed));
        // A shop that has put the new code on its list too misses nothing.
        let is_missed = |change: &Change| match (change.change, &change.renamed_from) {
            (Kind::Gone, _) => change.whitelisted,
            (Kind::Renamed, Some(old)) => {
                shops.iter().any(|(_, rules)| lists(rules, old) && !lists(rules, &change.code))
            }
            _ => false,
        };
        let missed = changes.iter().filter(|change| is_missed(change));
        let missed: Vec<_> =
            missed.map(|change| change.renamed_from.as_ref().unwrap_or(&change.code)).collect();
        let (new, gone, switched, renamed) =
            (listed(&new), listed(&gone), listed(&switched), listed(&renamed));
        let missed = listed(&missed);
        info!(api, %new, %gone, %switched, %renamed, whitelisted_gone = %missed, "the catalog changed");
    }
}
