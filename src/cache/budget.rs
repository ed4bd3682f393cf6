//! A bound on the memory of all fetches under way together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that several holders share; none waits for another, so none can block another for ever.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// What one holder has of a budget; dropping it gives all back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    held: u64,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Budget {
    /// Makes a budget of `limit` bytes.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    /// Returns a share that holds nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), held: 0 }
    }
}

impl Share {
    /// Takes more bytes.
    ///
    /// # Errors
    /// If there are not as many left. The share keeps what it had.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let bytes = bytes as u64;
        let grown = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.budget.limit);
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.held += bytes;
                Ok(())
            }
            Err(_) => Err(Exhausted),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_a_bound_together() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!((one.grow(6), other.grow(5), other.grow(4)), (Ok(()), Err(Exhausted), Ok(())));
        assert_eq!(one.grow(1), Err(Exhausted));
        assert_eq!(one.grow(usize::MAX), Err(Exhausted));
        drop(other);
        assert_eq!(one.grow(4), Ok(()));
        drop(one);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
