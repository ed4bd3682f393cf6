//! Which shop a host belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Shop, ShopName};
use crate::printable::joined;

/// Returns who claims each host. Shops whose file is gone yield to those whose file is there.
pub(super) fn hosts(shops: &BTreeMap<ShopName, Arc<Shop>>) -> HashMap<String, Vec<ShopName>> {
    let mut hosts = HashMap::<String, Vec<ShopName>>::new();
    let (gone, there): (Vec<_>, Vec<_>) = shops.values().partition(|shop| shop.is_gone);
    for shop in there {
        for host in shop.hosts() {
            let claims = hosts.entry(host.clone()).or_default();
            if !claims.contains(&shop.name) {
                claims.push(shop.name.clone());
            }
        }
    }
    let mut left = HashMap::<String, Vec<ShopName>>::new();
    for shop in gone {
        for host in shop.hosts().iter().filter(|host| !hosts.contains_key(*host)) {
            let claims = left.entry(host.clone()).or_default();
            if !claims.contains(&shop.name) {
                claims.push(shop.name.clone());
            }
        }
    }
    hosts.extend(left);
    hosts
}

/// Returns a notice for each host that several shops claim.
pub(super) fn disputes(
    shops: &BTreeMap<ShopName, Arc<Shop>>,
    hosts: &HashMap<String, Vec<ShopName>>,
) -> Vec<String> {
    let mut disputes: Vec<_> = hosts
        .iter()
        .filter(|(_, claims)| claims.len() > 1)
        .map(|(host, claims)| {
            let files: Vec<_> =
                claims.iter().filter_map(|name| Some(shops.get(name)?.path.display().to_string())).collect();
            format!("the host {host} is claimed by {}, so feeds on it are refused (503)", joined(&files))
        })
        .collect();
    disputes.sort_unstable();
    disputes
}
