//! Arguments of `edits` and `token`.

use std::path::PathBuf;

use clap::Args;

use super::{TableFormat, Variables};

/// Arguments of `edits`.
#[derive(Debug, Args)]
pub struct EditsArguments {
    /// Configuration file of the proxy, which names the cache directory
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Cache directory of the proxy
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Only edits of this shop, `default` for the one at /
    #[arg(long, value_name = "NAME")]
    pub shop: Option<String>,
    /// Only what is not older, such as 7d
    #[arg(long, value_name = "DURATION")]
    pub since: Option<humantime::Duration>,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Settings that come from the environment.
    #[arg(skip)]
    pub variables: Variables,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// Name of the token's owner, for the edit log
    pub name: String,
}
