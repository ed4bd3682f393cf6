//! The upstream, without sockets.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};

use super::model::{self, Edition, FeedId, Model};
use super::script::{Behaviour, Ms};
use crate::body::{self, Body, BoxError};
use crate::cache::fetch::Wire;
use crate::upstream::UpstreamError;

/// Head and whole answer within these times are waited for, with or without clients; a little less than the product's.
const MAX_WAIT: Duration = Duration::from_secs(59);
const MAX_FETCH: Duration = Duration::from_secs(115);
/// Longest wait of a client for its first byte.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// The upstream; all processes have the same one.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Mutex<Vendor>>);

struct Vendor {
    behaviour: Behaviour,
    version: u32,
    random: fastrand::Rng,
    /// Requests by process and target that are neither answered nor given up.
    open: HashMap<(usize, String), usize>,
    trace: Arc<Mutex<Vec<String>>>,
    violation: Option<String>,
    /// Jumps of the clock so far.
    jumps: u64,
    /// Changes of the behaviour so far.
    changes: u64,
    /// When it last changed.
    changed_at: Option<Instant>,
    /// True if there are never so many fetches that one has to make room.
    has_room: bool,
}

/// One request under way.
pub(super) struct OpenRequest {
    upstream: Upstream,
    key: (usize, String),
    /// Set while the answer must be waited for, unless the clock jumps: to the jumps before.
    must_wait: Option<u64>,
}

impl OpenRequest {
    /// Notes that the whole answer was taken.
    fn finish(&mut self) {
        self.must_wait = None;
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut vendor = self.upstream.0.lock();
        if let Some(open) = vendor.open.get_mut(&self.key) {
            *open -= 1;
        }
        if self.must_wait == Some(vendor.jumps) && vendor.has_room {
            vendor.violation.get_or_insert(format!("given up: {}", self.key.1));
        }
    }
}

/// A part of a body, and the pause before it.
type Part = (Duration, Result<Bytes, BoxError>);

impl Upstream {
    pub(crate) fn new(seed: u64, has_room: bool, trace: Arc<Mutex<Vec<String>>>) -> Self {
        Self(Arc::new(Mutex::new(Vendor {
            behaviour: Behaviour::Good(Ms(20), Ms(0)),
            version: 1,
            random: fastrand::Rng::with_seed(seed),
            open: HashMap::new(),
            trace,
            violation: None,
            jumps: 0,
            changes: 0,
            changed_at: None,
            has_room,
        })))
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        let mut vendor = self.0.lock();
        vendor.behaviour = behaviour;
        vendor.changes += 1;
        vendor.changed_at = Some(Instant::now());
    }

    pub(super) fn behaviour(&self) -> Behaviour {
        self.0.lock().behaviour
    }

    /// Notes what the upstream must not have seen.
    pub(super) fn fail(&self, violation: String) {
        self.0.lock().violation.get_or_insert(violation);
    }

    pub(crate) fn publish(&self) {
        self.0.lock().version += 1;
    }

    /// Notes that the clock jumps: what is waited for may be late now.
    pub(crate) fn jump(&self) {
        self.0.lock().jumps += 1;
    }

    /// Returns what stays the same as long as the upstream is quick and the clock does not jump. Nothing while clients
    /// may still wait for what it was asked before it was quick, for they have the places.
    pub(super) fn quick(&self) -> Option<(u64, u64)> {
        let vendor = self.0.lock();
        let is_quick =
            matches!(vendor.behaviour, Behaviour::Good(wait, pause) if wait.0 <= 500 && pause.0 == 0);
        let is_rid_of_others = vendor.open.values().sum::<usize>() == 0
            || vendor.changed_at.is_none_or(|at| at.elapsed() > 2 * CLIENT_PATIENCE);
        (is_quick && is_rid_of_others).then_some((vendor.jumps, vendor.changes))
    }

    /// Returns the edition of now.
    pub(crate) fn edition(&self) -> Edition {
        Edition { version: self.0.lock().version, shrunken: false }
    }

    pub(crate) fn open(&self) -> usize {
        self.0.lock().open.values().sum()
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.0.lock().violation.clone()
    }

    /// The way of one process to the upstream.
    pub(crate) fn wire(&self, process: usize, model: &Arc<Mutex<Model>>) -> Wire {
        let (upstream, model) = (self.clone(), Arc::clone(model));
        let send = move |target: PathAndQuery, request: Request<Body>| {
            let (upstream, model) = (upstream.clone(), Arc::clone(&model));
            let validator = request.headers().get(header::IF_NONE_MATCH).cloned();
            async move { upstream.answer(process, &target, validator, model).await }.boxed()
        };
        Wire { origin: "http://upstream.test".parse().expect("an origin"), send: Box::new(send) }
    }

