//! The flights under way: which run, which wait for a place, and how many clients read each.
//!
//! All of it is under one lock, so "nobody reads it" is exact: a client either joins a flight before its last
//! reader has left or finds no flight at all. An entry owns its flight; taking it out ends the flight's task.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use super::super::Key;
use super::super::cached_feed::Meta;
use super::super::fetch_error::FetchError;
use super::super::shared_value::SharedValue;
use super::reader::{Flight, FlightEnd, FlightProgress};
use super::{MAX_RENEWING, MAX_RUNNING, MAX_WAITING};
use crate::feed::packages::Segment;

/// Why a flight was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Purpose {
    /// Clients wait for it, because there is no copy that may be served.
    Fill,
    /// It renews a copy that is in service, so nobody has to wait for it.
    Renew,
}

/// Where a flight is.
#[derive(Debug)]
enum Stage {
    /// It has no place yet and does not ask for one: it looks for a copy on disk.
    Preparing,
    /// It waits for a place. The sender tells its task that there is one.
    Waiting(oneshot::Sender<()>),
    /// It has a place.
    Running,
}

/// One flight under way.
#[derive(Debug)]
struct FlightRecord {
    id: u64,
    purpose: Purpose,
    stage: Stage,
    readers: usize,
    /// True if the whole feed has arrived and only has to be stored.
    is_complete: bool,
    /// Tick at which the last reader left, or at which it began without one.
    unread_since: u64,
    progress: Arc<SharedValue<FlightProgress>>,
    /// Disconnects when the entry is dropped, which ends the flight's task; nothing is ever sent.
    _alive: oneshot::Sender<Infallible>,
}

/// The table of all flights; cloning shares it.
#[derive(Debug, Clone, Default)]
pub(in crate::cache) struct Flights(Arc<SharedTable>);

#[derive(Debug, Default)]
struct SharedTable {
    table: Mutex<FlightTable>,
    /// Running flights that nobody waited for and that gave up their place.
    yielded: Counter,
    /// Flights that found no room to wait.
    refused: Counter,
}

#[derive(Debug, Default)]
struct FlightTable {
    flights: HashMap<Key, FlightRecord>,
    /// Keys of the waiting flights, first come, first served.
    queue: VecDeque<Key>,
    /// Places taken by flights that fill.
    running: usize,
    /// Places taken by flights that renew.
    renewing: usize,
    /// Counts what happens here, so that flights and departures have an order.
    tick: u64,
}

/// How many flights there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cache) struct Counts {
    /// All, those that still look for a copy on disk included.
    pub(in crate::cache) total: usize,
    /// Those that fill and have a place.
    pub(in crate::cache) running: usize,
    /// Those that wait for a place.
    pub(in crate::cache) waiting: usize,
    /// Those that renew a copy.
    pub(in crate::cache) renewing: usize,
}

/// What became of an attempt to join a flight.
#[derive(Debug)]
pub(in crate::cache) enum Join<T> {
    /// It is under way already.
    Collapsed(Flight),
    /// It was started; the writer has to be flown.
    Started(Flight, FlightWriter),
    /// There is something better.
    Instead(T),
}

/// The writing side of a flight, for its task. Dropping it ends the flight: readers that are left see an
/// interrupted fetch, and its place goes to the next in the queue.
#[derive(Debug)]
pub(in crate::cache) struct FlightWriter {
    flights: Flights,
    key: Key,
    id: u64,
    progress: Arc<SharedValue<FlightProgress>>,
    /// Taken by [`FlightWriter::ended`].
    alive: Option<oneshot::Receiver<Infallible>>,
}

/// One reader's share in a flight. Dropping it is how a reader leaves.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Flights,
    key: Key,
    id: u64,
}

/// There is no room to wait for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) struct QueueFull;

impl Flights {
    /// Makes an empty table that counts in `yielded` and `refused`.
    pub(in crate::cache) fn new(yielded: Counter, refused: Counter) -> Self {
        Self(Arc::new(SharedTable { table: Mutex::default(), yielded, refused }))
    }

    /// Joins the flight for a key, or starts one unless `instead` finds something better.
    ///
    /// `instead` runs under the lock: what a flight stored before it ended is there for it to see.
    pub(in crate::cache) fn join<T>(&self, key: &Key, instead: impl FnOnce() -> Option<T>) -> Join<T> {
        let mut table = self.0.table.lock();
        if let Some(entry) = table.flights.get_mut(key) {
            entry.readers += 1;
            let (id, progress) = (entry.id, Arc::clone(&entry.progress));
            return Join::Collapsed(self.reader(key, id, progress, true));
        }
        if let Some(found) = instead() {
            return Join::Instead(found);
        }
        let writer = self.start(&mut table, key, Purpose::Fill);
        let flight = self.reader(key, writer.id, Arc::clone(&writer.progress), false);
        Join::Started(flight, writer)
    }

