//! Values read from files that may change at any time: [`Reloading`] keeps the last good one.
//!
//! Everything here runs on the caller's thread and never sleeps; the thread and the pauses are [`Watch`]'s.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, io, mem};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use tracing::warn;

use crate::watch::{Check, FILE_POLL_INTERVAL, Watch, WatchedFiles};

/// Most times in a row that the content is found changed again before it is taken as it is.
const MAX_SETTLE_ROUNDS: usize = 8;

/// Content of one file, or the reason why it cannot be read.
pub type Part = Result<Vec<u8>, String>;

/// A value that is parsed from files.
pub trait Reloadable: Sized + Send + Sync + 'static {
    /// Source of the value, such as a path.
    type Origin: fmt::Debug + Send + Sync + 'static;
    /// Error of a load; names the file and the place.
    type Error: Error + Send + Sync + 'static;
    /// Name in the log, of the thread and in the metrics.
    const NAME: &'static str;
    /// Time that content must stay unchanged before it is taken.
    const SETTLE: Settle;

    /// Returns the files whose changes are to be noticed at once.
    fn files(origin: &Self::Origin) -> Vec<PathBuf>;

    /// Returns how often the content is read when nothing reports a change.
    fn poll_interval(_: &Self::Origin) -> Duration {
        FILE_POLL_INTERVAL
    }

    /// Reads the content.
    fn read(origin: &Self::Origin) -> Vec<Part>;

    /// Parses the content.
    ///
    /// # Errors
    /// If the content is not valid. The last good value stays.
    fn parse(origin: &Self::Origin, content: FileContents<'_, Self>) -> Result<Parsed<Self>, Self::Error>;

    /// Logs that `now` is in force; `before` is what it replaces, if it is not the first one.
    fn log_loaded(origin: &Self::Origin, before: Option<&Self>, now: &Self);
}

/// Times that content must stay unchanged before it is taken, because it may be half-written.
#[derive(Debug, Clone, Copy)]
pub struct Settle {
    /// For valid content; zero takes it at once.
    pub good: Duration,
    /// For content that is broken or missing.
    pub broken: Duration,
}

/// Content to be parsed.
#[derive(Debug)]
pub struct FileContents<'a, T> {
    /// The files' content, in their order.
    pub parts: &'a [Part],
    /// The value in force, unless it is the first load.
    pub last: Option<&'a T>,
    /// Why it is read.
    pub check: Check,
}

/// A valid value, and warnings about it.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// Warnings for the log.
    pub warnings: Vec<String>,
    /// True if a part of the content has become broken or missing, so that it may be half-written like content that
    /// is broken as a whole.
    pub is_partial: bool,
}

/// Outcome of the loads so far.
#[derive(Debug)]
pub struct ReloadStatus<E> {
    /// Time of the last successful load.
    pub loaded_at: SystemTime,
    /// Number of successful loads.
    pub generation: u64,
    /// Error of the last load, if it failed.
    pub last_error: Option<Arc<E>>,
    /// True if the content as it was last read is in force.
    pub in_force: bool,
}

/// The last good value of files that may change.
pub struct Reloading<T: Reloadable> {
    origin: T::Origin,
    read: ReadFiles<T>,
    current: ArcSwap<T>,
    status: Mutex<ReloadStatus<T::Error>>,
    progress: Mutex<CheckProgress>,
    observers: Mutex<Vec<Observer<T>>>,
}

/// Is told the value before a reload and the one now.
type Observer<T> = Arc<dyn Fn(&T, &T) + Send + Sync>;

/// Replaces [`Reloadable::read`] in tests.
pub(crate) type ReadFiles<T> = Box<dyn Fn(&<T as Reloadable>::Origin) -> Vec<Part> + Send + Sync>;

/// Identifies content. Digests, because content may be a private key.
type Fingerprint = Vec<Result<[u8; SHA256_OUTPUT_LEN], String>>;

/// Progress of the checks.
#[derive(Debug)]
struct CheckProgress {
    /// The content that the last finished check found.
    seen: Fingerprint,
    /// Content that must be found unchanged once more before it is taken.
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    found: Fingerprint,
    check: Check,
    rounds: usize,
}

impl<T: Reloadable> Reloading<T> {
    /// Loads the first value.
    ///
    /// # Errors
    /// If there is no good value to start with.
    pub fn load(origin: T::Origin) -> Result<Arc<Self>, T::Error> {
        Self::load_with(origin, Box::new(T::read))
    }

    pub(crate) fn load_with(origin: T::Origin, read: ReadFiles<T>) -> Result<Arc<Self>, T::Error> {
        let parts = read(&origin);
        let content = FileContents { parts: &parts, last: None, check: Check::IfChanged };
        let Parsed { value, warnings, .. } = T::parse(&origin, content)?;
        let status =
            ReloadStatus { loaded_at: SystemTime::now(), generation: 1, last_error: None, in_force: true };
        let reloading = Self {
            origin,
            read,
            current: ArcSwap::from_pointee(value),
            status: Mutex::new(status),
            progress: Mutex::new(CheckProgress { seen: fingerprint(&parts), candidate: None }),
            observers: Mutex::default(),
        };
        reloading.log_loaded(None, &warnings);
        Ok(Arc::new(reloading))
    }

    /// Returns the last good value.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Returns the outcome of the loads so far.
    pub fn status(&self) -> ReloadStatus<T::Error> {
        self.status.lock().clone()
    }

