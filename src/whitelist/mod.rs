//! The whitelist file: watched, loaded, and put in force.

mod attributes;
pub(crate) mod coverage;
pub mod load;
pub mod mount;
pub mod replace;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tracing::info;

use crate::policy::{Changes, Day, Policy, Rules};
use crate::printable::joined;

/// One version of the file: its policy, and the rules of the day.
#[derive(Debug)]
pub struct Whitelist {
    policy: Policy,
    rules: ArcSwap<Rules>,
}

impl Whitelist {
    /// Puts a policy in force on the day of `now`.
    pub fn new(policy: Policy, now: SystemTime) -> Self {
        let rules = ArcSwap::from_pointee(policy.on(Day::of(now)));
        Self { policy, rules }
    }

    /// Returns what the file says on any day.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the rules that hold now. Those of another day take effect, and are logged, with the first call on it.
    pub fn rules(&self, now: SystemTime) -> Arc<Rules> {
        let (day, rules) = (Day::of(now), self.rules.load_full());
        if rules.hold_on(day) {
            return rules;
        }
        let next = Arc::new(self.policy.on(day));
        let before = self.rules.compare_and_swap(&rules, Arc::clone(&next));
        // Of several calls at once, one logs it.
        if Arc::ptr_eq(&before, &rules) {
            let changes = LoggedChanges::between(&rules, &next);
            let LoggedChanges { added, retired, hidden, removed } = &changes;
            info!(date = %day, %added, retired, hidden, %removed, "a date in the whitelist took effect");
        }
        next
    }
}

/// What an edit or a date changes, for the log.
pub(crate) struct LoggedChanges {
    /// Patterns that are under `extensions` now.
    pub(crate) added: String,
    /// Patterns that are under `retired` now, if there are any.
    pub(crate) retired: Option<String>,
    /// Patterns that are under `hidden` now, if there are any.
    pub(crate) hidden: Option<String>,
    /// Patterns that no entry names any more.
    pub(crate) removed: String,
}

impl LoggedChanges {
    pub(crate) fn between(before: &Rules, now: &Rules) -> Self {
        let Changes { shown, retired, hidden, unlisted } = now.changes(before);
        let some = |codes: Vec<String>| (!codes.is_empty()).then(|| joined(&codes).to_string());
        Self {
            added: joined(&shown).to_string(),
            retired: some(retired),
            hidden: some(hidden),
            removed: joined(&unlisted).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::{HostsKey, Verdict};
    use crate::seller::Seller;

    #[test]
    fn a_date_takes_effect_by_itself() {
        let text = "extensions = [{ code = \"a\", from = 2026-12-01, until = 2026-12-24 }]";
        let (policy, _) = Policy::parse(text.as_bytes(), HostsKey::Refused).expect("a list");
        let begin = Day::parse("2026-12-01").expect("a day").begin();
        let list = Whitelist::new(policy, begin - Duration::from_secs(1));
        let verdict = |now| list.rules(now).verdict(Some("a"), Seller::Plesk);
        assert_eq!(verdict(begin - Duration::from_nanos(1)), Verdict::Hidden);
        assert_eq!(verdict(begin), Verdict::Shown);
        let rules = list.rules(begin);
        assert!(Arc::ptr_eq(&rules, &list.rules(begin + Duration::from_hours(24 * 23))), "nothing changes");
        assert_eq!(verdict(begin + Duration::from_hours(24 * 24)), Verdict::Hidden);
        // A clock that is set back.
        assert_eq!(verdict(begin), Verdict::Shown);
    }
}
