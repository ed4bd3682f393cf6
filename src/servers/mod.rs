//! Who has the list in force: the Plesk servers that were answered, and whether their shop has decided otherwise since.
//!
//! A server is the address of a client, as the proxy tells it, together with a shop. What is kept of it is the place, in
//! the order in which rules take effect, of the rules behind its last complete answer. Comparing that with the last
//! change of the shop's decisions tells whether it is behind, so an edit touches no row.

mod judged;
pub mod monitors;
mod report;
mod rows;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::Rules;
use crate::shops::{RulesOrder, ShopName, Shops, WatchedShops};
use crate::wall_clock;
use judged::{JudgedShop, Standing};
pub use report::{ServerCounts, ServerRow, ServerState, ServersReport};
use rows::{ServerKey, ServerRows};

/// Returns true if a shop's customers see something else under the second rules than under the first.
type ChangesView = dyn Fn(&Arc<Rules>, &Arc<Rules>) -> bool + Send + Sync;

/// The servers that were answered, by address and shop. Bounded, in memory only.
pub struct Servers {
    changes_view: Box<ChangesView>,
    since: SystemTime,
    judged: Mutex<BTreeMap<ShopName, JudgedShop>>,
    /// Never held for long: each answer takes it. Locked after `judged` by those who need both.
    rows: Mutex<ServerRows>,
}

/// A server, and how it stands.
struct SeenServer {
    key: ServerKey,
    seen: Instant,
    standing: Standing,
}

impl Servers {
    /// Begins to count, and judges every reload of `shops` from now on. `changes_view` tells whether a shop's customers
    /// see something else under the second rules than under the first; it may take a while.
    pub fn start(
        shops: &WatchedShops,
        changes_view: impl Fn(&Arc<Rules>, &Arc<Rules>) -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        let servers = Arc::new(Self {
            changes_view: Box::new(changes_view),
            since: wall_clock::now(),
            judged: Mutex::default(),
            rows: Mutex::default(),
        });
        servers.follow(&shops.current());
        // Weak, for what judges may hold the shops.
        let observer = Arc::downgrade(&servers);
        shops.observe(move |_, now| {
            if let Some(servers) = observer.upgrade() {
                servers.follow(now);
            }
        });
        servers
    }

    /// Records that a server got a complete answer, made by the rules with this place.
    pub fn record(&self, address: IpAddr, shop: &ShopName, order: RulesOrder) {
        let key = ServerKey { address, shop: shop.clone() };
        self.rows.lock().record(key, order, Instant::now());
    }

    /// Returns all servers, or those of one shop, sorted by shop and address.
    pub fn report(&self, shop: Option<&str>) -> ServersReport {
        let (mut seen, counts) = self.look(shop);
        seen.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        ServersReport::new(&seen, counts, self.since)
    }

    /// Returns how many servers are current and behind, by shop.
    pub fn counts(&self) -> Vec<ServerCounts> {
        self.look(None).1
    }

    fn look(&self, shop: Option<&str>) -> (Vec<SeenServer>, Vec<ServerCounts>) {
        let (now, time) = (Instant::now(), wall_clock::now());
        let mut judged = self.judged.lock();
        judged.values_mut().for_each(|shop| shop.follow_dates(time, &self.changes_view));
        let is_wanted = |name: &ShopName| shop.is_none_or(|shop| name.as_str() == shop);
        let mut seen = Vec::new();
        for (key, row) in self.rows.lock().kept(now).filter(|(key, _)| is_wanted(&key.shop)) {
            let standing = judged.get(&key.shop).and_then(|shop| shop.standing(row.order));
            let Some(standing) = standing else { continue };
            seen.push(SeenServer { key: key.clone(), seen: row.at, standing });
        }
        let wanted = judged.iter().filter(|(name, _)| is_wanted(name));
        let mut counts: BTreeMap<_, _> =
            wanted.map(|(name, shop)| (name, ServerCounts::new(name, shop.changed_at()))).collect();
        for server in &seen {
            if let Some(counts) = counts.get_mut(&server.key.shop) {
                counts.add(server.standing);
            }
        }
        let counts = counts.into_values().collect();
        (seen, counts)
    }

    /// Judges the shops after a reload; those that are forgotten lose their rows.
    fn follow(&self, shops: &Shops) {
        let mut judged = self.judged.lock();
        for shop in shops.all() {
            match judged.get_mut(&shop.name) {
                Some(judged) => judged.reload(shop, &self.changes_view),
                None => judged.extend(JudgedShop::new(shop).map(|new| (shop.name.clone(), new))),
            }
        }
        let is_forgotten = |name: &ShopName| shops.get(name.as_str()).is_none();
        if judged.keys().any(is_forgotten) {
            judged.retain(|name, _| !is_forgotten(name));
            self.rows.lock().forget(|key| is_forgotten(&key.shop));
        }
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("since", &self.since).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
