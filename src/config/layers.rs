//! The layers that settings come from: what was typed, the environment, the configuration file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::file::ConfigFile;
use super::mistake::{ConfigError, ConfigMistake};
use super::{OFF, Tls, WHITELIST};
use crate::cli::{Settings, Size};
use crate::given::{Given, Source};

/// What was typed (or stands in a variable) over what the file has.
pub(super) struct Layers {
    typed: Settings,
    file: ConfigFile,
    in_file: Settings,
}

impl Layers {
    /// Reads the configuration file that was typed, if one was. Returns what is wrong with it as well.
    ///
    /// # Errors
    /// If the file cannot be read, or is no text.
    pub(super) fn read(typed: Settings) -> Result<(Self, Vec<ConfigMistake>), ConfigError> {
        let mut file = ConfigFile::open(typed.config.as_deref())?;
        let (in_file, mistakes) = file.settings();
        Ok((Self { typed, file, in_file }, mistakes))
    }

    /// Adds the lines of the file to mistakes that are about values in it.
    pub(super) fn show(&self, mistakes: &mut [ConfigMistake]) {
        mistakes.iter_mut().for_each(|mistake| self.file.show(mistake));
    }

    /// Returns where the value of a flag comes from.
    pub(super) fn source(&self, flag: &'static str) -> Source {
        let in_file = || self.file.source(flag).unwrap_or(Source::Default);
        self.typed.variables.given(flag).unwrap_or_else(in_file)
    }

    /// Returns true if the value of a flag is given, though it may be wrong.
    pub(super) fn is_given(&self, flag: &'static str) -> bool {
        self.source(flag) != Source::Default || self.file.is_broken(flag)
    }

    /// Returns the value of a flag from the uppermost layer that has one.
    pub(super) fn pick<T>(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> Option<T>,
    ) -> Option<Given<T>> {
        match of(&self.typed) {
            Some(value) => Some(Given { value, source: self.typed.variables.source(flag) }),
            None => of(&self.in_file)
                .map(|value| Given { value, source: self.file.source(flag).unwrap_or(Source::Default) }),
        }
    }

    /// Returns a list of values; an empty one counts as absent.
    pub(super) fn list<T: Clone>(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> &Vec<T>,
    ) -> Option<Given<Vec<T>>> {
        self.pick(flag, |settings| Some(of(settings)).filter(|list| !list.is_empty()).cloned())
    }

    /// Returns a path.
    pub(super) fn path(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> Option<&PathBuf>,
    ) -> Option<Given<PathBuf>> {
        self.pick(flag, |settings| of(settings).cloned())
    }

    /// Returns a size in bytes.
    pub(super) fn bytes(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> Option<Size>,
    ) -> Option<Given<u64>> {
        self.pick(flag, |settings| of(settings).map(|size| size.bytes()))
    }

    /// Returns a duration.
    pub(super) fn duration(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> Option<humantime::Duration>,
    ) -> Option<Given<Duration>> {
        self.pick(flag, |settings| of(settings).map(Duration::from))
    }

    /// Parses a text.
    ///
    /// # Errors
    /// If it does not parse.
    pub(super) fn parse<T: FromStr<Err = String>>(
        &self,
        flag: &'static str,
        of: impl Fn(&Settings) -> Option<&str>,
    ) -> Result<Option<Given<T>>, ConfigMistake> {
        let Some(text) = self.pick(flag, |settings| of(settings).map(str::to_owned)) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(Given { value, source: text.source })),
            Err(message) => Err(ConfigMistake::new(text.source, message)),
        }
    }

    /// Returns the whitelist of the shop at `/`: `None` if it is `off`, or if only a directory of shops is given.
    pub(super) fn whitelist(&self) -> Option<Given<PathBuf>> {
        let given = self.path("--whitelist", |settings| settings.whitelist.as_ref());
        let has_others = self.path("--shops", |settings| settings.shops.as_ref()).is_some();
        match given {
            Some(given) => Some(given).filter(|given| given.as_path() != Path::new(OFF)),
            None if has_others => None,
            None => Some(PathBuf::from(WHITELIST).into()),
        }
    }

    /// Returns the files of the certificate.
    ///
    /// # Errors
    /// If one is given without the other.
    pub(super) fn tls(&self) -> Result<Option<Tls>, ConfigMistake> {
        let cert = self.path("--tls-cert", |settings| settings.tls_cert.as_ref());
        let key = self.path("--tls-key", |settings| settings.tls_key.as_ref());
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(Tls { cert, key })),
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_))
                if self.file.is_broken("--tls-cert") || self.file.is_broken("--tls-key") =>
            {
                Ok(None)
            }
            (Some(Given { source, .. }), None) | (None, Some(Given { source, .. })) => {
                Err(ConfigMistake::new(source, "--tls-cert and --tls-key belong together"))
            }
        }
    }
}
