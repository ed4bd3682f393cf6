//! The catalog as commands see it: of a file, of the upstream, or of the proxy's last copy on disk.
//!
//! A running proxy is never asked: it tells only what it shows.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;

use super::terminal::printable;
use super::{FAILED, Failure};
use crate::catalog::Key;
use crate::catalog::copy::{Content, Index};
use crate::catalog::disk;
use crate::catalog::fetch::Fetcher;
use crate::catalog::freshness::Policy;
use crate::config::Config;
use crate::feed::listing::{self, Listed};
use crate::feed::package::Seller;
use crate::feed::{FeedKind, packages};
use crate::stderr;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;

/// What Plesk for Linux asks when it renews its copy of the catalog.
const PACKAGES: &str = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
/// Beside it; language and country change the words only.
const CATEGORIES: &str =
    "/api/v4/categories?version=18.0.64&platform=unix&with-hidden&with-unstable&locale=en-US";

/// How much two codes must be alike for one to be meant by the other (Jaro-Winkler, 0 to 1): one or two
/// letters wrong, missing or swapped.
const ALIKE: f64 = 0.85;
/// Longer codes are compared with nothing; the longest real one has some 40 characters.
const MAX_COMPARED: usize = 100;

/// Packages to look things up in.
#[derive(Debug)]
pub struct Listing {
    /// Where they are from, for messages.
    pub origin: String,
    /// All elements of the feed, in its order.
    pub packages: Vec<Listed>,
}

impl Listing {
    /// Loads the catalog that was asked for: the feed in a file, else the upstream's, else the last copy in
    /// the cache directory, which standard error tells.
    ///
    /// # Errors
    /// If there is none to be had.
    pub fn load(feed: Option<&Path>, config: &Config) -> Result<Self, Failure> {
        match feed {
            Some(path) => Self::from_file(path, *config.cache.max_feed_size),
            None => Self::from_upstream(config).or_else(|failure| {
                // Wrong settings are not the upstream's fault.
                if failure.code != FAILED {
                    return Err(failure);
                }
                let why = failure;
                let Some(listing) = Self::from_disk(config) else {
                    return Err(Failure::failed(format!(
                        "{why}; a saved catalog can be given with --feed FILE"
                    )));
                };
                stderr::message(format_args!("warning: {why}; using {}", listing.origin));
                Ok(listing)
            }),
        }
    }

    /// Reads a packages feed, of standard input if `path` is `-`.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn from_file(path: &Path, max_size: u64) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let origin = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let mut body = Vec::new();
        let read = match is_stdin {
            true => io::stdin().lock().take(max_size + 1).read_to_end(&mut body),
            false => File::open(path).and_then(|file| file.take(max_size + 1).read_to_end(&mut body)),
        };
        let refused = |reason: &dyn std::fmt::Display| Failure::failed(reason).about(origin.clone());
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

    /// Asks the upstream, as the proxy would.
    ///
    /// # Errors
    /// If it cannot be asked, or answers with no feed.
    pub fn from_upstream(config: &Config) -> Result<Self, Failure> {
        let packages = block_on(async { Asking::new(config)?.packages().await })??;
        Ok(Self { origin: origin(config), packages })
    }

    /// Reads the last copy in the cache directory, if there is one.
    pub fn from_disk(config: &Config) -> Option<Self> {
        let directory = config.cache_dir.as_ref()?;
        let (body, index, at) = disk::newest_packages(directory)?;
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        let unit = if age.as_secs() < 60 { 1 } else { 60 };
        let age = humantime::format_duration(Duration::from_secs(age.as_secs() / unit * unit));
        let origin = format!("the copy in {} ({age} old)", directory.display());
        Some(Self { origin, packages: listing::list(&body, &index) })
    }

    /// Finds the package with a code. One sold by Plesk comes first: the list decides about that.
    pub fn find(&self, code: &str) -> Option<&Listed> {
        let found = self.packages.iter().filter(|listed| listed.package.code.as_deref() == Some(code));
        found.min_by_key(|listed| listed.package.seller != Seller::Plesk)
    }

