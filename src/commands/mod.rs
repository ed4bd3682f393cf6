//! The commands, one file each.

mod catalog_source;
mod check;
mod config;
mod demo;
mod diff;
mod edit;
mod edits;
mod explain;
mod filter;
mod former_codes;
mod healthcheck;
mod init;
mod list;
mod manual;
mod news;
mod panel_ini;
mod runtime;
pub mod serve;
mod servers;
mod shop_selection;
mod shops;
mod table;
mod terminal;
mod token;
mod whitelist_file;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use crate::admin::tokens::TokensError;
use crate::app::AppError;
use crate::certificate::TlsError;
use crate::cli::{Action, Cli, NoCommand, WrongVariable};
use crate::config::{ConfigError, WHITELIST};
use crate::editing::Verb;
use crate::given::Source;
use crate::logging::LevelError;
use crate::place::Excerpt;
use crate::policy::Verdict;
use crate::printable::printable;
use crate::shops::ShopsError;
use crate::stderr;
use crate::upstream::RootsError;
use crate::upstream::outbound::OutboundError;
use crate::whitelist::load::LoadError;
use terminal::Terminal;

/// Exit code of a command that did its job.
const SUCCEEDED: u8 = 0;
/// Exit code of a command that failed.
pub const FAILED: u8 = 1;
/// Exit code of wrong usage, configuration or whitelist; clap uses the same.
const WRONG: u8 = 2;

/// Error that ends a command, with its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// Exit code of the process.
    pub code: u8,
    /// Setting, file or URL that the message is about.
    pub subject: Option<Subject>,
    /// Description of the error, in one sentence.
    pub message: String,
    /// The line of the file that it is about.
    pub excerpt: Option<Excerpt>,
}

/// Subject of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Setting, named by the place where it was given.
    Setting(Source),
    /// File or URL.
    Named(String),
}

/// Runs the command from the process's arguments, writes its error to standard error, and returns the exit code.
pub fn main() -> u8 {
    let done = match Cli::read() {
        Ok(cli) => run(cli).map(|()| SUCCEEDED),
        Err(no_command) => explain_usage(&no_command),
    };
    done.unwrap_or_else(|failure| {
        stderr::error(format_args!("catalog-proxy: {failure}"));
        failure.code
    })
}

/// Prints help to standard output, or what is wrong with the arguments to standard error. Returns the exit code.
fn explain_usage(NoCommand { error, variables, is_variable }: &NoCommand) -> Result<u8, CommandError> {
    let text = error.render();
    let is_colored = if error.use_stderr() { stderr::is_colored() } else { Terminal::stdout().colors };
    let text = if is_colored { text.ansi().to_string() } else { text.to_string() };
    if !error.use_stderr() {
        terminal::print(&text)?;
    } else if !is_variable {
        stderr::message(text);
    }
    for WrongVariable { name, message } in variables {
        stderr::message(format_args!("catalog-proxy: {name}: {}", printable(message)));
    }
    Ok(u8::try_from(error.exit_code()).unwrap_or(WRONG))
}

