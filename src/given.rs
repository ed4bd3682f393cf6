//! Values of settings that know where they were given.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use crate::place::Place;

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub source: Source,
}

/// Where a value was given. It is written as people look for it: `--listen`, `CATALOG_PROXY_LISTEN`,
/// `proxy.toml:3:10` or `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is the default, or a program's own choice.
    Default,
    /// On the command line; the flag with its dashes.
    Flag(&'static str),
    /// In the environment; the variable's name.
    Variable(String),
    /// In the configuration file.
    File {
        /// The file's name.
        path: PathBuf,
        /// Where in it the value stands.
        place: Place,
    },
}

impl<T> Given<T> {
    /// Applies `convert` to the value and keeps its source.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: convert(self.value), source: self.source }
    }
}

impl<T> From<T> for Given<T> {
    /// Makes a default.
    fn from(value: T) -> Self {
        Self { value, source: Source::Default }
    }
}

impl<T> Deref for Given<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Given<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, place } => write!(f, "{}:{place}", path.display()),
        }
    }
}
