//! Checks of the shops' whitelists: can each be read, is each shop served, does the catalog know the codes?

use std::time::SystemTime;

use super::{CheckReport, Level, counted};
use crate::commands::CommandError;
use crate::commands::catalog_source::Listing;
use crate::commands::former_codes::{FormerCodes, unknown};
use crate::commands::shop_selection::{SelectedShop, ShopList, in_directory, select};
use crate::commands::whitelist_file::{GivenFiles, WhitelistFile};
use crate::config::Config;
use crate::policy::{Day, Pattern, Verdict, WhitelistEntry};
use crate::printable::printable;
use crate::report::{always_shown, dispute};
use crate::seller::Seller;
use crate::shops::{ShopName, ShopNotice, ShopsError};
use crate::whitelist::load::LoadError;
use crate::whitelist::mount;

/// Shops that are checked.
#[derive(Debug, Default)]
pub(super) struct CheckedShops {
    pub(super) shops: Vec<SelectedShop>,
    /// What is wrong with files and hosts as a whole.
    notices: Vec<ShopNotice>,
    /// True if it is all of them, so that one may be missing.
    are_all: bool,
}

/// What codes are checked against.
pub(super) struct ListContext<'a> {
    pub(super) catalog: &'a Listing,
    pub(super) former: &'a FormerCodes<'a>,
    /// Files that a suggested command has to be given as well.
    pub(super) given: &'a GivenFiles,
}