    /// Starts a flight that renews a copy, unless one is under way, there is no place or `may` says no.
    pub(in crate::cache) fn renew(&self, key: &Key, may: impl FnOnce() -> bool) -> Option<FlightWriter> {
        let mut table = self.0.table.lock();
        let free = table.renewing < MAX_RENEWING && !table.flights.contains_key(key);
        (free && may()).then(|| self.start(&mut table, key, Purpose::Renew))
    }

    /// Returns true if no further flight may renew a copy just now.
    pub(in crate::cache) fn renewals_are_full(&self) -> bool {
        self.0.table.lock().renewing >= MAX_RENEWING
    }

    /// Counts the flights.
    pub(in crate::cache) fn counts(&self) -> Counts {
        let table = self.0.table.lock();
        Counts {
            total: table.flights.len(),
            running: table.running,
            waiting: table.queue.len(),
            renewing: table.renewing,
        }
    }

    fn start(&self, table: &mut FlightTable, key: &Key, purpose: Purpose) -> FlightWriter {
        table.tick += 1;
        let id = table.tick;
        let progress = Arc::new(SharedValue::new(FlightProgress::default()));
        let (sender, alive) = oneshot::channel();
        let (stage, readers) = match purpose {
            Purpose::Fill => (Stage::Preparing, 1),
            Purpose::Renew => (Stage::Running, 0),
        };
        table.renewing += usize::from(purpose == Purpose::Renew);
        let entry = FlightRecord {
            id,
            purpose,
            stage,
            readers,
            is_complete: false,
            unread_since: id,
            progress: Arc::clone(&progress),
            _alive: sender,
        };
        table.flights.insert(key.clone(), entry);
        FlightWriter { flights: self.clone(), key: key.clone(), id, progress, alive: Some(alive) }
    }

    /// Makes the handle of a reader that is counted already.
    fn reader(
        &self,
        key: &Key,
        id: u64,
        progress: Arc<SharedValue<FlightProgress>>,
        collapsed: bool,
    ) -> Flight {
        let seat = Seat { flights: self.clone(), key: key.clone(), id };
        Flight::new(progress, seat, collapsed)
    }

    /// Takes a flight out, if it is there, and hands its place on.
    fn remove(&self, key: &Key, id: u64) {
        let removed = {
            let mut table = self.0.table.lock();
            table.remove(key, id)
        };
        // Outside of the lock: dropping it wakes tasks.
        drop(removed);
    }
}

impl FlightTable {
    fn entry(&mut self, key: &Key, id: u64) -> Option<&mut FlightRecord> {
        self.flights.get_mut(key).filter(|entry| entry.id == id)
    }

    fn remove(&mut self, key: &Key, id: u64) -> Option<FlightRecord> {
        self.entry(key, id)?;
        let entry = self.flights.remove(key)?;
        match (&entry.stage, entry.purpose) {
            (Stage::Preparing, _) => {}
            (Stage::Waiting(_), _) => self.queue.retain(|waiting| waiting != key),
            (Stage::Running, Purpose::Fill) => self.running -= 1,
            (Stage::Running, Purpose::Renew) => self.renewing -= 1,
        }
        self.hand_on();
        Some(entry)
    }

    /// Gives free places to those who wait for them, in order.
    fn hand_on(&mut self) {
        while self.running < MAX_RUNNING
            && let Some(key) = self.queue.pop_front()
        {
            let Some(entry) = self.flights.get_mut(&key) else { continue };
            if let Stage::Waiting(granted) = std::mem::replace(&mut entry.stage, Stage::Running) {
                self.running += 1;
                // A task that is gone drops its writer, which gives the place back.
                let _ = granted.send(());
            }
        }
    }

    /// Finds the running flight that nobody has read for longest and that renews nothing.
    fn unread(&self) -> Option<(Key, u64)> {
        let unread = self.flights.iter().filter(|(_, entry)| {
            let runs = matches!(entry.stage, Stage::Running) && entry.purpose == Purpose::Fill;
            runs && entry.readers == 0 && !entry.is_complete
        });
        let (key, entry) = unread.min_by_key(|(_, entry)| entry.unread_since)?;
        Some((key.clone(), entry.id))
    }
}

