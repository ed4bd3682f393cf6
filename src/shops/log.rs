//! What is logged about shops.

use tracing::{info, warn};

use super::Shop;
use crate::policy::{Changes, Pattern, Rules};
use crate::printable::listed;

/// What an edit or a date changes, for the log.
pub(super) struct LoggedChanges {
    /// Patterns that are under `extensions` now.
    pub(super) added: String,
    /// Patterns that are under `retired` now, if there are any.
    pub(super) retired: Option<String>,
    /// Patterns that are under `hidden` now, if there are any.
    pub(super) hidden: Option<String>,
    /// Patterns that no entry names any more.
    pub(super) removed: String,
}

impl LoggedChanges {
    pub(super) fn between(before: &Rules, now: &Rules) -> Self {
        let Changes { shown, retired, hidden, unlisted } = now.changes(before);
        let some = |codes: Vec<Pattern>| (!codes.is_empty()).then(|| listed(&codes).to_string());
        Self {
            added: listed(&shown).to_string(),
            retired: some(retired),
            hidden: some(hidden),
            removed: listed(&unlisted).to_string(),
        }
    }
}

/// Logs what became of one shop whose file has changed.
pub(super) fn log_shop(before: Option<&Shop>, shop: &Shop) {
    log_failure(before, shop);
    let old = before.and_then(Shop::list);
    let Some(list) = shop.list().filter(|_| shop.is_in_force()) else { return };
    let (shop, path, entries) = (&shop.name, shop.path.display(), list.policy.entries().len());
    let Some(old) = old else {
        info!(%shop, %path, entries, "shop added");
        return;
    };
    let changes = LoggedChanges::between(&old.rules(), &list.rules());
    let LoggedChanges { added, retired, hidden, removed } = &changes;
    info!(%shop, %path, entries, %added, retired, hidden, %removed, "whitelist reloaded");
}

/// Logs that a shop's file is not in force.
pub(super) fn log_failure(before: Option<&Shop>, shop: &Shop) {
    let generation = shop.list().map_or(0, |list| list.generation);
    let name = &shop.name;
    match &shop.last_error {
        Some(error) if generation == 0 => {
            warn!(shop = %name, %error, "whitelist not loaded: the shop's feeds are refused (503)");
        }
        Some(error) => {
            warn!(shop = %name, %error, generation, "whitelist not reloaded, the last good one stays");
        }
        None if shop.is_gone && before.is_none_or(|before| !before.is_gone) => {
            let path = shop.path.display();
            warn!(shop = %name, %path, generation, "the shop's file is gone, the last good list stays until SIGHUP");
        }
        None => {}
    }
}
