//! Scripts that once failed, as the simulation printed them, with the fault that each has found.

use super::script::Behaviour::Good;
use super::script::Step::{Ask, Crowd, Restart, Upstream};
use super::script::{Ms, Question, Script};
use super::{Outcome, run};

fn check(script: Script) {
    let Outcome { trace, violation } = run(&script);
    assert_eq!(violation, None, "trace:\n{}", trace.join("\n"));
}

/// Flights whose clients had left kept their places, so that an honest client found no room.
#[test]
fn a_crowd_that_hangs_up_leaves_room() {
    let steps = [(Ms(3213), Crowd(400))];
    check(Script { seed: 399, queries: 3, cache_size: 67108864, has_disk: true, steps: steps.into() });
}

/// A fetch ended with its last reader, so that a slow upstream never filled the cache.
#[test]
fn a_fetch_outlives_its_readers() {
    let steps = [
        (Ms(193), Upstream(Good(Ms(10407), Ms(3288)))),
        (
            Ms(0),
            Ask(Question {
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
    check(Script { seed: 0, queries: 1, cache_size: 67108864, has_disk: true, steps: steps.into() });
}

/// A process that found the cache directory taken never tried it again.
#[test]
fn a_directory_is_taken_over() {
    let steps = [(Ms(185), Restart)];
    check(Script { seed: 1, queries: 3, cache_size: 67108864, has_disk: true, steps: steps.into() });
}
