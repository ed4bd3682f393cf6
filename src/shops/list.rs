//! One version of a shop's list, in force.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tracing::info;

use super::ShopName;
use super::log::LoggedChanges;
use crate::digest::FileDigest;
use crate::policy::{Day, Policy, Rules};
use crate::wall_clock;

/// Place of rules among all that a process puts in force for a shop: what takes effect later compares greater, also after
/// the shop was forgotten meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulesOrder {
    /// Number of the load that brought the list; see [`LoadedList::load`].
    load: u64,
    /// First day on which the rules hold.
    day: Option<Day>,
}

/// A list that was loaded, with the rules of the day.
#[derive(Debug)]
pub struct LoadedList {
    shop: ShopName,
    /// What the file says on any day.
    pub policy: Policy,
    /// Digest of the file's bytes.
    pub digest: FileDigest,
    rules: ArcSwap<Rules>,
    pub loaded_at: SystemTime,
    /// Counts the lists of the shop that were loaded.
    pub generation: u64,
    /// Number of the load of all shops that brought it. Unlike the generation it never begins anew.
    load: u64,
}

impl RulesOrder {
    /// Returns true if both are of one list, so that only dates lie between them.
    pub fn is_of_same_list(self, other: Self) -> bool {
        self.load == other.load
    }
}

impl LoadedList {
    /// Puts a policy in force on the day of `now`.
    pub(super) fn new(
        shop: ShopName,
        (policy, digest): (Policy, FileDigest),
        (generation, load): (u64, u64),
        now: SystemTime,
    ) -> Self {
        let rules = ArcSwap::from_pointee(policy.on(Day::of(now)));
        Self { shop, policy, digest, rules, loaded_at: now, generation, load }
    }

    /// Returns the place of rules of this list in the order in which rules take effect.
    pub fn order_of(&self, rules: &Rules) -> RulesOrder {
        RulesOrder { load: self.load, day: rules.first_day() }
    }

    /// Returns the rules that hold now. Those of another day take effect, and are logged, with the first call on it.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules_at(wall_clock::now())
    }

    fn rules_at(&self, now: SystemTime) -> Arc<Rules> {
        let (day, rules) = (Day::of(now), self.rules.load_full());
        if rules.hold_on(day) {
            return rules;
        }
        let next = Arc::new(self.policy.on(day));
        let before = self.rules.compare_and_swap(&rules, Arc::clone(&next));
        // Of several calls at once, one logs it.
        if Arc::ptr_eq(&before, &rules) {
            let changes = LoggedChanges::between(&rules, &next);
            let (shop, LoggedChanges { added, retired, hidden, removed }) = (&self.shop, &changes);
            info!(%shop, date = %day, %added, retired, hidden, %removed, "a date in the whitelist took effect");
        }
        next
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
        let file = (policy, FileDigest::of(text.as_bytes()));
        let list = LoadedList::new(ShopName::default_shop(), file, (1, 1), begin - Duration::from_secs(1));
        let verdict = |now| list.rules_at(now).verdict(Some("a"), Seller::Plesk);
        assert_eq!(verdict(begin - Duration::from_nanos(1)), Verdict::Hidden);
        assert_eq!(verdict(begin), Verdict::Shown);
        let rules = list.rules_at(begin);
        assert!(
            Arc::ptr_eq(&rules, &list.rules_at(begin + Duration::from_hours(24 * 23))),
            "nothing changes"
        );
        assert_eq!(verdict(begin + Duration::from_hours(24 * 24)), Verdict::Hidden);
        // A clock that is set back.
        assert_eq!(verdict(begin), Verdict::Shown);
    }
}
