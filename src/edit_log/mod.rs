//! The edit log: who changed which list when, one line an edit in the cache directory's `edits.jsonl`, the oldest first.
//!
//! An edit over the admin port is written down, and synced, before the whitelist's file is replaced: whatever happens in
//! between, no change is without its line. A line whose edit was not made is recognized by its digests, and dropped with
//! the next start. A list that came into force otherwise is a line by `file`.

mod record;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

use crate::cache_directory::CacheDirectory;
use crate::cache_directory::files::{Files, Operation};
use crate::digest::FileDigest;
use crate::printable::listed;
use crate::shops::{LoadedList, ShopName, Shops, WatchedShops};
use crate::wall_clock;
use crate::worker::{Rejected, Worker};
pub use record::{BY_FILE, EditRecord, EditRow, EditedCodes, FormerPlace};

/// Name of the file.
const FILE_NAME: &str = "edits.jsonl";
/// Most edits kept.
const MAX_EDITS: usize = 10_000;
/// Most bytes of all edits kept: some edits name thousands of codes.
const MAX_BYTES: usize = 16 << 20;
/// Longest file that is read.
const MAX_FILE_LEN: u64 = 64 << 20;
/// Edits beyond [`MAX_EDITS`] that may be in the file, so that not each edit writes it as a whole.
const MAX_EXTRA_EDITS: usize = 500;
/// Most edits over the admin port that may wait to be seen in force, for each shop.
const MAX_PENDING: usize = 64;

/// Most lists that wait to be recorded.
const MAX_QUEUED_LISTS: usize = 256;
/// Longest wait for another write.
const DISK_LIMIT: Duration = Duration::from_secs(3);

/// Why an edit cannot be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EditLogError {
    /// The directory is another process's, or not usable.
    #[error("the cache directory is not this process's just now ({0})")]
    NoDirectory(String),
    /// Another write does not come to an end.
    #[error("the edit log cannot be written: the disk does not answer")]
    Hanging,
    /// The file cannot be read or written.
    #[error("the edit log cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// The edit log, in memory and on disk.
#[derive(Debug)]
pub struct EditLog {
    directory: Option<Arc<CacheDirectory>>,
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    records: VecDeque<EditRecord>,
    /// Bytes of the records, as lines.
    bytes: usize,
    /// Records at the end that are not on disk.
    unwritten: usize,
    /// Lines of the file.
    lines_on_disk: usize,
    /// Claim on the directory under which the file was last read; 0 before that.
    ///
    /// INVARIANT: the file is written only under that claim, or what is in it now would be lost.
    read_under: u64,
    /// True if the file is read and written again when the directory is looked at.
    is_retried: bool,
    /// Edits over the admin port that are not seen in force yet, by shop: the digests before and after each.
    pending: BTreeMap<ShopName, VecDeque<(FileDigest, FileDigest)>>,
    /// Digest of each shop's file as it was last seen or made.
    last: BTreeMap<ShopName, FileDigest>,
}

impl EditLog {
    /// Makes the log, kept in `directory` if there is one. Shops as they are now need no line.
    pub(crate) fn new(directory: Option<Arc<CacheDirectory>>, shops: &Shops) -> Self {
        let last = shops.all().filter_map(|shop| Some((shop.name.clone(), shop.list()?.digest)));
        let state = LogState { last: last.collect(), ..LogState::default() };
        Self { directory, state: Mutex::new(state) }
    }

