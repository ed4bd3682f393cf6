//! The catalog for commands: read from a file, from the upstream, or from the newest cached feed on disk.
//!
//! A running proxy is never asked, because its answers are filtered.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;

use super::{CommandError, FAILED};
use crate::cache::Key;
use crate::cache::cached_feed::{Feed, FeedIndex};
use crate::cache::disk::{self, PackagesCopy};
use crate::cache::fetch::Fetcher;
use crate::cache::freshness::FreshnessLimits;
use crate::cli::{Platform, Sources};
use crate::config::Config;
use crate::editing::catalog;
use crate::feed::listing::{self, Listed};
use crate::feed::{FeedKind, packages};
use crate::policy::Pattern;
use crate::printable::printable;
use crate::report::not_in_catalog;
use crate::stderr;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;

impl Platform {
    /// Returns the request target of the packages feed, as Plesk asks for it when it renews its copy.
    pub(super) fn packages_target(self) -> &'static str {
        match self {
            Self::Unix => "/api/v4/packages?platform=unix&with-hidden&with-unstable",
            Self::Windows => "/api/v4/packages?platform=windows&with-hidden&with-unstable",
        }
    }

    /// Returns true if a target asks for the catalog of this platform. One that names none has that of Plesk for Linux.
    fn is_asked_for_in(self, target: &str) -> bool {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let named = query.split('&').find_map(|part| part.strip_prefix("platform="));
        match self {
            Self::Unix => named.is_none_or(|named| named == "unix"),
            Self::Windows => named == Some("windows"),
        }
    }

    /// Returns the request target of the categories feed. Language and country change the words only.
    fn categories_target(self) -> &'static str {
        match self {
            Self::Unix => {
                "/api/v4/categories?version=18.0.64&platform=unix&with-hidden&with-unstable&locale=en-US"
            }
            Self::Windows => {
                "/api/v4/categories?version=18.0.64&platform=windows&with-hidden&with-unstable&locale=en-US"
            }
        }
    }
}

/// All packages of the catalog, for lookups by code or name.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Source of the feed, as messages name it.
    pub(crate) origin: String,
    /// All elements of the feed, in its order.
    pub(crate) packages: Vec<Listed>,
}

impl Listing {
    /// Loads the catalog from a file if one is given, else from the upstream, else from the cache directory. The last
    /// resort is a warning on standard error.
    ///
    /// # Errors
    /// If none of them has a valid feed.
    pub(crate) fn load(sources: &Sources, config: &Config) -> Result<Self, CommandError> {
        match &sources.feed {
            Some(path) => Self::from_file(path, *config.cache.max_feed_size),
            None => Self::from_upstream(config, sources.platform).or_else(|failure| {
                // Wrong settings are not the upstream's fault.
                if failure.code != FAILED {
                    return Err(failure);
                }
                let why = failure;
                let Some(listing) = Self::from_disk(config, sources.platform) else {
                    return Err(CommandError::failed(format!(
                        "{why}; a saved catalog can be given with --feed FILE"
                    )));
                };
                stderr::message(format_args!("warning: {why}; using {}", listing.origin));
                Ok(listing)
            }),
        }
    }

    /// Reads a packages feed from a file, or from standard input if `path` is `-`.
    ///
    /// # Errors
    /// If it cannot be read, or is no packages feed.
    pub(crate) fn from_file(path: &Path, max_size: u64) -> Result<Self, CommandError> {
        let is_stdin = path == Path::new("-");
        let origin = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let mut body = Vec::new();
        let read = match is_stdin {
            true => io::stdin().lock().take(max_size + 1).read_to_end(&mut body),
            false => File::open(path).and_then(|file| file.take(max_size + 1).read_to_end(&mut body)),
        };
        let refused = |reason: &dyn std::fmt::Display| CommandError::failed(reason).about(origin.clone());
        match read {
            Err(error) => return Err(refused(&format_args!("cannot be read: {error}"))),
            Ok(len) if len as u64 > max_size => {
                return Err(refused(&format_args!("more than {max_size} bytes")));
            }
            Ok(_) => {}
        }
        let body = body.into();
        let index = packages::PackagesIndex::of(&body)
            .map_err(|error| refused(&format_args!("not a packages feed: {error}")))?;
        Ok(Self { packages: listing::list(&body, &index), origin })
    }

    /// Fetches the packages feed from the upstream, as the proxy would.
    ///
    /// # Errors
    /// If the upstream cannot be reached, or its response is no packages feed.
    pub(crate) fn from_upstream(config: &Config, platform: Platform) -> Result<Self, CommandError> {
        let packages = block_on(async { Asking::new(config, platform)?.packages().await })??;
        Ok(Self { origin: origin(config), packages })
    }

