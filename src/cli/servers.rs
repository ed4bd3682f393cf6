//! Arguments of `servers`.

use std::path::PathBuf;

use clap::Args;

use super::{AdminListen, TableFormat, Variables};

/// Arguments of `servers`.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Args)]
pub struct ServersArguments {
    /// Only servers of this shop; `default` is the one at /
    #[arg(long, value_name = "NAME")]
    pub shop: Option<String>,
    /// Only servers that do not have what their shop decides now
    #[arg(long)]
    pub behind: bool,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Where the proxy's admin port is [default: http:// and the address of --admin-listen]
    #[arg(long, value_name = "URL")]
    pub admin_url: Option<String>,
    /// Address of the admin port in the proxy's configuration
    #[arg(long, value_name = "ADDR", env = "CATALOG_PROXY_ADMIN_LISTEN")]
    pub admin_listen: Option<AdminListen>,
    /// PEM file with root certificates to trust for an https URL, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub admin_ca: Option<PathBuf>,
    /// Configuration file of the proxy (TOML)
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Settings that come from the environment.
    #[arg(skip)]
    pub variables: Variables,
}
