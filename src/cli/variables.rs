//! Record of the settings that come from the environment.

use std::collections::BTreeSet;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::given::Source;

/// Flags whose values come from environment variables.
#[derive(Debug, Clone, Default)]
pub struct Variables(BTreeSet<String>);

impl Variables {
    /// Collects them from the parsed arguments of a command.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let from_variable = |id: &str| matches.value_source(id) == Some(ValueSource::EnvVariable);
        let ids = matches.ids().map(clap::Id::as_str);
        // A flag is the name of its field.
        Self(ids.filter(|id| from_variable(id)).map(|id| format!("--{}", id.replace('_', "-"))).collect())
    }

    /// Returns the source of a flag's value: the command line or the environment.
    pub fn source(&self, flag: &'static str) -> Source {
        match self.0.contains(flag) {
            true => Source::Variable(name(flag)),
            false => Source::Flag(flag),
        }
    }
}

/// Returns the name of a flag's environment variable.
pub(super) fn name(flag: &str) -> String {
    format!("CATALOG_PROXY_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase())
}
