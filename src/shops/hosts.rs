//! Which shop a host belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Shop, ShopName};

/// Returns who claims each host. Shops whose file is gone yield to those whose file is there.
pub(super) fn hosts(shops: &BTreeMap<ShopName, Arc<Shop>>) -> HashMap<String, Vec<ShopName>> {
    let (gone, there): (Vec<_>, Vec<_>) = shops.values().partition(|shop| shop.is_gone);
    let mut hosts = claims(&gone);
    hosts.extend(claims(&there));
    hosts
}

fn claims(shops: &[&Arc<Shop>]) -> HashMap<String, Vec<ShopName>> {
    let mut claims = HashMap::<String, Vec<ShopName>>::new();
    for shop in shops {
        for host in shop.hosts() {
            let claimants = claims.entry(host.clone()).or_default();
            // A file may name a host twice.
            if claimants.last() != Some(&shop.name) {
                claimants.push(shop.name.clone());
            }
        }
    }
    claims
}
