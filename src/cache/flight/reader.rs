//! How clients read a flight: each waits for its beginning or its end, and filters what arrives at its own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::{Instant, timeout_at};

use super::super::cached_feed::{Feed, FeedIndex, Meta};
use super::super::fetch_error::FetchError;
use super::super::lookup::Found;
use super::super::shared_value::SharedValue;
use super::PATIENCE;
use super::table::Seat;
use crate::body::{self, Body};
use crate::cache_status::CacheOutcome;
use crate::feed::package::Package;
use crate::feed::packages::{PackagesFilter, Segment};
use crate::policy::ViewRules;

/// Elements of a complete feed that a reader filters in one go, so that little of the index is copied at once.
const BATCH: usize = 256;

/// How a flight ended; the outcome is that of the client who started it.
pub type FlightEnd = Result<Found, FetchError>;

/// What has arrived so far.
#[derive(Debug, Default)]
pub(super) struct FlightProgress {
    /// What the upstream says about the feed, once it has begun to send it.
    pub(super) head: Option<Arc<Meta>>,
    /// Empty again once the flight has ended.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) ended: Option<FlightEnd>,
}

/// The reading side of a flight, for one client. The flight knows how many there are, and those that nobody reads
/// may be given up; dropping it is enough to leave.
#[derive(Debug)]
pub struct Flight {
    progress: Arc<SharedValue<FlightProgress>>,
    seat: Seat,
    /// When the client has waited long enough for its first byte.
    deadline: Instant,
    /// True if another client started it.
    collapsed: bool,
}

/// What a reader has to go on.
pub enum Begun {
    /// What the upstream says about the feed, and a body of what has come and what will come, filtered. The body
    /// ends in an error if the fetch does.
    Streaming(Arc<Meta>, Body),
    /// Everything.
    Ended(FlightEnd),
}

impl Flight {
    pub(super) fn new(progress: Arc<SharedValue<FlightProgress>>, seat: Seat, collapsed: bool) -> Self {
        Self { progress, seat, deadline: Instant::now() + PATIENCE, collapsed }
    }

    /// Returns the outcome for a client who is answered before the flight has ended.
    pub fn outcome(&self) -> CacheOutcome {
        self.own(CacheOutcome::Miss)
    }

    fn own(&self, outcome: CacheOutcome) -> CacheOutcome {
        if self.collapsed { outcome.collapsed() } else { outcome }
    }

    /// Waits for the end, but no longer than a client may have to. Cancel safe.
    pub async fn finished(self) -> FlightEnd {
        let ended = self.progress.wait_for(|progress| progress.ended.clone());
        match timeout_at(self.deadline, ended).await {
            Ok(ended) => self.end(ended),
            Err(_) => Err(self.late()),
        }
    }

    fn end(&self, ended: FlightEnd) -> FlightEnd {
        ended.map(|found| Found { outcome: self.own(found.outcome), ..found })
    }

