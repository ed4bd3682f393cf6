//! The shops that a command is about, and their whitelists.

use std::path::{Path, PathBuf};

use super::CommandError;
use super::whitelist_file::WhitelistFile;
use crate::config::Config;
use crate::policy::suggestion::suggest;
use crate::policy::{Day, HostsKey};
use crate::printable::{joined, printable};
use crate::shops::{self, Shop, ShopFiles, ShopName, ShopNotice, Shops, ShopsError};

/// A shop that was named, or the one at `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectedShop {
    pub(crate) name: ShopName,
    /// File of its whitelist.
    pub(crate) path: PathBuf,
}

/// A shop with its whitelist.
#[derive(Debug)]
pub(crate) struct ShopList {
    pub(crate) name: ShopName,
    pub(crate) file: WhitelistFile,
}

impl SelectedShop {
    pub(crate) fn of(shop: &Shop) -> Self {
        Self { name: shop.name.clone(), path: shop.path.clone() }
    }

    /// Returns the shop at `/`, if there is one.
    pub(crate) fn default_of(config: &Config) -> Option<Self> {
        let path = config.whitelist.as_ref()?.value.clone();
        Some(Self { name: ShopName::default_shop(), path })
    }
}

impl ShopList {
    /// Reads the whitelists of the shops that were named, or that of the one at `/`.
    ///
    /// # Errors
    /// If there is no such shop, or a file is no whitelist.
    pub(crate) fn read_all(config: &Config, names: &[String], day: Day) -> Result<Vec<Self>, CommandError> {
        let read = |SelectedShop { name, path }| {
            Ok(Self { name, file: WhitelistFile::read(&path, HostsKey::Allowed, day)? })
        };
        select(config, names)?.into_iter().map(read).collect()
    }
}

/// Returns the shops that were named, each once and in this order; without names the one at `/`.
///
/// # Errors
/// If there is no such shop.
pub(crate) fn select(config: &Config, names: &[String]) -> Result<Vec<SelectedShop>, CommandError> {
    let default = SelectedShop::default_of(config);
    let is_default = |name: &String| name == ShopName::DEFAULT;
    // Who asks for this one only needs no directory.
    if names.iter().all(is_default)
        && let Some(default) = default
    {
        return Ok(vec![default]);
    }
    let directory = config.shops.as_ref().map(|given| given.as_path());
    let named = in_directory(directory)?;
    let mut known: Vec<_> = default.into_iter().collect();
    known.extend(named.all().map(|shop| SelectedShop::of(shop)));
    if names.is_empty() {
        return Err(CommandError::wrong(match known.is_empty() {
            true => "there is no shop at / and no other, so --whitelist or --shops must be given".to_owned(),
            false => format!("there is no shop at /, so name one with --shop: {}", joined(&listed(&known))),
        }));
    }
    let mut selected: Vec<SelectedShop> = Vec::new();
    for name in names {
        let shop = known.iter().find(|shop| shop.name.as_str() == name);
        let shop = shop.ok_or_else(|| unknown(name, &listed(&known), &named, directory))?;
        if !selected.contains(shop) {
            selected.push(shop.clone());
        }
    }
    Ok(selected)
}

/// Returns the name of a shop that has a file in a directory.
///
/// # Errors
/// If there is none.
pub(crate) fn named_shop(name: &str, directory: &Path) -> Result<ShopName, CommandError> {
    let named = in_directory(Some(directory))?;
    match named.get(name) {
        Some(shop) => Ok(shop.name.clone()),
        None => {
            let known: Vec<_> = named.all().map(|shop| shop.name.clone()).collect();
            Err(unknown(name, &known, &named, Some(directory)))
        }
    }
}

/// Reads the shops of a directory, none without one.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn in_directory(directory: Option<&Path>) -> Result<Shops, ShopsError> {
    shops::inspect(&ShopFiles { default: None, directory: directory.map(Path::to_owned) })
}

fn listed(shops: &[SelectedShop]) -> Vec<ShopName> {
    shops.iter().map(|shop| shop.name.clone()).collect()
}

/// Returns the error about a name that no shop has.
fn unknown(typed: &str, known: &[ShopName], named: &Shops, directory: Option<&Path>) -> CommandError {
    let is_meant = |path: &Path| path.file_stem().is_some_and(|stem| stem == typed);
    let not_served = named.notices().iter().find_map(|notice| match notice {
        ShopNotice::NotServed { path, reason } if is_meant(path) => {
            Some(format!("{} is not served: {reason}", path.display()))
        }
        _ => None,
    });
    let meant = suggest(typed, known.iter().map(ShopName::as_str));
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    let message = match not_served {
        Some(message) => message,
        None if typed == ShopName::DEFAULT => {
            format!("there is no shop at /, which --whitelist FILE gives; there are: {}", joined(known))
        }
        None if directory.is_none() => {
            format!("{typed:?} is no shop: only --shops DIR gives others than the one at /")
        }
        None if known.is_empty() => format!("{typed:?} is no shop, and there is none"),
        None => format!("{typed:?} is no shop; there are: {}{meant}", joined(known)),
    };
    CommandError::wrong(printable(&message)).about("--shop".to_owned())
}