    /// Returns the code that was probably meant by one that is not there.
    pub fn suggest(&self, typed: &str) -> Option<&str> {
        let named =
            |listed: &&Listed| listed.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(typed));
        let by_name = self.packages.iter().find(named).and_then(|listed| listed.package.code.as_deref());
        by_name.or_else(|| {
            alike(typed, self.packages.iter().filter_map(|listed| listed.package.code.as_deref()))
        })
    }

    /// Says that there is no package with a code, and which one was probably meant.
    pub fn unknown(&self, code: &str) -> String {
        let meant = self.suggest(code).map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
        format!("{code:?} is not in the catalog ({}){meant}", self.origin)
    }
}

/// Returns the candidate that is most like what was typed, if any is.
pub fn alike<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.trim().to_lowercase();
    if typed.len() > MAX_COMPARED {
        return None;
    }
    candidates
        .filter(|candidate| candidate.len() <= MAX_COMPARED)
        .map(|candidate| (strsim::jaro_winkler(&typed, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns the upstream's URL.
pub fn origin(config: &Config) -> String {
    format!("{}://{}", config.upstream.scheme, config.upstream.authority)
}

/// Runs what talks to the upstream.
///
/// # Errors
/// If the system has no means for it.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let output = runtime.block_on(future);
    // A name that is still being looked up must not keep anybody waiting.
    runtime.shutdown_background();
    Ok(output)
}

/// Asks the upstream for feeds.
#[derive(Debug)]
pub struct Asking {
    fetcher: Fetcher,
    origin: String,
}

impl Asking {
    /// Makes the client; nothing is connected yet.
    ///
    /// # Errors
    /// If the way to the upstream is not set up well.
    pub fn new(config: &Config) -> Result<Self, Failure> {
        let outbound = Outbound::new(&config.upstream, &config.outbound)?;
        let upstream = Upstream::new(config.upstream.value.clone(), config.upstream_ca.as_ref(), outbound)?;
        // Nothing is kept, so lifetimes do not matter.
        let policy = Policy { default: Duration::ZERO, min: Duration::ZERO, max: None };
        Ok(Self {
            fetcher: Fetcher::new(upstream, policy, *config.cache.max_feed_size, u64::MAX),
            origin: origin(config),
        })
    }

    /// Fetches the packages.
    ///
    /// # Errors
    /// If there is no valid feed.
    pub async fn packages(&self) -> Result<Vec<Listed>, Failure> {
        let content = self.feed(FeedKind::Packages, PACKAGES).await?;
        match &content.index {
            Index::Packages(index) => Ok(listing::list(&content.body, index)),
            Index::Categories(_) => Ok(Vec::new()),
        }
    }

    /// Fetches the categories and counts them.
    ///
    /// # Errors
    /// If there is no valid feed.
    pub async fn categories(&self) -> Result<usize, Failure> {
        Ok(self.feed(FeedKind::Categories, CATEGORIES).await?.len())
    }

    async fn feed(&self, kind: FeedKind, target: &'static str) -> Result<Arc<Content>, Failure> {
        let key = Key::new(kind, &PathAndQuery::from_static(target));
        let copy = self.fetcher.fetch(&key, None, |_| ()).await.map_err(|error| {
            // SECURITY: it may name where the upstream redirected to.
            let (what, causes) = (error.to_string(), error.chain());
            let causes = if causes == what { String::new() } else { format!(" ({})", printable(&causes)) };
            Failure::failed(format_args!("no {}: {what}{causes}", kind.name())).about(self.origin.clone())
        })?;
        Ok(copy.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let check = |typed: &str, expected: Option<&str>| {
            let codes = ["wp-toolkit", "docker", "ssh-terminal", "kaspersky-antivirus", "git"];
            assert_eq!(alike(typed, codes.into_iter()), expected, "{typed}");
        };
        check("wp-toolkitt", Some("wp-toolkit"));
        check("wptoolkit", Some("wp-toolkit"));
        check("WP-Toolkit ", Some("wp-toolkit"));
        check("dokcer", Some("docker"));
        check("kaspersky", Some("kaspersky-antivirus"));
        check("gti", None);
        check("nothing-like-it", None);
        check("", None);
        check(&"docker".repeat(50), None);
    }
}
