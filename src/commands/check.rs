//! `check`: verifies configuration, whitelists, certificate, upstream and cache directory. One line a finding.

mod address;
mod lists;
mod notify;

use std::fmt;
use std::path::Path;

use rustix::fs;
use serde::{Serialize, Serializer};

use super::catalog_source::{Asking, Listing, block_on, origin};
use super::former_codes::FormerCodes;
use super::panel_ini::{base_url, is_usable, objections};
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::GivenFiles;
use super::{CommandError, Subject};
use crate::admin::tokens::WatchedTokens;
use crate::certificate::{Certificate, Overdue};
use crate::cli::{CheckArguments, Cli, Platform, TextFormat};
use crate::config::{Config, ConfigError, ConfigMistake, Objection, Tls};
use crate::feed::listing::Listed;
use crate::given::Source;
use crate::logging;
use crate::place::{Excerpt, Place};
use crate::printable::printable;
use crate::seller::Seller;
use crate::shops::ShopName;
use address::AddressContext;
use lists::{CheckedShops, ListContext};

/// Type of a file system in memory (`TMPFS_MAGIC` of linux/magic.h).
const TMPFS_MAGIC: fs::FsWord = 0x0102_1994;

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

/// What warnings do to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warnings {
    /// They make the check fail, as errors do.
    Fail,
    /// They are told, and that is all.
    Pass,
}

impl Warnings {
    fn of(arguments: &CheckArguments) -> Self {
        // What `--strict` says is the default as well.
        if arguments.lenient && !arguments.strict { Self::Pass } else { Self::Fail }
    }
}

/// One problem, or a note.
#[derive(Debug, Serialize)]
struct CheckFinding {
    level: Level,
    /// Shop whose whitelist the finding is about.
    shop: Option<String>,
    /// File, URL or flag that the finding is about.
    about: String,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    /// The line of the file, which JSON has without the mark.
    #[serde(serialize_with = "line")]
    excerpt: Option<Excerpt>,
}

fn line<S: Serializer>(excerpt: &Option<Excerpt>, serializer: S) -> Result<S::Ok, S::Error> {
    excerpt.as_ref().map(Excerpt::line).serialize(serializer)
}

/// Everything that the checks found.
#[derive(Debug, Default)]
struct CheckReport {
    /// Shop that is being checked, if it is one.
    shop: Option<ShopName>,
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
    let (format, warnings) = (arguments.format, Warnings::of(&arguments));
    let (settings, platform) = (arguments.settings, arguments.platform);
    let given = GivenFiles::from(&settings);
    let config = Config::load(settings);
    let checked = config.as_ref().map(|config| CheckedShops::find(config, &arguments.shop));
    let checked = checked.unwrap_or_else(|_| Ok(CheckedShops::default()))?;
    let url = arguments.url.as_deref().map(|url| url.trim_end_matches('/'));
    let is_usable = url.is_some_and(|url| {
        report.base_url(url, config.as_ref().is_ok_and(|config| config.tls.is_some()), &checked.names())
    });
    for unknown in Cli::unknown_variables() {
        report.about(Level::Warning, &printable(&unknown.name), unknown.to_string());
    }
    match config {
        Ok(config) => {
            report.settings(&config);
            report.upstream_is_itself(&config);
            let lists = report.lists(&checked);
            let catalog = report.catalog(&config, arguments.feed.as_deref(), platform)?;
            if let Some(catalog) = &catalog {
                let former = FormerCodes::read(&config, platform);
                let context = ListContext { catalog, former: &former, given: &given };
                lists.iter().for_each(|list| report.codes(list, &context));
                report.sort(&checked);
            }
            if let Some(directory) = &config.cache_dir {
                report.cache_dir(directory);
            }
            for Objection { at, message } in config.remarks() {
                report.setting(Level::Note, &at, message);
            }
            if let Some(url) = url.filter(|_| is_usable) {
                let (max_size, roots) = (*config.cache.max_feed_size, arguments.url_ca);
                let catalog = catalog.as_ref();
                report.addresses(url, &AddressContext { lists: &lists, catalog, platform, max_size, roots });
            }
            if arguments.notify_test {
                report.notify_test(&config)?;
            }
        }
        Err(error) => report.configuration(error),
    }
    report.finish(format, warnings)
}

impl CheckReport {
    fn settings(&mut self, config: &Config) {
        if let Err(error) = logging::levels(config.log_level.as_ref()) {
            self.value(&error.at, error.message());
        }
        if let Some(files) = &config.tls {
            self.certificate(files);
        }
        if let Some(path) = &config.access.tokens {
            self.tokens(path);
        }
        for Objection { at, message } in config.objections().into_iter().chain(config.exposure()) {
            self.setting(Level::Warning, &at, message);
        }
    }

    fn configuration(&mut self, error: ConfigError) {
        match error {
            ConfigError::Wrong(mistakes) => {
                for ConfigMistake { at, message, excerpt } in mistakes {
                    self.value(&at, message);
                    self.mark(excerpt);
                }
            }
            ConfigError::Read { path, source } => {
                self.about(Level::Error, &path.display().to_string(), format!("cannot be read: {source}"));
            }
        }
    }

    fn value(&mut self, source: &Source, message: String) {
        self.setting(Level::Error, source, message);
    }

    fn setting(&mut self, level: Level, source: &Source, message: String) {
        match source {
            Source::Default | Source::Flag(_) | Source::Variable(_) => {
                self.about(level, &source.to_string(), message);
            }
            Source::File { path, place } => self.at(level, &path.display().to_string(), *place, message),
        }
    }

