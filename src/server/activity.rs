//! What one connection is doing, as those see it who decide whether it stays.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, Version};
use http_body::Body;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits::{IDLE_TIMEOUT, REQUEST_TIMEOUT};

/// The record of one open connection. Its socket, its requests and the sweep share it.
#[derive(Debug)]
pub(super) struct Activity {
    pub(super) network: IpAddr,
    state: Mutex<ActivityState>,
    closing: Notify,
    /// Has a permit from the first request on.
    asked: Notify,
}

#[derive(Debug)]
struct ActivityState {
    /// True if there was a request.
    has_asked: bool,
    /// Requests whose response is not complete.
    running: usize,
    /// What is awaited while none runs.
    awaited: Awaited,
    /// Since when.
    since: Instant,
    /// True for HTTP/2, where bytes between requests may be pings.
    multiplexed: bool,
    input: Input,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::enum_variant_names, reason = "each of them is a request")]
enum Awaited {
    FirstRequest,
    NextRequest,
    /// The rest of a head, or of the body of a request that has its response already.
    RestOfRequest,
}

/// What is known of the client's last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// They were a whole request without a body, or there were none.
    Complete,
    /// They may be part of a request that goes on.
    Unfinished,
    /// The same, and bytes were sent since.
    UnfinishedAndAnswered,
}

/// Counts a request as running until it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Activity>);

impl Activity {
    /// Returns the record of a new connection from `network`.
    pub(super) fn new(network: IpAddr) -> Arc<Self> {
        let state = ActivityState {
            has_asked: false,
            running: 0,
            awaited: Awaited::FirstRequest,
            since: Instant::now(),
            multiplexed: false,
            input: Input::Complete,
        };
        Arc::new(Self { network, state: Mutex::new(state), closing: Notify::new(), asked: Notify::new() })
    }

    /// Records the start of a request; it runs until the guard is dropped.
    pub(super) fn start<B: Body>(self: &Arc<Self>, request: &Request<B>) -> Running {
        let mut state = self.state.lock();
        state.running += 1;
        if !state.has_asked {
            state.has_asked = true;
            self.asked.notify_one();
        }
        state.multiplexed = request.version() == Version::HTTP_2;
        if request.body().is_end_stream() && !state.multiplexed {
            state.input = Input::Complete;
        }
        Running(Arc::clone(self))
    }

    /// Waits for the connection's first request; returns at once if there was one. One task may wait at a time.
    pub(super) async fn asked(&self) {
        if !self.state.lock().has_asked {
            self.asked.notified().await;
        }
    }

    /// Records that bytes came in.
    pub(super) fn received(&self) {
        let mut state = self.state.lock();
        if state.input == Input::Complete {
            state.input = Input::Unfinished;
        }
        if state.is_between_requests() {
            state.awaited = Awaited::RestOfRequest;
            state.since = Instant::now();
        }
    }

    /// Records that bytes were sent: the rest of a buffered response may take its time.
    pub(super) fn sent(&self) {
        let mut state = self.state.lock();
        if state.input == Input::Unfinished {
            state.input = Input::UnfinishedAndAnswered;
        }
        if state.is_between_requests() {
            state.since = Instant::now();
        }
    }

    /// Returns true if a reset now could destroy bytes on their way to a client that is still sending.
    pub(super) fn is_answered_early(&self) -> bool {
        self.state.lock().input == Input::UnfinishedAndAnswered
    }

    /// Returns true if HTTP/2 is spoken.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.state.lock().multiplexed
    }

    /// Returns since when no request has been running, or `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.running == 0).then_some(state.since)
    }

    /// Returns true if the client is too late; it never is while a response is not complete.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let limit = match state.awaited {
            Awaited::FirstRequest | Awaited::RestOfRequest => REQUEST_TIMEOUT,
            Awaited::NextRequest => IDLE_TIMEOUT,
        };
        state.running == 0 && state.since + limit <= now
    }

    /// Asks the connection's task to close it.
    pub(super) fn close(&self) {
        self.closing.notify_one();
    }

    /// Completes when the connection should close. Cancel safe.
    pub(super) async fn closing(&self) {
        self.closing.notified().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running -= 1;
        state.awaited = Awaited::NextRequest;
        state.since = Instant::now();
    }
}

impl ActivityState {
    fn is_between_requests(&self) -> bool {
        self.running == 0 && self.awaited == Awaited::NextRequest && !self.multiplexed
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use http_body_util::{Empty, Full};

    use super::*;

    /// Whether a close must linger after these steps.
    #[allow(clippy::type_complexity, reason = "a list of steps")]
    fn check(steps: &[&dyn Fn(&Arc<Activity>)], expected: bool) {
        let activity = Activity::new(Ipv4Addr::LOCALHOST.into());
        steps.iter().for_each(|step| step(&activity));
        assert_eq!(activity.is_answered_early(), expected, "{activity:?}");
    }

    #[tokio::test]
    async fn the_last_request_says_whether_there_are_streams() {
        let activity = Activity::new(Ipv4Addr::LOCALHOST.into());
        assert!(!activity.is_multiplexed());
        for version in [Version::HTTP_2, Version::HTTP_11] {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.version_mut() = version;
            drop(activity.start(&request));
            assert_eq!(activity.is_multiplexed(), version == Version::HTTP_2);
            activity.asked().await;
        }
    }

    #[tokio::test]
    async fn a_close_lingers_if_an_answer_may_meet_more_input() {
        let received = |activity: &Arc<Activity>| activity.received();
        let sent = |activity: &Arc<Activity>| activity.sent();
        let get = |activity: &Arc<Activity>| drop(activity.start(&Request::new(Empty::<Bytes>::new())));
        let post = |activity: &Arc<Activity>| drop(activity.start(&Request::new(Full::<Bytes>::from("x"))));
        let multiplexed = |activity: &Arc<Activity>| {
            let mut request = Request::new(Empty::<Bytes>::new());
            *request.version_mut() = Version::HTTP_2;
            drop(activity.start(&request));
        };
        check(&[], false);
        check(&[&received], false);
        check(&[&received, &sent], true);
        check(&[&received, &get, &sent], false);
        check(&[&received, &get, &sent, &received], false);
        check(&[&received, &post, &sent], true);
        check(&[&received, &post, &sent, &received, &get, &sent], false);
        check(&[&received, &multiplexed, &sent], true);
    }
}
