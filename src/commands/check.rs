//! `check`: verifies configuration, whitelist, certificate, upstream and cache directory. One line a finding.

use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::catalog_source::{Asking, Listing, block_on, origin};
use super::diff::always_shown;
use super::former_codes::{FormerCodes, unknown};
use super::panel_ini::{is_usable, objections};
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::{GivenFiles, WhitelistFile};
use super::{CommandError, Subject};
use crate::certificate::{Certificate, Overdue};
use crate::cli::{CheckArguments, Platform, TextFormat};
use crate::config::{Config, ConfigError, Tls};
use crate::feed::listing::Listed;
use crate::given::Source;
use crate::logging;
use crate::place::Place;
use crate::policy::{Day, HostsKey, Pattern, Verdict, WhitelistEntry};
use crate::printable::printable;
use crate::seller::Seller;
use crate::whitelist::load::LoadError;
use crate::whitelist::mount;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something does not work.
    Error,
    /// It works, but is probably not intended.
    Warning,
    /// For information. It does not make the check fail.
    Note,
}

/// One problem, or a note.
#[derive(Debug, Serialize)]
struct CheckFinding {
    level: Level,
    /// File, URL or flag that the finding is about.
    about: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

/// Everything that the checks found.
#[derive(Debug, Default)]
struct CheckReport {
    findings: Vec<CheckFinding>,
    /// Files, URLs and flags that are in order, each with a description. Only the text format has them.
    good: Vec<(String, String)>,
}

/// Runs all checks and prints the findings.
///
/// # Errors
/// If there was an error or a warning.
pub(crate) fn check(arguments: CheckArguments) -> Result<(), CommandError> {
    let mut report = CheckReport::default();
    let format = arguments.format;
    let (settings, platform) = (arguments.settings, arguments.platform);
    let given = GivenFiles { config: settings.config.clone(), whitelist: settings.whitelist.clone() };
    let config = Config::load(settings);
    if let Some(url) = &arguments.url {
        report.base_url(url, config.as_ref().is_ok_and(|config| config.tls.is_some()));
    }
    match config {
        Ok(config) => report.everything(&config, &given, arguments.feed.as_deref(), platform)?,
        Err(error) => report.configuration(error),
    }
    report.finish(format)
}

impl CheckReport {
    fn everything(
        &mut self,
        config: &Config,
        given: &GivenFiles,
        feed: Option<&Path>,
        platform: Platform,
    ) -> Result<(), CommandError> {
        if let Err(error) = logging::levels(config.log_level.as_ref()) {
            self.value(&error.at, error.message());
        }
        if let Some(files) = &config.tls {
            self.certificate(files);
        }
        if let Some(objection) = config.cache.objection() {
            match &config.cache.size.source {
                Source::File { path, place } => {
                    self.at(Level::Warning, &path.display().to_string(), *place, objection);
                }
                source => self.about(Level::Warning, &source.to_string(), objection),
            }
        }
        let file = config.whitelist.as_ref().and_then(|path| self.whitelist(path));
        let catalog = self.catalog(config, feed, platform)?;
        if let (Some(file), Some(catalog)) = (&file, &catalog) {
            let former = FormerCodes::read(config, platform);
            self.codes(file, catalog, &former, given);
        }
        if let Some(directory) = &config.cache_dir {
            self.cache_dir(directory);
        }
        Ok(())
    }

    fn configuration(&mut self, error: ConfigError) {
        match error {
            ConfigError::Value { at, message } => self.value(&at, message),
            ConfigError::Read { path, source } => {
                self.about(Level::Error, &path.display().to_string(), format!("cannot be read: {source}"));
            }
        }
    }

    fn value(&mut self, source: &Source, message: String) {
        match source {
            Source::Default | Source::Flag(_) | Source::Variable(_) => {
                self.about(Level::Error, &source.to_string(), message);
            }
            Source::File { path, place } => {
                self.at(Level::Error, &path.display().to_string(), *place, message);
            }
        }
    }

