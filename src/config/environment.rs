//! Variables of the environment that are not this program's alone.

use std::collections::BTreeMap;
use std::fmt;

use crate::cli::tidy;

/// Variables that name the proxy of an https upstream; the first that is set and not empty counts, as for curl.
pub const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Variables that list hosts to reach without it.
pub const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// The variables about a proxy on the way to the upstream that are set. By default none is.
// SECURITY: a value may hold a password, so it is never shown.
#[derive(Clone, Default)]
pub struct ProxyVariables(BTreeMap<&'static str, String>);

impl ProxyVariables {
    /// Reads them from the process's environment.
    pub fn from_env() -> Self {
        // A value that is not UTF-8 is no URL either way, and must not count as absent.
        Self::from_variables(|name| tidy(name).map(|value| value.to_string_lossy().into()))
    }

    /// Reads them from what `variable` returns for a name.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &'static str| Some((name, variable(name).filter(|value| !value.is_empty())?));
        Self(PROXY.into_iter().chain(NO_PROXY).filter_map(set).collect())
    }

    /// Returns the first of `names` that is set, with its value.
    pub fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| Some((*name, self.0.get(name)?.as_str())))
    }
}

impl fmt::Debug for ProxyVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
