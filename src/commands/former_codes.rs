//! Packages whose code has changed: by the history in the cache directory, or by the newest copy there.

use std::cell::OnceCell;

use super::catalog_source::Listing;
use crate::cli::Platform;
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::news::history;
use crate::news::renames::{FormerCode, PastRenames};

/// What the cache directory knows about codes that are not in the catalog any more. Without one it knows nothing.
#[derive(Debug)]
pub(crate) struct FormerCodes<'a> {
    config: &'a Config,
    platform: Platform,
    renames: PastRenames,
    /// The newest copy, read when the history does not know a code: the proxy may not have told the rename yet.
    copy: OnceCell<Option<Listing>>,
}

impl<'a> FormerCodes<'a> {
    /// Reads the history. One that cannot be read counts as empty, for it only improves a message.
    pub(crate) fn read(config: &'a Config, platform: Platform) -> Self {
        let directory = config.cache_dir.as_ref();
        let history = directory.and_then(|directory| history::read(directory).ok()).unwrap_or_default();
        Self { config, platform, renames: PastRenames::new(history), copy: OnceCell::new() }
    }

    /// Finds the package of the catalog that had a code which the catalog does not have any more.
    pub(crate) fn successor<'c>(&self, code: &str, catalog: &'c Listing) -> Option<&'c Listed> {
        self.renames.newest_code(code).and_then(|newest| catalog.find(newest)).or_else(|| {
            let copy = self.copy.get_or_init(|| Listing::from_disk(self.config, self.platform)).as_ref()?;
            catalog.find_identity(&copy.find(code)?.identity()?)
        })
    }

    /// Returns the codes that the package with a code had before, the last one first.
    pub(crate) fn of<'c>(&'c self, code: &'c str) -> Vec<FormerCode<'c>> {
        self.renames.former_codes(code)
    }
}

/// Formats the message about an unknown code, with the new one if there is a successor.
pub(crate) fn unknown(code: &str, successor: Option<&Listed>, catalog: &Listing) -> String {
    match successor.and_then(|listed| listed.package.code.as_deref()) {
        Some(new) => {
            format!("{code:?} is not in the catalog ({}): it was renamed to {new:?}", catalog.origin)
        }
        None => catalog.unknown(code),
    }
}
