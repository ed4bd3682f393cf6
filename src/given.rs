//! Values of settings with their sources.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use crate::place::Place;

/// A value of a setting, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given<T> {
    /// The value itself.
    pub value: T,
    /// Source of the value.
    pub source: Source,
}

/// Source of a value. It is displayed in the form that people search for: `--listen`, `CATALOG_PROXY_LISTEN`,
/// `proxy.toml:3:10` or `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default, or a value that the program chose.
    Default,
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
    /// An environment variable.
    Variable(String),
    /// The configuration file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Place of the value in the file.
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
    /// Creates a value with the source [`Source::Default`].
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