impl CheckedShops {
    /// Finds the shops that were named, or all.
    ///
    /// # Errors
    /// If there is no shop of such a name.
    pub(super) fn find(config: &Config, names: &[String]) -> Result<Self, CommandError> {
        let directory = config.shops.as_ref().map(|given| given.as_path());
        if !names.is_empty() {
            let shops = select(config, names)?;
            let is_about_hosts = |notice: &ShopNotice| matches!(notice, ShopNotice::Disputed { .. });
            let mut notices =
                in_directory(directory).map(|named| named.notices().to_vec()).unwrap_or_default();
            notices.retain(is_about_hosts);
            return Ok(Self { notices, shops, ..Self::default() });
        }
        let default = SelectedShop::default_of(config);
        let mut checked = Self { shops: default.into_iter().collect(), are_all: true, ..Self::default() };
        match in_directory(directory) {
            Ok(named) => {
                checked.shops.extend(named.all().map(|shop| SelectedShop::of(shop)));
                checked.notices = named.notices().to_vec();
            }
            Err(ShopsError::Directory { path, reason }) => {
                checked.notices.push(ShopNotice::Directory { path, reason });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(checked)
    }

    pub(super) fn names(&self) -> Vec<ShopName> {
        self.shops.iter().map(|shop| shop.name.clone()).collect()
    }
}

impl CheckReport {
    /// Checks the files of shops. Returns those that are whitelists.
    pub(super) fn lists(&mut self, checked: &CheckedShops) -> Vec<ShopList> {
        checked.notices.iter().for_each(|notice| self.notice(notice, &checked.names()));
        let is_unread = |notice: &ShopNotice| matches!(notice, ShopNotice::Directory { .. });
        if checked.are_all && !checked.notices.iter().any(is_unread) {
            match checked.shops.iter().any(|shop| shop.name.is_default()) {
                _ if checked.shops.is_empty() => {
                    self.about(Level::Error, "--shops", "there is no shop, so the proxy does not start");
                }
                false => {
                    self.about(Level::Note, "--whitelist", "there is no shop at /, so feeds there are 404")
                }
                true => {}
            }
        }
        let lists = checked.shops.iter().filter_map(|shop| {
            self.shop = Some(shop.name.clone());
            let file = self.whitelist(shop)?;
            Some(ShopList { name: shop.name.clone(), file })
        });
        let lists = lists.collect();
        self.shop = None;
        lists
    }

    fn notice(&mut self, notice: &ShopNotice, checked: &[ShopName]) {
        match notice {
            ShopNotice::NotServed { path, reason } => {
                let name = printable(&path.display().to_string()).into_owned();
                self.about(Level::Warning, &name, format!("not served: {reason}"));
            }
            ShopNotice::Disputed { claims, paths, .. } => {
                for (shop, path) in claims.iter().zip(paths).filter(|(shop, _)| checked.contains(shop)) {
                    self.shop = Some(shop.clone());
                    self.about(
                        Level::Error,
                        &path.display().to_string(),
                        dispute(notice, shop).unwrap_or_default(),
                    );
                }
                self.shop = None;
            }
            ShopNotice::Directory { path, reason } => {
                self.about(Level::Error, &path.display().to_string(), format!("cannot be read: {reason}"));
            }
        }
    }

    fn whitelist(&mut self, SelectedShop { name: shop, path }: &SelectedShop) -> Option<WhitelistFile> {
        let name = path.display().to_string();
        match WhitelistFile::read(path, shop.hosts_key(), Day::of(SystemTime::now())) {
            Err(LoadError::Parse { finding, excerpt, .. }) => {
                self.at(Level::Error, &name, finding.place, finding.message);
                self.mark(excerpt);
            }
            Err(LoadError::Read { reason, .. }) => {
                self.about(Level::Error, &name, format!("cannot be read: {reason}"));
            }
            Ok(file) => {
                for warning in &file.warnings {
                    self.at(Level::Warning, &name, warning.place, warning.message.clone());
                }
                if mount::is_mount_point(path) {
                    let message = "is itself a mount point, so edits that replace the file will not be seen: \
                                   mount its directory instead";
                    self.about(Level::Warning, &name, message);
                }
                let entries = counted(file.policy.entries().len(), "entry", "entries");
                let shop = if shop.is_default() { String::new() } else { format!("shop {shop}, ") };
                self.good.push((name, format!("{shop}{entries}")));
                return Some(file);
            }
        }
        None
    }

    /// Compares the codes of a shop's whitelist with the catalog.
    pub(super) fn codes(&mut self, list: &ShopList, context: &ListContext<'_>) {
        let ShopList { name: shop, file } = list;
        let name = file.path.display().to_string();
        self.shop = Some(shop.clone());
        for (nth, entry) in file.policy.entries().iter().enumerate() {
            let is_named =
                file.policy.entries()[..nth].iter().any(|earlier| earlier.pattern == entry.pattern);
            let pattern = entry.pattern.to_string();
            // These were warned about already.
            if pattern.trim() != pattern || is_named {
                continue;
            }
            if entry.window.until.is_some_and(|until| until < file.day) {
                let message = format!("{pattern:?} ended: it counts {}", entry.window);
                self.at(Level::Note, &name, entry.place, message);
                continue;
            }
            match &entry.pattern {
                Pattern::Exact(code) => {
                    let Some((level, message)) = self::code(code, entry, list, context) else {
                        continue;
                    };
                    self.at(level, &name, entry.place, message);
                }
                Pattern::Star(_) if context.catalog.matching(&entry.pattern).is_empty() => {
                    let message =
                        format!("{pattern:?} matches nothing in the catalog ({})", context.catalog.origin);
                    self.at(Level::Warning, &name, entry.place, message);
                }
                Pattern::Star(_) => {}
            }
        }
        self.shop = None;
    }
}

/// Returns what is wrong with an entry for one code.
fn code(
    code: &str,
    entry: &WhitelistEntry,
    ShopList { name: shop, file }: &ShopList,
    ListContext { catalog, former, given }: &ListContext<'_>,
) -> Option<(Level, String)> {
    let Some(listed) = catalog.find(code) else {
        let successor = former.successor(code, catalog);
        let mut message = unknown(code, successor, catalog);
        if let Some(listed) = successor {
            // What customers see anyway, or with an entry that is there, needs no other one.
            let is_as_meant = file.verdict(listed) == entry.verdict;
            let verb = match entry.verdict {
                Verdict::Shown => "allow",
                Verdict::Retired => "retire",
                Verdict::Hidden => "hide",
            };
            let new = listed.package.code.as_deref().filter(|_| !is_as_meant);
            let again =
                new.map(|new| format!("{} && ", given.edit_command(verb, new, shop))).unwrap_or_default();
            message += &printable(&format!("; {again}{}", given.edit_command("forget", code, shop)));
        }
        return Some((Level::Error, message));
    };
    let seller = listed.package.seller;
    // What its vendor sells, or is free, is shown without an entry, unless a star says otherwise.
    let is_needless = seller != Seller::Plesk
        && entry.verdict == Verdict::Shown
        && !file.policy.entries().iter().any(|other| {
            other.pattern != entry.pattern && other.pattern.matches(code) && other.verdict != Verdict::Shown
        });
    is_needless.then(|| (Level::Warning, format!("{code:?} is {}", always_shown(seller))))
}
