//! A value that one task changes and many wait for.
//!
//! Like tokio's `watch`, but whoever waits is woken in turn instead of in a random order: without that, a run of the
//! simulation could not be repeated.

use parking_lot::Mutex;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct SharedValue<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> SharedValue<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Changes the value and wakes all who wait for it.
    pub(super) fn modify(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.lock());
        self.changed.notify_waiters();
    }

    /// Waits until `find` returns something for the value. Cancel safe.
    pub(super) async fn wait_for<R>(&self, mut find: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            // Created before the look, so that no change between the two is missed.
            let changed = self.changed.notified();
            if let Some(found) = find(&self.value.lock()) {
                return found;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cancel;

    #[tokio::test]
    async fn all_who_wait_see_a_change_in_turn() {
        let (signal, order) = (Arc::new(SharedValue::new(0)), Arc::<Mutex<Vec<usize>>>::default());
        let waiting: Vec<_> = (0..40)
            .map(|n| {
                let (signal, order) = (Arc::clone(&signal), Arc::clone(&order));
                tokio::spawn(async move {
                    signal.wait_for(|value| (*value == 2).then_some(())).await;
                    order.lock().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        signal.modify(|value| *value = 1);
        signal.modify(|value| *value = 2);
        for task in waiting {
            task.await.expect("no panic");
        }
        assert!(order.lock().is_sorted(), "{order:?}");
    }

    #[tokio::test]
    async fn one_that_stops_waiting_leaves_nothing_behind() {
        let signal = SharedValue::new(0);
        assert!(cancel::after(1, signal.wait_for(|value| (*value == 1).then_some(()))).await.is_none());
        signal.modify(|value| *value = 1);
        signal.wait_for(|value| (*value == 1).then_some(())).await;
    }
}
