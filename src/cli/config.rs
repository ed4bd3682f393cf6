//! Arguments of `config`.

use clap::{Args, ValueEnum};

use super::Settings;

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// A configuration file with comments, or JSON for programs
    #[arg(long, value_enum, default_value = "toml")]
    pub format: ConfigFormat,
    /// Settings to print.
    #[command(flatten)]
    pub settings: Settings,
}

/// Output format of `config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConfigFormat {
    Toml,
    Json,
}
