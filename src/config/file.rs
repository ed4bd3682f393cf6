//! The configuration file, and where its values stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use toml::Spanned;

use super::{ConfigError, OFF};
use crate::cli::Settings;
use crate::given::Source;
use crate::place::Place;
use crate::printable;

/// The configuration file's text; empty without a file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    text: String,
}

impl ConfigFile {
    /// Reads the file at `path`, if one is named.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path.map(Path::to_owned) else { return Ok(Self::default()) };
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self { path, text }),
            Err(source) => Err(ConfigError::Read { path, source }),
        }
    }

    /// Parses the settings; paths in them are relative to the file's directory.
    pub(super) fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings: Settings = toml::from_str(&self.text).map_err(|error| ConfigError::Value {
            at: self.at(error.span().map_or(0, |span| span.start)),
            message: printable::escaped(error.message()),
        })?;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut settings.whitelist,
            &mut settings.shops,
            &mut settings.upstream_ca,
            &mut settings.cache_dir,
            &mut settings.tls_cert,
            &mut settings.tls_key,
            &mut settings.admin_tokens,
        ];
        for relative in paths.into_iter().flatten().filter(|path| **path != Path::new(OFF)) {
            *relative = directory.join(&*relative);
        }
        Ok(settings)
    }

    /// Returns the place of the value whose key is the name of `flag`.
    pub(super) fn source(&self, flag: &str) -> Source {
        let values: BTreeMap<String, Spanned<IgnoredAny>> = toml::from_str(&self.text).unwrap_or_default();
        self.at(values.get(flag.trim_start_matches('-')).map_or(0, |value| value.span().start))
    }

    fn at(&self, offset: usize) -> Source {
        Source::File { path: self.path.clone(), place: Place::of(&self.text, offset) }
    }
}
