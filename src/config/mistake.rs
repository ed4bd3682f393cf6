//! What is wrong with the settings: all of it at once, each with its place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::given::Source;
use crate::place::Excerpt;

/// A configuration that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read { path: PathBuf, source: io::Error },
    /// Values make no sense, or the file is not a configuration. There is at least one mistake.
    Wrong(Vec<ConfigMistake>),
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMistake {
    /// Where the value was given.
    pub at: Source,
    /// What is wrong, and what is expected.
    pub message: String,
    /// The line of the file, if it stands in one.
    pub excerpt: Option<Excerpt>,
}

impl ConfigMistake {
    /// Creates one. If it is about the file, the line is added later.
    pub(super) fn new(at: Source, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), excerpt: None }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => {
                write!(f, "cannot read configuration {}: {source}", path.display())
            }
            Self::Wrong(mistakes) => {
                if mistakes.len() > 1 {
                    writeln!(f, "{} mistakes in the settings", mistakes.len())?;
                }
                for (n, mistake) in mistakes.iter().enumerate() {
                    write!(f, "{}{mistake}", if n == 0 { "" } else { "\n" })?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        self.excerpt.iter().try_for_each(|excerpt| write!(f, "\n{excerpt}"))
    }
}
