//! A rule against half a catalog: an upstream that lost more than half of its elements is more likely broken than right.

use super::fetch_error::FetchError;

/// Fetches in a row that must agree before a feed with less than half of the elements is believed.
const MIN_AGREEING: u32 = 3;

/// Judges a new feed of `has` elements beside the copy in service with `had`. `last_error` is that of the fetch before.
///
/// # Errors
/// If the new feed is not to be believed yet. The error must be remembered for the next judgement.
pub(super) fn judge(had: usize, has: usize, last_error: Option<&FetchError>) -> Result<(), FetchError> {
    if has * 2 >= had {
        return Ok(());
    }
    let seen = match last_error {
        Some(FetchError::Shrunk { has: before, seen, .. }) if *before == has => seen + 1,
        _ => 1,
    };
    if seen < MIN_AGREEING { Err(FetchError::Shrunk { had, has, seen }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunken_feed_needs_three_that_agree() {
        let mut last = None;
        let mut judge = |has: usize, expected: Option<u32>| {
            last = super::judge(100, has, last.as_ref()).err();
            let seen = last.as_ref().map(|error| match error {
                FetchError::Shrunk { had: 100, has: shrunk, seen } if *shrunk == has => *seen,
                other => panic!("{other}"),
            });
            assert_eq!(seen, expected, "{has}");
        };
        judge(50, None);
        judge(49, Some(1));
        judge(49, Some(2));
        judge(49, None);
        judge(0, Some(1));
        judge(1, Some(1));
        judge(1, Some(2));
    }

    #[test]
    fn another_failure_in_between_starts_the_count_again() {
        let seen = |last| match super::judge(100, 1, last) {
            Err(FetchError::Shrunk { seen, .. }) => seen,
            other => panic!("{other:?}"),
        };
        assert_eq!(seen(Some(&FetchError::Shrunk { had: 100, has: 1, seen: 1 })), 2);
        assert_eq!(seen(Some(&FetchError::Coding)), 1);
    }
}