    pub(super) fn begin(&self, process: usize, target: &PathAndQuery) -> OpenRequest {
        let key = (process, target.to_string());
        let mut vendor = self.0.lock();
        let open = vendor.open.entry(key.clone()).or_default();
        *open += 1;
        if *open > 1 {
            vendor.violation = Some(format!("two fetches: of {target} at once"));
        }
        let line = format!("{target} asked of {process}, {:?}", vendor.behaviour);
        vendor.trace.lock().push(line);
        OpenRequest { upstream: self.clone(), key, must_wait: None }
    }

    async fn answer(
        self,
        process: usize,
        target: &PathAndQuery,
        validator: Option<HeaderValue>,
        model: Arc<Mutex<Model>>,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut open = self.begin(process, target);
        let (behaviour, version) = {
            let vendor = self.0.lock();
            (vendor.behaviour, vendor.version)
        };
        let id = FeedId::of_target(target.path(), target.query());
        let edition = Edition { version, shrunken: behaviour == Behaviour::Shrunken };
        let etag = format!("\"v{version}\"");
        let mut response = Response::new(body::empty());
        let headers = response.headers_mut();
        let parts = self.parts(behaviour, model::feed(id, edition, edition, None));
        if let Behaviour::Good(wait, _) = behaviour {
            let total: Duration = parts.iter().map(|(pause, _)| *pause).sum();
            let in_time = wait.time() < MAX_WAIT && wait.time() + total < MAX_FETCH;
            open.must_wait = in_time.then(|| self.0.lock().jumps);
        }
        match behaviour {
            Behaviour::Silent => sleep(Duration::from_secs(86_400)).await,
            Behaviour::Status(status, retry_after) => {
                let retry_after = retry_after.map(|seconds| (header::RETRY_AFTER, u64::from(seconds).into()));
                headers.extend(retry_after);
                *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                return Ok(response);
            }
            Behaviour::Good(wait, _) => sleep(wait.time()).await,
            Behaviour::Confirming if validator.is_some_and(|has| has == etag) => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                model.lock().confirmed(id);
                return Ok(response);
            }
            _ => sleep(Duration::from_millis(5)).await,
        }
        if !edition.shrunken {
            headers.insert(header::ETAG, HeaderValue::try_from(etag).expect("a validator"));
        }
        if version % 3 == 0 {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        }
        model.lock().offer(id, edition);
        let ends_well =
            matches!(behaviour, Behaviour::Good(..) | Behaviour::Confirming | Behaviour::Shrunken);
        let state = (parts.into_iter(), open, ends_well.then_some((model, id, edition)));
        let frames = stream::unfold(state, |(mut parts, mut open, sent)| async move {
            let Some((pause, part)) = parts.next() else {
                open.finish();
                if let Some((model, id, edition)) = sent {
                    model.lock().sent(id, edition);
                }
                return None;
            };
            sleep(pause).await;
            Some((part.map(Frame::data), (parts, open, sent)))
        });
        *response.body_mut() = body::boxed(StreamBody::new(frames));
        Ok(response)
    }

    /// Cuts a feed into parts, and does to it what the behaviour says.
    fn parts(&self, behaviour: Behaviour, text: String) -> Vec<Part> {
        let random = &mut self.0.lock().random;
        let pause = if let Behaviour::Good(_, pause) = behaviour { pause.time() } else { Duration::ZERO };
        let middle = random.usize(1..text.len());
        let mut parts: Vec<Part> = Vec::new();
        let text = match behaviour {
            Behaviour::Garbage => "<!doctype html><title>Maintenance</title>".to_owned(),
            Behaviour::Spoiled => format!("{},,]", text.rsplit_once(',').map_or("[", |(start, _)| start)),
            Behaviour::Stalls | Behaviour::Cuts => text[..middle].to_owned(),
            _ => text,
        };
        let mut rest = Bytes::from(text);
        while !rest.is_empty() {
            let part = rest.split_to(random.usize(1..=rest.len()));
            parts.push((pause, Ok(part)));
        }
        match behaviour {
            Behaviour::Stalls => parts.push((Duration::from_secs(86_400), Ok(Bytes::new()))),
            Behaviour::Cuts => parts.push((Duration::ZERO, Err("cut".into()))),
            _ => {}
        }
        parts
    }
}
