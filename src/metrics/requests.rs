//! Metrics of requests to the service port.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Latencies, latencies};
use crate::cache_status::CacheOutcome;

/// Route of a request, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteName {
    Packages,
    Categories,
    Livez,
    Readyz,
    Forward,
    Refused,
}

/// Ending of a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyEnd {
    /// Its last byte was handed to the connection.
    Finished,
    /// The body failed, so the client saw a broken transfer.
    Failed,
    /// The client went away before the end.
    Dropped,
}

/// Metrics of all requests.
#[derive(Debug)]
pub struct Requests {
    total: Family<Labels, Counter>,
    in_flight: Gauge,
    /// Bytes of request bodies. Only pass-through requests have any.
    pub received: Counter,
    families: Families,
    routes: [RouteMetrics; RouteName::ALL.len()],
}

/// A finished request.
#[derive(Debug, Clone, Copy)]
pub struct EndedRequest {
    /// Route of the request.
    pub route: RouteName,
    /// Status of the response, if there was one.
    pub status: Option<StatusCode>,
    /// What the cache did for the request.
    pub outcome: CacheOutcome,
    /// Bytes of the response body.
    pub sent: u64,
    /// Time since the head of the request arrived.
    pub elapsed: Duration,
    /// Ending of the response body.
    pub end: BodyEnd,
}

#[derive(Debug)]
struct Families {
    durations: Latencies<RouteLabel>,
    first_bytes: Latencies<RouteLabel>,
    sent: Family<RouteLabel, Counter>,
    broken_off: Family<BrokenOff, Counter>,
}

/// Metrics of one route.
#[derive(Debug)]
struct RouteMetrics {
    duration: Histogram,
    first_byte: Histogram,
    sent: Counter,
    failed: Counter,
    dropped: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    status: &'static str,
    cache: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BrokenOff {
    route: &'static str,
    end: &'static str,
}

/// Classes of status codes. The first one is for clients that left before the response. Single codes are no labels,
/// because the upstream chooses them.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl RouteName {
    const ALL: [Self; 6] =
        [Self::Packages, Self::Categories, Self::Livez, Self::Readyz, Self::Forward, Self::Refused];

    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Categories => "categories",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Forward => "forward",
            Self::Refused => "refused",
        }
    }
}

impl BodyEnd {
    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

impl Default for Requests {
    fn default() -> Self {
        let families = Families {
            durations: Family::new_with_constructor(latencies),
            first_bytes: Family::new_with_constructor(latencies),
            sent: Family::default(),
            broken_off: Family::default(),
        };
        let routes = RouteName::ALL.map(|route| families.route(route.name()));
        let requests = Self {
            total: Family::default(),
            in_flight: Gauge::default(),
            received: Counter::default(),
            families,
            routes,
        };
        // What can be expected is there from the start, so that its first increase shows.
        for feed in [RouteName::Packages, RouteName::Categories] {
            for cache in [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Miss, CacheOutcome::Collapsed]
            {
                requests.counter(feed, 2, cache);
            }
            requests.counter(feed, 3, CacheOutcome::Hit);
            requests.counter(feed, 3, CacheOutcome::Stale);
            requests.counter(feed, 5, CacheOutcome::Unused);
        }
        for class in 2..CLASSES.len() {
            requests.counter(RouteName::Forward, class, CacheOutcome::Unused);
        }
        requests
    }
}

impl Requests {
    /// Counts the start of a request.
    pub fn begun(&self) {
        self.in_flight.inc();
    }

    /// Records the time from a request's head to its response's head.
    pub fn answered(&self, route: RouteName, elapsed: Duration) {
        self.routes[route as usize].first_byte.observe(elapsed.as_secs_f64());
    }

    /// Counts the end of a request that had [begun](Self::begun).
    pub fn ended(&self, request: &EndedRequest) {
        self.in_flight.dec();
        let route = &self.routes[request.route as usize];
        route.duration.observe(request.elapsed.as_secs_f64());
        route.sent.inc_by(request.sent);
        match request.end {
            BodyEnd::Finished => {}
            BodyEnd::Failed => drop(route.failed.inc()),
            BodyEnd::Dropped => drop(route.dropped.inc()),
        }
        let class = request.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        // What is no class of its own is an error of the other side's.
        self.counter(request.route, class.min(CLASSES.len() - 1), request.outcome).inc();
    }

    fn counter(&self, route: RouteName, class: usize, cache: CacheOutcome) -> Counter {
        let labels = Labels { route: route.name(), status: CLASSES[class], cache: cache.name() };
        self.total.get_or_create_owned(&labels)
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let families = &self.families;
        registry.register("requests", "Requests by route, class of status and cache", self.total.clone());
        let help = "Requests being answered";
        registry.register("requests_in_flight", help, self.in_flight.clone());
        let help = "From a request's head to the end of its answer";
        registry.register_with_unit("request_duration", help, Unit::Seconds, families.durations.clone());
        let help = "From a request's head to that of its answer";
        registry.register_with_unit("time_to_first_byte", help, Unit::Seconds, families.first_bytes.clone());
        let help = "Bodies of requests that were passed on";
        registry.register_with_unit("request_body", help, Unit::Bytes, self.received.clone());
        let help = "Bodies of answers, as they were sent";
        registry.register_with_unit("response_body", help, Unit::Bytes, families.sent.clone());
        let help = "Answers that failed on their way, or whose client went away";
        registry.register("responses_broken_off", help, families.broken_off.clone());
    }
}

impl Families {
    fn route(&self, route: &'static str) -> RouteMetrics {
        let label = RouteLabel { route };
        let broken_off = |end: BodyEnd| {
            let end = end.name();
            self.broken_off.get_or_create_owned(&BrokenOff { route, end })
        };
        RouteMetrics {
            duration: self.durations.get_or_create_owned(&label),
            first_byte: self.first_bytes.get_or_create_owned(&label),
            sent: self.sent.get_or_create_owned(&label),
            failed: broken_off(BodyEnd::Failed),
            dropped: broken_off(BodyEnd::Dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_a_counter_of_its_own() {
        let requests = Requests::default();
        for route in RouteName::ALL {
            for status in [None, Some(100), Some(204), Some(304), Some(404), Some(503), Some(999)] {
                for outcome in CacheOutcome::ALL {
                    requests.begun();
                    let status = status.map(|code| StatusCode::from_u16(code).expect("a status"));
                    let elapsed = Duration::from_millis(1);
                    requests.ended(&EndedRequest {
                        route,
                        status,
                        outcome,
                        sent: 1,
                        elapsed,
                        end: BodyEnd::Finished,
                    });
                }
            }
        }
        assert_eq!(requests.in_flight.get(), 0);
        let get = |route, status, cache| requests.total.get_or_create(&Labels { route, status, cache }).get();
        for route in RouteName::ALL {
            for status in CLASSES {
                for cache in CacheOutcome::ALL {
                    // Two statuses are 5xx, and two outcomes are told as a miss.
                    let statuses = if status == "5xx" { 2 } else { 1 };
                    let outcomes = CacheOutcome::ALL.iter().filter(|other| other.name() == cache.name());
                    let expected = statuses * outcomes.count() as u64;
                    assert_eq!(
                        get(route.name(), status, cache.name()),
                        expected,
                        "{route:?} {status} {cache:?}"
                    );
                }
            }
        }
    }
}
