//! Arguments of the commands that look at the catalog and the whitelist, and edit the latter.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{Settings, Size, Variables};

/// Which catalog and which whitelist a command is about.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Catalog and whitelist")]
pub struct Sources {
    /// Packages feed to read instead of asking the upstream, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Where the catalog comes from [default: https://ext.plesk.com]
    #[arg(long, value_name = "URL", env = "CATALOG_PROXY_UPSTREAM")]
    pub upstream: Option<String>,
    /// PEM file with root certificates to trust for the upstream, instead of the system's
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,
    /// Directory of the proxy's copies, for when the upstream does not answer [default: none]
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Largest feed accepted, decoded [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "CATALOG_PROXY_MAX_FEED_SIZE")]
    pub max_feed_size: Option<Size>,
    /// Whitelist file [default: whitelist.toml]
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
    /// Configuration file of the proxy (TOML)
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Which of them are from the environment.
    #[arg(skip)]
    pub variables: Variables,
}

impl Sources {
    /// Returns them as settings of the proxy, without the feed.
    pub fn settings(&self) -> Settings {
        Settings {
            config: self.config.clone(),
            upstream: self.upstream.clone(),
            upstream_ca: self.upstream_ca.clone(),
            whitelist: self.whitelist.clone(),
            cache_dir: self.cache_dir.clone(),
            max_feed_size: self.max_feed_size,
            variables: self.variables.clone(),
            ..Settings::default()
        }
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Json,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    Text,
    Json,
}

/// Who sells, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SellerName {
    Free,
    Vendor,
    Plesk,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only what customers do not see
    #[arg(long, conflicts_with = "shown")]
    pub hidden: bool,
    /// Only what customers see
    #[arg(long)]
    pub shown: bool,
    /// Only what is free, sold by its vendor, or sold by Plesk
    #[arg(long, value_enum)]
    pub seller: Option<SellerName>,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Of what.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `check`.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Args)]
pub struct Check {
    /// Packages feed to check the whitelist against instead of asking the upstream, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Where Plesk servers reach the proxy, to check that as well (http://proxy:8080)
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Lines for people, or JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextFormat,
    /// What is checked.
    #[command(flatten, next_help_heading = "Settings of serve")]
    pub settings: Settings,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Edited whitelist
    pub new: PathBuf,
    /// Whitelist to compare it with [default: the one in use]
    pub old: Option<PathBuf>,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Of what.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `allow` and `hide`.
#[derive(Debug, Args)]
pub struct Edit {
    /// Codes of extensions, as in the catalog
    #[arg(value_name = "CODE", required = true)]
    pub codes: Vec<String>,
    /// Do it though the catalog has no such extension, or it would change nothing
    #[arg(long)]
    pub force: bool,
    /// Of what.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Code of the extension, as in the catalog
    pub code: String,
    /// Lines for people, or JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextFormat,
    /// Of what.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Directory for one page a command; without it the main page goes to standard output
    pub directory: Option<PathBuf>,
}
