//! Which shop a request addresses, by its path and host.

use std::sync::Arc;

use super::{Shop, ShopName, Shops};

/// Where a path leads.
#[derive(Debug, Clone)]
pub struct Location<'a> {
    /// Whose feeds are there.
    pub owner: Owner<'a>,
    /// The prefix, if the path has one.
    pub prefix: Option<&'a ShopName>,
    /// The path behind the prefix, or all of it.
    pub rest: &'a str,
}

/// Whose feeds are at a place.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    Shop(&'a Arc<Shop>),
    /// Several shops claim the host.
    Disputed,
    /// There is no shop at `/`.
    Nobody,
    /// It is the prefix of a shop that this host does not have.
    Foreign,
}

impl Shops {
    /// Finds the shop for a path, which begins with a slash, and the host that a request names.
    ///
    /// SECURITY: a prefix matches exactly, so that no other spelling of it leads anywhere; what remains has to be judged
    /// as any path. A host that a shop claims serves that shop alone.
    pub fn locate<'a>(&'a self, host: Option<&str>, path: &'a str) -> Location<'a> {
        let claims = self.claims(host);
        if let Some((shop, rest)) = self.behind_prefix(path) {
            let is_foreign = claims.is_some_and(|claims| !claims.contains(&shop.name));
            let owner = if is_foreign { Owner::Foreign } else { Owner::Shop(shop) };
            return Location { owner, prefix: Some(&shop.name), rest };
        }
        let owner = match claims {
            Some([name]) => self.shops.get(name),
            Some(_) => return Location { owner: Owner::Disputed, prefix: None, rest: path },
            None => self.default_shop(),
        };
        Location { owner: owner.map_or(Owner::Nobody, Owner::Shop), prefix: None, rest: path }
    }

    fn claims(&self, host: Option<&str>) -> Option<&[ShopName]> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = host?;
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.hosts.get(&host).map(Vec::as_slice)
    }

    fn behind_prefix<'a>(&'a self, path: &'a str) -> Option<(&'a Arc<Shop>, &'a str)> {
        let segments = path.strip_prefix('/')?;
        let (name, rest) = match segments.find('/') {
            Some(at) => (&segments[..at], &segments[at..]),
            None => (segments, "/"),
        };
        let shop = self.get(name).filter(|shop| !shop.name.is_default())?;
        Some((shop, rest))
    }
}
