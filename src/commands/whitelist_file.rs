//! The whitelist file for commands: read once, with the rules of a day.

use std::path::{Path, PathBuf};

use crate::cli::{Settings, Sources};
use crate::feed::listing::Listed;
use crate::policy::document::Finding;
use crate::policy::{Day, HostsKey, Policy, Reason, Rules, Verdict, WhitelistEntry};
use crate::shops::ShopName;
use crate::whitelist::load::{LoadError, read_file};

/// A valid whitelist.
#[derive(Debug)]
pub(crate) struct WhitelistFile {
    /// Path as it was given.
    pub(crate) path: PathBuf,
    /// What it says on any day.
    pub(crate) policy: Policy,
    /// Day for which it is asked.
    pub(crate) day: Day,
    /// Rules of that day.
    pub(crate) rules: Rules,
    /// Entries that are valid, but probably not intended.
    pub(crate) warnings: Vec<Finding>,
}

/// Files that a command was given, and that a command which edits the same whitelist has to be given as well.
#[derive(Debug, Default)]
pub(crate) struct GivenFiles {
    pub(crate) config: Option<PathBuf>,
    pub(crate) whitelist: Option<PathBuf>,
    pub(crate) shops: Option<PathBuf>,
}

impl From<&Sources> for GivenFiles {
    fn from(sources: &Sources) -> Self {
        let Sources { config, whitelist, shops, .. } = sources;
        Self { config: config.clone(), whitelist: whitelist.clone(), shops: shops.clone() }
    }
}

impl From<&Settings> for GivenFiles {
    fn from(settings: &Settings) -> Self {
        let Settings { config, whitelist, shops, .. } = settings;
        Self { config: config.clone(), whitelist: whitelist.clone(), shops: shops.clone() }
    }
}

impl GivenFiles {
    /// Returns the command that edits a shop's whitelist with a verb such as `allow`, as it is typed into a shell.
    pub(crate) fn edit_command(&self, verb: &str, code: &str, shop: &ShopName) -> String {
        let flag = |name, path: &Option<PathBuf>| Some(format!(" {name} {}", word(path.as_deref()?)));
        let mut flags = flag("--config", &self.config).unwrap_or_default();
        match shop.is_default() {
            true => flags += &flag("--whitelist", &self.whitelist).unwrap_or_default(),
            false => {
                flags += &flag("--shops", &self.shops).unwrap_or_default();
                flags += &format!(" --shop {shop}");
            }
        }
        let code = word(Path::new(code));
        match code.starts_with('-') {
            true => format!("catalog-proxy {verb}{flags} -- {code}"),
            false => format!("catalog-proxy {verb} {code}{flags}"),
        }
    }
}

/// Quotes a path for a shell if it must be.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl WhitelistFile {
    /// Reads and parses a file. Whether it may have `hosts` depends on whose it is.
    ///
    /// # Errors
    /// If it cannot be read or is no whitelist.
    pub(crate) fn read(path: &Path, hosts_key: HostsKey, day: Day) -> Result<Self, LoadError> {
        let content = read_file(path)?;
        let refused = |finding| LoadError::of(path, &content, finding);
        let (policy, warnings) = Policy::parse(&content, hosts_key).map_err(refused)?;
        let rules = policy.on(day);
        Ok(Self { path: path.to_owned(), policy, day, rules, warnings })
    }

    /// Returns the state of a package.
    pub(crate) fn verdict(&self, listed: &Listed) -> Verdict {
        self.rules.verdict(listed.package.code.as_deref(), listed.package.seller)
    }

    /// Returns why a package has its state.
    pub(crate) fn reason(&self, listed: &Listed) -> Reason<'_> {
        self.rules.reason(listed.package.code.as_deref(), listed.package.seller)
    }

    /// Returns the entries that match a code on any day: the one that decides first, then in the order of the file.
    pub(crate) fn matching<'a>(&'a self, code: &'a str) -> Vec<&'a WhitelistEntry> {
        let decides = self.rules.entry(code).map(|entry| entry.span.start);
        let mut entries: Vec<_> =
            self.policy.entries().iter().filter(|entry| entry.pattern.matches(code)).collect();
        entries.sort_by_key(|entry| Some(entry.span.start) != decides);
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_flags_that_reach_the_same_file() {
        let check = |[config, whitelist, shops]: [&str; 3], shop: &str, code: &str, expected: &str| {
            let path = |text: &str| (!text.is_empty()).then(|| text.into());
            let given = GivenFiles { config: path(config), whitelist: path(whitelist), shops: path(shops) };
            let shop = ShopName::parse(shop).unwrap_or_else(|_| ShopName::default_shop());
            assert_eq!(given.edit_command("hide", code, &shop), format!("catalog-proxy hide {expected}"));
        };
        check(["", "", ""], "default", "git", "git");
        check(["", "my list.toml", ""], "default", "o-*", "'o-*' --whitelist 'my list.toml'");
        check(["", "w.toml", "shops"], "default", "git", "git --whitelist w.toml");
        check(["", "w.toml", "shops"], "gold", "git", "git --shops shops --shop gold");
        check(["p.toml", "", ""], "gold", "-x", "--config p.toml --shop gold -- -x");
    }
}