    /// Waits for the first whole packages, or the end if that comes first, but no longer than a client may have
    /// to. Cancel safe.
    pub async fn begun(self, rules: ViewRules) -> Begun {
        let begun = self.progress.wait_for(|progress| match (&progress.head, progress.segments.last()) {
            _ if progress.ended.is_some() => Some((None, progress.ended.clone())),
            // With the last segment the end is near, and a whole feed has a length and validators.
            (Some(head), Some(segment)) if !segment.last => Some((Some(Arc::clone(head)), None)),
            _ => None,
        });
        let head = match timeout_at(self.deadline, begun).await {
            Ok((Some(head), _)) => head,
            Ok((None, ended)) => {
                return Begun::Ended(self.end(ended.unwrap_or(Err(FetchError::Interrupted))));
            }
            Err(_) => return Begun::Ended(Err(self.late())),
        };
        let reader = FlightReader { flight: self, rules, done: Done::default(), parts: VecDeque::new() };
        let frames = futures_util::stream::try_unfold(reader, |mut reader| async {
            let part = reader.next().await?;
            Ok::<_, FetchError>(part.map(|part| (Frame::data(part), reader)))
        });
        Begun::Streaming(head, body::boxed(StreamBody::new(frames)))
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
struct FlightReader {
    flight: Flight,
    rules: ViewRules,
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

impl FlightReader {
    async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if self.done.all {
                return Ok(None);
            }
            let read = self.done.segments;
            let news = |progress: &FlightProgress| match &progress.ended {
                // INVARIANT: what belongs to a failed fetch is not sent once that is known.
                Some(Err(error)) => Some(Err(error.clone())),
                Some(Ok(found)) => Some(Ok((Vec::new(), Some(Arc::clone(&found.cached.feed))))),
                None if progress.segments.len() > read => {
                    Some(Ok((progress.segments[read..].to_vec(), None)))
                }
                None => None,
            };
            let (segments, whole) = self.flight.progress.wait_for(news).await?;
            self.done.segments += segments.len();
            for segment in &segments {
                self.filter(segment);
            }
            // A slow client reads the rest from the whole feed, which others share: segments would be its alone.
            if let Some(feed) = whole {
                let rest = self.done.next_of(&feed).ok_or(FetchError::Interrupted)?;
                self.filter(&rest);
            }
        }
    }

    fn filter(&mut self, segment: &Segment) {
        let Self { rules, done, parts, .. } = self;
        let is_shown = |package: &Package| rules.show(package.code.as_deref(), package.seller);
        parts.extend(done.filter.segment(segment, is_shown));
        done.entries += segment.entries.len();
        done.bytes = segment.offset + segment.bytes.len();
        done.all |= segment.last;
    }
}

impl Done {
    /// Cuts the next piece that is still to be filtered out of the complete feed; nothing if it is another feed.
    fn next_of(&self, feed: &Feed) -> Option<Segment> {
        let FeedIndex::Packages(index) = &feed.index else { return None };
        let left = index.entries.get(self.entries..)?;
        let entries = left[..left.len().min(BATCH)].to_vec();
        let last = entries.len() == left.len();
        let end = match entries.last() {
            Some(entry) if !last => entry.span.end,
            _ => feed.body.len(),
        };
        let bytes = feed.body.get(self.bytes..end).map(|bytes| feed.body.slice_ref(bytes))?;
        Some(Segment { offset: self.bytes, bytes, head: index.head, entries, last })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::super::table::{FlightWriter, Flights, Join};
    use super::*;
    use crate::cache::tests::{key, packages};
    use crate::feed::packages::PackagesIndexer;
    use crate::policy::ViewKind;

    fn started() -> (Flight, FlightWriter) {
        match Flights::default().join(&key(0), || None::<()>) {
            Join::Started(flight, writer) => (flight, writer),
            other => panic!("{other:?}"),
        }
    }

    fn rules() -> ViewRules {
        ViewRules::of_text("extensions = []", ViewKind::Shop)
    }

    fn found(body: &str) -> Found {
        Found { cached: packages(body.to_owned()), outcome: CacheOutcome::Stored }
    }

    #[tokio::test]
    async fn one_that_falls_behind_reads_the_rest_from_the_copy() {
        // More than is cut out of it at once.
        let numbers: Vec<_> = (0..3 * BATCH).map(|n| n.to_string()).collect();
        let body = format!("[{}]", numbers.join(","));
        let (flight, writer) = started();
        let mut indexer = PackagesIndexer::bounded();
        writer.begin(found(&body).cached.meta);
        for piece in [0..100, 100..200] {
            indexer.push(&Bytes::copy_from_slice(&body.as_bytes()[piece])).expect("a feed");
            std::iter::from_fn(|| indexer.take()).for_each(|segment| writer.publish(segment));
        }
        let Begun::Streaming(_, mut stream) = flight.begun(rules()).await else { panic!("no stream") };
        let first = stream.frame().await.expect("a frame").expect("data").into_data().expect("data");
        writer.finish(Ok(found(&body)));
        let rest = stream.collect().await.expect("an end").to_bytes();
        assert_eq!([first, rest].concat(), body.as_bytes());
    }

    #[tokio::test]
    async fn the_end_of_a_feed_that_has_arrived_is_waited_for() {
        let (flight, writer) = started();
        let mut indexer = PackagesIndexer::bounded();
        indexer.push(&Bytes::from_static(b"[1]")).expect("a feed");
        writer.begin(found("[1]").cached.meta);
        writer.publish(indexer.finish().expect("a feed"));
        let mut begun = Box::pin(flight.begun(rules()));
        assert!(begun.as_mut().now_or_never().is_none());
        writer.finish(Ok(found("[1]")));
        assert!(matches!(begun.await, Begun::Ended(Ok(_))));
    }
}