impl FlightWriter {
    /// Returns what the flight is for.
    pub(in crate::cache) fn key(&self) -> &Key {
        &self.key
    }

    /// Asks for a place among the running flights; one that renews has it already. Waits while all are taken.
    ///
    /// # Errors
    /// If too many wait already.
    pub(in crate::cache) async fn place(&self) -> Result<(), QueueFull> {
        if let Some(granted) = self.ask_for_place()? {
            // The sender goes without a word only with the entry, and then this task is about to end.
            let _ = granted.await;
        }
        Ok(())
    }

    /// Takes a place, or one in the queue and returns what tells of the place.
    fn ask_for_place(&self) -> Result<Option<oneshot::Receiver<()>>, QueueFull> {
        let mut dropped = None;
        let shared = &self.flights.0;
        let mut table = shared.table.lock();
        let asks =
            table.entry(&self.key, self.id).is_some_and(|entry| matches!(entry.stage, Stage::Preparing));
        if !asks {
            return Ok(None);
        }
        if table.running >= MAX_RUNNING
            && let Some((key, id)) = table.unread()
        {
            // Nobody can be waiting: places of flights that nobody reads go to the queue first.
            dropped = table.remove(&key, id);
            shared.yielded.inc();
        }
        let (stage, granted) = if table.running < MAX_RUNNING {
            table.running += 1;
            (Stage::Running, None)
        } else if table.queue.len() < MAX_WAITING {
            table.queue.push_back(self.key.clone());
            let (sender, granted) = oneshot::channel();
            (Stage::Waiting(sender), Some(granted))
        } else {
            shared.refused.inc();
            return Err(QueueFull);
        };
        if let Some(entry) = table.entry(&self.key, self.id) {
            entry.stage = stage;
        }
        drop(table);
        drop(dropped);
        Ok(granted)
    }

    /// Tells the readers what the upstream says about the feed.
    pub(in crate::cache) fn begin(&self, head: Meta) {
        self.progress.modify(|progress| progress.head = Some(Arc::new(head)));
    }

    /// Hands the next segment to the readers.
    pub(in crate::cache) fn publish(&self, segment: Segment) {
        if segment.last
            && let Some(entry) = self.flights.0.table.lock().entry(&self.key, self.id)
        {
            entry.is_complete = true;
        }
        self.progress.modify(|progress| progress.segments.push(Arc::new(segment)));
    }

    /// Returns what completes when nobody wants the flight any more. The second time it never does.
    pub(in crate::cache) fn ended(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let alive = self.alive.take();
        async move {
            match alive {
                // It completes with an error when the entry is dropped, and in no other way.
                Some(alive) => drop(alive.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Ends the flight: whoever asks from now on finds no flight, whoever reads it learns how it ended.
    pub(in crate::cache) fn finish(self, ended: FlightEnd) {
        self.flights.remove(&self.key, self.id);
        self.progress.modify(|progress| {
            // What was not read of a failed flight is never read, and of a good one the copy has it all.
            progress.segments = Vec::new();
            progress.ended = Some(ended);
        });
    }
}

impl Drop for FlightWriter {
    fn drop(&mut self) {
        self.flights.remove(&self.key, self.id);
        self.progress.modify(|progress| {
            progress.ended.get_or_insert(Err(FetchError::Interrupted));
        });
    }
}

impl Seat {
    /// Returns true if the flight is under way and has no place yet.
    pub(super) fn is_waiting(&self) -> bool {
        let mut table = self.flights.0.table.lock();
        table.entry(&self.key, self.id).is_some_and(|entry| !matches!(entry.stage, Stage::Running))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shared = &self.flights.0;
        let mut dropped = None;
        let mut table = shared.table.lock();
        table.tick += 1;
        let (tick, wanted) = (table.tick, !table.queue.is_empty());
        let Some(entry) = table.entry(&self.key, self.id) else { return };
        entry.readers -= 1;
        if entry.readers == 0 && entry.purpose == Purpose::Fill {
            entry.unread_since = tick;
            let runs = matches!(entry.stage, Stage::Running);
            // INVARIANT: while anybody waits for a place, every running flight that fills has a reader, or has its whole
            // feed: the last reader has its end before the copy is stored.
            if !runs || (wanted && !entry.is_complete) {
                dropped = table.remove(&self.key, self.id);
                shared.yielded.inc_by(u64::from(runs));
            }
        }
        drop(table);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests;
