//! How clients read a flight: each waits for its beginning or its end, and filters what arrives at its own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::super::copy::{Content, Copy, Index};
use super::super::fetch::FetchError;
use super::PATIENCE;
use super::table::Seat;
use crate::body::{self, Body};
use crate::feed::packages::{PackagesFilter, Segment};
use crate::whitelist::Whitelist;

/// Elements of a complete feed that a reader filters in one go, so that little of the index is copied at once.
const BATCH: usize = 256;

/// How a flight ended.
pub type Outcome = Result<Landed, FetchError>;

/// The copy that a flight brought.
#[derive(Debug, Clone)]
pub struct Landed {
    /// The copy.
    pub copy: Copy,
    /// Where it came from.
    pub source: Source,
}

/// Where a copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream, just now.
    Upstream(Kept),
    /// The cache directory.
    Disk,
}

/// Whether a fetched copy is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is there for the next request.
    Stored,
    /// The cache has no room for it: it serves only those who waited for it.
    NotStored,
}

/// What has arrived so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Empty again once there is an outcome.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) outcome: Option<Outcome>,
}

/// The reading side of a flight, for one client. The flight knows how many there are, and those that nobody reads
/// may be given up; dropping it is enough to leave.
#[derive(Debug)]
pub struct Flight {
    progress: watch::Receiver<Progress>,
    seat: Seat,
    /// When the client has waited long enough for its first byte.
    deadline: Instant,
}

/// What a reader has to go on.
pub enum Begun {
    /// A body of what has come and what will come, filtered. It ends in an error if the fetch does.
    Streaming(Body),
    /// Everything.
    Ended(Outcome),
}

impl Flight {
    pub(super) fn new(progress: watch::Receiver<Progress>, seat: Seat, deadline: Instant) -> Self {
        Self { progress, seat, deadline }
    }

    /// Waits for the end, but no longer than a client may have to. Cancel safe.
    pub async fn finished(mut self) -> Outcome {
        let ended = self.progress.wait_for(|progress| progress.outcome.is_some());
        let ended = timeout_at(self.deadline, ended).await;
        let outcome = ended.map(|progress| progress.ok().and_then(|progress| progress.outcome.clone()));
        match outcome {
            Ok(outcome) => outcome.unwrap_or(Err(FetchError::Interrupted)),
            Err(_) => Err(self.late()),
        }
    }

    /// Waits for the first whole packages, or the end if that comes first, but no longer than a client may have
    /// to. Cancel safe.
    pub async fn begun(mut self, list: Arc<Whitelist>) -> Begun {
        // With the last segment the end is near, and a whole copy has a length and validators.
        let begun = |progress: &Progress| {
            progress.segments.last().is_some_and(|segment| !segment.last) || progress.outcome.is_some()
        };
        let begun = timeout_at(self.deadline, self.progress.wait_for(begun)).await;
        match begun.map(|progress| progress.map(|progress| progress.outcome.clone())) {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(outcome))) => return Begun::Ended(outcome),
            Ok(Err(_)) => return Begun::Ended(Err(FetchError::Interrupted)),
            Err(_) => return Begun::Ended(Err(self.late())),
        }
        let reader = Reader { flight: self, list, done: Done::default(), parts: VecDeque::new() };
        let frames = futures_util::stream::try_unfold(reader, |mut reader| async {
            let part = reader.next().await?;
            Ok::<_, FetchError>(part.map(|part| (Frame::data(part), reader)))
        });
        Begun::Streaming(body::boxed(StreamBody::new(frames)))
    }

    /// Says why a client waited in vain. That is no failure of the fetch, which may go on.
    fn late(&self) -> FetchError {
        if self.seat.is_waiting() { FetchError::Busy } else { FetchError::Late(PATIENCE) }
    }

    /// Returns true if the flight has no place yet.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        self.seat.is_waiting()
    }
}

/// One client's way through a flight.
struct Reader {
    flight: Flight,
    list: Arc<Whitelist>,
    done: Done,
    /// Filtered and not yet sent.
    parts: VecDeque<Bytes>,
}

/// How much of the feed a reader has filtered.
#[derive(Default)]
struct Done {
    filter: PackagesFilter,
    segments: usize,
    entries: usize,
    bytes: usize,
    /// Everything.
    all: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if self.done.all {
                return Ok(None);
            }
            let read = self.done.segments;
            let news = |progress: &Progress| progress.segments.len() > read || progress.outcome.is_some();
            let (segments, landed) = match self.flight.progress.wait_for(news).await.as_deref() {
                Err(_) => return Err(FetchError::Interrupted),
                // INVARIANT: what belongs to a failed fetch is not sent once that is known.
                Ok(Progress { outcome: Some(Err(error)), .. }) => return Err(error.clone()),
                Ok(Progress { outcome: Some(Ok(landed)), .. }) => (Vec::new(), Some(landed.copy.clone())),
                Ok(progress) => (progress.segments[read..].to_vec(), None),
            };
            self.done.segments += segments.len();
            for segment in &segments {
                self.filter(segment);
            }
            // A slow client reads the rest from the copy, which others share: segments would be its alone.
            if let Some(copy) = landed {
                let rest = self.done.next_of(&copy.content).ok_or(FetchError::Interrupted)?;
                self.filter(&rest);
            }
        }
    }

    fn filter(&mut self, segment: &Segment) {
        let Self { list, done, parts, .. } = self;
        parts.extend(done.filter.segment(segment, |code| list.contains(code)));
        done.entries += segment.entries.len();
        done.bytes = segment.offset + segment.bytes.len();
        done.all |= segment.last;
    }
}

impl Done {
    /// Cuts the next piece that is still to be filtered out of the complete feed; nothing if it is another feed.
    fn next_of(&self, content: &Content) -> Option<Segment> {
        let Index::Packages(index) = &content.index else { return None };
        let left = index.entries.get(self.entries..)?;
        let entries = left[..left.len().min(BATCH)].to_vec();
        let last = entries.len() == left.len();
        let end = match entries.last() {
            Some(entry) if !last => entry.span.end,
            _ => content.body.len(),
        };
        let bytes = content.body.get(self.bytes..end).map(|bytes| content.body.slice_ref(bytes))?;
        Some(Segment { offset: self.bytes, bytes, head: index.head, entries, last })
    }
}
