//! Scripts that once failed, as the simulation printed them, with the fault that each has found.

use super::script::Behaviour::{Good, Status};
use super::script::Step::{Ask, Crowd, Pass, Publish, Restart, Rush, Upstream};
use super::script::{Ms, Question, Script, Upload};
use super::shops::Place;
use super::{Outcome, run};

fn check(script: Script) {
    let Outcome { trace, violation } = run(&script);
    assert_eq!(violation, None, "trace:\n{}", trace.join("\n"));
}

/// Flights whose clients had left kept their places, so that an honest client found no room.
#[test]
fn a_crowd_that_hangs_up_leaves_room() {
    let steps = [(Ms(3213), Crowd(400))];
    check(Script {
        seed: 399,
        queries: 3,
        shops: 0,
        cache_size: 67108864,
        has_disk: true,
        steps: steps.into(),
    });
}

/// A fetch ended with its last reader, so that a slow upstream never filled the cache.
#[test]
fn a_fetch_outlives_its_readers() {
    let steps = [
        (Ms(193), Upstream(Good(Ms(10407), Ms(3288)))),
        (
            Ms(0),
            Ask(Question {
                place: Place { prefix: None, host: None },
                categories: false,
                query: 0,
                is_head: false,
                accept: "*",
                conditional: false,
                patience: None,
                pause: Ms(0),
                max_frames: None,
            }),
        ),
        (
            Ms(3),
            Ask(Question {
                place: Place { prefix: None, host: None },
                categories: false,
                query: 0,
                is_head: false,
                accept: "zstd, br",
                conditional: false,
                patience: None,
                pause: Ms(87),
                max_frames: Some(5),
            }),
        ),
    ];
    check(Script {
        seed: 0,
        queries: 1,
        shops: 0,
        cache_size: 67108864,
        has_disk: true,
        steps: steps.into(),
    });
}

/// A process that found the cache directory taken never tried it again.
#[test]
fn a_directory_is_taken_over() {
    let steps = [(Ms(185), Restart)];
    check(Script {
        seed: 1,
        queries: 3,
        shops: 0,
        cache_size: 67108864,
        has_disk: true,
        steps: steps.into(),
    });
}

/// A client that had read a whole feed left before it was stored, and the fetch made room for another one.
#[test]
fn a_feed_that_has_arrived_is_kept() {
    let steps = [
        (Ms(3758), Upstream(Good(Ms(670), Ms(132)))),
        (
            Ms(114),
            Ask(Question {
                place: Place { prefix: None, host: None },
                categories: false,
                query: 2,
                is_head: false,
                accept: "zstd, br",
                conditional: false,
                patience: None,
                pause: Ms(0),
                max_frames: None,
            }),
        ),
        (Ms(3), Rush(32)),
        (Ms(174), Publish),
        (Ms(1502), Pass(Upload { len: 0, pause: Ms(5384), patience: Some(0), max_frames: Some(3) })),
        (Ms(0), Upstream(Status(404, Some(97)))),
        (
            Ms(123),
            Ask(Question {
                place: Place { prefix: None, host: None },
                categories: true,
                query: 2,
                is_head: true,
                accept: "*",
                conditional: false,
                patience: None,
                pause: Ms(99),
                max_frames: None,
            }),
        ),
        (
            Ms(9),
            Ask(Question {
                place: Place { prefix: None, host: None },
                categories: false,
                query: 2,
                is_head: false,
                accept: "zstd, br",
                conditional: true,
                patience: None,
                pause: Ms(395),
                max_frames: None,
            }),
        ),
    ];
    check(Script {
        seed: 909,
        queries: 3,
        shops: 0,
        cache_size: 67108864,
        has_disk: true,
        steps: steps.into(),
    });
}
