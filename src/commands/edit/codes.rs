//! Codes of an edit: typed, or read from standard input.

use std::io::Read;
use std::path::Path;

use crate::cli::Edit;
use crate::commands::CommandError;
use crate::whitelist::load::MAX_FILE_SIZE;

/// Argument in the place of which the lines of standard input are put.
const STANDARD_INPUT: &str = "-";

/// Returns the codes that were typed, with those that `input` has in the place of a `-`.
///
/// # Errors
/// If the catalog comes from there as well, or it cannot be read.
pub(super) fn read(arguments: &Edit, input: impl Read) -> Result<Vec<String>, CommandError> {
    let codes = &arguments.codes;
    let Some(at) = codes.iter().position(|code| code == STANDARD_INPUT) else { return Ok(codes.clone()) };
    if arguments.sources.feed.as_deref() == Some(Path::new(STANDARD_INPUT)) {
        let message = "both CODE and --feed are `-`, but standard input can be read only once";
        return Err(CommandError::wrong(message));
    }
    let refused = |reason: &dyn std::fmt::Display| CommandError::failed(format!("standard input: {reason}"));
    let mut text = String::new();
    // Codes that would not fit into the file are not worth reading.
    let read = input.take(MAX_FILE_SIZE + 1).read_to_string(&mut text);
    read.map_err(|error| refused(&error))?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(refused(&format_args!("more than {MAX_FILE_SIZE} bytes")));
    }
    let mut all = codes[..at].to_vec();
    all.extend(text.lines().map(code).filter(|code| !code.is_empty()).map(str::to_owned));
    all.extend(codes[at..].iter().filter(|code| *code != STANDARD_INPUT).cloned());
    Ok(all)
}

/// Returns what a line has before its comment.
fn code(line: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| line[..*at].is_empty() || line[..*at].ends_with([' ', '\t']);
    let end = line.match_indices('#').find(is_comment).map_or(line.len(), |(at, _)| at);
    line[..end].trim()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Action, Cli};

    fn codes(arguments: &[&str], input: &[u8]) -> Result<Vec<String>, CommandError> {
        let line = ["catalog-proxy", "retire"].iter().chain(arguments);
        let Action::Retire(arguments) = Cli::try_parse_from(line).expect("arguments").command else {
            panic!("another command")
        };
        read(&arguments, input)
    }

    #[test]
    fn reads_codes_from_standard_input() {
        let check = |arguments: &[&str], input: &str, expected: &[&str]| {
            assert_eq!(codes(arguments, input.as_bytes()).expect("codes"), expected, "{input:?}");
        };
        check(&["a", "b"], "c\n", &["a", "b"]);
        check(&["-"], "a\nb", &["a", "b"]);
        check(&["a", "-", "b", "-"], "c\r\nd\r\n", &["a", "c", "d", "b"]);
        check(&["-"], "# list\n\n  a  \n\t# b\nc # see\t#1\nd#e\n", &["a", "c", "d#e"]);
        check(&["-"], "", &[]);
        check(&["-", "--feed", "packages.json"], "a", &["a"]);
        check(&["--feed", "-", "a"], "[]", &["a"]);
    }

    #[test]
    fn refuses_what_cannot_be_codes() {
        let check = |arguments: &[&str], input: &[u8], code: u8, part: &str| {
            let error = codes(arguments, input).expect_err("an error");
            assert_eq!(error.code, code);
            assert!(error.to_string().contains(part), "{error}");
        };
        check(&["-", "--feed", "-"], b"a", 2, "standard input can be read only once");
        check(&["-"], b"\xff", 1, "standard input: stream did not contain valid UTF-8");
        check(&["-"], &vec![b'a'; (1 << 20) + 1], 1, "standard input: more than 1048576 bytes");
    }
}
