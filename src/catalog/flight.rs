//! One fetch in flight and its many readers.
//!
//! The fetch is a task of its own, so no reader's end ends it. What arrives grows in shared segments, and
//! every reader goes through them at its own pace; one that stalls or hangs up harms no other.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::watch;

use super::copy::Copy;
use super::fetch::FetchError;
use crate::body::{self, Body};
use crate::feed::packages::{Filter, Segment};
use crate::whitelist::Whitelist;

/// How a flight ended.
pub type Outcome = Result<Landed, FetchError>;

/// The copy that a flight brought.
#[derive(Debug, Clone)]
pub struct Landed {
    /// It.
    pub copy: Copy,
    /// Where from.
    pub source: Source,
}

/// Where a copy came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The upstream, just now.
    Upstream,
    /// The cache directory.
    Disk,
}

/// What has arrived so far.
#[derive(Debug, Default)]
struct Progress {
    segments: Vec<Arc<Segment>>,
    outcome: Option<Outcome>,
}

/// The side that writes. If it is dropped before its end, its readers see an interrupted fetch.
#[derive(Debug)]
pub struct Writer(watch::Sender<Progress>);

/// The side that reads; clones read on their own.
#[derive(Debug, Clone)]
pub struct Flight(watch::Receiver<Progress>);

/// What a reader has to go on.
pub enum Begun {
    /// A body of what has come and what will come, filtered. It ends in an error if the fetch does.
    Streaming(Body),
    /// Everything.
    Ended(Outcome),
}

/// Starts a flight.
pub fn start() -> (Writer, Flight) {
    let (sender, receiver) = watch::channel(Progress::default());
    (Writer(sender), Flight(receiver))
}

impl Writer {
    /// Hands the next segment to the readers.
    pub fn publish(&self, segment: Segment) {
        self.0.send_modify(|progress| progress.segments.push(Arc::new(segment)));
    }

    /// Ends the flight.
    pub fn finish(self, outcome: Outcome) {
        self.0.send_modify(|progress| progress.outcome = Some(outcome));
    }
}

impl Flight {
    /// Waits for the end. Cancel safe.
    pub async fn finished(mut self) -> Outcome {
        match self.0.wait_for(|progress| progress.outcome.is_some()).await {
            Ok(progress) => progress.outcome.clone().unwrap_or(Err(FetchError::Interrupted)),
            Err(_) => Err(FetchError::Interrupted),
        }
    }

    /// Waits for the first whole packages, or the end if that comes first.
    pub async fn begun(mut self, list: Arc<Whitelist>) -> Begun {
        // With the last segment the end is near, and a whole copy has a length and validators.
        let begun = |progress: &Progress| {
            progress.segments.last().is_some_and(|segment| !segment.last) || progress.outcome.is_some()
        };
        match self.0.wait_for(begun).await.map(|progress| progress.outcome.clone()) {
            Ok(None) => {}
            Ok(Some(outcome)) => return Begun::Ended(outcome),
            Err(_) => return Begun::Ended(Err(FetchError::Interrupted)),
        }
        let reader = Reader {
            flight: self,
            list,
            read: 0,
            filter: Filter::default(),
            ended: false,
            parts: VecDeque::new(),
        };
        let frames = futures_util::stream::try_unfold(reader, |mut reader| async {
            let part = reader.next().await?;
            Ok::<_, FetchError>(part.map(|part| (Frame::data(part), reader)))
        });
        Begun::Streaming(body::boxed(StreamBody::new(frames)))
    }
}

/// One client's way through the segments.
struct Reader {
    flight: Flight,
    list: Arc<Whitelist>,
    /// Segments done.
    read: usize,
    /// The last segment is done.
    ended: bool,
    filter: Filter,
    /// Filtered and not yet sent.
    parts: VecDeque<Bytes>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if self.ended {
                return Ok(None);
            }
            let read = self.read;
            let news = |progress: &Progress| progress.segments.len() > read || progress.outcome.is_some();
            let segments = match self.flight.0.wait_for(news).await.as_deref() {
                Err(_) => return Err(FetchError::Interrupted),
                // INVARIANT: what belongs to a failed fetch is not sent once that is known.
                Ok(Progress { outcome: Some(Err(error)), .. }) => return Err(error.clone()),
                Ok(progress) => progress.segments[read..].to_vec(),
            };
            for segment in &segments {
                self.parts.extend(self.filter.segment(segment, |code| self.list.contains(code)));
                self.ended |= segment.last;
            }
            self.read += segments.len();
        }
    }
}
