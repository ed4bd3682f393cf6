//! The whitelist file for commands: read once, with the rules of a day.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::cli::Sources;
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::policy::document::Finding;
use crate::policy::{Day, HostsKey, Policy, Reason, Rules, Verdict, WhitelistEntry};
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

/// Returns the file of the whitelist that a command is about.
///
/// # Errors
/// If there is no shop at `/`.
pub(crate) fn whitelist_path(config: &Config) -> Result<&Path, CommandError> {
    let path = config.whitelist.as_ref().map(|given| given.as_path());
    path.ok_or_else(|| CommandError::wrong("there is no shop at /, so name one with --shop"))
}

/// Files that a command was given, and that a command which edits the same whitelist has to be given as well.
#[derive(Debug)]
pub(crate) struct GivenFiles {
    pub(crate) config: Option<PathBuf>,
    pub(crate) whitelist: Option<PathBuf>,
}

impl From<&Sources> for GivenFiles {
    fn from(sources: &Sources) -> Self {
        Self { config: sources.config.clone(), whitelist: sources.whitelist.clone() }
    }
}

impl GivenFiles {
    /// Returns the command that edits the whitelist with a verb such as `allow`, as it is typed into a shell.
    pub(crate) fn edit_command(&self, verb: &str, code: &str) -> String {
        let flags = [("--config", &self.config), ("--whitelist", &self.whitelist)];
        let flags =
            flags.iter().filter_map(|(flag, path)| Some(format!(" {flag} {}", word(path.as_deref()?))));
        let (flags, code) = (flags.collect::<String>(), word(Path::new(code)));
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
        let refused = |finding| LoadError::Parse { path: path.to_owned(), finding };
        let (policy, warnings) = Policy::parse(&read_file(path)?, hosts_key).map_err(refused)?;
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