    /// Has `observer` called after each reload, with the value before and the one now: of every reload, in their order,
    /// however fast they follow each other. Failed loads are not reported.
    ///
    /// The new value is in force when it is called, on the thread of the check, and no other check begins until it
    /// returns; so it must not call [`Self::check`]. If it panics, the value stays, other observers are called all the
    /// same, and the check panics after everything else is done. To miss nothing, call this before [`Self::watch`].
    pub fn observe(&self, observer: impl Fn(&T, &T) + Send + Sync + 'static) {
        self.observers.lock().push(Arc::new(observer));
    }

    /// Starts a thread that checks the content whenever it may have changed; `panics` counts the checks that
    /// panic.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn watch(self: &Arc<Self>, panics: Counter) -> io::Result<Watch> {
        let reloading = Arc::clone(self);
        let watched = WatchedFiles {
            name: T::NAME,
            files: T::files(&self.origin),
            poll_interval: T::poll_interval(&self.origin),
            panics,
        };
        Watch::start(watched, move |check| reloading.check(check))
    }

    /// Reads the content, and takes it if it changed or `check` is forced.
    ///
    /// Returns the pause after which it must be called again because the content may still be changing, or `None` if the
    /// check is finished.
    pub fn check(&self, check: Check) -> Option<Duration> {
        let mut progress = self.progress.lock();
        let parts = (self.read)(&self.origin);
        let found = fingerprint(&parts);
        let candidate = progress.candidate.take();
        let check = candidate.as_ref().map_or(check, |candidate| match candidate.check {
            Check::Forced => Check::Forced,
            Check::IfChanged => check,
        });
        if check == Check::IfChanged && found == progress.seen {
            return None;
        }
        let rounds = candidate.as_ref().map_or(0, |candidate| candidate.rounds);
        let settled =
            rounds >= MAX_SETTLE_ROUNDS || candidate.is_some_and(|candidate| candidate.found == found);
        // Content that makes the parser panic counts as seen, or each poll would panic again.
        let seen = mem::replace(&mut progress.seen, found.clone());
        let parsed = self.parse(&parts, check);
        let is_whole = parsed.as_ref().is_ok_and(|parsed| !parsed.is_partial);
        let pause = if is_whole { T::SETTLE.good } else { T::SETTLE.broken };
        if !settled && !pause.is_zero() {
            progress.seen = seen;
            progress.candidate = Some(Candidate { found, check, rounds: rounds + 1 });
            return Some(pause);
        }
        // INVARIANT: everything is stored before anything is logged or told, for both may block or panic.
        let stored = self.store(parsed);
        let told = stored.as_ref().map_or(Ok(()), |(before, _)| self.tell(before));
        drop(progress);
        match stored {
            Ok((before, warnings)) => {
                self.log_loaded(Some(&before), &warnings);
                told.unwrap_or_else(|payload| resume_unwind(payload));
            }
            Err(error) => {
                let generation = self.status.lock().generation;
                warn!(%error, generation, "{} not reloaded, the last good one stays", T::NAME);
            }
        }
        None
    }

    fn parse(&self, parts: &[Part], check: Check) -> Result<Parsed<T>, T::Error> {
        let last = self.current.load();
        let content = FileContents { parts, last: Some(&**last), check };
        catch_unwind(AssertUnwindSafe(|| T::parse(&self.origin, content))).unwrap_or_else(|payload| {
            self.status.lock().in_force = false;
            resume_unwind(payload)
        })
    }

    /// Stores the outcome of a load. Returns the value replaced and the warnings about the new one.
    #[allow(clippy::type_complexity, reason = "the value and its warnings, or the error")]
    fn store(&self, parsed: Result<Parsed<T>, T::Error>) -> Result<(Arc<T>, Vec<String>), Arc<T::Error>> {
        let mut status = self.status.lock();
        match parsed {
            Ok(Parsed { value, warnings, .. }) => {
                let before = self.current.swap(Arc::new(value));
                let generation = status.generation + 1;
                *status = ReloadStatus {
                    loaded_at: SystemTime::now(),
                    generation,
                    last_error: None,
                    in_force: true,
                };
                Ok((before, warnings))
            }
            Err(error) => {
                let error = Arc::new(error);
                (status.in_force, status.last_error) = (false, Some(Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Calls all observers. Returns the payload of the first one that panicked, if any did.
    fn tell(&self, before: &T) -> std::thread::Result<()> {
        // Copied, so that an observer may add others.
        let observers = self.observers.lock().clone();
        let now = self.current();
        let tell = |observer: Observer<T>| catch_unwind(AssertUnwindSafe(|| observer(before, &now)));
        // All are called before the first panic counts.
        let told: Vec<_> = observers.into_iter().map(tell).collect();
        told.into_iter().collect()
    }

    fn log_loaded(&self, before: Option<&T>, warnings: &[String]) {
        T::log_loaded(&self.origin, before, &self.current.load());
        for warning in warnings {
            warn!("{warning}");
        }
    }
}

impl<T: Reloadable> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("name", &T::NAME)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl<E> Clone for ReloadStatus<E> {
    fn clone(&self) -> Self {
        let Self { loaded_at, generation, ref last_error, in_force } = *self;
        Self { loaded_at, generation, last_error: last_error.clone(), in_force }
    }
}

fn fingerprint(parts: &[Part]) -> Fingerprint {
    let identify = |content: &Vec<u8>| {
        let mut out = [0; SHA256_OUTPUT_LEN];
        out.copy_from_slice(digest(&SHA256, content).as_ref());
        out
    };
    parts.iter().map(|part| part.as_ref().map(identify).map_err(Clone::clone)).collect()
}

#[cfg(test)]
mod tests;
