//! `completions` and `man`: generated from the definition of the command line.

mod sections;

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::CommandError;
use super::terminal::print;
use crate::cli::Cli;
use crate::version::VERSION;
use sections::PageSections;

/// Name of the program, with which all pages begin.
const PROGRAM: &str = "catalog-proxy";
/// Section of the manual that all pages are in.
const MANUAL_SECTION: &str = "1";

/// Prints the completion script of a shell.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), PROGRAM, &mut script);
    // In bash's script, the name of a program with a hyphen is written in two ways, so that nothing is completed
    // behind a command (https://github.com/clap-rs/clap/issues/6421).
    print(&String::from_utf8_lossy(&script).replace("catalog__subcmd__proxy", "catalog__proxy"))
}

/// Prints the main page, or writes one page a command to a directory.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn man(directory: Option<&Path>) -> Result<(), CommandError> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(directory) = directory else {
        let page = page(&program, None).map_err(CommandError::failed)?;
        return print(&String::from_utf8_lossy(&page));
    };
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join(format!("{PROGRAM}.{MANUAL_SECTION}")), page(&program, None)?)?;
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let path = directory.join(format!("{PROGRAM}-{name}.{MANUAL_SECTION}"));
            fs::write(path, page(command, Some(name))?)?;
        }
        Ok(())
    };
    write()
        .map_err(|error| CommandError::failed(format!("{}: cannot be written: {error}", directory.display())))
}

/// Renders the page of a command, or of the program itself without a name.
fn page(command: &Command, name: Option<&str>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    let title = name.map_or_else(|| PROGRAM.to_owned(), |name| format!("{PROGRAM}-{name}"));
    // Written by hand, because the library leaves an empty date out, and what follows is taken for it. There is none: pages
    // of the same version are the same.
    writeln!(page, ".TH {title} {MANUAL_SECTION} \"\" \"{PROGRAM} {VERSION}\" \"User Commands\"")?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if name.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    let PageSections { examples, files, environment, signals, exit_status, see_also } = sections::of(name);
    let environment = [settings(command).as_str(), environment].join("\n");
    for (heading, text) in [
        ("EXAMPLES", examples),
        ("FILES", files),
        ("ENVIRONMENT", environment.trim()),
        ("SIGNALS", signals),
        ("EXIT STATUS", exit_status),
    ] {
        section(heading, text, &mut page)?;
    }
    let others: Vec<_> = match name {
        Some(_) => see_also.iter().map(|other| format!("{PROGRAM}-{other}(1)")).collect(),
        None => command.get_subcommands().map(|other| format!("{PROGRAM}-{}(1)", other.get_name())).collect(),
    };
    let program = name.map(|_| format!("{PROGRAM}(1)"));
    let others: Vec<_> = program.into_iter().chain(others).collect();
    section("SEE ALSO", &others.join(", "), &mut page)?;
    Ok(page)
}

/// Describes the variables that are settings of a command.
fn settings(command: &Command) -> String {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let variables = shown.filter_map(|arg| {
        let (name, flag) = (arg.get_env()?.to_str()?, arg.get_long()?);
        Some(format!("= {name}\nThe value of --{flag}, if that is not given."))
    });
    variables.collect::<Vec<_>>().join("\n")
}

/// Renders a section, unless it is empty.
fn section(heading: &str, text: &str, page: &mut dyn Write) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut roff = Roff::default();
    roff.control("SH", [heading]);
    let mut is_first = true;
    for line in text.lines() {
        if let Some(term) = line.strip_prefix("= ") {
            roff.control("TP", []).text([bold(term)]);
        } else if let Some(comment) = line.strip_prefix("# ") {
            if !is_first {
                roff.control("PP", []);
            }
            roff.text([roman(format!("{comment}:"))]);
        } else if let Some(command) = line.strip_prefix("$ ") {
            if !is_first {
                roff.control("PP", []);
            }
            roff.control("RS", ["4"]).control("nf", []);
            roff.text([bold(command)]);
            roff.control("fi", []).control("RE", []);
        } else if line.is_empty() {
            roff.control("PP", []);
        } else {
            roff.text([roman(line)]);
        }
        is_first = false;
    }
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pages() -> Vec<(String, String)> {
        let mut program = Cli::command().disable_help_subcommand(true);
        program.build();
        let rendered = |command: &Command, name: Option<&str>| {
            String::from_utf8(page(command, name).expect("a page")).expect("text")
        };
        let commands = program.get_subcommands();
        let mut pages: Vec<_> = commands
            .map(|command| (command.get_name().to_owned(), rendered(command, Some(command.get_name()))))
            .collect();
        pages.push((String::new(), rendered(&program, None)));
        pages
    }

    #[test]
    fn every_page_has_what_people_look_for() {
        for (name, page) in pages() {
            let has = |heading: &str| page.contains(&format!(".SH {heading}\n"));
            assert!(has("EXAMPLES") && has("\"EXIT STATUS\"") && has("\"SEE ALSO\""), "{name}: {page}");
            assert!(!has("EXTRA"), "{name}: {page}");
        }
        let (_, serve) = pages().into_iter().find(|(name, _)| name == "serve").expect("a page");
        for part in
            ["SIGHUP", "CATALOG_PROXY_LISTEN", "RUST_LOG", "/etc/catalog\\-proxy/proxy.toml", "LISTENING"]
        {
            assert!(serve.contains(part), "{part}: {serve}");
        }
    }

    #[test]
    fn pages_that_others_name_are_there() {
        let names: BTreeSet<_> = pages().into_iter().map(|(name, _)| name).collect();
        for name in &names {
            for other in sections::of(Some(name)).see_also {
                assert!(names.contains(*other), "{name} names {other}");
            }
        }
    }
}
