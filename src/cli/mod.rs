//! Definition of the command line.

mod config;
mod edits;
mod help;
mod keys;
mod news;
mod servers;
mod settings;
mod size;
mod tools;
mod variables;

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::config::{ConfigArguments, ConfigFormat};
pub use self::edits::{EditsArguments, TokenArguments};
pub use self::keys::{SettingKey, ValueKind};
pub use self::news::{HistoryArguments, NewsArguments};
pub use self::servers::ServersArguments;
pub use self::settings::{AccessLogFormat, AdminListen, LogFormat, NotifyFormat, Settings};
pub use self::size::Size;
pub use self::tools::{
    CheckArguments, Completions, Diff, Edit, Explain, Init, List, ListFormat, ListOrder, ListedPart, Man,
    Platform, SellerArgument, ShopChoice, ShopsArguments, Sources, TableFormat, TextFormat,
};
pub use self::variables::{TOKEN, UnknownVariable, Variables, WrongVariable, tidy};
use crate::version::VERSION_WITH_REVISION;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (or `check` found something), 2 wrong usage, \
                          configuration or whitelist.";

/// A filtering, caching reverse proxy for Plesk's extension catalog.
#[derive(Debug, Parser)]
#[command(name = "catalog-proxy", version = VERSION_WITH_REVISION, about, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

impl Cli {
    /// Parses the command line and the environment.
    ///
    /// # Errors
    /// If the arguments are wrong, or ask for help.
    pub fn read() -> Result<Self, NoCommand> {
        Self::read_from(env::args_os()).map_err(NoCommand::of)
    }

    /// Parses arguments, of which the first is the program's name, and the environment.
    ///
    /// # Errors
    /// As `read`, but of several wrong variables only the first is told.
    pub fn read_from(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut command = variables::with_tidy_variables(Self::command());
        if arguments.iter().any(|argument| argument == "-h") {
            command = command.mut_subcommands(help::short);
        }
        let matches = command.try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Some((_, matches)), Some(variables)) = (matches.subcommand(), cli.command.variables()) {
            *variables = Variables::of(matches);
        }
        Ok(cli)
    }

    /// Finds the environment variables that look like settings and are none.
    pub fn unknown_variables() -> Vec<UnknownVariable> {
        variables::unknown_variables(&Self::command())
    }
}

/// Arguments that lead to no command: they are wrong, or ask for help.
#[derive(Debug)]
pub struct NoCommand {
    /// Text to print, and the exit code.
    pub error: clap::Error,
    /// All environment variables that have wrong values.
    pub variables: Vec<WrongVariable>,
    /// True if one of them is all that the error is about.
    pub is_variable: bool,
}

