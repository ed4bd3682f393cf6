//! Arguments of `news`, and of what else prints a history.

use std::path::PathBuf;

use clap::Args;

use super::{SellerArgument, TableFormat, Variables};

/// Arguments of `news`.
#[derive(Debug, Args)]
pub struct NewsArguments {
    /// Only what is, or was before the change, free, sold by its vendor, or sold by Plesk
    #[arg(long, value_enum)]
    pub seller: Option<SellerArgument>,
    /// The history to print.
    #[command(flatten)]
    pub history: HistoryArguments,
}

/// Arguments of the commands that print a history from the cache directory: `news` and `edits`.
#[derive(Debug, Args)]
pub struct HistoryArguments {
    /// Configuration file of the proxy, which names the cache directory
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Cache directory of the proxy
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Only what happened since then, such as 7d [default: all that is kept]
    #[arg(long, value_name = "DURATION")]
    pub since: Option<humantime::Duration>,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Settings that come from the environment.
    #[arg(skip)]
    pub variables: Variables,
}
