//! `check`: is everything in order? One line a finding.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::Failure;
use super::catalog_source::{Asking, Listing, block_on, origin};
use super::diff::always_shown;
use super::panel_ini::MAX_BASE;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{Check, TextFormat};
use crate::config::{Config, ConfigError};
use crate::feed::package::Seller;
use crate::logging;
use crate::place::Place;
use crate::server::tls::Certificate;
use crate::whitelist::mount;
use crate::whitelist::watch::LoadError;

/// How bad it is. Either makes the check fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something does not work.
    Error,
    /// It works, but it can hardly be meant so.
    Warning,
}

/// Something that is not in order.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    /// The file, URL or flag it is about.
    about: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

/// What was found.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
    /// What is in order, for people.
    good: Vec<String>,
}

/// Checks everything and prints what was found.
///
/// # Errors
/// If anything was.
pub fn check(arguments: Check) -> Result<(), Failure> {
    let mut report = Report::default();
    if let Some(url) = &arguments.url {
        report.base_url(url);
    }
    let format = arguments.format;
    match Config::load(arguments.settings) {
        Ok(config) => report.everything(&config, arguments.feed.as_deref())?,
        Err(error) => report.configuration(error),
    }
    report.finish(format)
}

impl Report {
    fn everything(&mut self, config: &Config, feed: Option<&Path>) -> Result<(), Failure> {
        self.failed(logging::levels(config.log_level.as_deref()).map_err(Failure::from));
        if let Some(files) = &config.tls
            && self.failed(Certificate::load(files).map_err(Failure::from)).is_some()
        {
            self.good.push(format!("{}: a certificate and its key", files.cert.display()));
        }
        let file = self.whitelist(&config.whitelist);
        let catalog = self.catalog(config, feed)?;
        if let (Some(file), Some(catalog)) = (&file, &catalog) {
            self.codes(file, catalog);
        }
        if let Some(directory) = &config.cache_dir {
            self.cache_dir(directory);
        }
        Ok(())
    }

    fn configuration(&mut self, error: ConfigError) {
        match error {
            ConfigError::Parse { path, place, message } => {
                self.at(Level::Error, &path.display().to_string(), place, message);
            }
            ConfigError::Value { setting, message } => self.about(Level::Error, setting, message),
            ConfigError::Read { path, source } => {
                self.about(Level::Error, &path.display().to_string(), format!("cannot be read: {source}"));
            }
        }
    }

    fn whitelist(&mut self, path: &Path) -> Option<WhitelistFile> {
        let name = path.display().to_string();
        match WhitelistFile::read(path) {
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
                self.good.push(format!("{name}: {}", counted(file.list.len(), "extension", "extensions")));
                return Some(file);
            }
        }
        None
    }

    /// Returns the catalog to check codes against, the last copy on disk if need be.
    fn catalog(&mut self, config: &Config, feed: Option<&Path>) -> Result<Option<Listing>, Failure> {
        if let Some(feed) = feed {
            let catalog = Listing::from_file(feed, config.cache.max_feed_size);
            return Ok(self.failed(catalog).inspect(|catalog| self.feed(catalog, None)));
        }
        let Some(asking) = self.failed(Asking::new(config)) else { return Ok(Listing::from_disk(config)) };
        let asked = block_on(async {
            let packages = self.failed(asking.packages().await)?;
            Some((packages, self.failed(asking.categories().await)))
        })?;
        let Some((packages, categories)) = asked else { return Ok(Listing::from_disk(config)) };
        let catalog = Listing { origin: origin(config), packages };
        self.feed(&catalog, categories);
        Ok(Some(catalog))
    }

    fn feed(&mut self, catalog: &Listing, categories: Option<usize>) {
        let packages = counted(catalog.packages.len(), "package", "packages");
        let categories = categories.map(|count| format!(", {}", counted(count, "category", "categories")));
        self.good.push(format!("{}: {packages}{}", catalog.origin, categories.unwrap_or_default()));
    }

    fn codes(&mut self, file: &WhitelistFile, catalog: &Listing) {
        let name = file.path.display().to_string();
        for (nth, entry) in file.entries.iter().enumerate() {
            let code = entry.code.as_str();
            // These were warned about already.
            if code.trim() != code || file.entries[..nth].iter().any(|earlier| earlier.code == code) {
                continue;
            }
            let place = Place::of(&file.text, entry.span.start);
            match catalog.find(code).map(|listed| listed.package.seller) {
                None => self.at(Level::Error, &name, place, catalog.unknown(code)),
                Some(Seller::Plesk) => {}
                Some(seller) => {
                    self.at(Level::Warning, &name, place, format!("{code:?} is {}", always_shown(seller)));
                }
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
            Ok(_) => self.good.push(format!("{}: writable", directory.display())),
            Err(error) => {
                let name = directory.display().to_string();
                self.about(Level::Error, &name, format!("cannot be written: {}", error.kind()));
            }
        }
    }

    fn base_url(&mut self, url: &str) {
        let base = url.trim_end_matches('/');
        if base.len() > MAX_BASE {
            let message = format!(
                "has {} characters; with more than {MAX_BASE}, Plesk may mix up its cached answers",
                base.len()
            );
            self.about(Level::Warning, base, message);
        }
    }

    /// Notes a failure as an error. Its message begins with the file, URL or setting that it is about.
    fn failed<T>(&mut self, result: Result<T, Failure>) -> Option<T> {
        result
            .map_err(|failure| {
                let (about, message) = failure.message.split_once(": ").unwrap_or(("", &failure.message));
                self.about(Level::Error, about, message);
            })
            .ok()
    }

    fn at(&mut self, level: Level, about: &str, place: Place, message: impl Into<String>) {
        let (line, column) = (Some(place.line), Some(place.column));
        self.findings.push(Finding { level, about: about.to_owned(), line, column, message: message.into() });
    }

    fn about(&mut self, level: Level, about: &str, message: impl Into<String>) {
        let (about, message) = (about.to_owned(), message.into());
        self.findings.push(Finding { level, about, line: None, column: None, message });
    }

    fn finish(self, format: TextFormat) -> Result<(), Failure> {
        match format {
            TextFormat::Json => print_json(&self.findings)?,
            TextFormat::Text => print(&self.text(Terminal::stdout()))?,
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        match (count(Level::Error), count(Level::Warning)) {
            (0, 0) => Ok(()),
            (errors, warnings) => Err(Failure::failed(format!(
                "{}, {}",
                counted(errors, "error", "errors"),
                counted(warnings, "warning", "warnings")
            ))),
        }
    }

    fn text(&self, terminal: Terminal) -> String {
        let style = |level| if level == Level::Error { Style::Red } else { Style::Yellow };
        let bad = self.findings.iter().map(|finding| {
            let level = terminal.paint(style(finding.level), finding.level);
            format!("{}: {level}: {}\n", finding.place(), finding.message)
        });
        let good = self.good.iter().map(|line| {
            let (about, message) = line.split_once(": ").unwrap_or((line, ""));
            format!("{about}: {}: {message}\n", terminal.paint(Style::Green, "good"))
        });
        bad.chain(good).collect()
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Finding {
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
        })
    }
}
