//! The program: arguments in, exit code out.

use std::panic::catch_unwind;
use std::process::ExitCode;

use catalog_proxy::{commands, panics, stderr};

fn main() -> ExitCode {
    panics::install_hook();
    // The hook has told of a panic where it happened.
    let code = catch_unwind(commands::main).unwrap_or(commands::FAILED);
    stderr::finish();
    ExitCode::from(code)
}