    fn certificate(&mut self, files: &Tls) {
        let Some(certificate) = self.failed(Certificate::load(files).map_err(CommandError::from)) else {
            return;
        };
        let name = files.cert.display().to_string();
        if let Err(overdue) = certificate.check_time() {
            let level = if matches!(overdue, Overdue::Soon(_)) { Level::Note } else { Level::Error };
            self.about(level, &name, overdue.to_string());
        }
        self.good.push((name, "a certificate and its key".to_owned()));
    }

    fn whitelist(&mut self, path: &Path) -> Option<WhitelistFile> {
        let name = path.display().to_string();
        match WhitelistFile::read(path, HostsKey::Refused, Day::of(SystemTime::now())) {
            Err(LoadError::Parse { finding, .. }) => {
                self.at(Level::Error, &name, finding.place, finding.message)
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
                self.good.push((name, counted(file.policy.entries().len(), "entry", "entries")));
                return Some(file);
            }
        }
        None
    }

    /// Returns the catalog to check codes against. If the upstream has none, that is the newest feed on disk.
    fn catalog(
        &mut self,
        config: &Config,
        feed: Option<&Path>,
        platform: Platform,
    ) -> Result<Option<Listing>, CommandError> {
        let asking = self.failed(Asking::new(config, platform));
        if let Some(feed) = feed {
            let catalog = Listing::from_file(feed, *config.cache.max_feed_size);
            return Ok(self.failed(catalog).inspect(|catalog| self.feed(catalog, None)));
        }
        let Some(asking) = asking else { return Ok(Listing::from_disk(config, platform)) };
        let asked = block_on(async {
            let packages = self.failed(asking.packages().await)?;
            Some((packages, self.failed(asking.categories().await)))
        })?;
        let Some((packages, categories)) = asked else { return Ok(Listing::from_disk(config, platform)) };
        let catalog = Listing { origin: origin(config), packages };
        self.feed(&catalog, categories);
        Ok(Some(catalog))
    }

    fn feed(&mut self, catalog: &Listing, categories: Option<usize>) {
        let packages = counted(catalog.packages.len(), "package", "packages");
        let categories = categories.map(|count| format!(", {}", counted(count, "category", "categories")));
        self.good.push((catalog.origin.clone(), format!("{packages}{}", categories.unwrap_or_default())));
        let mut codes: Vec<_> =
            catalog.packages.iter().filter_map(|listed| listed.package.code.as_deref()).collect();
        let nameless =
            |listed: &&Listed| listed.package.seller == Seller::Plesk && listed.package.code.is_none();
        let nameless = catalog.packages.iter().filter(nameless).count();
        if nameless > 0 {
            let message = format!(
                "{} sold by Plesk without a code, always hidden",
                counted(nameless, "package", "packages")
            );
            self.about(Level::Note, &catalog.origin, message);
        }
        codes.sort_unstable();
        for same in codes.chunk_by(|a, b| a == b).filter(|same| same.len() > 1) {
            self.about(
                Level::Note,
                &catalog.origin,
                format!("{} packages have the code {:?}", same.len(), same[0]),
            );
        }
    }

