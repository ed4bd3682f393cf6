//! `completions` and `man`: generated from the definition of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::CommandError;
use super::terminal::print;
use crate::cli::Cli;

/// Prints the completion script of a shell.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "catalog-proxy", &mut script);
    // In bash's script, the name of a program with a hyphen is written in two ways, so that nothing is completed
    // behind a command (https://github.com/clap-rs/clap/issues/6421).
    print(&String::from_utf8_lossy(&script).replace("catalog__subcmd__proxy", "catalog__proxy"))
}

/// Prints the main page, or writes one page a command to a directory.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn man(directory: Option<&Path>) -> Result<(), CommandError> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(CommandError::failed)?;
        return print(&String::from_utf8_lossy(&page));
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        clap_mangen::generate_to(Cli::command(), directory)
    };
    write()
        .map_err(|error| CommandError::failed(format!("{}: cannot be written: {error}", directory.display())))
}