    /// Reads the newest packages feed in the cache directory, if there is one; one of the platform before all others.
    pub(crate) fn from_disk(config: &Config, platform: Platform) -> Option<Self> {
        let directory = config.cache_dir.as_ref()?;
        let of_platform = |key: &str| platform.is_asked_for_in(key);
        let (PackagesCopy { key, body, index }, at) = disk::newest_packages(directory, of_platform)
            .or_else(|| disk::newest_packages(directory, |_| true))?;
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        let unit = if age.as_secs() < 60 { 1 } else { 60 };
        let age = humantime::format_duration(Duration::from_secs(age.as_secs() / unit * unit));
        let origin = format!("the copy in {} ({age} old, of {})", directory.display(), printable(&key));
        Some(Self { origin, packages: listing::list(&body, &index) })
    }

    /// Finds the packages that an entry matches.
    pub(crate) fn matching(&self, pattern: &Pattern) -> Vec<&Listed> {
        catalog::matching(&self.packages, pattern)
    }

    /// Finds the package with a code. Of several, one sold by Plesk comes first, because the whitelist decides about it.
    pub(crate) fn find(&self, code: &str) -> Option<&Listed> {
        catalog::find(&self.packages, code)
    }

    /// Finds the package with a uuid, if there is one with a code and no other code has the same uuid.
    pub(crate) fn find_identity(&self, uuid: &str) -> Option<&Listed> {
        let is_it =
            |listed: &&Listed| listed.package.code.is_some() && listed.identity().as_deref() == Some(uuid);
        let mut found = self.packages.iter().filter(is_it);
        let first = found.next()?;
        found.all(|other| other.package.code == first.package.code).then_some(first)
    }

    /// Formats the message about an unknown code, with a suggestion if there is one.
    pub(crate) fn unknown(&self, code: &str) -> String {
        not_in_catalog(code, &self.origin, catalog::suggest(&self.packages, code))
    }
}

/// Returns the upstream's URL.
pub(crate) fn origin(config: &Config) -> String {
    format!("{}://{}", config.upstream.scheme, config.upstream.authority)
}

/// Runs a future to its end on a runtime of its own.
///
/// # Errors
/// If the runtime cannot be started.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CommandError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CommandError::failed)?;
    let output = runtime.block_on(future);
    // A name that is still being looked up must not keep anybody waiting.
    runtime.shutdown_background();
    Ok(output)
}

/// Fetches feeds from the upstream without a cache.
#[derive(Debug)]
pub(crate) struct Asking {
    fetcher: Fetcher,
    platform: Platform,
    origin: String,
}

impl Asking {
    /// Creates the client. It connects with the first fetch.
    ///
    /// # Errors
    /// If the outbound proxy or the roots are not set up correctly.
    pub(crate) fn new(config: &Config, platform: Platform) -> Result<Self, CommandError> {
        let outbound = Outbound::new(&config.upstream, &config.outbound)?;
        let upstream = Upstream::new(config.upstream.value.clone(), config.upstream_ca.as_ref(), outbound)?;
        // Nothing is kept, so lifetimes do not matter.
        let limits = FreshnessLimits { default: Duration::ZERO, min: Duration::ZERO, max: None };
        Ok(Self {
            fetcher: Fetcher::new(upstream, limits, *config.cache.max_feed_size, u64::MAX),
            platform,
            origin: origin(config),
        })
    }

    /// Fetches the packages feed.
    ///
    /// # Errors
    /// If there is no valid feed.
    pub(crate) async fn packages(&self) -> Result<Vec<Listed>, CommandError> {
        let content = self.feed(FeedKind::Packages, self.platform.packages_target()).await?;
        match &content.index {
            FeedIndex::Packages(index) => Ok(listing::list(&content.body, index)),
            FeedIndex::Categories(_) => Ok(Vec::new()),
        }
    }

    /// Fetches the categories and counts them.
    ///
    /// # Errors
    /// If there is no valid feed.
    pub(crate) async fn categories(&self) -> Result<usize, CommandError> {
        Ok(self.feed(FeedKind::Categories, self.platform.categories_target()).await?.elements())
    }

    async fn feed(&self, kind: FeedKind, target: &'static str) -> Result<Arc<Feed>, CommandError> {
        let key = Key::new(kind, &PathAndQuery::from_static(target));
        let copy = self.fetcher.fetch(&key, None, |_| ()).await.map_err(|error| {
            // SECURITY: it may name where the upstream redirected to.
            let causes = error.chain().map(|causes| format!(" ({})", printable(&causes))).unwrap_or_default();
            CommandError::failed(format_args!("no {}: {error}{causes}", kind.name()))
                .about(self.origin.clone())
        })?;
        Ok(copy.feed)
    }
}
