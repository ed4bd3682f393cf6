//! Arguments of `edits` and `token`.

use clap::Args;

use super::HistoryArguments;

/// Arguments of `edits`.
#[derive(Debug, Args)]
pub struct EditsArguments {
    /// Only edits of this shop, `default` for the one at /
    #[arg(long, value_name = "NAME")]
    pub shop: Option<String>,
    /// The history to print.
    #[command(flatten)]
    pub history: HistoryArguments,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArguments {
    /// Name of the token's owner, for the edit log
    pub name: String,
}
