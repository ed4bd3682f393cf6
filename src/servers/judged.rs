//! When the decisions of a shop's shop view last changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use super::ChangesView;
use crate::policy::{Day, Rules};
use crate::shops::{LoadedList, RulesOrder, Shop};

/// Most changes of a shop that are kept, to tell since when a server is behind. One that missed more is told the oldest
/// that is kept.
const MAX_CHANGES: usize = 64;

/// How a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its last answer decides as the shop does now.
    Current,
    /// The shop has decided otherwise after its last answer.
    Behind { since: SystemTime },
}

/// A shop as it was judged last, with the changes of what it decides.
#[derive(Debug)]
pub(super) struct JudgedShop {
    /// The shop with the list that was judged.
    shop: Arc<Shop>,
    rules: Arc<Rules>,
    order: RulesOrder,
    /// Place of its first rules. Answers before it were another shop's, of the same name, that was forgotten.
    first: RulesOrder,
    /// The first rules and those that decide otherwise than the ones before them, in the order of their places.
    changes: VecDeque<DecisionChange>,
}

#[derive(Debug)]
struct DecisionChange {
    order: RulesOrder,
    at: SystemTime,
}

impl JudgedShop {
    /// Begins with the list of a shop, if it has one.
    pub(super) fn new(shop: &Arc<Shop>) -> Option<Self> {
        let list = shop.list()?;
        let (rules, order) = rules_at(list, list.loaded_at);
        let changes = VecDeque::from([DecisionChange { order, at: list.loaded_at }]);
        Some(Self { shop: Arc::clone(shop), rules, order, first: order, changes })
    }

    /// Judges the list that a reload brought, if it is another.
    pub(super) fn reload(&mut self, shop: &Arc<Shop>, changes_view: &ChangesView) {
        let Some(list) = shop.list() else { return };
        let (rules, order) = rules_at(list, list.loaded_at);
        if !order.is_of_same_list(self.order) {
            // Dates of the old list that took effect before that.
            self.follow_dates(list.loaded_at, changes_view);
            self.judge(rules, order, list.loaded_at, changes_view);
        }
        self.shop = Arc::clone(shop);
    }

    /// Judges the rules of the list on each day until now on which others took effect.
    pub(super) fn follow_dates(&mut self, now: SystemTime, changes_view: &ChangesView) {
        let shop = Arc::clone(&self.shop);
        let (Some(list), today) = (shop.list(), Day::of(now)) else { return };
        while let Some(day) = self.rules.next_change().filter(|day| *day <= today) {
            let (rules, order) = rules_at(list, day.begin());
            self.judge(rules, order, day.begin(), changes_view);
        }
        // After the clock was set back.
        if !self.rules.hold_on(today) {
            let (rules, order) = rules_at(list, now);
            self.judge(rules, order, now, changes_view);
        }
    }

    fn judge(&mut self, rules: Arc<Rules>, order: RulesOrder, at: SystemTime, changes_view: &ChangesView) {
        if changes_view(&self.rules, &rules) {
            // There are later ones only if the clock was set back.
            self.changes.retain(|change| change.order < order);
            if self.changes.len() == MAX_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(DecisionChange { order, at });
        }
        (self.rules, self.order) = (rules, order);
    }

    /// Returns when the decisions last changed, or began.
    pub(super) fn changed_at(&self) -> SystemTime {
        self.changes.back().map_or(SystemTime::UNIX_EPOCH, |change| change.at)
    }

    /// Returns how a server stands whose last answer was made by the rules with this place, unless these were another
    /// shop's of the same name.
    pub(super) fn standing(&self, order: RulesOrder) -> Option<Standing> {
        if order < self.first {
            return None;
        }
        // Of a day that the clock was set back from. A list that is not judged yet is no reason: it is later.
        if order > self.order && order.is_of_same_list(self.order) {
            return Some(Standing::Behind { since: self.changed_at() });
        }
        let missed = self.changes.iter().find(|change| change.order > order);
        Some(missed.map_or(Standing::Current, |change| Standing::Behind { since: change.at }))
    }
}

/// Returns the rules of a list at a time, with their place.
fn rules_at(list: &LoadedList, time: SystemTime) -> (Arc<Rules>, RulesOrder) {
    let rules = list.policy.on(Day::of(time));
    let order = list.order_of(&rules);
    (Arc::new(rules), order)
}