    /// Returns true if edits outlive the process.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.directory.is_some()
    }

    /// Returns the edits, the oldest first. Blocks on the disk.
    ///
    /// # Errors
    /// If the disk does not answer.
    pub(crate) fn records(&self) -> Result<Vec<EditRecord>, EditLogError> {
        Ok(self.opened()?.records.iter().cloned().collect())
    }

    /// Returns the edit that has an id. Blocks on the disk.
    ///
    /// # Errors
    /// If the disk does not answer.
    pub(crate) fn find(&self, id: &str) -> Result<Option<EditRecord>, EditLogError> {
        Ok(self.opened()?.records.iter().find(|record| record.id == id).cloned())
    }

    /// Returns the state with what is on disk.
    fn opened(&self) -> Result<MutexGuard<'_, LogState>, EditLogError> {
        let mut state = self.state.try_lock_for(DISK_LIMIT).ok_or(EditLogError::Hanging)?;
        self.read(&mut state);
        Ok(state)
    }

    /// Writes an edit down, then has it made; if that fails, the line is taken back. `unseen` says what the file has
    /// that was not seen in force yet, for somebody may just have changed it by hand. Blocks on the disk.
    ///
    /// # Errors
    /// If it cannot be written down, or what `make` fails with.
    pub(crate) fn make<T, E: From<EditLogError>>(
        &self,
        shop: &ShopName,
        record: &EditRecord,
        (before, after): (FileDigest, FileDigest),
        unseen: impl FnOnce() -> EditedCodes,
        make: impl FnOnce() -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        let mut state = self.opened()?;
        if let Some(head) = state.head(shop)
            && head != before
        {
            let digests = (Some(head.to_string()), before.to_string());
            let by_hand = EditRecord::by_file(shop, unseen(), digests, wall_clock::now());
            log(&by_hand);
            state.push(by_hand);
            state.expect(shop, (head, before));
        }
        state.push(record.clone());
        if let Err(error) = self.write(&mut state) {
            state.pop();
            return Err(error.into());
        }
        state.expect(shop, (before, after));
        // Not under the lock: the reload that this edit brings about takes it, and disks hang.
        drop(state);
        let made = make();
        if matches!(made, Ok(Some(_))) {
            log(record);
        } else {
            let mut state = self.state.lock();
            if let Some(pending) = state.pending.get_mut(shop) {
                pending.retain(|pending| *pending != (before, after));
            }
            self.take_back(&mut state, &record.id);
        }
        made
    }

    /// Records from now on the lists that come into force with no edit of this port that explains them; `panics` counts
    /// those at which it panicked.
    ///
    /// A thread of its own writes them: the one that reloads the files must not wait for a disk that hangs.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn watch(self: &Arc<Self>, shops: &WatchedShops, panics: Counter) -> io::Result<()> {
        let log = Arc::clone(self);
        let worker =
            Worker::start("edit log", MAX_QUEUED_LISTS, panics, move |list: Option<ChangedList>| {
                if let Some(list) = list {
                    log.record(&list);
                }
                log.settle();
            })?;
        // What changed while no proxy ran is recorded at start. It is the first, so there is room for it.
        let _ = worker.send(None);
        shops.observe(move |before, now| {
            for list in changed_lists(before, now) {
                if worker.send(Some(list)) == Err(Rejected::Full) {
                    warn!("a changed list is missing in the edit log: the disk is too slow");
                }
            }
        });
        Ok(())
    }

    /// Reads and writes the file if need be, now or when the directory is looked at again. Blocks on the disk.
    fn settle(self: &Arc<Self>) {
        let Some(directory) = &self.directory else { return };
        let mut state = self.state.lock();
        self.read(&mut state);
        let is_done = state.read_under != 0 && state.unwritten == 0 && state.lines_on_disk != usize::MAX;
        if is_done || self.write(&mut state).is_ok() || state.is_retried {
            return;
        }
        state.is_retried = true;
        let log = Arc::downgrade(self);
        directory.retry_later(move || {
            if let Some(log) = log.upgrade() {
                log.state.lock().is_retried = false;
                log.settle();
            }
        });
    }

    /// Records a list that came into force, unless an edit of this port explains it. Blocks on the disk.
    fn record(&self, ChangedList { shop, old, list }: &ChangedList) {
        let mut state = self.state.lock();
        self.read(&mut state);
        let pending = state.pending.entry(shop.clone()).or_default();
        let seen = pending.iter().position(|(_, after)| *after == list.digest);
        match seen {
            Some(at) => drop(pending.drain(..=at)),
            // It came before the first of these edits, or after all of them.
            None => {
                let next = pending.iter().position(|(before, _)| *before == list.digest);
                drop(pending.drain(..next.unwrap_or(pending.len())));
            }
        }
        let before = state.last.insert(shop.clone(), list.digest);
        if seen.is_some() || before == Some(list.digest) {
            return;
        }
        let codes = EditedCodes::between(old.as_ref().map(|old| &old.policy), &list.policy);
        let digests = (before.map(|digest| digest.to_string()), list.digest.to_string());
        let record = EditRecord::by_file(shop, codes, digests, wall_clock::now());
        log(&record);
        state.push(record);
        state.forget();
    }

    /// Reads the file once for each claim on the directory.
    fn read(&self, state: &mut LogState) {
        let Some(directory) = &self.directory else { return };
        let claim = directory.claims();
        if state.read_under == claim || !directory.is_claimed() {
            return;
        }
        let path = directory.path().join(FILE_NAME);
        match read_records(directory.files(), &path) {
            Ok((mut records, lines)) => {
                state.lines_on_disk = lines;
                // What was recorded before the file could be read comes after it.
                let told = state.records.split_off(state.records.len() - state.unwritten);
                let seen = state.last.iter().map(|(shop, digest)| {
                    let first = told.iter().find(|record| record.shop == shop.as_str());
                    let seen = first.map_or(Some(digest.to_string()), |record| record.before.clone());
                    (shop, seen)
                });
                let mut missing = Vec::new();
                for (shop, seen) in seen {
                    let Some(seen) = seen else { continue };
                    let Some(at) = records.iter().rposition(|record| record.shop == shop.as_str()) else {
                        continue;
                    };
                    let last = &records[at];
                    if last.after == seen {
                        continue;
                    }
                    if last.by != BY_FILE && last.before.as_ref() == Some(&seen) {
                        let id = &last.id;
                        warn!(id, %shop, "an edit in the log was not made, because the process ended: it is dropped");
                        records.remove(at);
                        // So that the file is written as a whole.
                        state.lines_on_disk = usize::MAX;
                        continue;
                    }
                    let digests = (Some(last.after.clone()), seen);
                    missing.push(EditRecord::by_file(
                        shop,
                        EditedCodes::default(),
                        digests,
                        wall_clock::now(),
                    ));
                }
                missing.iter().for_each(log);
                state.unwritten = missing.len() + told.len();
                state.records = records.into_iter().chain(missing).chain(told).collect();
                state.bytes = state.records.iter().map(EditRecord::size).sum();
                state.read_under = claim;
            }
            Err(error) => directory.failed(Operation::Read, &path, &error),
        }
    }

    /// Writes what is not on disk yet.
    fn write(&self, state: &mut LogState) -> Result<(), EditLogError> {
        state.forget();
        let Some(directory) = &self.directory else {
            state.unwritten = 0;
            return Ok(());
        };
        let unusable = || EditLogError::NoDirectory(directory.status().to_string());
        let hold = directory.hold_within(DISK_LIMIT).ok_or_else(unusable)?;
        if state.read_under != directory.claims() {
            return Err(unusable());
        }
        let skipped = match state.lines_on_disk < MAX_EDITS + MAX_EXTRA_EDITS {
            true => state.records.len() - state.unwritten,
            false => 0,
        };
        let text: String = state.records.iter().skip(skipped).map(EditRecord::line).collect();
        match skipped {
            0 => hold.write(FILE_NAME, &[text.as_bytes()])?,
            _ => hold.append(FILE_NAME, text.as_bytes())?,
        }
        state.lines_on_disk = state.records.len();
        state.unwritten = 0;
        Ok(())
    }

    /// Takes the line of an edit back that was not made.
    fn take_back(&self, state: &mut LogState, id: &str) {
        let Some(at) = state.records.iter().rposition(|record| record.id == id) else { return };
        state.records.remove(at);
        state.bytes = state.records.iter().map(EditRecord::size).sum();
        state.unwritten = state.unwritten.min(state.records.len());
        state.lines_on_disk = usize::MAX;
        if let Err(error) = self.write(state) {
            warn!(%error, id, "an edit that was not made stays in the log until the next one is written");
        }
    }
}

