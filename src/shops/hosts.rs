//! Which shop a host belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Shop, ShopName};
use crate::printable::joined;

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
