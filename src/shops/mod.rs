//! Shops: one whitelist each, with the prefix and the hosts under which it is served.
//!
//! [`Shops`] is one moment of all files: a request takes it at its start and keeps it to the end, so whatever is edited
//! meanwhile, it sees one policy.

mod directory;
mod hosts;
mod list;
mod locate;
mod log;
mod name;
mod notice;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::policy::Rules;
use crate::reloading::Reloading;
use crate::whitelist::load::LoadError;
pub use directory::{MAX_SHOPS, ShopFiles, ShopsError, inspect, load};
pub use list::{LoadedList, RulesOrder};
pub use locate::{Location, Owner};
pub use name::{ShopName, ShopNameError};
pub use notice::{NotServed, ShopNotice};

/// All shops, reloaded when their files change.
pub type WatchedShops = Reloading<Shops>;

/// All shops at one moment; immutable.
#[derive(Debug)]
pub struct Shops {
    /// By name; the one at `/` among them, if there is one.
    shops: BTreeMap<ShopName, Arc<Shop>>,
    /// Who claims a host: one shop, or several that get nothing for it.
    hosts: HashMap<String, Vec<ShopName>>,
    /// Counts the loads of all files.
    load: u64,
    /// Why the directory could not be read, if it could not.
    directory_error: Option<String>,
    /// What is wrong with files and hosts as a whole, each told once.
    notices: Vec<ShopNotice>,
}

/// One shop. It outlives its file until a reload is forced.
#[derive(Debug)]
pub struct Shop {
    pub name: ShopName,
    /// File of its whitelist.
    pub path: PathBuf,
    /// The last good list, unless there never was one.
    list: Option<Arc<LoadedList>>,
    /// Why the file as it is now is not in force.
    pub last_error: Option<Arc<LoadError>>,
    /// True if there is no file any more.
    pub is_gone: bool,
    /// Digest of the file's content, or why it cannot be read.
    content: Result<Digest, String>,
}

#[cfg(test)]
impl PartialEq for Shop {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Shop {
    /// Returns the last good list, unless there never was one.
    pub fn list(&self) -> Option<&LoadedList> {
        self.list.as_deref()
    }

    /// Returns the last good list for longer than the shop is looked at.
    pub(crate) fn shared_list(&self) -> Option<Arc<LoadedList>> {
        self.list.clone()
    }

    /// Returns the rules that are in force, unless there never was a good list.
    pub fn rules(&self) -> Option<Arc<Rules>> {
        Some(self.list()?.rules())
    }

    /// Returns the hosts for which it is served at `/`.
    pub fn hosts(&self) -> &[String] {
        self.list().map_or(&[], |list| list.policy.hosts())
    }

    /// Returns true if the file as it is now is in force.
    pub fn is_in_force(&self) -> bool {
        self.last_error.is_none() && !self.is_gone
    }
}

impl Shops {
    /// Returns all shops, sorted by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Shop>> {
        self.shops.values()
    }

    /// Returns a shop by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<Shop>> {
        self.shops.get(name)
    }

    /// Returns the rules in force of all shops that have a list.
    pub fn rules(&self) -> Vec<(ShopName, Arc<Rules>)> {
        self.all().filter_map(|shop| Some((shop.name.clone(), shop.rules()?))).collect()
    }

    /// Returns the shop at `/`, if there is one.
    pub fn default_shop(&self) -> Option<&Arc<Shop>> {
        self.get(ShopName::DEFAULT)
    }

    /// Returns true if any shop is served by its host, so that answers depend on that.
    pub fn depend_on_host(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Returns hosts that more than one shop claims, with these.
    pub fn disputes(&self) -> impl Iterator<Item = (&str, &[ShopName])> {
        let disputed = self.hosts.iter().filter(|(_, claims)| claims.len() > 1);
        disputed.map(|(host, claims)| (host.as_str(), claims.as_slice()))
    }

    /// Returns shops of made-up texts, for tests and fuzz targets.
    ///
    /// # Errors
    /// If they cannot be loaded.
    pub fn of_texts(default: Option<&str>, named: &[(&str, &str)]) -> Result<Self, ShopsError> {
        directory::of_texts(default, named)
    }

    /// Returns what is wrong with files and hosts as a whole.
    pub fn notices(&self) -> &[ShopNotice] {
        &self.notices
    }

    /// Returns why the directory could not be read, if it could not.
    pub fn directory_error(&self) -> Option<&str> {
        self.directory_error.as_deref()
    }
}