impl LogState {
    /// Returns the digest of a shop's file after all edits so far.
    fn head(&self, shop: &ShopName) -> Option<FileDigest> {
        let pending = self.pending.get(shop).and_then(|pending| pending.back());
        pending.map(|(_, after)| *after).or_else(|| self.last.get(shop).copied())
    }

    /// Notes an edit whose list is to come into force.
    fn expect(&mut self, shop: &ShopName, digests: (FileDigest, FileDigest)) {
        let pending = self.pending.entry(shop.clone()).or_default();
        if pending.len() == MAX_PENDING {
            pending.pop_front();
        }
        pending.push_back(digests);
    }

    fn push(&mut self, record: EditRecord) {
        self.bytes += record.size();
        self.records.push_back(record);
        self.unwritten += 1;
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_back() {
            self.bytes -= record.size();
            self.unwritten = self.unwritten.saturating_sub(1);
        }
    }

    /// Drops the oldest edits beyond the bounds.
    fn forget(&mut self) {
        while self.records.len() > MAX_EDITS || (self.bytes > MAX_BYTES && self.records.len() > 1) {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.size();
            self.unwritten = self.unwritten.min(self.records.len());
        }
    }
}

/// A list that came into force, and the one that it replaced.
struct ChangedList {
    shop: ShopName,
    old: Option<Arc<LoadedList>>,
    list: Arc<LoadedList>,
}