    fn codes(
        &mut self,
        file: &WhitelistFile,
        catalog: &Listing,
        former: &FormerCodes<'_>,
        given: &GivenFiles,
    ) {
        let name = file.path.display().to_string();
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
                    let Some((level, message)) = self::code(code, entry, file, catalog, former, given) else {
                        continue;
                    };
                    self.at(level, &name, entry.place, message);
                }
                Pattern::Star(_) if catalog.matching(&entry.pattern).is_empty() => {
                    let message = format!("{pattern:?} matches nothing in the catalog ({})", catalog.origin);
                    self.at(Level::Warning, &name, entry.place, message);
                }
                Pattern::Star(_) => {}
            }
        }
        // By place, whichever check it was that found it.
        self.findings.sort_by_key(|finding| (finding.about != name, finding.line, finding.column));
    }

    fn cache_dir(&mut self, directory: &Path) {
        // The proxy makes it if need be, so then the nearest that there is counts.
        let here = |ancestor: &Path| if ancestor == Path::new("") { ".".into() } else { ancestor.to_owned() };
        let Some(nearest) = directory.ancestors().map(here).find(|path| path.exists()) else { return };
        match tempfile::Builder::new().prefix(".tmp-").tempfile_in(nearest) {
            Ok(_) => self.good.push((directory.display().to_string(), "writable".to_owned())),
            Err(error) => {
                let name = directory.display().to_string();
                self.about(Level::Error, &name, format!("cannot be written: {}", error.kind()));
            }
        }
    }

    fn base_url(&mut self, url: &str, tls: bool) {
        let base = url.trim_end_matches('/');
        if !is_usable(base) {
            return self.about(
                Level::Error,
                "--url",
                format!("{base:?} is not an http or https URL for panel.ini"),
            );
        }
        if tls && base.starts_with("http://") {
            let message = "the proxy speaks HTTPS (--tls-cert), so it must begin with https://";
            self.about(Level::Warning, base, message);
        }
        for objection in objections(base) {
            self.about(Level::Warning, base, objection);
        }
    }

    /// Turns a failure into a finding.
    fn failed<T>(&mut self, result: Result<T, CommandError>) -> Option<T> {
        result
            .map_err(|failure| match failure.subject {
                Some(Subject::Setting(source)) => self.value(&source, failure.message),
                Some(Subject::Named(name)) => self.about(Level::Error, &name, failure.message),
                None => self.about(Level::Error, "", failure.message),
            })
            .ok()
    }

    fn at(&mut self, level: Level, about: &str, place: Place, message: impl Into<String>) {
        let (line, column) = (Some(place.line), Some(place.column));
        self.findings.push(CheckFinding {
            level,
            about: about.to_owned(),
            line,
            column,
            message: message.into(),
        });
    }

    fn about(&mut self, level: Level, about: &str, message: impl Into<String>) {
        let (about, message) = (about.to_owned(), message.into());
        self.findings.push(CheckFinding { level, about, line: None, column: None, message });
    }

    fn finish(self, format: TextFormat) -> Result<(), CommandError> {
        match format {
            TextFormat::Json => print_json("findings", &self.findings)?,
            TextFormat::Text => print(&self.text(Terminal::stdout()))?,
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        match (count(Level::Error), count(Level::Warning)) {
            (0, 0) => Ok(()),
            (errors, warnings) => Err(CommandError::failed(format!(
                "{}, {}",
                counted(errors, "error", "errors"),
                counted(warnings, "warning", "warnings")
            ))),
        }
    }

    fn text(&self, terminal: Terminal) -> String {
        let style = |level| match level {
            Level::Error => Style::Red,
            Level::Warning => Style::Yellow,
            Level::Note => Style::Plain,
        };
        let bad = self.findings.iter().map(|finding| {
            let level = terminal.paint(style(finding.level), finding.level);
            format!("{}: {level}: {}\n", finding.place(), finding.message)
        });
        let wrong = |about: &str| self.findings.iter().any(|f| f.level == Level::Error && f.about == about);
        let good = self.good.iter().filter(|(about, _)| !wrong(about)).map(|(about, message)| {
            format!("{about}: {}: {message}\n", terminal.paint(Style::Green, "good"))
        });
        bad.chain(good).collect()
    }
}

/// Returns what is wrong with an entry for one code.
fn code(
    code: &str,
    entry: &WhitelistEntry,
    file: &WhitelistFile,
    catalog: &Listing,
    former: &FormerCodes<'_>,
    given: &GivenFiles,
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
            let again = new.map(|new| format!("{} && ", given.edit_command(verb, new))).unwrap_or_default();
            message += &printable(&format!("; {again}{}", given.edit_command("forget", code)));
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

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl CheckFinding {
    fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.about),
            _ => self.about.clone(),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}
