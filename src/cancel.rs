//! Test helper: drops a future at every await in turn.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Runs what `start` makes again and again: first dropped before its first poll, then after its first time
/// pending, after its second, and so on, until it completes. `check` is called after each drop.
///
/// Returns what the last, uninterrupted run returned.
pub(crate) async fn at_every_await<F: Future>(
    mut start: impl AsyncFnMut() -> F,
    mut check: impl AsyncFnMut(usize),
) -> F::Output {
    for polls in 0.. {
        if let Some(output) = after(polls, start().await).await {
            return output;
        }
        check(polls).await;
    }
    unreachable!("a future that is pending for ever")
}

/// Polls a future until it has been pending `polls` times, then drops it; returns its output if it was faster.
pub(crate) async fn after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut pending = 0;
    poll_fn(|context| {
        if pending == polls {
            return Poll::Ready(None);
        }
        pending += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // It is dropped at once rather than when it would go on.
            Poll::Pending if pending == polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]

    use std::cell::Cell;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn every_await_is_reached() {
        let reached = Cell::new(0);
        let mut drops = Vec::new();
        let run = async || {
            reached.set(0);
            async {
                for n in 1..=3 {
                    reached.set(n);
                    yield_now().await;
                }
                "done"
            }
        };
        let output = at_every_await(run, async |_| drops.push(reached.get())).await;
        assert_eq!((output, drops), ("done", vec![0, 1, 2, 3]));
    }
}
