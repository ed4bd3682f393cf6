//! What the files of shops mean: which list a request may see, in a page of code that shares nothing with the product.

use std::collections::BTreeMap;

use super::model::List;

/// Hosts that files claim; the next one is claimed by none.
pub(crate) const HOSTS: u8 = 2;

/// Where a request asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the shop whose prefix the path has.
    pub(crate) prefix: Option<u8>,
    /// Number of the host that it names.
    pub(crate) host: Option<u8>,
}

impl Place {
    /// Returns the URL of a feed's target.
    pub(crate) fn url(self, target: &str) -> String {
        let host = self.host.map_or("proxy.test".to_owned(), host);
        let prefix = self.prefix.map_or(String::new(), |shop| format!("/{}", name(shop)));
        format!("http://{host}{prefix}{target}")
    }
}

/// Returns the name of a shop.
pub(crate) fn name(shop: u8) -> String {
    format!("s{shop}")
}

fn host(host: u8) -> String {
    format!("h{host}.test")
}

/// Content of a shop's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShopFile {
    /// A list, and a bit for each host that it claims.
    Good(List, u8),
    Broken,
}

impl ShopFile {
    pub(crate) fn text(self) -> String {
        let Self::Good(list, hosts) = self else { return "extensions = [".into() };
        let hosts: Vec<_> = (0..HOSTS).filter(|n| hosts >> n & 1 == 1).map(host).collect();
        // The file of the shop at `/` may not have the key.
        if hosts.is_empty() { list.text() } else { format!("{}hosts = {hosts:?}\n", list.text()) }
    }
}

/// All files at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShopFiles {
    pub(crate) default: ShopFile,
    pub(crate) named: BTreeMap<u8, ShopFile>,
}

/// Why files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Start,
    Changed,
    /// An operator asks for it, which forgets shops without a file.
    Forced,
}

#[derive(Debug, Clone, Default)]
struct Shop {
    /// The last good list, and the hosts that it claims.
    list: Option<(List, u8)>,
    is_gone: bool,
}

/// The shops at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shops {
    default: Shop,
    named: BTreeMap<u8, Shop>,
}

/// What a place has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// 404.
    NoShop,
    /// 503.
    NotReady,
    List(List),
}

impl Shop {
    fn with(&self, file: ShopFile) -> Self {
        match file {
            ShopFile::Good(list, hosts) => Self { list: Some((list, hosts)), is_gone: false },
            ShopFile::Broken => Self { is_gone: false, ..self.clone() },
        }
    }
}

impl Shops {
    /// Returns the shops after files were read.
    pub(crate) fn after(&self, files: &ShopFiles, reason: Reason) -> Self {
        let former = |shop: u8| self.named.get(&shop).cloned().unwrap_or_default();
        let mut named: BTreeMap<u8, Shop> =
            files.named.iter().map(|(shop, file)| (*shop, former(*shop).with(*file))).collect();
        if reason == Reason::Changed {
            let lost = self.named.iter().filter(|(shop, _)| !files.named.contains_key(shop));
            let kept = lost.filter(|(_, former)| former.list.is_some());
            named.extend(kept.map(|(shop, former)| (*shop, Shop { is_gone: true, ..former.clone() })));
        }
        Self { default: self.default.with(files.default), named }
    }

    /// Returns what a place has.
    pub(crate) fn offer(&self, place: Place) -> Offer {
        let claims = place.host.map_or(Vec::new(), |host| self.claims(host));
        let shop = match (place.prefix, &claims[..]) {
            (Some(shop), []) => self.named.get(&shop),
            (Some(shop), claims) => self.named.get(&shop).filter(|_| claims.contains(&shop)),
            (None, []) => Some(&self.default),
            (None, [shop]) => self.named.get(shop),
            (None, _) => return Offer::NotReady,
        };
        shop.map_or(Offer::NoShop, |shop| shop.list.map_or(Offer::NotReady, |(list, _)| Offer::List(list)))
    }

    /// Returns the shops that claim a host: those whose file is gone only if no other does.
    fn claims(&self, host: u8) -> Vec<u8> {
        let of = |is_gone: bool| {
            let claiming = self.named.iter().filter(move |(_, shop)| {
                shop.is_gone == is_gone && shop.list.is_some_and(|(_, hosts)| hosts >> host & 1 == 1)
            });
            claiming.map(|(shop, _)| *shop).collect::<Vec<_>>()
        };
        let there = of(false);
        if there.is_empty() { of(true) } else { there }
    }
}