/// Returns the lists that a reload put into force.
fn changed_lists(before: &Shops, now: &Shops) -> Vec<ChangedList> {
    let changed = now.all().filter_map(|shop| {
        let list = shop.shared_list()?;
        let old = before.get(shop.name.as_str()).and_then(|shop| shop.shared_list());
        let is_same = old.as_ref().is_some_and(|old| Arc::ptr_eq(old, &list));
        (!is_same).then(|| ChangedList { shop: shop.name.clone(), old, list })
    });
    changed.collect()
}

/// Writes the log line of an edit.
fn log(record: &EditRecord) {
    let EditRecord { id, by, from, shop, note, codes, before, after, undoes, .. } = record;
    let EditedCodes { show, retire, hide, forget } = codes;
    let named = |codes: &Vec<String>| (!codes.is_empty()).then(|| listed(codes).to_string());
    let [show, retire, hide, forget] = [show, retire, hide, forget].map(named);
    info!(id, by, from, shop, show, retire, hide, forget, note, undoes, before, after, "whitelist edited");
}

/// Reads the edits in a cache directory, the oldest first.
///
/// # Errors
/// If they cannot be read. A file that does not exist counts as empty.
pub fn read(directory: &Path) -> io::Result<Vec<EditRecord>> {
    Ok(read_records(&Files::default(), &directory.join(FILE_NAME))?.0)
}

/// Reads the records of a file, and how many lines it has. Damaged lines are left out and logged.
fn read_records(files: &Files, path: &Path) -> io::Result<(Vec<EditRecord>, usize)> {
    let bytes = match files.read(path, MAX_FILE_LEN) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        contents => contents?.bytes,
    };
    let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let records: Vec<EditRecord> = lines.iter().filter_map(|line| EditRecord::parse(line)).collect();
    let damaged = lines.len() - records.len();
    if damaged > 0 {
        warn!(path = %path.display(), lines = damaged, "lines of the edit log are damaged: they are left out");
        // The next write makes the file anew; what is appended to half a line would be lost.
        return Ok((records, usize::MAX));
    }
    Ok((records, lines.len()))
}

#[cfg(test)]
mod tests;
