//! Arguments of the commands that read the catalog, and read or edit the whitelist.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{Settings, Size, Variables};
use crate::policy::Day;

/// Catalog and whitelist that a command reads.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Catalog and whitelist")]
pub struct Sources {
    /// Packages feed to read instead of asking the upstream, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Servers whose catalog the upstream is asked for: Plesk for Linux, or for Windows
    #[arg(long, value_enum, default_value = "unix")]
    pub platform: Platform,
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
    /// Whitelist file of the shop at /, or `off` [default: whitelist.toml]
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
    /// Directory with a whitelist NAME.toml for each shop at /NAME/ [default: none]
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_SHOPS")]
    pub shops: Option<PathBuf>,
    /// Configuration file of the proxy (TOML)
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Settings that come from the environment.
    #[arg(skip)]
    pub variables: Variables,
}

impl Sources {
    /// Returns them as settings of the proxy, without the feed file.
    pub fn settings(&self) -> Settings {
        Settings {
            config: self.config.clone(),
            upstream: self.upstream.clone(),
            upstream_ca: self.upstream_ca.clone(),
            whitelist: self.whitelist.clone(),
            shops: self.shops.clone(),
            cache_dir: self.cache_dir.clone(),
            max_feed_size: self.max_feed_size,
            variables: self.variables.clone(),
            ..Settings::default()
        }
    }
}

/// Shops that a command is about.
#[derive(Debug, Default, Args)]
pub struct ShopChoice {
    /// Shop by its name, `default` for the one at /; several with commas [default: the shop at /]
    #[arg(long = "shop", value_name = "NAME", value_delimiter = ',')]
    pub names: Vec<String>,
}

/// Kind of Plesk servers: the vendor's catalog differs between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Platform {
    Unix,
    Windows,
}

/// Output format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    Table,
    Json,
}

/// Output format of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    Text,
    Json,
}

/// Seller on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SellerArgument {
    Free,
    Vendor,
    Plesk,
}

/// Output format of `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    Table,
    Json,
    Csv,
}

/// Order of the packages in `list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListOrder {
    Code,
    Name,
    Seller,
    State,
}

/// Part of the catalog that `list` shows.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct ListedPart {
    /// Only what customers see
    #[arg(long)]
    pub shown: bool,
    /// Only what is out of the shop, but found by servers that have it
    #[arg(long)]
    pub retired: bool,
    /// Only what nobody sees
    #[arg(long)]
    pub hidden: bool,
    /// Only what Plesk sells and the whitelist does not name
    #[arg(long)]
    pub undecided: bool,
    /// Only what servers look for updates in: what is shown or retired
    #[arg(long)]
    pub updates: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// Only packages with this in their code or name
    pub word: Option<String>,
    /// Part of the catalog.
    #[command(flatten)]
    pub part: ListedPart,
    /// Only what is free, sold by its vendor, or sold by Plesk
    #[arg(long, value_enum)]
    pub seller: Option<SellerArgument>,
    /// As it will be, or was, on this day in UTC, by the whitelist as it is now [default: today]
    #[arg(long, value_name = "DATE")]
    pub at: Option<Day>,
    /// What comes first
    #[arg(long, value_enum, default_value = "code")]
    pub sort: ListOrder,
    /// Columns for people, JSON for programs, or CSV for spreadsheets
    #[arg(long, value_enum, default_value = "table")]
    pub format: ListFormat,
    /// Shops that it is about.
    #[command(flatten)]
    pub shops: ShopChoice,
    /// Catalog and whitelist to read.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `shops`.
#[derive(Debug, Args)]
pub struct ShopsArguments {
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Catalog and shops to read.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `check`.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Packages feed to check the whitelist against instead of asking the upstream, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Servers whose catalog the upstream is asked for: Plesk for Linux, or for Windows
    #[arg(long, value_enum, default_value = "unix")]
    pub platform: Platform,
    /// Where Plesk servers reach the proxy (http://proxy:8080): asks it whether the proxy answers there, with which shop
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// PEM file with root certificates to trust for an https --url, instead of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    pub url_ca: Option<PathBuf>,
    /// Send a test message to --notify-url, and say whether it was taken
    #[arg(long)]
    pub notify_test: bool,
    /// Exit with 1 on warnings as well as on errors; this is the default
    #[arg(long)]
    pub strict: bool,
    /// Exit with 0 if there are only warnings
    #[arg(long, conflicts_with = "strict")]
    pub lenient: bool,
    /// Lines for people, or JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    pub format: TextFormat,
    /// Whitelist to check by its shop's name, `default` for the one at /; several with commas [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub shop: Vec<String>,
    /// Settings to check.
    #[command(flatten, next_help_heading = "Settings of serve")]
    pub settings: Settings,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Edited whitelist
    pub new: PathBuf,
    /// Whitelist to compare it with [default: the shop's]
    #[arg(conflicts_with = "names")]
    pub old: Option<PathBuf>,
    /// Columns for people, or JSON for programs
    #[arg(long, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Shops that it is about.
    #[command(flatten)]
    pub shops: ShopChoice,
    /// Catalog and whitelist to read.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `allow`, `retire`, `hide` and `forget`.
#[derive(Debug, Args)]
pub struct Edit {
    /// Codes of extensions, as in the catalog; `-` reads them from standard input, one a line
    ///
    /// A code that ends with a star (`offer-*`, in quotes for the shell) is the entry of the whitelist that is written
    /// like that. Of standard input, blank lines and what follows a `#` are skipped.
    #[arg(value_name = "CODE", required = true)]
    pub codes: Vec<String>,
    /// Print what would change and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do it though the catalog has no such extension, or it would change nothing
    #[arg(long)]
    pub force: bool,
    /// Shops that it is about.
    #[command(flatten)]
    pub shops: ShopChoice,
    /// Catalog and whitelist to read.
    #[command(flatten)]
    pub sources: Sources,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Catalog to read; no whitelist is.
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
    /// Shops that it is about.
    #[command(flatten)]
    pub shops: ShopChoice,
    /// Catalog and whitelist to read.
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
