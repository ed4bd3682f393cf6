//! The program: arguments in, exit code out.

use std::process::ExitCode;

use catalog_proxy::cli::Cli;
use catalog_proxy::commands;

fn main() -> ExitCode {
    match commands::run(Cli::read()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("catalog-proxy: {}", failure);
            ExitCode::from(failure.code)
        }
    }
}