fn run(cli: Cli) -> Result<(), CommandError> {
    match cli.command {
        Action::Serve(settings) => serve::serve(settings),
        Action::Demo(arguments) => demo::demo(arguments.listen),
        Action::Init(arguments) => init::init(&arguments),
        Action::List(arguments) => list::list(&arguments),
        Action::Shops(arguments) => shops::shops(&arguments),
        Action::Explain(arguments) => explain::explain(&arguments),
        Action::Allow(arguments) => edit::edit(Verb::Place(Verdict::Shown), &arguments),
        Action::Retire(arguments) => edit::edit(Verb::Place(Verdict::Retired), &arguments),
        Action::Hide(arguments) => edit::edit(Verb::Place(Verdict::Hidden), &arguments),
        Action::Forget(arguments) => edit::edit(Verb::Forget, &arguments),
        Action::Diff(arguments) => diff::diff(&arguments),
        Action::Check(arguments) => check::check(arguments),
        Action::Config(arguments) => config::config(arguments),
        Action::Filter(arguments) => {
            let whitelist = arguments.whitelist.unwrap_or_else(|| WHITELIST.into());
            // Standard output's own buffer looks for line ends in all that leaves.
            let output = io::stdout().as_fd().try_clone_to_owned().map_err(CommandError::failed)?;
            filter::filter(&whitelist, io::stdin().lock(), File::from(output))
        }
        Action::PanelIni(arguments) => panel_ini::panel_ini(&arguments),
        Action::News(arguments) => news::news(&arguments),
        Action::Servers(arguments) => servers::servers(arguments),
        Action::Edits(arguments) => edits::edits(&arguments),
        Action::Token(arguments) => token::token(&arguments.name),
        Action::Healthcheck(settings) => healthcheck::healthcheck(settings),
        Action::Completions(arguments) => manual::completions(arguments.shell),
        Action::Man(arguments) => manual::man(arguments.directory.as_deref()),
    }
}

impl CommandError {
    fn failed(message: impl fmt::Display) -> Self {
        Self { code: FAILED, subject: None, message: message.to_string(), excerpt: None }
    }

    fn wrong(message: impl fmt::Display) -> Self {
        Self { code: WRONG, subject: None, message: message.to_string(), excerpt: None }
    }

    fn about(self, subject: impl Into<Subject>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(Subject::Setting(source)) => write!(f, "{source}: {}", self.message),
            Some(Subject::Named(name)) => write!(f, "{name}: {}", self.message),
            None => f.write_str(&self.message),
        }?;
        self.excerpt.iter().try_for_each(|excerpt| write!(f, "\n{excerpt}"))
    }
}

impl From<Source> for Subject {
    fn from(source: Source) -> Self {
        Self::Setting(source)
    }
}

impl From<String> for Subject {
    fn from(name: String) -> Self {
        Self::Named(name)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::wrong(error)
    }
}

impl From<AppError> for CommandError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Shops(error) => error.into(),
            AppError::Tokens(error) => error.into(),
            AppError::Certificate(error) => error.into(),
            AppError::Roots(error) => error.into(),
            AppError::Outbound(error) => error.into(),
            error @ (AppError::Listen { .. } | AppError::Io(_) | AppError::Task(_)) => Self::failed(error),
        }
    }
}

impl From<TokensError> for CommandError {
    fn from(error: TokensError) -> Self {
        Self { excerpt: error.excerpt.clone(), ..Self::wrong(error) }
    }
}

impl From<ShopsError> for CommandError {
    fn from(error: ShopsError) -> Self {
        match error {
            ShopsError::Whitelist(error) => error.into(),
            error => Self::wrong(error),
        }
    }
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        let excerpt = match &error {
            LoadError::Parse { excerpt, .. } => excerpt.clone(),
            LoadError::Read { .. } => None,
        };
        Self { excerpt, ..Self::wrong(error) }
    }
}

impl From<LevelError> for CommandError {
    fn from(error: LevelError) -> Self {
        Self::wrong(error)
    }
}

impl From<TlsError> for CommandError {
    fn from(error: TlsError) -> Self {
        Self::wrong(format_args!("{}: {}", error.path.display(), error.reason)).about(error.at)
    }
}

impl From<RootsError> for CommandError {
    fn from(error: RootsError) -> Self {
        match error {
            RootsError::File { at, path, reason } => {
                Self::wrong(format_args!("{}: {reason}", path.display())).about(at)
            }
            error @ RootsError::NoneLeft => Self::wrong(error),
        }
    }
}

impl From<OutboundError> for CommandError {
    fn from(error: OutboundError) -> Self {
        Self::wrong(error.message()).about(Source::Variable(error.variable.to_owned()))
    }
}