impl NoCommand {
    fn of(error: clap::Error) -> Self {
        let typed: Vec<_> = env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
        let command = Cli::command();
        let command = typed.iter().find_map(|name| command.find_subcommand(name));
        let Some(command) = command.filter(|_| error.use_stderr()) else {
            return Self { error, variables: Vec::new(), is_variable: false };
        };
        // A flag that was typed wins over its variable, so the variable's value does not matter.
        let is_typed = |name: &str| {
            typed.iter().any(|text| {
                text.starts_with("--") && variables::name(text.split('=').next().unwrap_or_default()) == name
            })
        };
        let mut variables = variables::wrong_variables(command);
        variables.retain(|wrong| !is_typed(&wrong.name));
        let argument = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => argument.split(' ').next(),
            _ => None,
        };
        let is_variable = argument.is_some_and(|flag| {
            let name = variables::name(flag);
            variables.iter().any(|wrong| wrong.name == name)
        });
        Self { error, variables, is_variable }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run the proxy
    #[command(after_help = help::SERVE, after_long_help = help::SERVE_LONG)]
    Serve(Settings),
    /// Run the proxy on 127.0.0.1:8080 against a built-in sample catalog
    Demo(Demo),
    /// Print a whitelist to start from: all that Plesk sells, commented out
    ///
    /// Every extension of the catalog that Plesk sells is one line, commented out, with its name: take the `#` away from
    /// those that your shop sells. It goes to standard output, so no file is touched: `catalog-proxy init >
    /// whitelist.toml` (the shell replaces a file that is there).
    #[command(mut_arg("whitelist", |arg| arg.hide(true)), mut_arg("shops", |arg| arg.hide(true)))]
    Init(Init),
    /// List the catalog's extensions: who sells them, and whether customers see them
    List(List),
    /// List the shops: where each is served, how much it shows, what is wrong
    Shops(ShopsArguments),
    /// Say why an extension is shown or hidden
    Explain(Explain),
    /// Show extensions in the shop
    ///
    /// Puts their codes under `extensions` in the whitelist. What stands under another key moves, with the comment
    /// beside it; dates are dropped. Free extensions, and those that vendors sell in shops of their own, are shown
    /// without that, unless the whitelist says otherwise.
    Allow(Edit),
    /// Take extensions out of the shop, but keep updates for servers that have them
    ///
    /// Puts their codes under `retired` in the whitelist. What stands under another key moves, with the comment beside
    /// it; dates are dropped.
    Retire(Edit),
    /// Hide extensions from the shop and from updates
    ///
    /// Puts their codes under `hidden` in the whitelist. What stands under another key moves, with the comment beside
    /// it; dates are dropped. Servers that have such an extension get no updates of it any more: `retire` keeps them.
    Hide(Edit),
    /// Take codes out of the whitelist, so that the defaults hold for them
    ///
    /// Takes the codes out of all keys of the whitelist. A star may match them still; else those sold by Plesk are
    /// hidden (or what `unlisted` says) and all others are shown. The comment that `allow` wrote goes too; others stay.
    Forget(Edit),
    /// Say what an edited whitelist would show and hide
    Diff(Diff),
    /// Print what was new in the catalog
    News(NewsArguments),
    /// Say which Plesk servers have what their shop decides now, and which are behind
    ///
    /// Asks the admin port of a running proxy. If it wants a token, put it into the variable CATALOG_PROXY_ADMIN_TOKEN: as
    /// an argument, everybody on the machine could read it.
    ///
    /// A server is current if its last complete answer with the packages of the shop window came after the shop last
    /// decided otherwise. Servers behind one address are one.
    Servers(ServersArguments),
    /// Print who edited which whitelist when
    ///
    /// Reads the edit log in the cache directory: edits over the admin port, and changes of the files themselves.
    Edits(EditsArguments),
    /// Make a token for the admin port, and print the line for --admin-tokens
    Token(TokenArguments),
    /// Check configuration, whitelist, certificate, upstream and cache directory
    Check(CheckArguments),
    /// Filter a packages feed from standard input to standard output
    Filter(Filter),
    /// Print the lines for Plesk's panel.ini, or the variables for its container
    ///
    /// The lines belong into /usr/local/psa/admin/conf/panel.ini of the Plesk servers. Plesk's container takes them as
    /// variables (--env), and Plesk's installer takes the catalog's URL with its flag `--ext-catalog-url URL`.
    PanelIni(PanelIni),
    /// Print the settings in force, and where each came from
    ///
    /// Takes the flags of `serve`, reads the variables and the configuration file, and prints every setting with its value
    /// and source. The output is a configuration file: `serve` with it does the same.
    Config(ConfigArguments),
    /// Ask a running proxy whether it is ready (for containers)
    ///
    /// Finds the proxy by the settings that it was started with: the first address of --listen, and HTTPS if there is
    /// --tls-cert. All other settings of `serve` are taken and not looked at, so that both commands may have the same.
    #[command(mut_args(help::only_for_healthcheck), after_help = help::HEALTHCHECK)]
    Healthcheck(Settings),
    /// Print a shell's completions
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
}

impl Action {
    /// Returns the record of the settings that come from the environment, if the command keeps one.
    fn variables(&mut self) -> Option<&mut Variables> {
        match self {
            Self::Serve(settings) | Self::Healthcheck(settings) => Some(&mut settings.variables),
            Self::Check(check) => Some(&mut check.settings.variables),
            Self::Config(config) => Some(&mut config.settings.variables),
            Self::Init(init) => Some(&mut init.sources.variables),
            Self::List(list) => Some(&mut list.sources.variables),
            Self::Shops(shops) => Some(&mut shops.sources.variables),
            Self::Explain(explain) => Some(&mut explain.sources.variables),
            Self::Allow(edit) | Self::Retire(edit) | Self::Hide(edit) | Self::Forget(edit) => {
                Some(&mut edit.sources.variables)
            }
            Self::Diff(diff) => Some(&mut diff.sources.variables),
            Self::News(news) => Some(&mut news.history.variables),
            Self::Servers(servers) => Some(&mut servers.variables),
            Self::Edits(edits) => Some(&mut edits.history.variables),
            Self::Demo(_)
            | Self::Filter(_)
            | Self::PanelIni(_)
            | Self::Token(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
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
    /// Shop by its name, `default` for the one at / [default: the shop at /]
    #[arg(long, value_name = "NAME")]
    pub shop: Option<String>,
    /// Directory with a whitelist NAME.toml for each shop, to check the name [default: none]
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_SHOPS")]
    pub shops: Option<PathBuf>,
    /// Your shop: where Buy buttons lead
    #[arg(long, value_name = "URL")]
    pub buy_url: Option<String>,
    /// Print variables for Plesk's container instead, as `docker run --env-file` reads them
    #[arg(long)]
    pub env: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_has_a_group_and_its_own_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").expect("a command");
        for key in SettingKey::all() {
            let arg = serve.get_arguments().find(|arg| arg.get_long() == Some(&key.name)).expect("a flag");
            assert!(key.group.is_some(), "--{} stands in no group of the help", key.name);
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            assert_eq!(variable, Some(variables::name(&key.name)));
            assert_eq!(arg.get_id().as_str(), key.name.replace('-', "_"));
        }
    }
}
