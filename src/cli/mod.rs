//! What was typed.

mod news;
mod settings;
mod size;
mod tools;

use std::env;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::news::News;
pub use self::settings::{AdminListen, LogFormat, Settings};
pub use self::size::Size;
pub use self::tools::{
    Check, Completions, Diff, Edit, Explain, List, Man, SellerName, Sources, TableFormat, TextFormat,
};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (or `check` found something), 2 wrong usage, \
                          configuration or whitelist.";

/// A filtering, caching reverse proxy for Plesk's extension catalog.
#[derive(Debug, Parser)]
#[command(name = "catalog-proxy", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

impl Cli {
    /// Parses the command line and the environment; ends the process if they make no sense.
    pub fn read() -> Self {
        let parsed = without_empty_variables(Self::command()).try_get_matches();
        parsed.and_then(|mut matches| Self::from_arg_matches_mut(&mut matches)).unwrap_or_else(|error| {
            if let Some(variable) = variable_of(&error) {
                eprintln!("The value is that of the variable {variable}.");
            }
            error.exit()
        })
    }
}

/// Returns the variable that has the value an error is about.
fn variable_of(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = argument.split(' ').next()?;
    Some(source(flag)).filter(|source| source != flag)
}

/// Names where a setting was given: its flag, or else the variable that is set.
pub fn source(flag: &str) -> String {
    let is_flag =
        |argument: &OsStr| argument.to_str().is_some_and(|text| text.split('=').next() == Some(flag));
    let name = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
    let variable = format!("CATALOG_PROXY_{name}");
    let is_set = env::var_os(&variable).is_some_and(|value| !value.is_empty());
    match is_set && !env::args_os().any(|argument| is_flag(&argument)) {
        true => variable,
        false => flag.to_owned(),
    }
}

/// Makes variables that are set to nothing count as not set: compose files often pass them on like that.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    command.mut_subcommands(|command| {
        command.mut_args(|arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg })
    })
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run the proxy
    Serve(Settings),
    /// Run the proxy on 127.0.0.1:8080 against a built-in sample catalog
    Demo(Demo),
    /// List the catalog's extensions: who sells them, and whether customers see them
    List(List),
    /// Say why an extension is shown or hidden
    Explain(Explain),
    /// Show extensions sold by Plesk: list their codes in the whitelist
    Allow(Edit),
    /// Hide extensions sold by Plesk: remove their codes from the whitelist
    Hide(Edit),
    /// Say what an edited whitelist would show and hide
    Diff(Diff),
    /// Print what was new in the catalog
    News(News),
    /// Check configuration, whitelist, certificate, upstream and cache directory
    Check(Check),
    /// Filter a packages feed from standard input to standard output
    Filter(Filter),
    /// Print the lines for Plesk's panel.ini
    PanelIni(PanelIni),
    /// Ask a running proxy whether it is ready (for containers)
    Healthcheck(Settings),
    /// Print a shell's completions
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = settings::address)]
    pub listen: SocketAddr,
}

/// Arguments of `filter`.
#[derive(Debug, Args)]
pub struct Filter {
    /// Whitelist file [default: whitelist.toml]
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
}

/// Arguments of `panel-ini`.
#[derive(Debug, Args)]
pub struct PanelIni {
    /// Where Plesk servers reach the proxy
    #[arg(long, value_name = "URL", default_value = "http://proxy:8080")]
    pub url: String,
    /// Your shop: where Buy buttons lead
    #[arg(long, value_name = "URL")]
    pub buy_url: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }
}