    /// Adds the line of the file to the last finding.
    fn mark(&mut self, excerpt: Option<Excerpt>) {
        if let Some(finding) = self.findings.last_mut() {
            finding.excerpt = excerpt;
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

    fn tokens(&mut self, path: &Path) {
        let loaded = WatchedTokens::load(path.to_owned()).map_err(CommandError::from);
        if self.failed(loaded).is_some() {
            self.good.push((path.display().to_string(), "tokens of the admin port".to_owned()));
        }
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

    fn cache_dir(&mut self, directory: &Path) {
        // The proxy makes it if need be, so then the nearest that there is counts.
        let here = |ancestor: &Path| if ancestor == Path::new("") { ".".into() } else { ancestor.to_owned() };
        let Some(nearest) = directory.ancestors().map(here).find(|path| path.exists()) else { return };
        match tempfile::Builder::new().prefix(".tmp-").tempfile_in(&nearest) {
            Ok(_) => {
                if fs::statfs(nearest.as_path()).is_ok_and(|system| system.f_type == TMPFS_MAGIC) {
                    let message = "is in memory (tmpfs): what is in it is lost when the machine restarts";
                    self.about(Level::Note, &directory.display().to_string(), message);
                }
                self.good.push((directory.display().to_string(), "writable".to_owned()));
            }
            Err(error) => {
                let name = directory.display().to_string();
                self.about(Level::Error, &name, format!("cannot be written: {}", error.kind()));
            }
        }
    }

    /// Checks the URL at which Plesk servers reach the proxy, with the prefix of each shop. Returns false if it is none that
    /// can be asked.
    fn base_url(&mut self, base: &str, tls: bool, shops: &[ShopName]) -> bool {
        if !is_usable(base) {
            self.about(Level::Error, "--url", format!("{base:?} is not an http or https URL for panel.ini"));
            return false;
        }
        if tls && base.starts_with("http://") {
            let message = "the proxy speaks HTTPS (--tls-cert), so it must begin with https://";
            self.about(Level::Warning, base, message);
        }
        // One that has a prefix already is that of one shop.
        let has_prefix = shops.iter().any(|shop| base.ends_with(&format!("/{shop}")));
        let named = shops.iter().filter(|shop| !shop.is_default() && !has_prefix);
        let prefixed: Vec<_> = named.map(|shop| base_url(base, shop)).collect();
        let of_plain = objections(base, shops);
        for url in &prefixed {
            let objections = objections(url, shops).into_iter();
            // What is wrong without the prefix already is told once.
            objections
                .filter(|_| of_plain.is_empty())
                .for_each(|objection| self.about(Level::Warning, url, objection));
        }
        of_plain.into_iter().for_each(|objection| self.about(Level::Warning, base, objection));
        true
    }

    /// Turns a failure into a finding.
    fn failed<T>(&mut self, result: Result<T, CommandError>) -> Option<T> {
        result
            .map_err(|failure| {
                match failure.subject {
                    Some(Subject::Setting(source)) => self.value(&source, failure.message),
                    Some(Subject::Named(name)) => self.about(Level::Error, &name, failure.message),
                    None => self.about(Level::Error, "", failure.message),
                }
                self.mark(failure.excerpt);
            })
            .ok()
    }

    fn at(&mut self, level: Level, about: &str, place: Place, message: impl Into<String>) {
        self.add(level, about, Some(place), message.into());
    }

    fn about(&mut self, level: Level, about: &str, message: impl Into<String>) {
        self.add(level, about, None, message.into());
    }

    fn add(&mut self, level: Level, about: &str, place: Option<Place>, message: String) {
        let shop = self.shop.as_ref().map(ToString::to_string);
        let (line, column) = (place.map(|place| place.line), place.map(|place| place.column));
        let about = about.to_owned();
        self.findings.push(CheckFinding { level, shop, about, line, column, message, excerpt: None });
    }

    /// Sorts findings by file and place, whichever check it was that found them: those about whitelists come first.
    fn sort(&mut self, checked: &CheckedShops) {
        let files: Vec<_> = checked.shops.iter().map(|shop| shop.path.display().to_string()).collect();
        let nth = |about: &str| files.iter().position(|file| file == about).unwrap_or(files.len());
        self.findings.sort_by_key(|finding| (nth(&finding.about), finding.line, finding.column));
    }

    fn finish(self, format: TextFormat, warnings: Warnings) -> Result<(), CommandError> {
        match format {
            TextFormat::Json => print_json("findings", &self.findings)?,
            TextFormat::Text => print(&self.text(Terminal::stdout()))?,
        }
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        match (count(Level::Error), count(Level::Warning)) {
            (0, 0) => Ok(()),
            (0, _) if warnings == Warnings::Pass => Ok(()),
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
            let excerpt = finding.excerpt.as_ref().map(|excerpt| format!("{excerpt}\n"));
            format!("{}: {level}: {}\n{}", finding.place(), finding.message, excerpt.unwrap_or_default())
        });
        let wrong = |about: &str| self.findings.iter().any(|f| f.level == Level::Error && f.about == about);
        let good = self.good.iter().filter(|(about, _)| !wrong(about)).map(|(about, message)| {
            format!("{about}: {}: {message}\n", terminal.paint(Style::Green, "good"))
        });
        bad.chain(good).collect()
    }
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
